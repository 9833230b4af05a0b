//! Downloads from simulated peers: slow ones, liars, ones that vanish, choke, fall silent or trickle. Time is simulated, and
//! the same seed gives the same run.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use cairn_peer_book::{Book, Who};
use content_types::NodeId;
use proptest::prelude::*;

use super::*;
use crate::random::mix;

const BLOCKS: u64 = 1500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Honest,
    /// One of so many bodies is wrong.
    Liar(u64),
    /// It is gone after so many milliseconds.
    Vanishes(u64),
    /// It chokes for half of each second.
    Chokes,
    /// It takes requests and answers none.
    Silent,
    /// It lacks half of what it says it holds.
    Boasts,
}

#[derive(Debug, Clone, Copy)]
struct SimulatedPeer {
    nature: Nature,
    /// Bytes a second.
    rate: u64,
    rtt_ms: u64,
}

/// What a peer sends: an item, or the end of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sending {
    Item { id: RequestId, component: Component, number: u64 },
    End { id: RequestId, is_held: bool },
}

impl Sending {
    fn bytes(self) -> u64 {
        match self {
            Self::Item { component, number, .. } => size(component, number),
            Self::End { .. } => 0,
        }
    }

    fn id(self) -> RequestId {
        match self {
            Self::Item { id, .. } | Self::End { id, .. } => id,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A peer's line has brought what it was sending.
    Sent {
        peer: u64,
    },
    Arrived {
        peer: u64,
        what: Sending,
    },
    Choke {
        peer: u64,
        is_choked: bool,
    },
    Vanish {
        peer: u64,
    },
}

#[derive(Debug, Default)]
struct Outcome {
    millis: u64,
    sent_bytes: u64,
    useful_bytes: u64,
    barred: Vec<u64>,
    kept: u64,
}

fn size(component: Component, number: u64) -> u64 {
    match component {
        Component::Headers => 1_400,
        Component::Bodies => 5_000 + mix(1, number) % 40_000,
        Component::Receipts => 1_000 + mix(2, number) % 9_000,
    }
}

fn node_id(peer: u64) -> NodeId {
    let mut id = [0; 32];
    id[24..].copy_from_slice(&peer.to_be_bytes());
    id.into()
}

fn who(peer: u64) -> Who {
    Who::new(node_id(peer), [127, 0, 0, 1].into())
}

fn all_runs() -> RunSet {
    let mut runs = RunSet::default();
    assert!(runs.insert(0..BLOCKS.div_ceil(RUN_BLOCKS)));
    runs
}

/// Downloads everything, or gives up after ten simulated minutes.
fn simulate(peers: &[SimulatedPeer], order: Order, seed: u64) -> (Outcome, DownloadProgress) {
    let begun = Instant::now();
    let at = |micros: u64| begun + Duration::from_micros(micros);
    let config = DownloadConfig { order, ..DownloadConfig::default() };
    let wanted = Component::ALL.map(|component| (component, 0..BLOCKS));
    let mut download = Download::new(begun, config, wanted, [], seed);
    let mut book = Book::default();
    let mut events: BinaryHeap<Reverse<(u64, u64, Event)>> = BinaryHeap::new();
    let mut order = 0;
    let mut push = |events: &mut BinaryHeap<_>, at: u64, event: Event| {
        order += 1;
        events.push(Reverse((at, order, event)));
    };
    // What each peer sends, one thing at a time.
    let mut lines = vec![VecDeque::<Sending>::new(); peers.len()];
    let mut is_there = vec![true; peers.len()];
    let mut cancelled = std::collections::BTreeSet::new();
    let (mut now, mut outcome) = (0, Outcome::default());
    for (key, peer) in peers.iter().enumerate() {
        let key = key as u64;
        assert!(download.handle_connected(begun, PeerKey(key), 16, Duration::from_millis(peer.rtt_ms)));
        Component::ALL.iter().for_each(|component| download.handle_have(PeerKey(key), *component, &all_runs()));
        download.handle_choke(PeerKey(key), false);
        match peer.nature {
            Nature::Vanishes(millis) => push(&mut events, millis * 1000, Event::Vanish { peer: key }),
            Nature::Chokes => (1..60_u64).for_each(|half| {
                let choke = Event::Choke { peer: key, is_choked: half % 2 == 1 };
                push(&mut events, half * 500_000, choke);
            }),
            _ => {}
        }
    }
    loop {
        let wait = match download.poll_output(at(now)) {
            Output::Finished => break,
            Output::Timeout(until) => until,
            Output::Request { id, peer: PeerKey(key), part } => {
                let peer = peers[key as usize];
                assert!(is_there[key as usize], "asked of a peer that is gone");
                if peer.nature == Nature::Silent {
                    continue;
                }
                let is_held = peer.nature != Nature::Boasts || mix(3, part.first / RUN_BLOCKS).is_multiple_of(2);
                let line = &mut lines[key as usize];
                let was_idle = line.is_empty();
                let item = |number| Sending::Item { id, component: part.component, number };
                line.extend(part.blocks().filter(|_| is_held).map(item));
                line.push_back(Sending::End { id, is_held });
                if was_idle {
                    let bytes = line.front().map_or(0, |what| what.bytes());
                    let time = peer.rtt_ms * 500 + bytes * 1_000_000 / peer.rate;
                    push(&mut events, now + time, Event::Sent { peer: key });
                }
                continue;
            }
            Output::Cancel { id } => {
                cancelled.insert(id);
                continue;
            }
            Output::Offence { peer: PeerKey(key), offence } => {
                if book.handle_offence(at(now), &who(key), offence).is_some() {
                    outcome.barred.push(key);
                    is_there[key as usize] = false;
                    download.handle_disconnected(PeerKey(key));
                }
                continue;
            }
        };
        let tick = wait.duration_since(begun).as_micros() as u64;
        match events.peek() {
            Some(Reverse((next, ..))) if *next <= tick => {}
            _ => {
                now = tick.max(now + 1);
                if now > 600_000_000 {
                    break;
                }
                continue;
            }
        }
        let Some(Reverse((next, _, event))) = events.pop() else { unreachable!() };
        now = next.max(now);
        match event {
            Event::Sent { peer: key } => {
                let SimulatedPeer { rate, rtt_ms, .. } = peers[key as usize];
                let line = &mut lines[key as usize];
                if let Some(what) = line.pop_front() {
                    push(&mut events, now + rtt_ms * 500, Event::Arrived { peer: key, what });
                }
                while line.front().is_some_and(|what| cancelled.contains(&what.id())) {
                    line.pop_front();
                }
                if let Some(next) = line.front() {
                    push(&mut events, now + next.bytes() * 1_000_000 / rate, Event::Sent { peer: key });
                }
            }
            Event::Arrived { peer: key, what } => {
                if !is_there[key as usize] || cancelled.contains(&what.id()) {
                    continue;
                }
                let (id, component, number) = match what {
                    Sending::Item { id, component, number } => (id, component, number),
                    Sending::End { id, is_held } => {
                        download.handle_ended(at(now), id, if is_held { End::Closed } else { End::NotHeld });
                        continue;
                    }
                };
                let bytes = size(component, number);
                outcome.sent_bytes += bytes;
                download.handle_bytes(at(now), id, bytes);
                if !download.handle_item(id, number) {
                    continue;
                }
                let is_wrong = matches!(peers[key as usize].nature, Nature::Liar(of)
                    if component == Component::Bodies && mix(seed, number).is_multiple_of(of));
                if is_wrong {
                    download.handle_invalid(component, number);
                    assert!(book.handle_offence(at(now), &who(key), Offence::Lie).is_some());
                    outcome.barred.push(key);
                    is_there[key as usize] = false;
                    download.handle_disconnected(PeerKey(key));
                } else {
                    assert!(download.handle_verified(component, number, bytes), "{component:?} {number} came twice");
                    download.handle_delivered(at(now), PeerKey(key));
                    outcome.useful_bytes += bytes;
                    outcome.kept += 1;
                    book.handle_verified(at(now), &node_id(key), bytes);
                }
            }
            Event::Choke { peer: key, is_choked } => {
                if is_there[key as usize] {
                    download.handle_choke(PeerKey(key), is_choked);
                }
            }
            Event::Vanish { peer: key } => {
                is_there[key as usize] = false;
                download.handle_disconnected(PeerKey(key));
            }
        }
    }
    outcome.millis = now / 1000;
    (outcome, download.progress())
}

const fn peer(nature: Nature, rate: u64, rtt_ms: u64) -> SimulatedPeer {
    SimulatedPeer { nature, rate, rtt_ms }
}

fn any_nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        3 => Just(Nature::Honest),
        1 => (2..200_u64).prop_map(Nature::Liar),
        1 => (0..5_000_u64).prop_map(Nature::Vanishes),
        1 => Just(Nature::Chokes),
        1 => Just(Nature::Silent),
        1 => Just(Nature::Boasts),
    ]
}

