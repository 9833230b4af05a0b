//! The receive window, acknowledgements, packet sizes, and packets that have no business here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::time::Duration;

use bytes::Bytes;
use cairn_utp::{Config, Connection, Header, Packet, PacketError, PacketType, WriteError};
use simulation::{CONNECTION_ID, LinkConfig, Simulation};

const SECOND: Duration = Duration::from_secs(1);

fn small_buffer() -> Simulation {
    let config = Config { receive_buffer: 32_000, ..Config::default() };
    Simulation::new(config, LinkConfig::default(), 1)
}

fn payload_bytes(packets: &[Packet]) -> usize {
    packets.iter().map(|packet| packet.payload.len()).sum()
}

#[test]
fn the_window_closes_when_nobody_reads_and_opens_when_somebody_does() {
    let mut simulation = small_buffer();
    simulation.opener().slow_reader = Some((0, SECOND));
    simulation.acceptor().sent = Some(Vec::new());
    simulation.acceptor().write_all(1 << 20);
    // Longer than the idle time-out: the probes of the closed window, and their answers, keep the connection.
    simulation.run_for(100 * SECOND);
    let sent = payload_bytes(simulation.acceptor().sent.as_ref().unwrap());
    assert!(sent < 32_000 + 200, "{sent} B sent into a buffer of 32,000");
    assert!(sent > 30_000, "{sent} B sent into a buffer of 32,000");
    assert_eq!(simulation.opener().connection.stats().bytes_received, 32_000);

    simulation.opener().slow_reader = None;
    simulation.run_until(10 * SECOND, |simulation| simulation.openers[0].read_end);
    assert_eq!(simulation.opener().read, 1 << 20);
}

#[test]
fn a_slow_reader_sets_the_pace() {
    let mut simulation = small_buffer();
    simulation.opener().slow_reader = Some((10_000, Duration::from_millis(100)));
    simulation.acceptor().write_all(1_000_000);
    simulation.run_until(20 * SECOND, |simulation| simulation.openers[0].read_end);
    let seconds = simulation.elapsed().as_secs_f64();
    assert!((9.9..13.0).contains(&seconds), "{seconds} s for 1 MB at 100 kB/s");
    let stats = simulation.acceptor().connection.stats();
    assert!(stats.retransmissions < 10, "{stats:?}");
}

#[test]
fn a_lost_window_update_does_not_stop_the_stream() {
    let mut simulation = small_buffer();
    simulation.opener().slow_reader = Some((0, SECOND));
    simulation.acceptor().write_all(500_000);
    simulation.run_for(5 * SECOND);
    simulation.opener().slow_reader = None;
    let mut lost = false;
    simulation.up.tamper = Box::new(move |packet| std::mem::replace(&mut lost, true).then(|| packet.to_vec()));
    simulation.run_until(20 * SECOND, |simulation| simulation.openers[0].read_end);
}

#[test]
fn writing_stops_at_the_buffer_and_goes_on_at_the_event() {
    let config = Config { send_buffer: 20_000, ..Config::default() };
    let mut simulation = Simulation::new(config, LinkConfig::default(), 1);
    let acceptor = &mut simulation.acceptors[0].connection;
    assert_eq!(acceptor.write(&[0; 15_000]), Ok(15_000));
    let mut chunk = Bytes::from(vec![0; 15_000]);
    assert_eq!(acceptor.write_chunk(&mut chunk), Ok(5_000));
    assert_eq!(chunk.len(), 10_000);
    assert_eq!(acceptor.write(&[0]), Err(WriteError::Blocked));
    assert_eq!(acceptor.write(&[]), Ok(0));
    simulation.opener().intact = false;
    simulation.run_until(SECOND, |simulation| simulation.acceptors[0].writable == 1);
    assert!(simulation.acceptor().connection.writable() >= 5_000);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read == 20_000);
    assert_eq!(simulation.acceptors[0].writable, 1);
}

#[test]
fn a_steady_stream_is_acknowledged_every_eighth_packet() {
    let mut simulation = Simulation::new(Config::default(), LinkConfig { queue: 4 << 20, ..Default::default() }, 1);
    simulation.opener().sent = Some(Vec::new());
    simulation.acceptor().write_all(10_000_000);
    simulation.run_until(10 * SECOND, |simulation| simulation.openers[0].read_end);
    let acknowledgements = simulation.opener().sent.as_ref().unwrap().len();
    let packets = 10_000_000 / Config::default().max_payload;
    assert!((packets / 8..packets / 7).contains(&acknowledgements), "{acknowledgements} for {packets}");
}

