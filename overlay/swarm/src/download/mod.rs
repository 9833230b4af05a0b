//! What is asked of whom: a download of ranges of blocks from many peers at once.
//!
//! [`Download`] is a state machine: it does no I/O and has no clock. Its driver tells it what happened by the methods
//! `handle_…`, and does what [`Download::poll_output`] says until that is [`Output::Timeout`] or [`Output::Finished`]. What
//! it decides:
//!
//! - A peer gets as many requests as keep it busy: its rate times its round trip, found by a slow start.
//! - A body or receipt list is asked for once its header is here, so that each item can be checked as it arrives, and one
//!   bad item names one peer.
//! - A fast peer for which nothing is left takes over what a slow one would still need long for. It is never asked of two at once, so that
//!   nothing is fetched twice but what was under way when it was taken over.
//! - Peers that are silent lose their requests while others deliver; what they are charged with is an [`Output::Offence`].

mod bitmap;
mod blocks;
mod config;
mod output;
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

use self::{blocks::Blocks, peer::DownloadPeer, picker::Picker};
use crate::geometry::{Component, RUN_BLOCKS, Run, RunSet};

pub use self::{
    config::{DownloadConfig, Order},
    output::{DownloadProgress, Output, PeerProgress},
    picker::MAX_RUNS,
};

/// How often rates are sampled and silence is looked for.
const TICK: Duration = Duration::from_millis(100);

/// Whoever has delivered nothing for so long, for whichever reason, is not counted as a holder of anything until it delivers: a
/// claim alone keeps nobody else from being asked.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(10);

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
    /// What came was seen to be no item before it was whole.
    Invalid,
}

/// A request that is under way, and what is still hoped of it.
#[derive(Debug)]
struct SentRequest {
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
    peers: BTreeMap<PeerKey, DownloadPeer>,
    requests: BTreeMap<RequestId, SentRequest>,
    /// What was decided and not polled yet.
    outputs: VecDeque<Output>,
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
            outputs: VecDeque::new(),
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
    pub fn handle_connected(&mut self, now: Instant, peer: PeerKey, max_requests: usize, rtt: Duration) -> bool {
        if self.peers.len() >= self.config.max_peers || self.peers.contains_key(&peer) {
            return false;
        }
        let max_requests = max_requests.min(self.config.max_requests);
        self.peers.insert(peer, DownloadPeer::new(now, &self.config, self.picker.len(), max_requests, rtt));
        true
    }

    /// A peer is gone. What was asked of it is asked of others.
    pub fn handle_disconnected(&mut self, peer: PeerKey) {
        self.cancel_requests(peer);
        if let Some(peer) = self.peers.remove(&peer).filter(|peer| peer.is_credible) {
            for slot in peer.held.iter() {
                self.picker.change_holders(slot, false);
            }
        }
        let is_about = |output: &Output| matches!(output, Output::Offence { peer: of, .. } if *of == peer);
        self.outputs.retain(|output| !is_about(output));
    }

