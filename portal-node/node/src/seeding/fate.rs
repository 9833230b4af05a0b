//! What is known of a piece while it is offered, and whether it has its end: a decision without I/O.
//!
//! A piece has its end when a peer says that it has it, or when those that could have it do not want it. The second is worth as much
//! as the peers that say so, and node IDs cost nothing: the four that are nearest are not all, so all that cover a piece are asked, the
//! nearest first, until so many have declined it that more would not change that. And where nobody is known to cover it, its
//! surroundings are explored before that counts. Of a peer that says it has it nobody asks for proof.

use cairn_proto::wire::AcceptCode;
use content_types::NodeId;

/// So many peers that decline a piece speak for all. Of those that cover it the first of each subnet are asked first.
const ENOUGH_REFUSALS: usize = 16;
/// Peers that are asked next at least when all before have declined.
const MIN_NEXT: usize = 4;
/// The round from which on a piece that only waits is offered to more. Before that a peer may still be checking it.
const WIDENS_FROM: u32 = 3;

/// The best that is known of one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// No known peer covers it, except those that declined it.
    Uncovered,
    /// Those that were asked declined it; others have not been asked.
    Refused,
    /// A peer that covers it did not answer, was too busy, or is getting it from somebody else.
    Open,
    /// A peer took it. It has still to check and to store it, and may fail at either.
    Sent,
    /// A peer says that it has it.
    Placed,
}

/// One piece on its way.
#[derive(Clone, Debug)]
pub(super) struct Course {
    fate: Fate,
    /// Who does not want it now.
    refused: Vec<NodeId>,
    /// Who may have it by now, or take it in a moment.
    asked: Vec<NodeId>,
    /// Whether somebody declined it because nothing proves it to him yet.
    is_unproved: bool,
    is_explored: bool,
}

impl Course {
    pub(super) const fn new() -> Self {
        Self { fate: Fate::Open, refused: Vec::new(), asked: Vec::new(), is_unproved: false, is_explored: false }
    }

    pub(super) const fn fate(&self) -> Fate {
        self.fate
    }

    /// Whether those that declined it may take it when they can prove it.
    pub(super) const fn is_unproved(&self) -> bool {
        self.is_unproved
    }

    /// To how many peers it is offered next, if it is to be with `replicas` of them.
    pub(super) fn wanted(&self, replicas: usize, round: u32) -> usize {
        match self.fate {
            // Those that took it.
            Fate::Sent => self.asked.len().max(1),
            Fate::Refused => replicas.max(MIN_NEXT),
            // Who lets a piece wait long must not be the only one that is asked.
            Fate::Open if round >= WIDENS_FROM => replicas.saturating_mul(2),
            _ => replicas,
        }
    }

    /// Who need not be asked again.
    pub(super) fn refused(&self) -> &[NodeId] {
        &self.refused
    }

    /// Whether there is nothing more to be done about it.
    pub(super) fn has_ended(&self) -> bool {
        match self.fate {
            Fate::Placed => true,
            Fate::Uncovered => self.is_explored,
            Fate::Refused => self.refused.len() >= ENOUGH_REFUSALS,
            Fate::Open | Fate::Sent => false,
        }
    }

    /// Whether its surroundings are to be explored next.
    pub(super) fn is_to_be_explored(&self) -> bool {
        self.fate == Fate::Uncovered && !self.is_explored
    }

    /// They were explored, and somebody is known now who covers it and did not decline it, or nobody.
    pub(super) fn explored(&mut self, is_covered: bool) {
        self.is_explored = true;
        if is_covered {
            self.fate = Fate::Open;
        }
    }

    /// They could not be explored.
    pub(super) fn not_explored(&mut self) {
        self.fate = Fate::Open;
    }

