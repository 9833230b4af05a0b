//! Whole streams over simulated links: they arrive intact, share the link, and give way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::time::Duration;

use cairn_utp::{CloseReason, Config};
use simulation::{LinkConfig, Simulation};

const MINUTE: Duration = Duration::from_secs(60);

const LONG: usize = 80_000_000;

/// Sends a long stream from the acceptor to the opener, each of which closes as peers do, and returns its bytes a
/// second of virtual time.
#[track_caller]
fn long_stream(link: LinkConfig) -> f64 {
    let mut simulation = Simulation::new(Config::default(), link, 1);
    simulation.acceptor().write_all(LONG);
    simulation.run_until(60 * MINUTE, |simulation| simulation.openers[0].read_end);
    let rate = LONG as f64 / simulation.elapsed().as_secs_f64();
    simulation.opener().write_and_close(0);
    simulation.run_to_end(MINUTE);
    let (opener, acceptor) = (&simulation.openers[0], &simulation.acceptors[0]);
    assert_eq!(opener.read, LONG);
    assert_eq!(opener.closed, Some(CloseReason::Finished));
    assert_eq!(acceptor.closed, Some(CloseReason::Finished));
    assert!(acceptor.finished);
    rate
}

#[test]
fn a_long_stream_fills_a_clean_link() {
    let rate = long_stream(LinkConfig::default());
    assert!(rate > 0.9 * LinkConfig::default().rate, "{rate} B/s");
}

#[test]
fn a_long_stream_fills_a_long_way() {
    // 20 MB/s over 60 ms there and back: 1.2 MB on the way, more than the default buffers hold.
    let link = LinkConfig { rate: 20e6, delay: Duration::from_millis(30), queue: 1 << 20, ..LinkConfig::default() };
    let config = Config { receive_buffer: 4 << 20, send_buffer: 4 << 20, ..Config::default() };
    let mut simulation = Simulation::new(config, link, 1);
    simulation.acceptor().write_all(LONG);
    simulation.run_until(MINUTE, |simulation| simulation.openers[0].read_end);
    let rate = LONG as f64 / simulation.elapsed().as_secs_f64();
    assert!(rate > 0.8 * link.rate, "{rate} B/s");
}

#[test]
fn a_long_stream_survives_1_percent_loss() {
    let rate = long_stream(LinkConfig { loss: 0.01, ..LinkConfig::default() });
    // What a Reno flow gets (RFC 5348, section 3.1, with 21 ms there and back): 12 packets in flight.
    assert!(rate > 0.6e6, "{rate} B/s");
}

#[test]
fn a_long_stream_survives_5_percent_loss() {
    let rate = long_stream(LinkConfig { loss: 0.05, ..LinkConfig::default() });
    // Likewise: 5 packets in flight.
    assert!(rate > 0.25e6, "{rate} B/s");
}

#[test]
fn a_long_stream_is_not_slowed_by_reordering() {
    let rate = long_stream(LinkConfig { reorder: 0.05, ..LinkConfig::default() });
    assert!(rate > 0.8 * LinkConfig::default().rate, "{rate} B/s");
}

#[test]
fn a_stream_learns_how_far_packets_overtake_each_other() {
    // Nothing is lost: the queue holds more than the window.
    let link = LinkConfig { reorder: 0.05, queue: 4 << 20, ..LinkConfig::default() };
    let mut simulation = Simulation::new(Config::default(), link, 1);
    simulation.acceptor().write_all(20_000_000);
    simulation.run_until(MINUTE, |simulation| simulation.openers[0].read_end);
    assert_eq!(simulation.down.dropped, 0);
    let retransmissions = simulation.acceptor().connection.stats().retransmissions;
    let late = 0.05 * 20_000_000.0 / Config::default().max_payload as f64;
    assert!((retransmissions as f64) < late / 4.0, "{retransmissions} sent again, {late} late");
}

