//! What is asked of whom: a download of ranges of blocks from many peers at once.
//!
//! [`Download`] does no I/O and has no clock. Its driver tells it what happened, `on_…`, and then calls [`Download::poll`]
//! until that says [`Step::Wait`] or [`Step::Finished`]:
//!
//! - A peer gets as many requests as keep it busy: its rate times its round trip, found by a slow start.
//! - A body or receipt list is asked for once its header is here, so that each item can be checked as it arrives, and one
//!   bad item names one peer.
//! - A fast peer for which nothing is left takes over what a slow one would still need long for. It is never asked of two at once, so that
//!   nothing is fetched twice but what was under way when it was taken over.
//! - Peers that are silent lose their requests while others deliver; what they are charged with is a [`Step::Offence`].

mod bitmap;
mod blocks;
mod config;
mod peer;
mod picker;
#[cfg(test)]
mod tests;
mod window;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::{Duration, Instant},
};

use cairn_peer_book::Offence;

use self::{blocks::Blocks, peer::Peer, picker::Picker};
use crate::geometry::{Component, Part, RUN_BLOCKS, Run, RunSet};

pub use self::{
    config::{DownloadConfig, Order},
    picker::MAX_RUNS,
};

/// How often rates are sampled and silence is looked for.
const TICK: Duration = Duration::from_millis(100);

/// Whoever has delivered nothing for so long, for whichever reason, is not counted as a holder of anything until it delivers: a
/// claim alone keeps nobody else from being asked.
const CLAIM_PATIENCE: Duration = Duration::from_secs(10);

/// A request is taken over at the end if its peer needs twice as long as the one that takes it, and this.
const STEAL_MARGIN: Duration = Duration::from_millis(50);

/// How often it is looked for something to take over, at most: all requests are gone through for that.
const STEAL_INTERVAL: Duration = Duration::from_millis(10);

/// A connection of this download, as its driver numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u64);

/// A request of this download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask a peer for a part.
    Request {
        /// The request's number, which is in what is told of it.
        id: RequestId,
        /// Whom.
        peer: PeerKey,
        /// For what.
        part: Part,
    },
    /// Stop a request: nothing is to be told of it any more.
    Cancel {
        /// Which one.
        id: RequestId,
    },
    /// Charge a peer with something. Who is barred for it is to be disconnected.
    Offence {
        /// Whom.
        peer: PeerKey,
        /// With what.
        offence: Offence,
    },
    /// There is nothing to do before something happens, or this instant.
    Wait(Instant),
    /// Everything that was wanted is here.
    Finished,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The answer ended where it should, or before that.
    Closed,
    /// The peer does not serve us now.
    Choked,
    /// The peer says that it does not hold what was asked for.
    NotHeld,
    /// The peer has too many requests under way, or others that were faster have got the request's room here.
    Busy,
    /// The stream broke, the answer was malformed, or the peer calls the request so.
    Broken,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Items wanted: a header, a body and a receipt list count one each.
    pub wanted: u64,
    /// Of those, missing.
    pub missing: u64,
    /// Of the missing, those that no connected peer holds of which anything is to be hoped: whoever claims and does not deliver
    /// does not count.
    pub unreachable: u64,
    /// About how many bytes the missing ones have.
    pub missing_bytes: u64,
    /// Bytes that were asked for and have not come.
    pub in_flight: u64,
}

/// How one peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub peer: PeerKey,
    /// Bytes a second.
    pub rate: u64,
    /// Bytes received.
    pub received: u64,
    /// Requests under way.
    pub requests: usize,
    /// Whether it refuses to serve.
    pub is_choked: bool,
}

#[derive(Debug)]
struct Request {
    peer: PeerKey,
    slot: usize,
    /// What has not come of it.
    left: Blocks,
    /// Bytes that it is still believed to bring.
    expected: u64,
    /// Bytes that it has brought.
    brought: u64,
    begun: Instant,
    /// When it last brought something, or began.
    last: Instant,
}

/// A download. See the [module](self).
#[derive(Debug)]
pub struct Download {
    config: DownloadConfig,
    picker: Picker,
    peers: BTreeMap<PeerKey, Peer>,
    requests: BTreeMap<RequestId, Request>,
    steps: VecDeque<Step>,
    next_id: u64,
    next_tick: Instant,
    next_steal: Instant,
    /// When anybody last delivered: silence is nobody's fault while all are silent.
    last_bytes: Instant,
    in_flight: u64,
    /// Whom to ask next: peers with room take turns.
    turn: PeerKey,
}