    /// It was offered to these peers, and each has answered this; `None`: nothing. If there were none, nobody that is known covers it but
    /// who refused it; `is_known` tells of those that were asked before whether they are still there.
    pub(super) fn offered(&mut self, answers: &[(NodeId, Option<AcceptCode>)], is_known: impl Fn(&NodeId) -> bool) {
        if answers.is_empty() {
            // Who took it and went may come back with it. Who took it, is there, and does not cover it any more, was full.
            if self.asked.iter().all(is_known) {
                self.fate = Fate::Uncovered;
            }
            return;
        }
        self.fate = Fate::Refused;
        for (peer, code) in answers {
            let fate = match code {
                Some(AcceptCode::AlreadyStored) => Fate::Placed,
                Some(AcceptCode::Accepted) => Fate::Sent,
                // Whoever is sending it to the peer now may never finish.
                None | Some(AcceptCode::RateLimited | AcceptCode::InboundKeyLimited) => Fate::Open,
                Some(_) => Fate::Refused,
            };
            self.is_unproved |= *code == Some(AcceptCode::NotVerifiable);
            let list = if fate == Fate::Refused { &mut self.refused } else { &mut self.asked };
            if !list.contains(peer) {
                list.push(*peer);
            }
            self.fate = self.fate.max(fate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(numbers: std::ops::Range<u8>, code: Option<AcceptCode>) -> Vec<(NodeId, Option<AcceptCode>)> {
        numbers.map(|number| ([number; 32].into(), code)).collect()
    }

    #[test]
    fn a_few_that_decline_are_not_all() {
        let mut course = Course::new();
        for first in (0..12).step_by(4) {
            course.offered(&peers(first..first + 4, Some(AcceptCode::OutsideRadius)), |_| true);
            assert!(course.fate() == Fate::Refused && !course.has_ended(), "{first}");
        }
        assert_eq!(course.refused().len(), 12);
        let mut wanted = course.clone();
        wanted.offered(&peers(12..13, Some(AcceptCode::AlreadyStored)), |_| true);
        assert!(wanted.has_ended() && wanted.fate() == Fate::Placed);
        let mut alone = course.clone();
        alone.offered(&[], |_| true);
        assert!(alone.is_to_be_explored() && !alone.has_ended());
        let mut found = alone.clone();
        found.explored(true);
        assert!(!found.has_ended() && found.fate() == Fate::Open);
        alone.explored(false);
        assert!(alone.has_ended() && !alone.is_to_be_explored());
        course.offered(&peers(12..16, Some(AcceptCode::Declined)), |_| true);
        assert!(course.has_ended(), "more than anybody would put near one piece");
    }

    #[test]
    fn who_took_it_and_is_gone_leaves_it_open_and_who_is_full_does_not() {
        let mut course = Course::new();
        course.offered(&peers(0..1, Some(AcceptCode::Accepted)), |_| true);
        assert_eq!(course.fate(), Fate::Sent);
        course.offered(&[], |_| false);
        assert!(course.fate() == Fate::Sent && !course.has_ended());
        course.offered(&[], |_| true);
        assert!(course.fate() == Fate::Uncovered && course.is_to_be_explored());
    }

    #[test]
    fn what_nothing_proves_yet_is_told_from_what_is_not_wanted() {
        let mut course = Course::new();
        course.offered(&peers(0..4, Some(AcceptCode::OutsideRadius)), |_| true);
        assert!(!course.is_unproved());
        course.offered(&peers(4..5, Some(AcceptCode::NotVerifiable)), |_| true);
        assert!(course.is_unproved() && course.fate() == Fate::Refused);
    }

    #[test]
    fn more_peers_are_asked_where_all_declined_and_where_all_wait() {
        let wanted = |code, round| {
            let mut course = Course::new();
            course.offered(&peers(0..3, code), |_| true);
            course.wanted(1, round)
        };
        assert_eq!(Course::new().wanted(1, 0), 1);
        assert_eq!(wanted(Some(AcceptCode::Accepted), 4), 3, "those that took it");
        assert_eq!(wanted(Some(AcceptCode::Declined), 1), 4);
        assert_eq!((wanted(None, 2), wanted(None, 3)), (1, 2));
        // One that is asked for by a single copy ends within the rounds of an offer.
        let mut course = Course::new();
        for round in 0..5 {
            let first = course.refused().len() as u8;
            let asked = course.wanted(1, round) as u8;
            course.offered(&peers(first..first + asked, Some(AcceptCode::Declined)), |_| true);
        }
        assert!(course.has_ended());
    }

    #[test]
    fn the_best_answer_counts() {
        use AcceptCode::{Accepted, AlreadyStored, Declined, InboundKeyLimited, RateLimited};
        let fate = |codes: &[Option<AcceptCode>]| {
            let mut course = Course::new();
            let answers: Vec<_> = (0..).zip(codes).map(|(number, code)| ([number; 32].into(), *code)).collect();
            course.offered(&answers, |_| true);
            course.fate()
        };
        assert_eq!(fate(&[Some(Declined), None]), Fate::Open);
        assert_eq!(fate(&[Some(RateLimited)]), Fate::Open);
        assert_eq!(fate(&[Some(InboundKeyLimited), Some(Declined)]), Fate::Open);
        assert_eq!(fate(&[Some(Accepted), None, Some(Declined)]), Fate::Sent);
        assert_eq!(fate(&[Some(Accepted), Some(AlreadyStored), Some(Declined)]), Fate::Placed);
    }
}