#[test]
fn small_writes_travel_together_while_others_are_on_their_way() {
    let mut simulation = Simulation::new(Config::default(), LinkConfig::default(), 1);
    simulation.run_until(SECOND, |simulation| simulation.acceptors[0].connected);
    simulation.acceptor().sent = Some(Vec::new());
    for _ in 0..50 {
        simulation.acceptor().write(100);
        simulation.run_for(Duration::from_micros(100));
    }
    let sent = simulation.acceptor().sent.take().unwrap();
    let lens: Vec<_> = sent.iter().map(|packet| packet.payload.len()).filter(|len| *len > 0).collect();
    assert_eq!(lens, [100, 1_153, 1_153, 1_153, 1_153]);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read == 5_000);
}

#[test]
fn an_old_packet_does_not_bring_back_an_old_window() {
    let mut simulation = Simulation::new(Config::default(), LinkConfig::default(), 1);
    simulation.opener().sent = Some(Vec::new());
    simulation.acceptor().write(100_000);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read == 100_000);
    simulation.run_for(SECOND);
    let now = simulation.now;
    let last = simulation.opener().sent.as_ref().unwrap().last().unwrap().header;
    let acceptor = &mut simulation.acceptors[0].connection;
    for (later, wnd_size, expected) in [(10, 5_000, 5_000), (5, 0, 5_000), (u32::MAX, 1, 5_000), (11, 0, 0)] {
        let timestamp_microseconds = last.timestamp_microseconds.wrapping_add(later);
        let mut packet = Vec::new();
        Header { timestamp_microseconds, wnd_size, ..last }.encode(None, &[], &mut packet);
        acceptor.handle_packet(now, packet.into()).unwrap();
        assert_eq!(acceptor.stats().peer_window, expected);
    }
}

#[test]
fn a_lone_packet_is_acknowledged_within_the_delay() {
    let mut simulation = Simulation::new(Config::default(), LinkConfig::default(), 1);
    simulation.acceptor().write(100);
    simulation.run_until(SECOND, |simulation| simulation.acceptors[0].connection.stats().bytes_acked == 100);
    let link = LinkConfig::default();
    assert!(simulation.elapsed() < 3 * link.delay + Config::default().ack_delay + Duration::from_millis(1));
}

#[test]
fn no_packet_is_larger_than_the_carrier_takes() {
    for max_payload in [150, 1_153, 9_000] {
        let config = Config { max_payload, ..Config::default() };
        let mut simulation = Simulation::new(config, LinkConfig { loss: 0.02, ..LinkConfig::default() }, 1);
        simulation.opener().sent = Some(Vec::new());
        simulation.acceptor().sent = Some(Vec::new());
        simulation.acceptor().write_all(500_000);
        simulation.opener().write_all(500_000);
        simulation.run_to_end(100 * SECOND);
        let (mut largest, mut longest_selective_ack) = (0, 0);
        for packet in simulation.openers.iter().chain(&simulation.acceptors).flat_map(|peer| &peer.sent).flatten() {
            largest = largest.max(packet.payload.len());
            longest_selective_ack =
                longest_selective_ack.max(packet.selective_ack.as_ref().map_or(0, |ack| ack.as_bytes().len()));
            assert!(packet.payload.is_empty() || packet.selective_ack.is_none());
        }
        assert_eq!(largest, max_payload);
        assert!((4..=252).contains(&longest_selective_ack));
    }
}

#[test]
fn every_second_selective_acknowledgement_is_short() {
    let mut simulation = Simulation::new(Config::default(), LinkConfig { loss: 0.001, ..LinkConfig::default() }, 1);
    simulation.opener().sent = Some(Vec::new());
    simulation.acceptor().write_all(5_000_000);
    simulation.run_until(60 * SECOND, |simulation| simulation.openers[0].read_end);
    let sent = simulation.opener().sent.take().unwrap();
    let lens = sent.iter().filter_map(|packet| packet.selective_ack.as_ref()).map(|ack| ack.as_bytes().len());
    let lens: Vec<usize> = lens.collect();
    assert!(lens.iter().any(|len| *len > 4));
    assert!(lens.windows(2).all(|pair| pair.contains(&4)), "{lens:?}");
}

