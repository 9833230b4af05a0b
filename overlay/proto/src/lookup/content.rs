//! The lookup of content: FINDCONTENT to ever nearer peers until one of them has it.
//!
//! A peer that has it answers with the content or with a connection ID. Streams run in the background. While one is
//! young, nobody else is asked; when it drags on, the lookup continues with other peers and opens another stream beside it;
//! when that is slow too, it makes room for the next.
//! The lookup does not judge content: the driver reports whether it is valid. If it is not, the lookup goes on; if nobody's
//! copy could be verified here, it ends.

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use content_types::{ContentId, NodeId};

use super::{
    Answer, LookupConfig, PeerFailure, Trace,
    candidates::{Candidate, CandidateProgress, Candidates},
};
use crate::record::{self, Enr};

/// A connection ID older than this is not used any more: the peer may have stopped to listen. It is asked again.
const CONNECTION_ID_LIFETIME: Duration = Duration::from_secs(5);

/// How often busy peers are asked a third time or later in all, so that a crowd that says so does not use up the lookup's questions.
const MAX_RETRIES: usize = 16;

/// What the driver is to do for a content lookup.
#[derive(Debug, Clone, PartialEq)]
pub enum ContentOutput {
    /// Send FINDCONTENT and report [`ContentLookup::handle_nodes`], [`ContentLookup::handle_busy`], [`ContentLookup::handle_connection_id`],
    /// [`ContentLookup::handle_content`] or [`ContentLookup::handle_failure`].
    Query {
        /// The peer that is to be asked.
        peer: Arc<Enr>,
    },
    /// Open the stream to `peer` and report [`ContentLookup::handle_progress`] as bytes come, then
    /// [`ContentLookup::handle_content`] or [`ContentLookup::handle_failure`].
    OpenStream {
        /// From whom the content comes.
        peer: Arc<Enr>,
        /// The connection ID it gave.
        connection_id: u16,
    },
    /// Give up the stream from this peer: it stood still for too long, or another peer is to have its place.
    AbortStream {
        /// Whose stream it is.
        peer: NodeId,
    },
    /// Nothing before this time, unless something is reported.
    Timeout(Instant),
    /// It is over: take the result. Streams and requests still under way can be dropped.
    Finished,
}

/// How a content lookup ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The content came from this peer and is valid.
    Found {
        /// Who sent it.
        from: Arc<Enr>,
        /// Whether it came over a stream.
        streamed: bool,
    },
    /// The nearest nodes, some beyond them and all that are known to be interested were asked, and none delivered.
    NotFound,
    /// Content came that this node cannot verify, whoever sends it.
    Unverifiable,
    /// Time ran out.
    DeadlineReached,
}

/// What a content lookup found.
#[derive(Debug, Clone)]
pub struct ContentLookupResult {
    /// How it ended.
    pub outcome: Outcome,
    /// Who said that it lacks the content, nearest first. Those whose radius covers it are to be offered it (POKE).
    pub lacking: Vec<Arc<Enr>>,
    /// The course of the lookup.
    pub trace: Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// It lacks the content.
    Lacks,
    /// It was too busy to look, and is asked again then.
    Busy { until: Instant },
    /// It has the content ready under this connection ID.
    Offers { connection_id: u16, since: Instant },
    /// Its stream is open.
    Streaming { since: Instant, progress: Instant, received: u64 },
    /// Its content is being validated.
    Validating,
}

/// An open stream.
#[derive(Debug, Clone, Copy)]
struct LookupStream {
    from: NodeId,
    since: Instant,
    /// When bytes last came.
    progress: Instant,
    /// Bytes that have come.
    received: u64,
}

