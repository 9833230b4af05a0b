//! Who is woken by an answer, and what a stop leaves waiting.

use cairn_limits::SUBNET_SHARE;
use enr::CombinedKey;

use super::*;
use crate::transfer::pace::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_TO_PEER};
use crate::transport::Enr;

fn contact(ip: [u8; 4]) -> Contact {
    Contact::new(Enr::builder().build(&CombinedKey::generate_secp256k1()).unwrap(), (ip, 9009).into())
}

/// Opens so many streams to each of `peers`, and has what there is room for sent.
fn filled(peers: &[Contact], streams: u16) -> (StreamTable, Instant, VecDeque<Outgoing>) {
    let (mut state, mut now) = (StreamTable::default(), Instant::now());
    for peer in peers {
        for id in 0..streams {
            state.open(peer.clone(), Role::Opener(2 * id), now).unwrap();
        }
    }
    let mut out = VecDeque::new();
    send_all(&mut state, &mut now, &mut out);
    (state, now, out)
}

fn send_all(state: &mut StreamTable, now: &mut Instant, out: &mut VecDeque<Outgoing>) {
    while !state.ready.is_empty() {
        // discv5 has taken what it was given.
        *now += Duration::from_millis(1);
        state.poll_transmit(*now, out);
    }
}

#[test]
fn an_answer_wakes_the_streams_of_its_peer_only() {
    let peers = [[10, 0, 0, 1], [10, 0, 0, 2]].map(contact);
    let streams = MAX_IN_FLIGHT_TO_PEER + 2;
    let (mut state, mut now, mut out) = filled(&peers, streams as u16);
    assert_eq!(out.len(), 2 * MAX_IN_FLIGHT_TO_PEER);
    let first = out.pop_front().unwrap();
    state.answered(first.ticket);
    assert!(state.ready.len() >= 2 && state.ready.iter().all(|key| key.0 == first.to.endpoint()));
    let mut sent = 1;
    send_all(&mut state, &mut now, &mut out);
    while let Some(outgoing) = out.pop_front() {
        sent += 1;
        state.answered(outgoing.ticket);
        send_all(&mut state, &mut now, &mut out);
    }
    assert_eq!(sent, 2 * streams, "nobody is forgotten");
    assert!(!state.has_unsent());
}

#[test]
fn who_waits_for_others_of_its_subnet_is_woken_by_their_answers() {
    let peers: Vec<_> = (1..=8).map(|last| contact([8, 8, 8, last])).collect();
    let (mut state, mut now, mut out) = filled(&peers, MAX_IN_FLIGHT_TO_PEER as u16);
    let (sent, crowded) = (out.len(), state.waiting.crowded.clone());
    assert_eq!(sent, MAX_IN_FLIGHT / SUBNET_SHARE as usize);
    assert!(crowded.len() >= peers.len() * MAX_IN_FLIGHT_TO_PEER - sent);
    state.open(contact([8, 8, 4, 4]), Role::Opener(7), now).unwrap();
    send_all(&mut state, &mut now, &mut out);
    state.answered(out.pop_back().unwrap().ticket);
    assert!(state.ready.is_empty(), "of another subnet");
    state.answered(out.pop_front().unwrap().ticket);
    assert!(crowded.iter().all(|key| state.ready.contains(key)));
    send_all(&mut state, &mut now, &mut out);
    assert_eq!(out.len(), sent, "one has left");
    let gone = state.waiting.crowded[0];
    state.remove(gone);
    assert!(!state.waiting.crowded.contains(&gone), "who is gone waits for nothing");
}

#[test]
fn a_stop_wakes_who_waits_although_nothing_can_be_sent() {
    let mut state = StreamTable::default();
    let now = Instant::now();
    let (key, _) = state.open(contact([10, 0, 0, 1]), Role::Opener(7), now).unwrap();
    assert!(state.read(key, 1, Waker::noop()).is_none());
    state.take_wakers();
    state.stop(now);
    assert_eq!(state.take_wakers().len(), 1);
    let read = state.read(key, 1, Waker::noop());
    assert_eq!(read, Some(Err(TransferError::Closed(CloseReason::LocalReset))));
}