#[test]
fn peers_that_take_only_short_selective_acknowledgements_still_recover_quickly() {
    let link = LinkConfig { loss: 0.01, ..LinkConfig::default() };
    let rate = |short_only: bool| {
        let mut simulation = Simulation::new(Config::default(), link, 1);
        if short_only {
            simulation.up.tamper = Box::new(|packet| {
                let decoded = Packet::decode(Bytes::copy_from_slice(packet)).unwrap();
                let len = decoded.selective_ack.map_or(0, |ack| ack.as_bytes().len());
                (len <= 4).then(|| packet.to_vec())
            });
        }
        simulation.acceptor().write_all(5_000_000);
        simulation.run_until(60 * SECOND, |simulation| simulation.openers[0].read_end);
        5_000_000.0 / simulation.elapsed().as_secs_f64()
    };
    let (short, long) = (rate(true), rate(false));
    assert!(short > 0.5 * long, "{short} B/s, {long} B/s with long ones");
}

#[test]
fn a_peer_without_selective_acknowledgements_is_served() {
    let mut simulation = Simulation::new(Config::default(), LinkConfig { loss: 0.01, ..LinkConfig::default() }, 1);
    simulation.up.tamper = Box::new(|packet| {
        let decoded = Packet::decode(Bytes::copy_from_slice(packet)).unwrap();
        let mut plain = Vec::new();
        decoded.header.encode(None, &decoded.payload, &mut plain);
        Some(plain)
    });
    simulation.acceptor().write_all(2_000_000);
    simulation.run_until(100 * SECOND, |simulation| simulation.openers[0].read_end);
    assert_eq!(simulation.openers[0].read, 2_000_000);
}

#[test]
fn packets_that_do_not_belong_here_change_nothing() {
    let mut simulation = Simulation::new(Config::default(), LinkConfig::default(), 1);
    simulation.acceptor().sent = Some(Vec::new());
    simulation.acceptor().write_all(2_000_000);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read > 200_000);
    let last = simulation.acceptor().sent.as_ref().unwrap().last().unwrap().header;
    let now = simulation.now;
    let inject = |connection: &mut Connection, header: Header, payload: &[u8]| {
        let before = connection.stats();
        let mut packet = Vec::new();
        header.encode(None, payload, &mut packet);
        let refused = connection.handle_packet(now, packet.into());
        assert_eq!(connection.stats(), before, "{header:?}");
        refused
    };

    let opener = &mut simulation.openers[0].connection;
    let data = Header { packet_type: PacketType::Data, ..last };
    let far = data.seq_nr.wrapping_add(5_000);
    let error = inject(opener, Header { seq_nr: far, ..data }, b"far ahead");
    assert!(matches!(error, Err(PacketError::SeqNr { seq_nr, .. }) if seq_nr == far));
    let error = inject(opener, Header { connection_id: 0x1234, ..data }, b"elsewhere");
    assert_eq!(error, Err(PacketError::ConnectionId(0x1234)));
    let never_sent = data.ack_nr.wrapping_add(1);
    let error = inject(opener, Header { ack_nr: never_sent, ..data }, b"for what was not sent");
    assert_eq!(error, Err(PacketError::AckNr { ack_nr: never_sent, last_sent: data.ack_nr }));
    let syn = Header { packet_type: PacketType::Syn, connection_id: CONNECTION_ID.wrapping_sub(1), ..data };
    assert_eq!(inject(opener, syn, b""), Err(PacketError::State));
    let garbage = simulation.openers[0].connection.handle_packet(now, Bytes::from_static(&[0xff; 40]));
    assert!(matches!(garbage, Err(PacketError::Decode(_))));

    let acceptor = &mut simulation.acceptors[0].connection;
    let state = Header { packet_type: PacketType::State, connection_id: CONNECTION_ID.wrapping_add(1), ..data };
    let beyond = data.seq_nr.wrapping_add(1);
    let error = inject(acceptor, Header { ack_nr: beyond, seq_nr: data.ack_nr, ..state }, b"");
    assert_eq!(error, Err(PacketError::AckNr { ack_nr: beyond, last_sent: data.seq_nr }));

    simulation.run_until(10 * SECOND, |simulation| simulation.openers[0].read_end);
    assert_eq!(simulation.openers[0].read, 2_000_000);
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() < 2_048, "{} B", size_of::<Connection>());
}
