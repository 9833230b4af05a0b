//! How a connection ends: each side's FIN, RESET, silence.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::time::Duration;

use cairn_utp::{CloseReason, Config, Packet, PacketType, ReadError, WriteError};
use simulation::{LinkConfig, Simulation, link::Tamper};

const SECOND: Duration = Duration::from_secs(1);

fn simulation() -> Simulation {
    Simulation::new(Config::default(), LinkConfig::default(), 1)
}

/// Loses the first `count` packets that `which` picks.
fn lose(mut count: usize, which: impl Fn(&Packet) -> bool + 'static) -> Tamper {
    Box::new(move |packet| {
        if count > 0 && which(&Packet::decode(packet.to_vec().into()).unwrap()) {
            count -= 1;
            return None;
        }
        Some(packet.to_vec())
    })
}

#[track_caller]
fn assert_finished(simulation: &Simulation) {
    for peer in [&simulation.openers[0], &simulation.acceptors[0]] {
        assert!(peer.finished);
        assert!(peer.read_end);
        assert_eq!(peer.closed, Some(CloseReason::Finished));
    }
}

#[test]
fn empty_streams_end_like_others() {
    let mut simulation = simulation();
    simulation.opener().write_all(0);
    simulation.acceptor().write_all(0);
    simulation.run_to_end(10 * SECOND);
    assert_finished(&simulation);
}

#[test]
fn one_side_may_go_on_after_the_other_has_finished() {
    let mut simulation = simulation();
    simulation.acceptor().write_all(100_000);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read_end && simulation.acceptors[0].finished);
    assert_eq!(simulation.acceptor().connection.write(&[0]), Err(WriteError::Finished));
    simulation.run_for(2 * SECOND);
    simulation.opener().write_all(300_000);
    simulation.run_to_end(10 * SECOND);
    assert_finished(&simulation);
    assert_eq!(simulation.openers[0].read, 100_000);
    assert_eq!(simulation.acceptors[0].read, 300_000);
}

#[test]
fn a_lost_fin_is_sent_again() {
    let mut simulation = simulation();
    simulation.down.tamper = lose(3, |packet| packet.header.packet_type == PacketType::Fin);
    simulation.acceptor().write_all(10_000);
    simulation.opener().write_all(10_000);
    simulation.run_to_end(10 * SECOND);
    assert_finished(&simulation);
}

#[test]
fn a_lost_tail_is_found_before_the_time_out() {
    let mut simulation = simulation();
    // The last four data packets of nine, and the FIN.
    let first_lost = 5 * Config::default().max_payload;
    let mut passed = 0;
    let mut to_lose = 5;
    simulation.down.tamper = Box::new(move |packet| {
        let payload = Packet::decode(packet.to_vec().into()).unwrap().payload.len();
        passed += payload;
        if passed > first_lost && to_lose > 0 {
            to_lose -= 1;
            return None;
        }
        Some(packet.to_vec())
    });
    simulation.acceptor().write_all(9 * Config::default().max_payload);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read_end);
    assert_eq!(simulation.acceptor().connection.stats().timeouts, 0);
    assert!(simulation.elapsed() < SECOND / 4, "{:?}", simulation.elapsed());
}

#[test]
fn a_lost_last_acknowledgement_is_repeated_by_the_side_that_lingers() {
    let mut simulation = simulation();
    simulation.acceptor().write_all(0);
    simulation.run_until(SECOND, |simulation| simulation.acceptors[0].finished);
    // The opener ends last: what the acceptor then sends is the last acknowledgement.
    simulation.down.tamper = lose(2, |packet| packet.header.packet_type == PacketType::State);
    simulation.opener().write_all(0);
    simulation.run_to_end(10 * SECOND);
    assert_finished(&simulation);
    assert!(simulation.opener().connection.stats().retransmissions >= 2);
}

#[test]
fn the_side_that_ends_last_does_not_linger() {
    let mut simulation = simulation();
    simulation.acceptor().write_all(10_000);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read_end);
    simulation.opener().write_all(0);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].closed.is_some());
    assert_eq!(simulation.acceptors[0].closed, None);
    simulation.run_to_end(10 * SECOND);
    assert_finished(&simulation);
}

#[test]
fn a_peer_that_is_gone_before_it_acknowledged_the_fin_is_no_failure() {
    let mut simulation = simulation();
    simulation.acceptor().sent = Some(Vec::new());
    simulation.acceptor().write_and_close(10_000);
    simulation.down.tamper = lose(usize::MAX, |packet| packet.header.packet_type == PacketType::Fin);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read == 10_000);
    simulation.run_for(SECOND);
    // The opener answers as a peer that has forgotten the connection.
    let fin = simulation.acceptor().sent.as_ref().and_then(|sent| sent.last()).unwrap().header;
    let mut refusal = Vec::new();
    fin.refusal().unwrap().encode(None, &[], &mut refusal);
    let now = simulation.now;
    simulation.acceptor().receive(now, refusal.into());
    simulation.run_until(SECOND, |simulation| simulation.acceptors[0].closed.is_some());
    assert!(simulation.acceptors[0].finished);
    assert_eq!(simulation.acceptors[0].closed, Some(CloseReason::Finished));
}