impl Download {
    /// A download of these blocks. `known` are blocks whose headers are here already, and need not be among the wanted.
    pub fn new(
        now: Instant,
        config: DownloadConfig,
        wanted: impl IntoIterator<Item = (Component, Range<u64>)>,
        known: impl IntoIterator<Item = Range<u64>>,
        seed: u64,
    ) -> Self {
        let mut picker = Picker::new(&config, wanted, seed);
        for number in known.into_iter().flatten() {
            picker.know_header(number / RUN_BLOCKS, Blocks::place(number));
        }
        Self {
            config,
            picker,
            peers: BTreeMap::new(),
            requests: BTreeMap::new(),
            steps: VecDeque::new(),
            next_id: 0,
            next_tick: now + TICK,
            next_steal: now,
            last_bytes: now,
            in_flight: 0,
            turn: PeerKey(0),
        }
    }

    /// A peer is connected that answers `max_requests` at a time. It holds nothing and chokes until it says otherwise.
    /// False if there are [`DownloadConfig::max_peers`] already.
    pub fn on_connected(&mut self, now: Instant, peer: PeerKey, max_requests: usize, rtt: Duration) -> bool {
        if self.peers.len() >= self.config.max_peers || self.peers.contains_key(&peer) {
            return false;
        }
        let max_requests = max_requests.min(self.config.max_requests);
        self.peers.insert(peer, Peer::new(now, &self.config, self.picker.len(), max_requests, rtt));
        true
    }

    /// A peer is gone. What was asked of it is asked of others.
    pub fn on_disconnected(&mut self, peer: PeerKey) {
        self.cancel_requests(peer);
        if let Some(peer) = self.peers.remove(&peer).filter(|peer| peer.is_credible) {
            for slot in peer.held.iter() {
                self.picker.change_holders(slot, false);
            }
        }
        let is_about = |step: &Step| matches!(step, Step::Offence { peer: of, .. } if *of == peer);
        self.steps.retain(|step| !is_about(step));
    }

    /// A peer holds these runs of a component, and no others.
    pub fn on_have(&mut self, peer: PeerKey, component: Component, runs: &RunSet) {
        let held = self.picker.held(component, runs);
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        for slot in 0..self.picker.len() {
            if self.picker.component(slot) == Some(component) && !held.contains(slot) {
                // It says itself that it has lost it: when it has it again, that is news.
                peer.denied.set(slot, false);
            }
            let is_held = held.contains(slot) && !peer.denied.contains(slot);
            if self.picker.component(slot) == Some(component) && peer.held.set(slot, is_held) && peer.is_credible {
                self.picker.change_holders(slot, is_held);
            }
        }
    }

