//! How a connection opens, with packets lost, late, repeated and forged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod simulation;

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_utp::{CloseReason, Config, Connection, Event, Header, Output, Packet, PacketError, PacketType};
use simulation::{CONNECTION_ID, LinkConfig, Peer, Simulation};

const SECOND: Duration = Duration::from_secs(1);

fn simulation() -> Simulation {
    let mut simulation = Simulation::new(Config::default(), LinkConfig::default(), 1);
    simulation.openers[0].sent = Some(Vec::new());
    simulation.acceptors[0].sent = Some(Vec::new());
    simulation
}

fn sent(peer: &Peer) -> &[Packet] {
    peer.sent.as_ref().unwrap()
}

fn transmit(connection: &mut Connection, now: Instant) -> Option<Bytes> {
    let mut packet = Vec::new();
    match connection.poll_output(now, Some(&mut packet)) {
        Output::Transmit(len) => {
            assert_eq!(len, packet.len());
            Some(packet.into())
        }
        Output::Event(_) | Output::Timeout(_) => None,
    }
}

/// The next event, with no room for packets.
fn event(connection: &mut Connection, now: Instant) -> Option<Event> {
    match connection.poll_output(now, None) {
        Output::Event(event) => Some(event),
        Output::Transmit(_) | Output::Timeout(_) => None,
    }
}

#[test]
fn ids_and_numbers_are_as_the_specification_says() {
    let mut simulation = simulation();
    simulation.acceptor().write_all(5_000);
    simulation.opener().write_all(5_000);
    simulation.run_to_end(10 * SECOND);

    let [syn, rest @ ..] = sent(&simulation.openers[0]) else { panic!("nothing sent") };
    assert_eq!(syn.header.packet_type, PacketType::Syn);
    assert_eq!(syn.header.connection_id, CONNECTION_ID);
    assert_eq!(syn.header.ack_nr, 0);
    assert!(rest.iter().all(|packet| packet.header.connection_id == CONNECTION_ID.wrapping_add(1)));
    let first_data = rest.iter().find(|packet| packet.header.packet_type == PacketType::Data).unwrap();
    assert_eq!(first_data.header.seq_nr, syn.header.seq_nr.wrapping_add(1));

    let [answer, data, ..] = sent(&simulation.acceptors[0]) else { panic!("too little sent") };
    assert_eq!(answer.header.packet_type, PacketType::State);
    assert_eq!(answer.header.ack_nr, syn.header.seq_nr);
    assert_eq!(data.header.packet_type, PacketType::Data);
    assert_eq!(data.header.seq_nr, answer.header.seq_nr);
    assert!(sent(&simulation.acceptors[0]).iter().all(|packet| packet.header.connection_id == CONNECTION_ID));
}

#[test]
fn the_acceptor_may_send_at_once() {
    let mut simulation = simulation();
    simulation.acceptor().write_all(10_000);
    simulation.run_until(SECOND, |simulation| simulation.openers[0].read_end);
    assert_eq!(simulation.openers[0].read, 10_000);
    // There, and back with the answer and all data behind it.
    assert!(simulation.elapsed() < 3 * LinkConfig::default().delay);
}

#[test]
fn a_lost_syn_is_sent_again() {
    let mut simulation = simulation();
    let mut lost = 0;
    simulation.up.tamper = Box::new(move |packet| {
        lost += 1;
        (lost > 2).then(|| packet.to_vec())
    });
    simulation.acceptor().write_all(10_000);
    simulation.opener().write_all(0);
    simulation.run_to_end(10 * SECOND);
    assert_eq!(simulation.openers[0].read, 10_000);
}

#[test]
fn data_that_overtakes_the_answer_to_the_syn_is_kept() {
    let mut simulation = simulation();
    let mut packets = 0;
    simulation.down.tamper = Box::new(move |packet| {
        packets += 1;
        (packets != 1).then(|| packet.to_vec())
    });
    simulation.acceptor().write_all(10_000);
    simulation.run_until(10 * SECOND, |simulation| simulation.openers[0].read_end);
    assert_eq!(simulation.openers[0].read, 10_000);
    assert_eq!(simulation.acceptors[0].connection.stats().retransmissions, 0);
    // The data shows that the answer is missing: no need to wait for the SYN's own time-out.
    assert!(simulation.elapsed() < SECOND / 2);
}

#[test]
fn a_repeated_syn_is_answered_as_the_first_was() {
    let now = Instant::now();
    let mut opener = Connection::connect(Config::default(), 7, now, 1_000);
    let mut acceptor = Connection::accept(Config::default(), 7, now, 2_000);
    let syn = transmit(&mut opener, now).unwrap();
    acceptor.handle_packet(now, syn.clone()).unwrap();
    let answer = Header::decode(&transmit(&mut acceptor, now).unwrap()).unwrap();
    acceptor.write(&[1; 100_000]).unwrap();
    while transmit(&mut acceptor, now).is_some() {}

    acceptor.handle_packet(now, syn).unwrap();
    let again = Header::decode(&transmit(&mut acceptor, now).unwrap()).unwrap();
    assert_eq!((again.packet_type, again.seq_nr, again.ack_nr), (PacketType::State, answer.seq_nr, answer.ack_nr));

    let mut other = Connection::connect(Config::default(), 7, now, 1_001);
    let other_syn = transmit(&mut other, now).unwrap();
    assert_eq!(acceptor.handle_packet(now, other_syn), Err(PacketError::State));
    assert_eq!(transmit(&mut acceptor, now), None);
}

#[test]
fn an_answer_to_another_syn_opens_nothing() {
    let now = Instant::now();
    let mut opener = Connection::connect(Config::default(), 7, now, 1_000);
    transmit(&mut opener, now).unwrap();
    let mut acceptor = Connection::accept(Config::default(), 7, now, 2_000);
    let mut other = Connection::connect(Config::default(), 7, now, 999);
    acceptor.handle_packet(now, transmit(&mut other, now).unwrap()).unwrap();
    let answer = transmit(&mut acceptor, now).unwrap();
    assert_eq!(opener.handle_packet(now, answer), Err(PacketError::AckNr { ack_nr: 999, last_sent: 1_000 }));
    assert_eq!(event(&mut opener, now), None);
}

#[test]
fn a_peer_that_never_answers_is_given_up() {
    let mut simulation = simulation();
    simulation.up.config.loss = 1.0;
    simulation.run_to_end(11 * SECOND);
    assert_eq!(simulation.openers[0].closed, Some(CloseReason::ConnectTimeout));
    assert_eq!(simulation.acceptors[0].closed, Some(CloseReason::ConnectTimeout));
    assert!(sent(&simulation.openers[0]).len() > 3, "the SYN was hardly repeated");
    assert!(sent(&simulation.acceptors[0]).is_empty());
}

#[test]
fn each_side_hears_once_that_the_connection_is_open() {
    let now = Instant::now();
    let mut opener = Connection::connect(Config::default(), 7, now, 0);
    let mut acceptor = Connection::accept(Config::default(), 7, now, 0);
    assert_eq!((event(&mut opener, now), event(&mut acceptor, now)), (None, None));
    acceptor.handle_packet(now, transmit(&mut opener, now).unwrap()).unwrap();
    assert_eq!(event(&mut acceptor, now), Some(Event::Connected));
    let answer = transmit(&mut acceptor, now).unwrap();
    opener.handle_packet(now, answer.clone()).unwrap();
    opener.handle_packet(now, answer).unwrap();
    assert_eq!(event(&mut opener, now), Some(Event::Connected));
    assert_eq!((event(&mut opener, now), event(&mut acceptor, now)), (None, None));
}