fn any_peer() -> impl Strategy<Value = SimulatedPeer> {
    (any_nature(), 2_000..50_000_000_u64, 0..300_u64).prop_map(|(nature, rate, rtt_ms)| peer(nature, rate, rtt_ms))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_the_others_are_one_honest_peer_is_enough(
        others in prop::collection::vec(any_peer(), 0..9), rate in 1_000_000..50_000_000_u64, is_rarest: bool, seed: u64,
    ) {
        let order = if is_rarest { Order::RarestFirst } else { Order::Sequential };
        let peers = [&others[..], &[peer(Nature::Honest, rate, 20)]].concat();
        let (outcome, progress) = simulate(&peers, order, seed);
        prop_assert_eq!((progress.missing, outcome.kept), (0, 3 * BLOCKS), "{:?}", progress);
        let honest = outcome.barred.iter().find(|key| peers[**key as usize].nature == Nature::Honest && peers[**key as usize].rate > 100_000);
        prop_assert_eq!(honest, None);
    }
}

#[test]
fn a_stranger_is_asked_for_little_until_something_of_it_was_kept_whatever_it_sends() {
    let now = Instant::now();
    let mut download = Download::new(now, DownloadConfig::default(), [(Component::Headers, 0..BLOCKS)], [], 1);
    let peer = PeerKey(1);
    assert!(download.handle_connected(now, peer, 16, Duration::ZERO));
    download.handle_have(peer, Component::Headers, &all_runs());
    download.handle_choke(peer, false);
    let mut asked = Vec::new();
    let mut ask = |download: &mut Download| {
        while let Output::Request { id, .. } = download.poll_output(now) {
            asked.push(id);
            // As much as an item that is not whole brings: its slow start is over.
            download.handle_bytes(now, id, 16 << 20);
        }
        asked.len()
    };
    assert_eq!(ask(&mut download), 2);
    download.handle_delivered(now, peer);
    assert!(ask(&mut download) > 2);
}