/// A lookup of content.
#[derive(Debug)]
pub struct ContentLookup {
    candidates: Candidates<Answered>,
    /// Peers of the table known to be interested in the content: asked even when they are not among the nearest.
    interested: Vec<NodeId>,
    /// Whether one of them was asked last.
    asked_interested: bool,
    /// Peers that were asked again because their first connection ID grew too old.
    asked_again: Vec<NodeId>,
    /// Who said that it was busy, each time once.
    busy: Vec<NodeId>,
    /// How often that was not the first time.
    busy_again: usize,
    streamed: Vec<NodeId>,
    found: Option<NodeId>,
    is_unverifiable: bool,
    is_past_deadline: bool,
}

impl ContentLookup {
    /// Starts from `nearest`, usually the nearest peers of the table, and from the table's peers `interested` in the
    /// content by their radius. `origin` is this node.
    pub fn new(
        origin: NodeId,
        content: ContentId,
        config: LookupConfig,
        nearest: impl IntoIterator<Item = Arc<Enr>>,
        interested: impl IntoIterator<Item = Arc<Enr>>,
        now: Instant,
    ) -> Self {
        let interested: Vec<_> = interested.into_iter().take(config.max_queries).collect();
        let ids = interested.iter().map(|enr| record::node_id(enr)).collect();
        let target = NodeId::from(<[u8; 32]>::from(content));
        let seeds = nearest.into_iter().chain(interested);
        Self {
            candidates: Candidates::new(origin, target, config, seeds, now),
            interested: ids,
            asked_interested: false,
            asked_again: Vec::new(),
            busy: Vec::new(),
            busy_again: 0,
            streamed: Vec::new(),
            found: None,
            is_unverifiable: false,
            is_past_deadline: false,
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self, now: Instant) -> ContentOutput {
        self.candidates.expire(now);
        if self.found.is_some() || self.is_unverifiable {
            return ContentOutput::Finished;
        }
        if self.candidates.is_past_deadline(now) {
            self.is_past_deadline = true;
            return ContentOutput::Finished;
        }
        if let Some(peer) = self.abort_stream(now) {
            return ContentOutput::AbortStream { peer };
        }
        if self.is_validating() {
            return ContentOutput::Timeout(self.timeout(now));
        }
        if let Some(step) = self.open_stream(now) {
            return step;
        }
        self.retry_busy(now);
        let next = self.next_candidate(now);
        if let Some(id) = &next
            && self.wants_more(now)
            && self.candidates.may_ask(now)
            && let Some(peer) = self.candidates.ask(id, now)
        {
            self.asked_interested = self.interested.contains(id);
            return ContentOutput::Query { peer };
        }
        let has_more = next.is_some() && !self.candidates.is_spent();
        let retries = self.pauses().next().is_some() && !self.candidates.is_spent();
        let goes_on = self.candidates.is_waiting() || self.offers().next().is_some() || self.streams().next().is_some();
        if has_more || retries || goes_on { ContentOutput::Timeout(self.timeout(now)) } else { ContentOutput::Finished }
    }

    /// A peer lacks the content and named these nodes; those whose records are valid.
    pub fn handle_nodes(&mut self, now: Instant, from: &NodeId, enrs: Vec<Arc<Enr>>) {
        if !self.candidates.get(from).is_some_and(Candidate::is_awaited) {
            return;
        }
        let named = self.candidates.learn(from, enrs);
        if let Some(peer) = self.candidates.get_mut(from) {
            peer.answer(now, Answer::Nodes(named), Answered::Lacks);
        }
    }

    /// A peer is too busy to look whether it has the content, and named these nodes. It is asked again after a pause, which
    /// grows; whoever says so too often has failed.
    pub fn handle_busy(&mut self, now: Instant, from: &NodeId, enrs: Vec<Arc<Enr>>) {
        if !self.candidates.get(from).is_some_and(Candidate::is_awaited) {
            return;
        }
        let LookupConfig { busy_pause, busy_retries, stall_after, .. } = self.candidates.config;
        // Who takes its time to say so may only want to be waited for. An honest one waits a moment for a place first.
        let since = self.candidates.get(from).and_then(Candidate::awaited_since);
        let is_prompt = since.is_some_and(|since| now.duration_since(since) < 2 * stall_after);
        let times = self.busy.iter().filter(|id| *id == from).count();
        if times == 0 {
            self.candidates.learn(from, enrs);
        }
        // The first time is everybody's own: a crowd takes it from nobody.
        let is_left = times == 0 || self.busy_again < MAX_RETRIES;
        let Some(peer) = self.candidates.get_mut(from) else { return };
        // What it answered last, should it not be asked again.
        peer.fail(now, PeerFailure::Busy);
        if is_prompt && is_left && times < usize::from(busy_retries) {
            // Lookups that met the same peer at the same moment do not all come back at the same moment.
            let spread = busy_pause / 256 * u32::from(peer.distance.to_le_bytes()[0]);
            let pause = (busy_pause * 3 / 4 + spread / 2).saturating_mul(1 << times.min(16));
            peer.progress = CandidateProgress::Answered(Answered::Busy { until: now + pause });
            self.busy_again += usize::from(times > 0);
            self.busy.push(*from);
        }
    }

    /// A peer has the content and sends it over the stream `connection_id`; [`poll_output`](Self::poll_output) says when to open it.
    pub fn handle_connection_id(&mut self, now: Instant, from: &NodeId, connection_id: u16) {
        if let Some(peer) = self.candidates.get_mut(from).filter(|peer| peer.is_awaited()) {
            peer.answer(now, Answer::Stream, Answered::Offers { connection_id, since: now });
        }
    }

    /// Bytes came over a peer's stream; now there are `total`.
    pub fn handle_progress(&mut self, now: Instant, from: &NodeId, total: u64) {
        if let Some(peer) = self.candidates.get_mut(from)
            && let CandidateProgress::Answered(Answered::Streaming { progress, received, .. }) = &mut peer.progress
        {
            (*progress, *received) = (now, total);
        }
    }

    /// All of the content came from a peer, inline or over its stream, and the driver now validates it: it owes
    /// [`handle_content_valid`](Self::handle_content_valid), [`handle_content_invalid`](Self::handle_content_invalid) or
    /// [`handle_content_unverifiable`](Self::handle_content_unverifiable). False: nobody waits for it any more.
    pub fn handle_content(&mut self, now: Instant, from: &NodeId) -> bool {
        let Some(peer) = self.candidates.get_mut(from) else { return false };
        let is_streaming = matches!(peer.progress, CandidateProgress::Answered(Answered::Streaming { .. }));
        if !is_streaming && !peer.is_awaited() {
            return false;
        }
        peer.answer(now, Answer::Content, Answered::Validating);
        if is_streaming {
            self.streamed.push(*from);
        }
        true
    }

    /// The content from this peer is valid: the lookup is over.
    pub fn handle_content_valid(&mut self, from: &NodeId) {
        if self.is_validating_from(from) {
            self.found.get_or_insert(*from);
        }
    }

    /// The content from this peer is invalid, or only that of another peer may show itself to be valid: the lookup goes on.
    pub fn handle_content_invalid(&mut self, now: Instant, from: &NodeId) {
        self.reject(now, from);
    }

    /// The content from this peer cannot be verified here, and no other peer's could: the lookup is over. To go on would be
    /// to download it from everybody who has it.
    pub fn handle_content_unverifiable(&mut self, now: Instant, from: &NodeId) {
        self.is_unverifiable |= self.reject(now, from);
    }

    /// Notes that the content from this peer was not let in; whether it was being validated.
    fn reject(&mut self, now: Instant, from: &NodeId) -> bool {
        let is_validating = self.is_validating_from(from);
        if is_validating && let Some(peer) = self.candidates.get_mut(from) {
            peer.fail(now, PeerFailure::Malformed);
            peer.answer = Some(Answer::RejectedContent);
        }
        is_validating
    }

    /// A peer's answer will not come, or its stream failed.
    pub fn handle_failure(&mut self, now: Instant, from: &NodeId, failure: PeerFailure) {
        let is_open = |peer: &&mut Candidate<Answered>| {
            peer.is_awaited() || matches!(peer.progress, CandidateProgress::Answered(Answered::Streaming { .. }))
        };
        if let Some(peer) = self.candidates.get_mut(from).filter(is_open) {
            peer.fail(now, failure);
        }
    }

    /// The result; before [`ContentOutput::Finished`], what there is so far.
    pub fn into_result(self) -> ContentLookupResult {
        let record = |id: &NodeId| self.candidates.get(id).map(|peer| Arc::clone(&peer.enr));
        let outcome = match self.found.as_ref().and_then(|id| Some((id, record(id)?))) {
            Some((id, from)) => Outcome::Found { from, streamed: self.streamed.contains(id) },
            None if self.is_unverifiable => Outcome::Unverifiable,
            None if self.is_past_deadline => Outcome::DeadlineReached,
            None => Outcome::NotFound,
        };
        let lacks = |peer: &&Candidate<Answered>| peer.progress == CandidateProgress::Answered(Answered::Lacks);
        ContentLookupResult {
            outcome,
            lacking: self.candidates.iter().filter(lacks).map(|peer| Arc::clone(&peer.enr)).collect(),
            trace: self.candidates.into_trace(self.found),
        }
    }

    fn is_validating(&self) -> bool {
        self.candidates.iter().any(|peer| peer.progress == CandidateProgress::Answered(Answered::Validating))
    }

    fn is_validating_from(&self, from: &NodeId) -> bool {
        self.candidates.get(from).is_some_and(|peer| peer.progress == CandidateProgress::Answered(Answered::Validating))
    }

    /// Peers with a connection ID that is not in use: who, which, since when. Nearest first.
    fn offers(&self) -> impl Iterator<Item = (NodeId, u16, Instant)> {
        self.candidates.iter().filter_map(|peer| match peer.progress {
            CandidateProgress::Answered(Answered::Offers { connection_id, since }) => {
                Some((peer.id, connection_id, since))
            }
            _ => None,
        })
    }

    /// When those that were busy are asked again.
    fn pauses(&self) -> impl Iterator<Item = Instant> {
        self.candidates.iter().filter_map(|peer| match peer.progress {
            CandidateProgress::Answered(Answered::Busy { until }) => Some(until),
            _ => None,
        })
    }

    /// Those whose pause is over stand where they stood before they were asked.
    fn retry_busy(&mut self, now: Instant) {
        for peer in self.candidates.iter_mut() {
            if matches!(peer.progress, CandidateProgress::Answered(Answered::Busy { until }) if until <= now) {
                peer.progress = CandidateProgress::New;
            }
        }
    }

    /// Open streams.
    fn streams(&self) -> impl Iterator<Item = LookupStream> {
        self.candidates.iter().filter_map(|peer| match peer.progress {
            CandidateProgress::Answered(Answered::Streaming { since, progress, received }) => {
                Some(LookupStream { from: peer.id, since, progress, received })
            }
            _ => None,
        })
    }

    /// Whether no stream is so young that it can be hoped to bring the content alone.
    fn streams_drag(&self, now: Instant) -> bool {
        let hedge_after = self.candidates.config.hedge_after;
        self.streams().all(|stream| now.duration_since(stream.since) >= hedge_after)
    }

    /// Streams that may have to make room: all but the one that has brought most, once they have had their time. That one
    /// goes on, so that on a slow line, where every stream is slow, one of them ends.
    fn replaceable(&self, now: Instant) -> impl Iterator<Item = LookupStream> {
        let replace_after = self.candidates.config.replace_after;
        let best = self.streams().max_by_key(|stream| (stream.received, Reverse(stream.since)));
        self.streams().filter(move |stream| {
            best.is_none_or(|best| best.from != stream.from) && now.duration_since(stream.since) >= replace_after
        })
    }

    /// Whether it is worth asking others: the streams drag, and there are not enough peers that have the content.
    fn wants_more(&self, now: Instant) -> bool {
        let sources = self.streams().count() - self.replaceable(now).count() + self.offers().count();
        self.streams_drag(now) && sources < self.candidates.config.max_streams
    }

    /// Gives up a stream that stands still, or a slow one whose place another peer can have.
    fn abort_stream(&mut self, now: Instant) -> Option<NodeId> {
        let config = &self.candidates.config;
        let is_idle = |progress: Instant| now.duration_since(progress) >= config.stream_idle_timeout;
        let is_full = self.streams().count() >= config.max_streams && self.offers().next().is_some();
        let (id, failure) = if let Some(stream) = self.streams().find(|stream| is_idle(stream.progress)) {
            (stream.from, PeerFailure::Stream)
        } else if is_full {
            let stream = self.replaceable(now).min_by_key(|stream| (stream.received, stream.since))?;
            (stream.from, PeerFailure::StreamSlow)
        } else {
            return None;
        };
        self.candidates.get_mut(&id)?.fail(now, failure);
        Some(id)
    }

    fn open_stream(&mut self, now: Instant) -> Option<ContentOutput> {
        if self.streams().count() >= self.candidates.config.max_streams || !self.streams_drag(now) {
            return None;
        }
        let (fresh, stale): (Vec<_>, Vec<_>) =
            self.offers().partition(|(_, _, since)| now.duration_since(*since) < CONNECTION_ID_LIFETIME);
        for (id, ..) in stale {
            let peer = self.candidates.get_mut(&id)?;
            peer.fail(now, PeerFailure::StreamExpired);
            // Asked once more, with a new connection ID; a second time it has had its chance.
            if !self.asked_again.contains(&id) {
                self.asked_again.push(id);
                peer.progress = CandidateProgress::New;
            }
        }
        let (id, connection_id, _) = fresh.into_iter().next()?;
        let peer = self.candidates.get_mut(&id)?;
        peer.progress = CandidateProgress::Answered(Answered::Streaming { since: now, progress: now, received: 0 });
        Some(ContentOutput::OpenStream { peer: Arc::clone(&peer.enr), connection_id })
    }

    /// By turns an interested one and one of the `k` nearest, the nearest not yet asked of each: neither a crowd around the
    /// content nor a crowd that claims to hold everything keeps the others waiting. When all of them lack it, those beyond.
    fn next_candidate(&self, now: Instant) -> Option<NodeId> {
        let nearest = self.candidates.frontier(now).find(|peer| peer.is_new());
        let is_interested = |peer: &&Candidate<Answered>| peer.is_new() && self.interested.contains(&peer.id);
        let interested = self.candidates.iter().find(is_interested);
        let next = if self.asked_interested { nearest.or(interested) } else { interested.or(nearest) };
        next.or_else(|| self.last_resort(now)).map(|peer| peer.id)
    }

    fn last_resort(&self, now: Instant) -> Option<&Candidate<Answered>> {
        let config = &self.candidates.config;
        let mut beyond = self.candidates.responsive(now).take(config.k.saturating_add(config.last_resort));
        beyond.find(|peer| peer.is_new() && !self.candidates.expects_answer(now))
    }

    fn timeout(&self, now: Instant) -> Instant {
        let config = &self.candidates.config;
        let streams = self.streams().flat_map(|stream| {
            let (drags, makes_room) = (stream.since + config.hedge_after, stream.since + config.replace_after);
            [drags, makes_room, stream.progress + config.stream_idle_timeout]
        });
        let offers = self.offers().map(|(_, _, since)| since + CONNECTION_ID_LIFETIME);
        streams
            .chain(offers)
            .chain(self.pauses())
            .filter(|at| *at > now)
            .chain([self.candidates.timeout(now)])
            .min()
            .unwrap_or(now)
    }
}
