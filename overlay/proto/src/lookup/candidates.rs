//! The nodes that a lookup knows of, nearest to the target first, and how far it has got with each.

use std::{collections::HashMap, sync::Arc, time::Instant};

use content_types::{Distance, NodeId};

use super::{
    Answer, LookupConfig, MAX_CANDIDATES, MAX_LEARNED_PER_ANSWER, MAX_SUBNET_CANDIDATES, PeerFailure, PeerTrace, Trace,
};
use crate::{
    record::{self, Enr},
    routing::Subnet,
};

/// A node, and the state `S` that the kind of lookup gives it once it has answered.
#[derive(Debug)]
pub(super) struct Candidate<S> {
    pub(super) id: NodeId,
    pub(super) enr: Arc<Enr>,
    pub(super) distance: Distance,
    learned_from: Option<NodeId>,
    hops: u32,
    pub(super) progress: CandidateProgress<S>,
    asked: Option<Instant>,
    answered: Option<Instant>,
    pub(super) answer: Option<Answer>,
}

/// How far a lookup is with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CandidateProgress<S> {
    New,
    Asked {
        since: Instant,
    },
    /// Given up waiting; an answer is still taken.
    Overdue,
    Failed,
    Answered(S),
}

impl<S> Candidate<S> {
    /// Whether an answer from it belongs to a question.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self.progress, CandidateProgress::Asked { .. } | CandidateProgress::Overdue)
    }

    /// Since when it is waited for, unless that was given up.
    pub(super) fn awaited_since(&self) -> Option<Instant> {
        match self.progress {
            CandidateProgress::Asked { since } => Some(since),
            _ => None,
        }
    }

    pub(super) fn is_new(&self) -> bool {
        matches!(self.progress, CandidateProgress::New)
    }

    fn is_out(&self) -> bool {
        matches!(self.progress, CandidateProgress::Overdue | CandidateProgress::Failed)
    }

    pub(super) fn fail(&mut self, now: Instant, failure: PeerFailure) {
        self.progress = CandidateProgress::Failed;
        self.answered = Some(now);
        self.answer = Some(Answer::Failed(failure));
    }

    pub(super) fn answer(&mut self, now: Instant, answer: Answer, state: S) {
        self.progress = CandidateProgress::Answered(state);
        self.answered = Some(now);
        self.answer = Some(answer);
    }
}

#[derive(Debug)]
pub(super) struct Candidates<S> {
    origin: NodeId,
    target: NodeId,
    pub(super) config: LookupConfig,
    started: Instant,
    /// Sorted by distance, which no two share.
    list: Vec<Candidate<S>>,
    /// How many of each subnet were learned from others.
    subnets: HashMap<Subnet, usize>,
    queries: usize,
}

impl<S> Candidates<S> {
    pub(super) fn new(
        origin: NodeId,
        target: NodeId,
        config: LookupConfig,
        seeds: impl IntoIterator<Item = Arc<Enr>>,
        now: Instant,
    ) -> Self {
        let list = Vec::new();
        let mut this = Self { origin, target, config, started: now, list, subnets: HashMap::new(), queries: 0 };
        for enr in seeds.into_iter().take(MAX_CANDIDATES) {
            let id = record::node_id(&enr);
            this.add(id, enr, None, 1);
        }
        this
    }

    /// Adds nodes that `from` named and says which: those that can be asked, the nearest first.
    pub(super) fn learn(&mut self, from: &NodeId, enrs: Vec<Arc<Enr>>) -> Vec<NodeId> {
        let hops = self.get(from).map_or(1, |peer| peer.hops.saturating_add(1));
        let target = self.target;
        let mut named: Vec<_> = enrs.into_iter().map(|enr| (record::node_id(&enr), enr)).collect();
        named.sort_by_key(|(id, _)| target.distance_to_node(id));
        named.dedup_by_key(|(id, _)| *id);
        named.truncate(MAX_LEARNED_PER_ANSWER);
        named.retain(|(id, enr)| self.get(id).is_some() || self.learn_one(*id, enr, from, hops));
        named.into_iter().map(|(id, _)| id).collect()
    }

