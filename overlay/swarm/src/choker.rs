//! Who is served: as many peers at a time as there are slots, by turns when there are more.
//!
//! A seeder has nothing to trade, so who was served least goes first: everybody who wants something gets a slot within a
//! bounded number of rounds. Who gave us much lately goes before those who gave nothing.
//!
//! [`Choker`] is a state machine without I/O and clock. It is told what happened by the methods `handle_…`; then, and when the
//! time of the last [`Output::Timeout`] has come, [`Choker::poll_output`] says what has changed.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use cairn_limits::Payer;
use hashlink::LruCache;

/// Peers, or subnets, of which it is remembered when they lost a slot, after they are gone.
const MAX_GONE: usize = 1024;

/// How many are served, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChokerConfig {
    /// Peers that are served at a time.
    pub slots: usize,
    /// How long a peer keeps a slot that others wait for.
    pub round: Duration,
    /// Slots of these that go by turns alone, whoever gave what.
    pub by_turns: usize,
}

impl Default for ChokerConfig {
    fn default() -> Self {
        Self { slots: 16, round: Duration::from_secs(10), by_turns: 4 }
    }
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<K> {
    /// Tell a peer that it is served from now on.
    Unchoke(K),
    /// Tell a peer that it is not.
    Choke(K),
    /// Nothing before this time, unless something happens.
    Timeout(Instant),
}

/// How a peer stands: whether it wants to be served, when it was, and what it gave for that.
#[derive(Debug, Clone, Copy)]
struct ChokerPeer {
    /// Who stands for it when it comes back.
    payer: Payer,
    is_interested: bool,
    /// Since when it has a slot.
    slot: Option<Instant>,
    /// When it last lost one; who never had one is first.
    last: Option<Instant>,
    /// Bytes that it gave in this round, and half of those before.
    given: u64,
}

/// Decides who is served.
#[derive(Debug)]
pub struct Choker<K> {
    config: ChokerConfig,
    peers: BTreeMap<K, ChokerPeer>,
    /// When those who are gone had a slot last: whoever connects anew is no nearer to the next one for it.
    gone: LruCache<Payer, Instant>,
    round_ends: Instant,
    /// What was decided and not polled yet.
    outputs: VecDeque<Output<K>>,
    /// Something happened since the last decision that may call for another before the round ends.
    has_changed: bool,
}

impl<K: Copy + Ord> Choker<K> {
    /// Nobody is known.
    pub fn new(now: Instant, config: ChokerConfig) -> Self {
        Self {
            config,
            peers: BTreeMap::new(),
            gone: LruCache::new(MAX_GONE),
            round_ends: now + config.round,
            outputs: VecDeque::new(),
            has_changed: false,
        }
    }

    /// A peer is there; it is choked, and wants nothing.
    pub fn handle_connected(&mut self, peer: K, payer: Payer) {
        let last = self.gone.get(&payer).copied();
        self.peers.insert(peer, ChokerPeer { payer, is_interested: false, slot: None, last, given: 0 });
        self.has_changed = true;
    }

    /// A peer is gone, and its slot is free.
    pub fn handle_disconnected(&mut self, now: Instant, peer: &K) {
        let Some(gone) = self.peers.remove(peer) else { return };
        if let Some(last) = gone.slot.map(|_| now).or(gone.last) {
            self.gone.insert(gone.payer, last);
        }
        self.has_changed = true;
    }

