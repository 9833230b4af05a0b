//! Whole streams over simulated links: they arrive intact, share the link, and give way.

mod simulation;

use std::time::Duration;

use cairn_utp::{CloseReason, Config};
use simulation::{LinkConfig, Simulation};

const MINUTE: Duration = Duration::from_secs(60);

const LONG: usize = 80_000_000;

/// Sends a long stream from the acceptor to the opener and returns its bytes a second of virtual time.
#[track_caller]
fn long_stream(link: LinkConfig) -> f64 {
    let mut simulation = Simulation::new(Config::default(), link, 1);
    simulation.acceptor().write_all(LONG);
    simulation.opener().write_all(0);
    simulation.run_to_end(60 * MINUTE);
    let (opener, acceptor) = (&simulation.openers[0], &simulation.acceptors[0]);
    assert_eq!(opener.read, LONG);
    assert_eq!(opener.closed, Some(CloseReason::Finished));
    assert_eq!(acceptor.closed, Some(CloseReason::Finished));
    println!("{:.2} MB/s {:?}", LONG as f64 / simulation.elapsed().as_secs_f64() / 1e6, acceptor.connection.stats());
    LONG as f64 / simulation.elapsed().as_secs_f64()
}

#[test]
fn a_long_stream_fills_a_clean_link() {
    let rate = long_stream(LinkConfig::default());
    assert!(rate > 0.9 * LinkConfig::default().rate, "{rate} B/s");
}

#[test]
fn a_long_stream_survives_1_percent_loss() {
    long_stream(LinkConfig { loss: 0.01, ..LinkConfig::default() });
}

#[test]
fn a_long_stream_survives_5_percent_loss() {
    long_stream(LinkConfig { loss: 0.05, ..LinkConfig::default() });
}

#[test]
fn a_long_stream_survives_reordering_and_is_not_slowed_by_it() {
    let rate = long_stream(LinkConfig { reorder: 0.05, ..LinkConfig::default() });
    assert!(rate > 0.8 * LinkConfig::default().rate, "{rate} B/s");
}

#[test]
fn a_long_stream_survives_duplication() {
    let rate = long_stream(LinkConfig { duplicate: 0.05, ..LinkConfig::default() });
    assert!(rate > 0.8 * LinkConfig::default().rate, "{rate} B/s");
}

#[test]
fn a_long_stream_survives_everything_at_once() {
    long_stream(LinkConfig { loss: 0.01, reorder: 0.05, duplicate: 0.02, ..LinkConfig::default() });
}