#[test]
fn peers_are_used_together_and_a_slow_one_does_not_hold_up_the_end() {
    let one = [peer(Nature::Honest, 10_000_000, 20)];
    let (alone, _) = simulate(&one, Order::RarestFirst, 1);
    let four = [peer(Nature::Honest, 10_000_000, 20); 4];
    let (together, _) = simulate(&four, Order::RarestFirst, 1);
    assert!(together.millis * 3 < alone.millis, "{} against {}", together.millis, alone.millis);
    let with_slow = [&four[..], &[peer(Nature::Honest, 20_000, 20)]].concat();
    let (held_up, _) = simulate(&with_slow, Order::RarestFirst, 1);
    assert!(held_up.millis < together.millis * 14 / 10, "{} against {}", held_up.millis, together.millis);
    // What was under way when it was taken over is all that comes twice.
    assert!(held_up.sent_bytes - held_up.useful_bytes < held_up.useful_bytes / 100);
}

#[test]
fn a_liar_is_barred_and_nobody_else() {
    let mut peers = [peer(Nature::Honest, 10_000_000, 20); 4];
    peers[2].nature = Nature::Liar(100);
    let (outcome, _) = simulate(&peers, Order::RarestFirst, 7);
    assert_eq!((outcome.barred, outcome.kept), (vec![2], 3 * BLOCKS));
}