#[test]
fn closing_does_not_wait_for_the_peers_end() {
    let mut simulation = simulation();
    simulation.acceptor().write_and_close(100_000);
    simulation.opener().write(50_000);
    simulation.run_until(10 * SECOND, |simulation| simulation.acceptors[0].closed.is_some());
    assert_eq!(simulation.acceptors[0].closed, Some(CloseReason::Finished));
    assert_eq!(simulation.openers[0].read, 100_000);
    assert!(simulation.openers[0].read_end);
    assert_eq!(simulation.openers[0].closed, None);
}

#[test]
fn a_reset_ends_both_sides_at_once() {
    for by_opener in [true, false] {
        let mut simulation = simulation();
        simulation.acceptor().write(1 << 20);
        simulation.run_until(SECOND, |simulation| simulation.openers[0].read > 10_000);
        let (one, other) = match by_opener {
            true => (&mut simulation.openers[0], &mut simulation.acceptors[0]),
            false => (&mut simulation.acceptors[0], &mut simulation.openers[0]),
        };
        one.sent = Some(Vec::new());
        one.connection.reset();
        other.write(100);
        simulation.run_to_end(SECOND);
        let (one, other) = match by_opener {
            true => (&mut simulation.openers[0], &mut simulation.acceptors[0]),
            false => (&mut simulation.acceptors[0], &mut simulation.openers[0]),
        };
        assert_eq!(one.closed, Some(CloseReason::LocalReset));
        assert_eq!(other.closed, Some(CloseReason::PeerReset));
        let sent: Vec<_> = one.sent.iter().flatten().map(|packet| packet.header.packet_type).collect();
        assert_eq!(sent, [PacketType::Reset]);
        assert_eq!(other.connection.write(&[0]), Err(WriteError::Closed(CloseReason::PeerReset)));
        assert_eq!(other.connection.read_chunk(1), Err(ReadError::Closed(CloseReason::PeerReset)));
    }
}

#[test]
fn a_reset_may_carry_the_id_of_the_packet_it_answers() {
    let mut simulation = simulation();
    simulation.acceptor().write(1 << 20);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read > 10_000);
    simulation.opener().connection.reset();
    simulation.up.tamper = Box::new(|packet| {
        let mut packet = packet.to_vec();
        packet[2..4].copy_from_slice(&simulation::CONNECTION_ID.to_be_bytes());
        Some(packet)
    });
    simulation.run_to_end(SECOND);
    assert_eq!(simulation.acceptors[0].closed, Some(CloseReason::PeerReset));
}

#[test]
fn what_arrived_can_be_read_after_the_connection_ended() {
    let mut simulation = simulation();
    simulation.opener().slow_reader = Some((1, 3600 * SECOND));
    simulation.acceptor().write(5_000);
    simulation.run_for(SECOND);
    simulation.acceptor().connection.reset();
    simulation.run_for(SECOND);
    let opener = &mut simulation.openers[0];
    assert_eq!(opener.closed, Some(CloseReason::PeerReset));
    let mut rest = vec![0; 10_000];
    assert_eq!(opener.connection.read(&mut rest), Ok(5_000 - opener.read));
    assert_eq!(opener.connection.read(&mut rest), Err(ReadError::Closed(CloseReason::PeerReset)));
}

#[test]
fn silence_ends_a_connection() {
    let mut simulation = simulation();
    simulation.acceptor().write(1 << 20);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read > 100_000);
    simulation.up.config.loss = 1.0;
    simulation.down.config.loss = 1.0;
    let silent_since = simulation.now;
    simulation.run_to_end(60 * SECOND);
    assert_eq!(simulation.openers[0].closed, Some(CloseReason::IdleTimeout));
    assert_eq!(simulation.acceptors[0].closed, Some(CloseReason::IdleTimeout));
    assert!(simulation.now - silent_since >= Config::default().idle_timeout);
    // Every time-out doubles the next, up to 4 s: a dead peer is not flooded.
    assert!(simulation.acceptors[0].connection.stats().timeouts < 12);
}

#[test]
fn a_short_silence_is_survived() {
    let mut simulation = simulation();
    simulation.acceptor().write_all(3 << 20);
    simulation.opener().write_all(0);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read > 100_000);
    simulation.up.config.loss = 1.0;
    simulation.down.config.loss = 1.0;
    simulation.run_for(20 * SECOND);
    simulation.up.config.loss = 0.0;
    simulation.down.config.loss = 0.0;
    simulation.run_to_end(20 * SECOND);
    assert_finished(&simulation);
    assert_eq!(simulation.openers[0].read, 3 << 20);
}