#[test]
fn a_long_stream_is_not_slowed_by_duplication() {
    let rate = long_stream(LinkConfig { duplicate: 0.05, ..LinkConfig::default() });
    assert!(rate > 0.8 * LinkConfig::default().rate, "{rate} B/s");
}

#[test]
fn a_long_stream_survives_everything_at_once() {
    long_stream(LinkConfig { loss: 0.01, reorder: 0.05, duplicate: 0.02, ..LinkConfig::default() });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || long_stream(LinkConfig { loss: 0.02, reorder: 0.02, rate: 125e6, ..LinkConfig::default() });
    assert_eq!(run(), run());
}

#[test]
fn sixty_four_streams_share_a_link() {
    const BYTES: usize = 200_000;
    for seed in 0..4 {
        let link = LinkConfig { loss: 0.001, reorder: 0.01, ..LinkConfig::default() };
        let mut simulation = Simulation::with_pairs(64, Config::default(), link, seed);
        simulation.acceptors.iter_mut().for_each(|acceptor| acceptor.write_all(BYTES));
        let mut ends = vec![None; 64];
        simulation.run_until(MINUTE, |simulation| {
            for (end, opener) in ends.iter_mut().zip(&simulation.openers) {
                if opener.read_end && end.is_none() {
                    *end = Some(simulation.elapsed().as_secs_f64());
                }
            }
            ends.iter().all(Option::is_some)
        });
        assert!(simulation.openers.iter().all(|opener| opener.read == BYTES));
        let mut ends: Vec<f64> = ends.into_iter().flatten().collect();
        ends.sort_by(f64::total_cmp);
        // One after the other, the link would carry them in this time: a bound on the last, and with it on unfairness.
        let ideal = 64.0 * BYTES as f64 / link.rate;
        assert!(ends[63] < 2.5 * ideal, "seed {seed}: first {}, median {}, last {}", ends[0], ends[32], ends[63]);
    }
}

#[test]
fn two_long_streams_share_a_link_fairly() {
    let link = LinkConfig { rate: 2.5e6, queue: 1 << 20, ..LinkConfig::default() };
    let mut simulation = Simulation::with_pairs(2, Config::default(), link, 3);
    simulation.acceptors.iter_mut().for_each(|acceptor| acceptor.write(1 << 30));
    simulation.run_for(MINUTE);
    let shares = [simulation.openers[0].read, simulation.openers[1].read];
    let (less, more) = (shares[0].min(shares[1]), shares[0].max(shares[1]));
    assert!(less * 3 > more, "{shares:?}");
    assert!((less + more) as f64 > 0.85 * 60.0 * link.rate, "{shares:?}");
}

#[test]
fn a_stream_gives_way_to_other_traffic_and_comes_back() {
    // The queue holds a second, so that nothing but delay can tell the stream of the other traffic.
    let link = LinkConfig { rate: 2.5e6, queue: 2_500_000, ..LinkConfig::default() };
    let mut simulation = Simulation::new(Config::default(), link, 5);
    simulation.acceptor().write(1 << 30);
    simulation.run_for(Duration::from_secs(10));
    let alone = simulation.opener().read as f64 / 10.0;
    assert!(alone > 0.9 * link.rate, "{alone} B/s alone");
    let delay = simulation.down.queueing(simulation.now);
    assert!(delay < Duration::from_millis(150), "{delay:?} in the queue of its own making");

    // Others now send as much as the link can carry.
    simulation.cross_traffic = link.rate as usize / 100;
    simulation.run_for(Duration::from_secs(5));
    let window = simulation.acceptor().connection.stats().congestion_window;
    assert!(window < 10_000, "window {window} B beside other traffic");

    simulation.cross_traffic = 0;
    simulation.run_for(Duration::from_secs(5));
    let before = simulation.opener().read;
    simulation.run_for(Duration::from_secs(10));
    let again = (simulation.opener().read - before) as f64 / 10.0;
    assert!(again > 0.9 * link.rate, "{again} B/s afterwards");
    assert_eq!(simulation.down.dropped, 0);
}