    fn learn_one(&mut self, id: NodeId, enr: &Arc<Enr>, from: &NodeId, hops: u32) -> bool {
        if self.config.rules.check(enr, None).is_err() {
            return false;
        }
        let subnets = self.config.rules.announced_subnets(enr);
        let has_room = |subnet| self.subnets.get(&subnet).is_none_or(|count| *count < MAX_SUBNET_CANDIDATES);
        let is_added = subnets.into_iter().flatten().all(has_room) && self.add(id, Arc::clone(enr), Some(*from), hops);
        if is_added {
            subnets.into_iter().flatten().for_each(|subnet| *self.subnets.entry(subnet).or_default() += 1);
        }
        is_added
    }

    fn add(&mut self, id: NodeId, enr: Arc<Enr>, learned_from: Option<NodeId>, hops: u32) -> bool {
        if id == self.origin {
            return false;
        }
        let distance = self.target.distance_to_node(&id);
        let Err(at) = self.position(&distance) else { return false };
        if self.list.len() >= MAX_CANDIDATES {
            // Whoever was asked stays: its answer and its trace belong to the lookup.
            let Some(farthest) = self.list.iter().rposition(|peer| peer.is_new() && peer.asked.is_none()) else {
                return false;
            };
            if farthest < at {
                return false;
            }
            self.list.remove(farthest);
        }
        let progress = CandidateProgress::New;
        let candidate =
            Candidate { id, enr, distance, learned_from, hops, progress, asked: None, answered: None, answer: None };
        self.list.insert(at, candidate);
        true
    }

