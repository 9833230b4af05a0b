//! Who has to make room for somebody: of what makes no progress, enough and no more, and from those first who come last.

use std::cmp::Reverse;
use std::time::Instant;

use super::{Decision, Hold, HoldId, Ledger};
use crate::holder::Holder;

impl Ledger {
    /// Revokes what makes no progress until `amount` is free for `holder`; nothing if that would not be enough.
    pub(super) fn make_room(&mut self, now: Instant, holder: &Holder, amount: u64) -> bool {
        let Some(chosen) = self.idle_enough(now, holder, amount) else { return false };
        for id in chosen {
            self.remove(id);
            self.decisions.push_back(Decision::Revoked(id));
        }
        true
    }

    /// What has made no progress for too long.
    pub(super) fn idle(&self, now: Instant) -> impl Iterator<Item = (HoldId, &Hold)> {
        let is_over = move |hold: &Hold| {
            self.quota.yields_after.is_some_and(|idle| now.saturating_duration_since(hold.marked) >= idle)
        };
        let holds = self.holds.iter().map(|(id, hold)| (*id, hold));
        holds.filter(move |(_, hold)| hold.kept_since.is_none() && is_over(hold))
    }

    /// What has to go before `holder` can have `amount` more.
    pub(super) fn need(&self, holder: &Holder, amount: u64) -> Need {
        let over = |limit: u64, held: u64| held.saturating_add(amount).saturating_sub(limit);
        let of = |is_counted: bool, limit, held| if is_counted { over(limit, held) } else { 0 };
        let is_somebody = holder.is_somebody();
        Need {
            of_peer: of(is_somebody, self.peer_limit(holder), self.of_peer(holder)),
            of_subnet: of(is_somebody && holder.subnet().is_some(), self.quota.of_subnet, self.of_subnet(holder)),
            of_all: over(self.quota.total, self.total()),
        }
    }

    /// What makes no progress and would leave `amount` for `holder` within all of its limits; `None` if there is not enough
    /// of it.
    pub(super) fn idle_enough(&self, now: Instant, holder: &Holder, amount: u64) -> Option<Vec<HoldId>> {
        let need = self.need(holder, amount);
        let is_neighbour = |of: &Holder| of.subnet().is_some() && of.subnet() == holder.subnet();
        // Most often there is not enough, and then nothing has to be put in order.
        let mut idle = Need::default();
        for (_, hold) in self.idle(now) {
            idle.of_all += hold.amount;
            idle.of_peer += if hold.holder == *holder { hold.amount } else { 0 };
            idle.of_subnet += if is_neighbour(&hold.holder) { hold.amount } else { 0 };
        }
        if idle.of_peer < need.of_peer || idle.of_subnet < need.of_subnet || idle.of_all < need.of_all {
            return None;
        }
        let own = self.rank(holder, amount);
        // Of others only those who would not come before it then: nobody drives others out.
        let may_go = |of: &Holder| of == holder || self.rank(of, 0) >= own;
        let is_of_use = |of: &Holder| of == holder || (need.of_subnet > 0 && is_neighbour(of)) || need.of_all > 0;
        let mut candidates: Vec<_> = self.idle(now).filter(|(_, hold)| is_of_use(&hold.holder)).collect();
        // Who comes last loses first, and of that what has stood still for longest.
        candidates.sort_by_cached_key(|(id, hold)| (Reverse(self.rank(&hold.holder, 0)), hold.marked, *id));
        let mut chosen = Chosen { candidates: &candidates, is_chosen: vec![false; candidates.len()] };
        // The narrowest limit first: what its own holds give up counts for the wider ones, too.
        chosen.choose(need.of_peer, |of| of == holder)?;
        chosen.choose(need.of_subnet, is_neighbour)?;
        chosen.choose(need.of_all, may_go)?;
        Some(chosen.ids())
    }
}

/// How much has to go, for each limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    pub(super) of_peer: u64,
    pub(super) of_subnet: u64,
    pub(super) of_all: u64,
}

/// What is chosen to go, of what may.
struct Chosen<'a> {
    candidates: &'a [(HoldId, &'a Hold)],
    is_chosen: Vec<bool>,
}

impl Chosen<'_> {
    /// Chooses the first of those that may go, until those that may come to `wanted`; `None` if they never do.
    fn choose(&mut self, wanted: u64, may_go: impl Fn(&Holder) -> bool) -> Option<()> {
        if wanted == 0 {
            return Some(());
        }
        let all = || self.candidates.iter().zip(&self.is_chosen);
        let chosen = all().filter(|((_, hold), is_chosen)| **is_chosen && may_go(&hold.holder));
        let mut freed: u64 = chosen.map(|((_, hold), _)| hold.amount).sum();
        for ((_, hold), is_chosen) in self.candidates.iter().zip(&mut self.is_chosen) {
            if freed >= wanted {
                break;
            }
            if !*is_chosen && may_go(&hold.holder) {
                freed = freed.saturating_add(hold.amount);
                *is_chosen = true;
            }
        }
        (freed >= wanted).then_some(())
    }

    fn ids(self) -> Vec<HoldId> {
        let chosen = self.candidates.iter().zip(self.is_chosen).filter(|(_, is_chosen)| *is_chosen);
        chosen.map(|((id, _), _)| *id).collect()
    }
}