    /// A peer holds these runs of a component, and no others.
    pub fn handle_have(&mut self, peer: PeerKey, component: Component, runs: &RunSet) {
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
    pub fn handle_choke(&mut self, peer: PeerKey, is_choked: bool) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.is_choked = is_choked;
            if is_choked {
                self.cancel_requests(peer);
            }
        }
    }

    /// A peer's round trip takes so long.
    pub fn handle_rtt(&mut self, peer: PeerKey, rtt: Duration) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.window.set_rtt(rtt);
        }
    }

    /// Bytes of an answer came.
    pub fn handle_bytes(&mut self, now: Instant, id: RequestId, bytes: u64) {
        let Some(request) = self.requests.get_mut(&id).filter(|_| bytes > 0) else { return };
        request.last = now;
        request.brought = request.brought.saturating_add(bytes);
        let arrived = bytes.min(request.expected);
        request.expected -= arrived;
        self.in_flight = self.in_flight.saturating_sub(arrived);
        self.last_bytes = now;
        let key = request.peer;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.handle_bytes(now, bytes, arrived, &self.config);
        }
    }

    /// An item of an answer is whole. False if it was not asked for in this request, or came before.
    pub fn handle_item(&mut self, id: RequestId, number: u64) -> bool {
        let Some(request) = self.requests.get_mut(&id) else { return false };
        let is_in_run = self.picker.run(request.slot).is_some_and(|run| run.blocks().contains(&number));
        is_in_run && request.left.remove(Blocks::place(number))
    }

    /// An item of a peer could not be judged: it is not asked for the run again, whatever it claims to hold. False if that was
    /// so before.
    pub fn handle_doubtful(&mut self, peer: PeerKey, component: Component, number: u64) -> bool {
        self.picker.slot(Run::of(component, number)).is_some_and(|slot| self.deny(peer, slot))
    }

    /// Something of a peer was checked and kept: it is one that delivers.
    pub fn handle_delivered(&mut self, now: Instant, peer: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.handle_delivered(now);
            self.picker.believe(peer, true);
        }
    }

    /// Whether anything of a peer was ever checked and kept.
    pub fn has_delivered(&self, peer: PeerKey) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.has_delivered)
    }

    /// An item of so many bytes was checked and kept. False if it was here before.
    pub fn handle_verified(&mut self, component: Component, number: u64, bytes: u64) -> bool {
        let Some(slot) = self.picker.slot(Run::of(component, number)) else { return false };
        self.picker.verify(slot, Blocks::place(number), bytes)
    }

    /// An item was proved wrong, or could not be kept: it is asked for again.
    pub fn handle_invalid(&mut self, component: Component, number: u64) {
        let Some(slot) = self.picker.slot(Run::of(component, number)) else { return };
        let place = Blocks::place(number);
        // It may have been asked for again already, if its request was given up.
        let is_asked = |request: &SentRequest| request.slot == slot && request.left.contains(place);
        if !self.requests.values().any(is_asked) {
            let mut block = Blocks::NONE;
            block.insert(place);
            self.picker.give_back(slot, block);
        }
    }

    /// A request ended.
    pub fn handle_ended(&mut self, now: Instant, id: RequestId, end: End) {
        let Some(request) = self.requests.get(&id) else { return };
        let (key, slot, left) = (request.peer, request.slot, request.left);
        self.give_up(id);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        match end {
            End::Closed if left.is_empty() => peer.handle_served(),
            // What is no item its driver charges the peer with, as with an item that is wrong.
            End::Choked | End::Busy | End::Invalid => peer.pause(now),
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

    /// What to do next. To be called again until it says [`Output::Timeout`] or [`Output::Finished`].
    pub fn poll_output(&mut self, now: Instant) -> Output {
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        if self.outputs.is_empty() {
            self.ask(now);
        }
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.picker.counts().1 == 0 {
            Output::Finished
        } else {
            Output::Timeout(self.next_tick.min(self.next_steal))
        }
    }

    /// How far it is.
    pub fn progress(&self) -> DownloadProgress {
        let (wanted, missing, unreachable) = self.picker.counts();
        DownloadProgress {
            wanted,
            missing,
            unreachable,
            missing_bytes: self.picker.missing_bytes(),
            in_flight: self.in_flight,
        }
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
        self.outputs.push_back(Output::Offence { peer, offence });
    }

    /// What only time shows: rates, and who is silent or too slow.
    fn tick(&mut self, now: Instant) {
        // First, so that what follows judges by rates that are up to date.
        for peer in self.peers.values_mut() {
            peer.window.tick(now, !peer.requests.is_empty(), &self.config);
        }
        // A peer is silent when it owes an answer and nothing comes, for whichever of its requests. The oldest one says since
        // when it owes: a peer that was idle before has not been silent, it had nothing to say.
        let (stall, last_bytes) = (self.config.stall_after, self.last_bytes);
        let is_silent = |peer: &DownloadPeer| {
            let since = peer.requests.front().and_then(|id| self.requests.get(id)).map(|request| request.last);
            let since = since.map(|since| since.max(peer.last_bytes));
            // Others have delivered long after this one should have. When nothing comes from anybody it may be our own
            // line that is down, and nobody is blamed for that.
            since.is_some_and(|since| now >= since + stall && last_bytes > since + stall / 2)
        };
        let silent: Vec<_> = self.peers.iter().filter(|(_, peer)| is_silent(peer)).map(|(key, _)| *key).collect();
        // All its requests go back at once, so that others are asked for them. The pause keeps it from getting them again
        // in the next moment; after it the peer gets another chance.
        for key in silent {
            self.cancel_requests(key);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.pause(now);
            }
            self.charge(key, Offence::Silent);
        }
        // A request ends that has brought nothing for a long time, even if its peer answers others or everybody is silent;
        // and one that has been trickling for as long. Otherwise a byte now and then would keep a part for ever.
        let (timeout, min_rate) = (self.config.request_timeout, self.config.min_rate);
        let offence = |request: &SentRequest| {
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
            if now >= peer.last_delivery + DELIVERY_PATIENCE {
                self.picker.believe(peer, false);
            }
        }
    }

    /// Asks peers that have room for what is best for each, by turns, a request at a time. One at a time, because each
    /// request changes what is best for the next peer.
    fn ask(&mut self, now: Instant) {
        // Whose turn it is comes first and those before it last: else the first peers would take all that is rare.
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
        // Nobody had anything to ask for or to take over. It is looked for again after a while, not with each packet.
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
        self.requests.insert(id, SentRequest { peer: key, slot, left, expected, brought: 0, begun: now, last: now });
        self.picker.ask(slot, left);
        self.outputs.push_back(Output::Request { id, peer: key, part });
        true
    }

    /// Takes over from the peer that needs longest for one of its requests, if this one is so much faster.
    ///
    /// A peer comes here when everything that it holds is here or asked of others. Without this, the end of a download would
    /// take as long as its slowest peer does. What is taken over is cancelled there, not asked of two: bytes that come twice
    /// would be lost to everybody.
    fn steal(&mut self, now: Instant, key: PeerKey, bytes: u64) -> bool {
        let Some(thief) = self.peers.get(&key).filter(|_| now >= self.next_steal) else { return false };
        // The request that will be here last is the one that the end waits for.
        let mut longest: Option<(Duration, RequestId)> = None;
        for (id, request) in &self.requests {
            // Its own requests gain nothing by it, of an answer that is all here only the end is missing, and what it does
            // not hold it cannot send.
            if request.peer == key || request.left.is_empty() || !thief.held.contains(request.slot) {
                continue;
            }
            let Some(victim) = self.peers.get(&request.peer) else { continue };
            // What it has been silent for counts, too: a rate is known only of the past, and of a stranger not at all.
            let silent = now.saturating_duration_since(request.last);
            // Items may be longer than what was expected, which is then used up before they are here.
            let bytes = self.picker.bytes(request.slot, request.left).max(request.expected);
            // A peer answers several requests side by side. So this one may be the last to be done: the victim needs the time
            // for all that is asked of it. The thief would have it after all that is asked of itself.
            let left = victim.time_for(victim.in_flight.max(bytes)).max(silent);
            let own = thief.time_for(thief.in_flight.saturating_add(bytes));
            // Twice as fast, and some: rates vary, and between two that are alike a request would go to and fro, each time
            // with what was under way lost.
            if left > own.saturating_mul(2).saturating_add(STEAL_MARGIN) && longest.is_none_or(|(most, _)| left > most)
            {
                longest = Some((left, *id));
            }
        }
        let Some((_, id)) = longest else { return false };
        let Some(request) = self.requests.get(&id) else { return false };
        let (slot, left, victim) = (request.slot, request.left, request.peer);
        // Being slower than another is no offence. Being slower than the least that is expected is one, but a short pause is
        // nobody's fault: the request must have had its time.
        let had_time = now >= request.begun + self.config.stall_after;
        self.cancel(id);
        // Of a stranger the best is hoped, so two silent strangers would take a request over from each other for ever. Of this
        // one nothing is hoped any more until it sends something.
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
            self.outputs.push_back(Output::Cancel { id });
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
        let waiting = self.outputs.len();
        self.outputs.retain(|output| !matches!(output, Output::Request { id: of, .. } if *of == id));
        self.outputs.len() == waiting
    }
}