    /// A peer wants something, or nothing any more.
    pub fn handle_interest(&mut self, peer: &K, is_interested: bool) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.is_interested = is_interested;
            self.has_changed = true;
        }
    }

    /// A peer gave us bytes that proved true. That counts when the round ends, and changes nothing before.
    pub fn handle_given(&mut self, peer: &K, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.given = peer.given.saturating_add(bytes);
        }
    }

    /// Whether a peer is served.
    pub fn is_served(&self, peer: &K) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.slot.is_some())
    }

    /// How many are served, and how many want to be and are not.
    pub fn counts(&self) -> (usize, usize) {
        let served = self.peers.values().filter(|peer| peer.slot.is_some()).count();
        let waiting = self.peers.values().filter(|peer| peer.is_interested && peer.slot.is_none()).count();
        (served, waiting)
    }

    /// Changes how many are served at a time.
    pub const fn set_slots(&mut self, slots: usize) {
        self.config.slots = slots;
        self.has_changed = true;
    }

    /// What has changed. To be called again until it says [`Output::Timeout`].
    pub fn poll_output(&mut self, now: Instant) -> Output<K> {
        if self.outputs.is_empty() && (self.has_changed || now >= self.round_ends) {
            self.has_changed = false;
            self.decide(now);
        }
        self.outputs.pop_front().unwrap_or(Output::Timeout(self.round_ends))
    }

    fn decide(&mut self, now: Instant) {
        let is_round = now >= self.round_ends;
        if is_round {
            self.round_ends = now + self.config.round;
        }
        // Only those who wait make it worth taking a slot from anybody: a peer that holds one for nothing may want something
        // again in a moment.
        let mut choked = Vec::new();
        let waiting = self.peers.values().filter(|peer| peer.is_interested && peer.slot.is_none()).count();
        let held = self.peers.values().filter(|peer| peer.slot.is_some()).count();
        let mut free = self.config.slots.saturating_sub(held);
        if waiting > free {
            // Slots that are not used are given up at once, the others after their round, the longest held first.
            let mut holders: Vec<_> =
                self.peers.iter().filter_map(|(key, peer)| Some((*key, *peer, peer.slot?))).collect();
            holders.sort_by_key(|(_, peer, since)| (peer.is_interested, *since));
            let keeps = self.keepers(&holders);
            for (key, peer, since) in holders {
                if free >= waiting {
                    break;
                }
                // A slot is kept for a round at least, so that everybody gets something out of a turn.
                let had_its_round = is_round && now >= since + self.config.round && !keeps.contains(&key);
                if !peer.is_interested || had_its_round {
                    self.set_slot(&key, now, false);
                    choked.push(key);
                    free += 1;
                }
            }
        }
        // Who had a slot longest ago is next, and who never had one before all of them. Whoever has just lost one is not meant.
        let waits = |(key, peer): (&K, &ChokerPeer)| {
            (peer.is_interested && peer.slot.is_none() && !choked.contains(key)).then_some((peer.last, *key))
        };
        let mut next: Vec<_> = self.peers.iter().filter_map(waits).collect();
        next.sort();
        self.outputs.extend(choked.into_iter().map(Output::Choke));
        for (_, key) in next.into_iter().take(free) {
            self.set_slot(&key, now, true);
            self.outputs.push_back(Output::Unchoke(key));
        }
        // What was given long ago counts for less and less.
        if is_round {
            self.peers.values_mut().for_each(|peer| peer.given /= 2);
        }
    }

    /// Holders that gave so much that they keep their slots: at most as many as do not go by turns.
    fn keepers(&self, holders: &[(K, ChokerPeer, Instant)]) -> Vec<K> {
        let mut givers: Vec<_> = holders.iter().filter(|(_, peer, _)| peer.given > 0).collect();
        givers.sort_by_key(|(_, peer, _)| std::cmp::Reverse(peer.given));
        let kept = self.config.slots.saturating_sub(self.config.by_turns.max(1));
        givers.into_iter().take(kept).map(|(key, ..)| *key).collect()
    }

    fn set_slot(&mut self, key: &K, now: Instant, is_served: bool) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.slot = is_served.then_some(now);
            peer.last = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cairn_limits::Holder;
    use proptest::prelude::*;

    use super::*;

    const CONFIG: ChokerConfig = ChokerConfig { slots: 4, round: Duration::from_secs(10), by_turns: 2 };

    /// A peer of a network of its own.
    fn payer(peer: u32) -> Payer {
        let [_, a, b, c] = peer.to_be_bytes();
        Holder::peer([0; 32], [9 + a, b, c, 1].into()).payer()
    }

    fn choker(now: Instant, peers: u32) -> Choker<u32> {
        let mut choker = Choker::new(now, CONFIG);
        for peer in 0..peers {
            choker.handle_connected(peer, payer(peer));
            choker.handle_interest(&peer, true);
        }
        choker
    }

    /// What it decides, until it has nothing more to say.
    fn decide(choker: &mut Choker<u32>, now: Instant) -> Vec<Output<u32>> {
        let output = || Some(choker.poll_output(now)).filter(|output| !matches!(output, Output::Timeout(_)));
        std::iter::from_fn(output).collect()
    }

    #[test]
    fn whoever_wants_something_is_served_at_once_while_there_are_slots() {
        let now = Instant::now();
        let mut choker = choker(now, 4);
        assert_eq!(decide(&mut choker, now), [0, 1, 2, 3].map(Output::Unchoke));
        choker.handle_connected(9, payer(9));
        choker.handle_interest(&9, true);
        assert_eq!(decide(&mut choker, now), []);
        // A slot that nobody uses is another's at once.
        choker.handle_interest(&2, false);
        assert_eq!(decide(&mut choker, now), [Output::Choke(2), Output::Unchoke(9)]);
        choker.handle_disconnected(now, &0);
        choker.handle_interest(&2, true);
        assert_eq!(decide(&mut choker, now), [Output::Unchoke(2)]);
    }

    #[test]
    fn whoever_connects_anew_waits_behind_those_who_had_no_slot_yet() {
        let begun = Instant::now();
        let mut choker = choker(begun, 5);
        assert_eq!(decide(&mut choker, begun).len(), 4);
        // It had a slot, and comes back under another number from the same network.
        choker.handle_disconnected(begun, &0);
        choker.handle_connected(10, payer(0));
        choker.handle_interest(&10, true);
        assert_eq!(decide(&mut choker, begun), [Output::Unchoke(4)]);
        choker.handle_disconnected(begun, &1);
        choker.handle_connected(11, payer(11));
        choker.handle_interest(&11, true);
        assert_eq!(decide(&mut choker, begun), [Output::Unchoke(11)], "a stranger goes before it");
    }

    #[test]
    fn who_gave_most_keeps_its_slot_and_the_others_go_by_turns() {
        let begun = Instant::now();
        let mut choker = choker(begun, 10);
        decide(&mut choker, begun);
        for round in 1..20 {
            choker.handle_given(&1, 1_000);
            decide(&mut choker, begun + CONFIG.round * round);
            assert!(choker.is_served(&1), "in round {round}");
        }
    }

    proptest! {
        #[test]
        fn nobody_starves_and_no_slot_is_given_twice(
            peers in 1..40_u32, gifts in prop::collection::vec((0..40_u32, 0..1_000_000_u64), 0..200),
        ) {
            let begun = Instant::now();
            let mut choker = choker(begun, peers);
            let mut served = BTreeSet::new();
            // With two slots by turns, everybody had one after so many rounds.
            for round in 0..=peers.div_ceil(2) {
                for (peer, bytes) in &gifts {
                    choker.handle_given(peer, *bytes);
                }
                decide(&mut choker, begun + CONFIG.round * round);
                let now: BTreeSet<_> = (0..peers).filter(|peer| choker.is_served(peer)).collect();
                prop_assert_eq!(now.len(), CONFIG.slots.min(peers as usize));
                served.extend(now);
            }
            prop_assert_eq!(served.len() as u32, peers);
        }
    }
}