    /// A peer begins or ceases to serve us. What was asked of one that ceases is asked of others.
    pub fn on_choke(&mut self, peer: PeerKey, is_choked: bool) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.is_choked = is_choked;
            if is_choked {
                self.cancel_requests(peer);
            }
        }
    }

    /// A peer's round trip takes so long.
    pub fn on_rtt(&mut self, peer: PeerKey, rtt: Duration) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.window.set_rtt(rtt);
        }
    }

    /// Bytes of an answer came.
    pub fn on_bytes(&mut self, now: Instant, id: RequestId, bytes: u64) {
        let Some(request) = self.requests.get_mut(&id).filter(|_| bytes > 0) else { return };
        request.last = now;
        request.brought = request.brought.saturating_add(bytes);
        let arrived = bytes.min(request.expected);
        request.expected -= arrived;
        self.in_flight = self.in_flight.saturating_sub(arrived);
        self.last_bytes = now;
        let key = request.peer;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.on_bytes(now, bytes, arrived, &self.config);
        }
    }

    /// An item of an answer is whole. False if it was not asked for in this request, or came before.
    pub fn on_item(&mut self, id: RequestId, number: u64) -> bool {
        let Some(request) = self.requests.get_mut(&id) else { return false };
        let is_in_run = self.picker.run(request.slot).is_some_and(|run| run.blocks().contains(&number));
        is_in_run && request.left.remove(Blocks::place(number))
    }

    /// An item of a peer could not be judged: it is not asked for the run again, whatever it claims to hold. False if that was
    /// so before.
    pub fn on_doubtful(&mut self, peer: PeerKey, component: Component, number: u64) -> bool {
        self.picker.slot(Run::of(component, number)).is_some_and(|slot| self.deny(peer, slot))
    }

    /// Something of a peer was checked and kept: it is one that delivers.
    pub fn on_delivered(&mut self, now: Instant, peer: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.last_delivery = now;
            self.picker.believe(peer, true);
        }
    }

    /// An item of so many bytes was checked and kept. False if it was here before.
    pub fn on_verified(&mut self, component: Component, number: u64, bytes: u64) -> bool {
        let Some(slot) = self.picker.slot(Run::of(component, number)) else { return false };
        self.picker.verify(slot, Blocks::place(number), bytes)
    }

    /// An item was proved wrong, or could not be kept: it is asked for again.
    pub fn on_invalid(&mut self, component: Component, number: u64) {
        let Some(slot) = self.picker.slot(Run::of(component, number)) else { return };
        let place = Blocks::place(number);
        // It may have been asked for again already, if its request was given up.
        let is_asked = |request: &Request| request.slot == slot && request.left.contains(place);
        if !self.requests.values().any(is_asked) {
            let mut block = Blocks::NONE;
            block.insert(place);
            self.picker.give_back(slot, block);
        }
    }

    /// A request ended.
    pub fn on_ended(&mut self, now: Instant, id: RequestId, end: End) {
        let Some(request) = self.requests.get(&id) else { return };
        let (key, slot, left) = (request.peer, request.slot, request.left);
        self.give_up(id);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        match end {
            End::Closed if left.is_empty() => peer.on_served(),
            End::Choked | End::Busy => peer.pause(now),
            End::Closed | End::NotHeld => {
                self.deny(key, slot);
                self.charge(key, Offence::NotHeld);
            }
            End::Broken => {
                peer.pause(now);
                self.charge(key, Offence::Broken);
            }
        }
    }

    /// What to do next. To be called again until it says [`Step::Wait`] or [`Step::Finished`].
    pub fn poll(&mut self, now: Instant) -> Step {
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        if self.steps.is_empty() {
            self.ask(now);
        }
        if let Some(step) = self.steps.pop_front() {
            return step;
        }
        if self.picker.counts().1 == 0 { Step::Finished } else { Step::Wait(self.next_tick.min(self.next_steal)) }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let (wanted, missing, unreachable) = self.picker.counts();
        Progress { wanted, missing, unreachable, missing_bytes: self.picker.missing_bytes(), in_flight: self.in_flight }
    }

    /// How each peer does.
    pub fn peers(&self) -> impl Iterator<Item = PeerProgress> {
        self.peers.iter().map(|(key, peer)| PeerProgress {
            peer: *key,
            rate: peer.window.rate(),
            received: peer.received,
            requests: peer.requests.len(),
            is_choked: peer.is_choked,
        })
    }

    /// A peer lacks a run, or has only what cannot be used of it, whatever it says.
    fn deny(&mut self, peer: PeerKey, slot: usize) -> bool {
        let Some(peer) = self.peers.get_mut(&peer) else { return false };
        if peer.held.set(slot, false) && peer.is_credible {
            self.picker.change_holders(slot, false);
        }
        peer.denied.set(slot, true)
    }

    fn charge(&mut self, peer: PeerKey, offence: Offence) {
        self.steps.push_back(Step::Offence { peer, offence });
    }

    fn tick(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.window.tick(now, !peer.requests.is_empty(), &self.config);
        }
        let (stall, last_bytes) = (self.config.stall_after, self.last_bytes);
        let is_silent = |peer: &Peer| {
            let since = peer.requests.front().and_then(|id| self.requests.get(id)).map(|request| request.last);
            let since = since.map(|since| since.max(peer.last_bytes));
            // Others have delivered long after this one should have.
            since.is_some_and(|since| now >= since + stall && last_bytes > since + stall / 2)
        };
        let silent: Vec<_> = self.peers.iter().filter(|(_, peer)| is_silent(peer)).map(|(key, _)| *key).collect();
        for key in silent {
            self.cancel_requests(key);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.pause(now);
            }
            self.charge(key, Offence::Silent);
        }
        // A request ends that has brought nothing for a long time; and one that has been trickling for as long.
        let (timeout, min_rate) = (self.config.request_timeout, self.config.min_rate);
        let offence = |request: &Request| {
            let least = min_rate.saturating_mul(now.saturating_duration_since(request.begun).as_secs());
            let trickles = now >= request.begun + timeout && request.brought < least;
            let is_silent = now >= request.last + timeout;
            if is_silent { Some(Offence::Silent) } else { trickles.then_some(Offence::Slow) }
        };
        let late = self.requests.iter().filter_map(|(id, request)| Some((*id, request.peer, offence(request)?)));
        for (id, key, offence) in late.collect::<Vec<_>>() {
            self.cancel(id);
            self.charge(key, offence);
        }
        // Only what was delivered counts: a peer that claims all and never serves, or never anything that can be used, keeps
        // neither mirrors nor the end of a fetch waiting. It is asked on all the same, and counts again when it delivers.
        for peer in self.peers.values_mut() {
            if now >= peer.last_delivery + CLAIM_PATIENCE {
                self.picker.believe(peer, false);
            }
        }
    }

    /// Asks peers that have room for what is best for each, by turns, a request at a time.
    fn ask(&mut self, now: Instant) {
        let keys: Vec<_> =
            self.peers.range(self.turn..).chain(self.peers.range(..self.turn)).map(|(key, _)| *key).collect();
        for key in keys {
            if self.in_flight >= self.config.max_in_flight {
                return;
            }
            if self.ask_of(now, key) {
                self.turn = PeerKey(key.0.wrapping_add(1));
                return;
            }
        }
        if now >= self.next_steal {
            self.next_steal = now + STEAL_INTERVAL;
        }
    }

    fn ask_of(&mut self, now: Instant, key: PeerKey) -> bool {
        let Some(peer) = self.peers.get(&key).filter(|peer| peer.has_room(now)) else { return false };
        let bytes = peer.part_bytes(&self.config);
        // As many runs at once as peers could have one each of: so neighbours are fetched together.
        if let Some((slot, ready)) = self.picker.pick(&peer.held, self.peers.len()) {
            return self.request(now, key, slot, ready, bytes);
        }
        self.steal(now, key, bytes)
    }

    fn request(&mut self, now: Instant, key: PeerKey, slot: usize, among: Blocks, bytes: u64) -> bool {
        let Some(part) = self.picker.part(slot, among, bytes) else { return false };
        let Some(peer) = self.peers.get_mut(&key) else { return false };
        let left = Blocks::of(part);
        let expected = self.picker.average(part.component).saturating_mul(u64::from(part.count));
        let id = RequestId(self.next_id);
        self.next_id += 1;
        peer.requests.push_back(id);
        peer.in_flight += expected;
        self.in_flight += expected;
        self.requests.insert(id, Request { peer: key, slot, left, expected, brought: 0, begun: now, last: now });
        self.picker.ask(slot, left);
        self.steps.push_back(Step::Request { id, peer: key, part });
        true
    }

    /// Takes over from the peer that needs longest for one of its requests, if this one is so much faster.
    fn steal(&mut self, now: Instant, key: PeerKey, bytes: u64) -> bool {
        let Some(thief) = self.peers.get(&key).filter(|_| now >= self.next_steal) else { return false };
        let mut longest: Option<(Duration, RequestId)> = None;
        for (id, request) in &self.requests {
            if request.peer == key || request.left.is_empty() || !thief.held.contains(request.slot) {
                continue;
            }
            let Some(victim) = self.peers.get(&request.peer) else { continue };
            // What it has been silent for counts, too: a rate is known only of the past, and of a stranger not at all.
            let silent = now.saturating_duration_since(request.last);
            // Items may be longer than what was expected, which is then used up before they are here.
            let bytes = self.picker.bytes(request.slot, request.left).max(request.expected);
            let left = victim.time_for(victim.in_flight.max(bytes)).max(silent);
            let own = thief.time_for(thief.in_flight.saturating_add(bytes));
            if left > own.saturating_mul(2).saturating_add(STEAL_MARGIN) && longest.is_none_or(|(most, _)| left > most)
            {
                longest = Some((left, *id));
            }
        }
        let Some((_, id)) = longest else { return false };
        let Some(request) = self.requests.get(&id) else { return false };
        let (slot, left, victim) = (request.slot, request.left, request.peer);
        // A short pause is nobody's fault.
        let had_time = now >= request.begun + self.config.stall_after;
        self.cancel(id);
        if let Some(victim) = self.peers.get_mut(&victim) {
            victim.has_failed = true;
        }
        if had_time && self.peers.get(&victim).is_some_and(|victim| victim.window.rate() < self.config.min_rate) {
            self.charge(victim, Offence::Slow);
        }
        self.request(now, key, slot, left, bytes)
    }

    fn cancel(&mut self, id: RequestId) {
        if self.give_up(id) {
            self.steps.push_back(Step::Cancel { id });
        }
    }

    fn cancel_requests(&mut self, key: PeerKey) {
        let ids: Vec<_> = self.peers.get(&key).map(|peer| peer.requests.iter().copied().collect()).unwrap_or_default();
        ids.into_iter().for_each(|id| self.cancel(id));
    }

    /// Forgets a request; what it did not bring can be asked for again. False if the driver has not heard of it.
    fn give_up(&mut self, id: RequestId) -> bool {
        let Some(request) = self.requests.remove(&id) else { return false };
        self.in_flight = self.in_flight.saturating_sub(request.expected);
        if let Some(peer) = self.peers.get_mut(&request.peer) {
            peer.requests.retain(|of| *of != id);
            peer.in_flight = peer.in_flight.saturating_sub(request.expected);
        }
        self.picker.give_back(request.slot, request.left);
        let waiting = self.steps.len();
        self.steps.retain(|step| !matches!(step, Step::Request { id: of, .. } if *of == id));
        self.steps.len() == waiting
    }
}