#[test]
fn without_a_holder_it_waits_and_says_what_is_missing() {
    let now = Instant::now();
    let wanted = [(Component::Headers, 0..300)];
    let mut download = Download::new(now, DownloadConfig::default(), wanted, [], 0);
    assert!(matches!(download.poll_output(now), Output::Timeout(_)));
    let DownloadProgress { wanted, missing, unreachable, .. } = download.progress();
    assert_eq!((wanted, missing, unreachable), (300, 300, 300));
    assert!(download.handle_connected(now, PeerKey(1), 4, Duration::ZERO));
    download.handle_have(PeerKey(1), Component::Headers, &all_runs());
    assert_eq!(download.progress().unreachable, 0);
    assert!(matches!(download.poll_output(now), Output::Timeout(_)), "a peer chokes until it says otherwise");
    download.handle_choke(PeerKey(1), false);
    assert!(matches!(download.poll_output(now), Output::Request { .. }));
    download.handle_disconnected(PeerKey(1));
    assert_eq!((download.progress().unreachable, download.progress().in_flight), (300, 0));
}

#[test]
fn bodies_are_asked_for_when_their_headers_are_here() {
    let now = Instant::now();
    let wanted = [(Component::Bodies, 0..256), (Component::Receipts, 0..256)];
    let mut download = Download::new(now, DownloadConfig::default(), wanted, [0..100, 200..210], 0);
    assert!(download.handle_connected(now, PeerKey(1), 64, Duration::ZERO));
    Component::ALL.iter().for_each(|component| download.handle_have(PeerKey(1), *component, &all_runs()));
    download.handle_choke(PeerKey(1), false);
    let mut asked = std::collections::BTreeSet::new();
    while let Output::Request { part, .. } = download.poll_output(now) {
        asked.extend(part.blocks().filter(|_| part.component == Component::Receipts));
    }
    assert!(!asked.is_empty() && asked.iter().all(|number| (0..100).contains(number) || (200..210).contains(number)));
}

#[test]
fn strangers_that_are_silent_do_not_take_over_from_each_other_for_ever() {
    let silent = peer(Nature::Silent, 1, 0);
    let (outcome, progress) = simulate(&[silent, silent, peer(Nature::Honest, 2_000_000, 20)], Order::Sequential, 0);
    assert_eq!((progress.missing, outcome.kept), (0, 3 * BLOCKS));
}

/// A peer that claims all and never serves keeps neither mirrors nor the end of a fetch waiting; what it delivers counts.
#[test]
fn a_claim_counts_only_as_long_as_something_comes_of_it() {
    let begun = Instant::now();
    let mut download = Download::new(begun, DownloadConfig::default(), [(Component::Headers, 0..BLOCKS)], [], 1);
    let peer = PeerKey(1);
    assert!(download.handle_connected(begun, peer, 8, Duration::ZERO));
    download.handle_have(peer, Component::Headers, &all_runs());
    let unreachable = |download: &mut Download, now: Instant| {
        while !matches!(download.poll_output(now), Output::Timeout(_)) {}
        download.progress().unreachable
    };
    assert_eq!(unreachable(&mut download, begun + DELIVERY_PATIENCE / 2), 0, "it may unchoke yet");
    assert_eq!(unreachable(&mut download, begun + DELIVERY_PATIENCE), BLOCKS);
    // Saying it again changes nothing.
    download.handle_have(peer, Component::Headers, &RunSet::default());
    download.handle_have(peer, Component::Headers, &all_runs());
    assert_eq!(unreachable(&mut download, begun + DELIVERY_PATIENCE), BLOCKS);
    download.handle_delivered(begun + DELIVERY_PATIENCE, peer);
    assert_eq!(unreachable(&mut download, begun + DELIVERY_PATIENCE), 0);
    download.handle_disconnected(peer);
    assert_eq!(download.progress().unreachable, BLOCKS);
}

#[test]
fn a_run_that_could_not_be_judged_is_not_asked_of_its_peer_again() {
    let now = Instant::now();
    let mut download = Download::new(now, DownloadConfig::default(), [(Component::Headers, 0..RUN_BLOCKS)], [], 1);
    let peer = PeerKey(1);
    assert!(download.handle_connected(now, peer, 8, Duration::ZERO));
    download.handle_have(peer, Component::Headers, &all_runs());
    download.handle_choke(peer, false);
    let Output::Request { part, .. } = download.poll_output(now) else { panic!() };
    download.handle_invalid(Component::Headers, part.first);
    assert!(download.handle_doubtful(peer, Component::Headers, part.first));
    assert!(!download.handle_doubtful(peer, Component::Headers, part.first), "it is charged once for a run");
    download.handle_have(peer, Component::Headers, &all_runs());
    assert_eq!(download.progress().unreachable, RUN_BLOCKS);
}
