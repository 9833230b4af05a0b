//! The lookup of the nodes nearest to a node ID.
//!
//! FINDNODES asks by distance from the *answering* node. At distance d = log distance(peer, target) lie its peers that
//! share one more bit with the target than it does itself: all of them nearer. So that one distance is asked for first,
//! and as a packet holds few records, alone. A peer is asked once more, for the distances about it, when it lies in the
//! target's neighbourhood: the first answer brought little, or it is one of the nearest there are.

use std::{sync::Arc, time::Instant};

use content_types::NodeId;

use super::{
    Answer, LookupConfig, PeerFailure, Trace,
    candidates::{Candidate, CandidateProgress, Candidates},
};
use crate::{
    record::{self, Enr},
    routing::log_distance,
    wire::MAX_LOG_DISTANCE,
};

/// An answer of fewer records makes the peer worth a second question.
const FEW_RECORDS: usize = 4;

/// Distances below the first in the second question.
const DISTANCES_BELOW: u16 = 6;

/// What the driver is to do for a node lookup.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeOutput {
    /// Send FINDNODES and report [`NodeLookup::handle_nodes`] or [`NodeLookup::handle_failure`].
    Query {
        /// The peer that is to be asked.
        peer: Arc<Enr>,
        /// For which distances, the most promising first.
        distances: Vec<u16>,
    },
    /// Nothing before this time, unless something is reported.
    Timeout(Instant),
    /// It is over: take the result.
    Finished,
}

/// What a node lookup found.
#[derive(Debug, Clone)]
pub struct NodeLookupResult {
    /// The nearest nodes that answered, at most `k`, nearest first.
    pub closest: Vec<Arc<Enr>>,
    /// The course of the lookup.
    pub trace: Trace,
}

/// Which of its questions a peer has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The first; whether it brought few records.
    First { few: bool },
    /// All that are put to it.
    Last,
}

/// A lookup of the nodes nearest to a node ID.
#[derive(Debug)]
pub struct NodeLookup {
    target: NodeId,
    candidates: Candidates<Round>,
}

impl NodeLookup {
    /// Starts from `seeds`, usually the nearest peers of the table. `origin` is this node.
    pub fn new(
        origin: NodeId,
        target: NodeId,
        config: LookupConfig,
        seeds: impl IntoIterator<Item = Arc<Enr>>,
        now: Instant,
    ) -> Self {
        Self { target, candidates: Candidates::new(origin, target, config, seeds, now) }
    }

    /// What to do next.
    pub fn poll_output(&mut self, now: Instant) -> NodeOutput {
        self.candidates.expire(now);
        if self.candidates.is_past_deadline(now) {
            return NodeOutput::Finished;
        }
        let next = self.next_question(now);
        if let Some((id, distances)) = &next
            && self.candidates.may_ask(now)
            && let Some(peer) = self.candidates.ask(id, now)
        {
            return NodeOutput::Query { peer, distances: distances.clone() };
        }
        let is_waiting =
            self.candidates.horizon().any(|candidate| matches!(candidate.progress, CandidateProgress::Asked { .. }));
        let has_more = next.is_some() && !self.candidates.is_spent();
        if is_waiting || has_more { NodeOutput::Timeout(self.candidates.timeout(now)) } else { NodeOutput::Finished }
    }

    /// New peers are asked before known ones are asked again.
    fn next_question(&self, now: Instant) -> Option<(NodeId, Vec<u16>)> {
        if let Some(new) = self.candidates.frontier(now).find(|candidate| candidate.is_new()) {
            return Some((new.id, first_distances(&new.id, &self.target)));
        }
        let is_due = |rank: usize, candidate: &Candidate<Round>| match candidate.progress {
            CandidateProgress::Answered(Round::First { few }) => few || rank < self.candidates.config.k / 2,
            _ => false,
        };
        let mut frontier = self.candidates.frontier(now).enumerate();
        let (_, known) = frontier.find(|(rank, candidate)| is_due(*rank, candidate))?;
        Some((known.id, second_distances(&known.id, &self.target)))
    }

    /// A peer's NODES came, with the records in it that are valid. Those at distances it was not asked for are ignored.
    pub fn handle_nodes(&mut self, now: Instant, from: &NodeId, mut enrs: Vec<Arc<Enr>>) {
        let Some(peer) = self.candidates.get(from).filter(|peer| peer.is_awaited()) else { return };
        let is_first = peer.answer.is_none() || matches!(peer.answer, Some(Answer::Failed(_)));
        let mut named = match &peer.answer {
            Some(Answer::Nodes(named)) => named.clone(),
            _ => Vec::new(),
        };
        let mut asked_for = first_distances(from, &self.target);
        if !is_first {
            asked_for.extend(second_distances(from, &self.target));
        }
        enrs.retain(|enr| asked_for.contains(&log_distance(from, &record::node_id(enr))));
        let round = if is_first { Round::First { few: enrs.len() < FEW_RECORDS } } else { Round::Last };
        named.extend(self.candidates.learn(from, enrs));
        if let Some(peer) = self.candidates.get_mut(from) {
            peer.answer(now, Answer::Nodes(named), round);
        }
    }

    /// A peer's answer will not come.
    pub fn handle_failure(&mut self, now: Instant, from: &NodeId, failure: PeerFailure) {
        let Some(peer) = self.candidates.get_mut(from).filter(|peer| peer.is_awaited()) else { return };
        // Whoever answered the first question counts as alive whatever becomes of the second.
        match peer.answer.take() {
            Some(Answer::Nodes(named)) => peer.answer(now, Answer::Nodes(named), Round::Last),
            _ => peer.fail(now, failure),
        }
    }

    /// The result; before [`NodeOutput::Finished`], what there is so far.
    pub fn into_result(self) -> NodeLookupResult {
        let has_answered = |answer: &Option<Answer>| matches!(answer, Some(Answer::Nodes(_)));
        let k = self.candidates.config.k;
        let answered = self.candidates.iter().filter(|candidate| has_answered(&candidate.answer));
        let closest = answered.take(k).map(|candidate| Arc::clone(&candidate.enr)).collect();
        NodeLookupResult { closest, trace: self.candidates.into_trace(None) }
    }
}

/// The distance at which all of a peer's peers are nearer to the target than it is. The target itself knows none that
/// are: it is asked for its surroundings, nearest first.
fn first_distances(peer: &NodeId, target: &NodeId) -> Vec<u16> {
    match log_distance(peer, target) {
        0 => (1..=MAX_LOG_DISTANCE).collect(),
        distance => vec![distance],
    }
}

/// The distances about the first. Below it lie the peer's near neighbours, as far from the target as the peer; above
/// it, nodes a little farther from the target. Both belong to the `k` nearest once there are no nearer ones.
fn second_distances(peer: &NodeId, target: &NodeId) -> Vec<u16> {
    let distance = log_distance(peer, target);
    let low = distance.saturating_sub(DISTANCES_BELOW).max(1);
    let high = (distance + 1).min(MAX_LOG_DISTANCE);
    (low..=high).rev().filter(|other| *other != distance).collect()
}