    fn position(&self, distance: &Distance) -> Result<usize, usize> {
        self.list.binary_search_by(|candidate| candidate.distance.cmp(distance))
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&Candidate<S>> {
        let at = self.position(&self.target.distance_to_node(id)).ok()?;
        self.list.get(at)
    }

    pub(super) fn get_mut(&mut self, id: &NodeId) -> Option<&mut Candidate<S>> {
        let at = self.position(&self.target.distance_to_node(id)).ok()?;
        self.list.get_mut(at)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Candidate<S>> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Candidate<S>> {
        self.list.iter_mut()
    }

    /// The `k` nearest that have not failed: when all of them have answered, the lookup has what it wants.
    pub(super) fn horizon(&self) -> impl Iterator<Item = &Candidate<S>> {
        self.list.iter().filter(|candidate| !candidate.is_out()).take(self.config.k)
    }

    /// The `k` nearest that have not failed and are not silent: those worth a question. A silent peer's place goes to
    /// the next already, so that the dead are not waited for one after another.
    pub(super) fn frontier(&self, now: Instant) -> impl Iterator<Item = &Candidate<S>> {
        self.responsive(now).take(self.config.k)
    }

    /// Those that have not failed and are not silent.
    pub(super) fn responsive(&self, now: Instant) -> impl Iterator<Item = &Candidate<S>> {
        self.list.iter().filter(move |candidate| !candidate.is_out() && !self.is_silent(candidate, now))
    }

    /// Whether an answer is under way, as far as can be hoped.
    pub(super) fn expects_answer(&self, now: Instant) -> bool {
        self.responsive(now).any(|candidate| matches!(candidate.progress, CandidateProgress::Asked { .. }))
    }

    fn is_silent(&self, candidate: &Candidate<S>, now: Instant) -> bool {
        let stall_after = self.config.stall_after;
        matches!(candidate.progress, CandidateProgress::Asked { since } if now.duration_since(since) >= stall_after)
    }

    /// Fails those that did not answer in time.
    pub(super) fn expire(&mut self, now: Instant) {
        let timeout = self.config.query_timeout;
        for candidate in &mut self.list {
            if let CandidateProgress::Asked { since } = candidate.progress
                && now.duration_since(since) >= timeout
            {
                candidate.progress = CandidateProgress::Overdue;
                candidate.answered.get_or_insert(now);
                candidate.answer.get_or_insert(Answer::Failed(PeerFailure::Timeout));
            }
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.list.iter().any(|candidate| matches!(candidate.progress, CandidateProgress::Asked { .. }))
    }

    /// Whether α, the number of queries and the silent peers leave room for another question.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let in_flight =
            self.list.iter().filter(|candidate| matches!(candidate.progress, CandidateProgress::Asked { .. }));
        let brisk = in_flight.clone().filter(|candidate| !self.is_silent(candidate, now)).count();
        !self.is_spent() && brisk < self.config.parallelism && in_flight.count() < self.config.max_in_flight()
    }

    /// Whether it has asked as often as it may.
    pub(super) fn is_spent(&self) -> bool {
        self.queries >= self.config.max_queries
    }

    pub(super) fn is_past_deadline(&self, now: Instant) -> bool {
        now >= self.deadline()
    }

    fn deadline(&self) -> Instant {
        self.started + self.config.deadline
    }

    /// Marks a node as asked and returns its record.
    pub(super) fn ask(&mut self, id: &NodeId, now: Instant) -> Option<Arc<Enr>> {
        let candidate = self.get_mut(id)?;
        candidate.progress = CandidateProgress::Asked { since: now };
        candidate.asked.get_or_insert(now);
        let enr = Arc::clone(&candidate.enr);
        self.queries += 1;
        Some(enr)
    }

    /// When the passing of time alone will change something about the questions under way.
    pub(super) fn timeout(&self, now: Instant) -> Instant {
        let stalls = |since: Instant| Some(since + self.config.stall_after).filter(|at| *at > now);
        let next = |candidate: &Candidate<S>| match candidate.progress {
            CandidateProgress::Asked { since } => Some(stalls(since).unwrap_or(since + self.config.query_timeout)),
            _ => None,
        };
        self.list.iter().filter_map(next).chain([self.deadline()]).min().unwrap_or(now)
    }

    pub(super) fn into_trace(self, received_from: Option<NodeId>) -> Trace {
        let started = self.started;
        let since = |at: Option<Instant>| at.map(|at| at.duration_since(started));
        let peers = self.list.into_iter().map(|candidate| PeerTrace {
            node_id: candidate.id,
            asked: since(candidate.asked),
            answered: since(candidate.answered),
            enr: candidate.enr,
            distance: candidate.distance,
            learned_from: candidate.learned_from,
            hops: candidate.hops,
            answer: candidate.answer,
        });
        Trace { origin: self.origin, target: self.target, received_from, peers: peers.collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use enr::CombinedKey;

    use super::*;
    use crate::record::{Version, portal_entries};
    use crate::routing::{AddressPolicy, PeerRules};

    /// A node with a public address of each protocol.
    fn dual(ip4: [u8; 4], site: u16) -> Arc<Enr> {
        let mut builder = Enr::builder();
        builder.ip4(Ipv4Addr::from(ip4)).udp4(9009).udp6(9009);
        builder.ip6(Ipv6Addr::new(0x2600, 1, site, 0, 0, 0, 0, 1));
        for (key, rlp) in portal_entries(1, "test") {
            builder.add_value_rlp(key, rlp);
        }
        Arc::new(builder.build(&CombinedKey::generate_secp256k1()).unwrap())
    }

    #[test]
    fn who_claims_many_addresses_of_one_protocol_counts_by_the_other() {
        let rules = PeerRules { chain_id: 1, addresses: AddressPolicy::Internet };
        assert_eq!(rules.check(&dual([8, 8, 8, 8], 1), None).map(|fit| fit.version), Ok(Version::V2));
        let learned = |nodes: Vec<Arc<Enr>>| {
            let [origin, target, from] = [1, 2, 3].map(|byte| NodeId::from([byte; 32]));
            let config = LookupConfig::new(rules);
            let mut candidates = Candidates::<()>::new(origin, target, config, [], Instant::now());
            candidates.learn(&from, nodes).len()
        };
        assert_eq!(learned((1..=8).map(|n| dual([8, 8, n, 1], 1)).collect()), MAX_SUBNET_CANDIDATES);
        assert_eq!(learned((1..=8).map(|n| dual([8, 8, 8, n], n.into())).collect()), MAX_SUBNET_CANDIDATES);
        assert_eq!(learned((1..=8).map(|n| dual([8, 8, n, 1], n.into())).collect()), 8);
    }
}
