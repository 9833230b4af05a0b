//! Who holds how much, as a state machine: what is asked for and given back goes in with the time, what was granted and who
//! has to make room comes out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hashlink::LruCache;

use crate::counts::Counts;
use crate::holder::Holder;
use crate::quota::{Full, MIN_PROGRESS, Quota};

/// Peers that are remembered as having finished something.
const MAX_PROVED: usize = 4096;

/// Something that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(u64);

/// Somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(u64);

/// What has been decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Who waited has it now.
    Granted(WaiterId, HoldId),
    /// The holder has lost it, and it counts no more; it is to be told.
    Revoked(HoldId),
}

#[derive(Debug)]
struct Hold {
    holder: Holder,
    amount: u64,
    /// Since when it has not made [`MIN_PROGRESS`].
    marked: Instant,
    progress: u64,
    /// Since when its time stands still: what waits for this node itself is not idle, and not lost.
    kept_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    id: WaiterId,
    amount: u64,
}

/// The counts.
#[derive(Debug)]
pub struct Ledger {
    quota: Quota,
    counts: Counts,
    holds: BTreeMap<HoldId, Hold>,
    /// Who waits, the first to come first: who has many requests stands in line behind itself, so what a decision costs
    /// grows with those who wait and not with how often each asks.
    waiting: HashMap<Holder, VecDeque<Waiter>>,
    proved: LruCache<Holder, ()>,
    decisions: VecDeque<Decision>,
    next: u64,
}

impl Ledger {
    /// Nothing is held.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            counts: Counts::default(),
            holds: BTreeMap::new(),
            waiting: HashMap::new(),
            proved: LruCache::new(MAX_PROVED),
            decisions: VecDeque::new(),
            next: 0,
        }
    }

    /// What there is, and for whom.
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Changes what there is. What is held stays.
    pub fn set_quota(&mut self, now: Instant, quota: Quota) {
        self.quota = quota;
        self.serve_waiting(now);
    }

    /// What is held in all.
    pub const fn total(&self) -> u64 {
        self.counts.total()
    }

    /// What one peer holds.
    pub fn of_peer(&self, holder: &Holder) -> u64 {
        self.counts.of_peer(holder)
    }

    /// What the peers of a holder's subnet hold; nothing for a local network, which has no limit.
    pub fn of_subnet(&self, holder: &Holder) -> u64 {
        self.counts.of_subnet(holder)
    }

    /// How much more a holder could take at once.
    pub fn room_for(&self, holder: &Holder) -> u64 {
        self.counts.room_for(&self.quota, self.peer_limit(holder), holder)
    }

    /// Whether `amount` could be taken now, without anybody losing what it holds.
    ///
    /// # Errors
    ///
    /// Which limit is reached, the narrowest first.
    pub fn check(&self, holder: &Holder, amount: u64) -> Result<(), Full> {
        self.counts.check(&self.quota, self.peer_limit(holder), holder, amount)
    }

    /// Whether [`take`](Self::take) would give `amount` now, if need be from those who make no progress.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn could_take(&self, now: Instant, holder: &Holder, amount: u64) -> Result<(), Full> {
        match self.check(holder, amount) {
            Ok(()) if self.is_before(holder) => Err(Full::Total(self.quota.total)),
            Ok(()) => Ok(()),
            Err(full) => self.idle_enough(now, holder, amount).map(drop).ok_or(full),
        }
    }

    /// Takes `amount`, from those who make no progress if all is taken. Whoever waits and has no more goes first.
    ///
    /// # Errors
    ///
    /// Which limit is reached; nothing was taken.
    pub fn take(&mut self, now: Instant, holder: Holder, amount: u64) -> Result<HoldId, Full> {
        match self.check(&holder, amount) {
            Ok(()) if self.is_before(&holder) => Err(Full::Total(self.quota.total)),
            Ok(()) => Ok(self.hold(now, holder, amount)),
            Err(full) => {
                if !self.make_room(now, &holder, amount) {
                    return Err(full);
                }
                let hold = self.hold(now, holder, amount);
                // What was revoked has left room in its peers' shares.
                self.serve_waiting(now);
                Ok(hold)
            }
        }
    }

    /// Waits for `amount`: [`Decision::Granted`] says when it is there.
    ///
    /// # Errors
    ///
    /// When there never is so much for this holder.
    pub fn wait(&mut self, now: Instant, holder: Holder, amount: u64) -> Result<WaiterId, Full> {
        if amount > self.quota.total {
            return Err(Full::Total(self.quota.total));
        }
        if holder.is_somebody() && amount > self.quota.of_newcomer {
            return Err(Full::Peer(self.quota.of_newcomer));
        }
        if holder.subnet().is_some() && amount > self.quota.of_subnet {
            return Err(Full::Subnet(self.quota.of_subnet));
        }
        let id = WaiterId(self.draw());
        self.waiting.entry(holder).or_default().push_back(Waiter { id, amount });
        self.handle_timeout(now);
        Ok(id)
    }

    /// Somebody waits no longer. What was granted meanwhile and not yet told is given back.
    pub fn give_up(&mut self, now: Instant, waiter: WaiterId) {
        self.waiting.retain(|_, line| {
            line.retain(|other| other.id != waiter);
            !line.is_empty()
        });
        let granted = self.decisions.iter().position(|of| matches!(of, Decision::Granted(id, _) if *id == waiter));
        if let Some(Decision::Granted(_, hold)) = granted.and_then(|at| self.decisions.remove(at)) {
            self.release(now, hold);
        } else {
            // It may have kept others waiting who fit.
            self.serve_waiting(now);
        }
    }

    /// A hold moved so many bytes.
    pub fn progress(&mut self, now: Instant, hold: HoldId, bytes: u64) {
        let Some(hold) = self.holds.get_mut(&hold) else { return };
        hold.progress = hold.progress.saturating_add(bytes);
        if hold.progress >= MIN_PROGRESS {
            hold.progress = 0;
            hold.marked = now;
            hold.kept_since = hold.kept_since.map(|_| now);
        }
    }

    /// What a hold was taken for came to its end as it should: its peer is no newcomer any more.
    pub fn prove(&mut self, now: Instant, hold: HoldId) {
        if let Some(holder) = self.holds.get(&hold).map(|hold| hold.holder) {
            self.prove_holder(now, holder);
        }
    }

    /// A peer finished something elsewhere that counts here too: it is no newcomer any more.
    pub fn prove_holder(&mut self, now: Instant, holder: Holder) {
        if holder.is_somebody() && self.proved.insert(holder, ()).is_none() {
            self.serve_waiting(now);
        }
    }

    /// Whether a peer has finished something.
    pub fn is_proved(&self, holder: &Holder) -> bool {
        self.proved.peek(holder).is_some()
    }

    /// Whether a hold may be lost for want of progress. While its peer waits for this node, rather than this node for the
    /// peer, it should not: its time stands still, and goes on from there. It does not begin anew, or a byte now and then, each
    /// of which this node looks at for a moment, would keep a hold for ever.
    pub fn set_yielding(&mut self, now: Instant, hold: HoldId, yields: bool) {
        if let Some(hold) = self.holds.get_mut(&hold) {
            if !yields {
                hold.kept_since.get_or_insert(now);
            } else if let Some(since) = hold.kept_since.take() {
                hold.marked += now.saturating_duration_since(since);
            }
        }
        self.serve_waiting(now);
    }

    /// Gives a hold back. One that was revoked is not there any more.
    pub fn release(&mut self, now: Instant, hold: HoldId) {
        if self.remove(hold) {
            self.serve_waiting(now);
        }
    }

    /// Gives back all of a hold above `amount`.
    pub fn shrink(&mut self, now: Instant, hold: HoldId, amount: u64) {
        let Some(of) = self.holds.get_mut(&hold) else { return };
        let (holder, less) = (of.holder, of.amount.saturating_sub(amount));
        of.amount -= less;
        self.counts.remove(&holder, less);
        self.serve_waiting(now);
    }

    /// Parts `amount` of a hold off, or as much as it has.
    pub fn split(&mut self, hold: HoldId, amount: u64) -> Option<HoldId> {
        let of = self.holds.get_mut(&hold)?;
        let amount = amount.min(of.amount);
        of.amount -= amount;
        let part = Hold { holder: of.holder, amount, marked: of.marked, progress: 0, kept_since: of.kept_since };
        let id = HoldId(self.draw());
        self.holds.insert(id, part);
        Some(id)
    }

    /// Adds what `other` holds to a hold of the same holder; whether that was so.
    pub fn join(&mut self, hold: HoldId, other: HoldId) -> bool {
        let is_same = |a: &Hold, b: &Hold| a.holder == b.holder;
        match (self.holds.get(&hold), self.holds.get(&other)) {
            (Some(a), Some(b)) if hold != other && is_same(a, b) => {}
            _ => return false,
        }
        let amount = self.holds.remove(&other).map_or(0, |other| other.amount);
        if let Some(hold) = self.holds.get_mut(&hold) {
            hold.amount += amount;
        }
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) could make room for those who wait: when the next hold will have stood
    /// still for too long. Those that have already were of no use to anybody who waits. Unlike the time of other state machines
    /// it is no output among the others: it takes a walk over all holds, and nobody needs it unless somebody waits.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() { None } else { self.next_idle(now) }
    }

    /// When the next hold will have stood still for too long.
    pub fn next_idle(&self, now: Instant) -> Option<Instant> {
        let idle = self.quota.yields_after?;
        let yielding = self.holds.values().filter(|hold| hold.kept_since.is_none());
        yielding.map(|hold| hold.marked + idle).filter(|at| *at > now).min()
    }

    /// Makes room for those who wait, from those who make no progress.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.serve_waiting(now);
    }

    /// The next decision.
    pub fn poll_output(&mut self) -> Option<Decision> {
        self.decisions.pop_front()
    }

    fn peer_limit(&self, holder: &Holder) -> u64 {
        if self.is_proved(holder) { self.quota.of_peer } else { self.quota.of_newcomer }
    }

    /// Whether somebody who has as little as `holder`, or less, waits whom only the limit for all keeps: `holder` may not pass it
    /// by, or it could wait for ever.
    fn is_before(&self, holder: &Holder) -> bool {
        let own = self.rank(holder, 0);
        self.next_waiting().is_some_and(|(first, _)| self.rank(&first, 0) <= own)
    }

    fn serve_waiting(&mut self, now: Instant) {
        while let Some((holder, Waiter { id, amount })) = self.next_served(now) {
            if let Some(line) = self.waiting.get_mut(&holder) {
                line.pop_front();
                if line.is_empty() {
                    self.waiting.remove(&holder);
                }
            }
            let hold = self.hold(now, holder, amount);
            self.decisions.push_back(Decision::Granted(id, hold));
        }
    }

    /// Who is served now, with room made for it; `None` if nobody can be.
    fn next_served(&mut self, now: Instant) -> Option<(Holder, Waiter)> {
        if let Some((holder, first)) = self.next_waiting()
            && (self.check(&holder, first.amount).is_ok() || self.make_room(now, &holder, first.amount))
        {
            return Some((holder, first));
        }
        // Those whose own share is used up, and used by what makes no progress.
        if !self.holds.values().any(|hold| self.is_idle(now, hold)) {
            return None;
        }
        let mut kept: Vec<_> = self.first_of_each().filter(|(holder, first)| !self.has_turn(holder, first)).collect();
        kept.sort_by_key(|(_, first)| first.id);
        kept.into_iter().find(|(holder, first)| self.make_room(now, holder, first.amount))
    }

    /// Who comes before whom, if it had `more`: who has finished something before newcomers, then who has less. Whoever comes
    /// with many node IDs, or many requests, stands behind those who come with few so.
    fn rank(&self, holder: &Holder, more: u64) -> (bool, u64) {
        (!self.is_proved(holder), self.of_peer(holder).saturating_add(more))
    }

    /// Whose turn it is: of those whose own share is not used up, the first by rank, and among equals who has waited longest.
    fn next_waiting(&self) -> Option<(Holder, Waiter)> {
        let turns = self.first_of_each().filter(|(holder, first)| self.has_turn(holder, first));
        turns.min_by_key(|(holder, first)| (self.rank(holder, 0), first.id))
    }

    fn first_of_each(&self) -> impl Iterator<Item = (Holder, Waiter)> {
        self.waiting.iter().filter_map(|(holder, line)| Some((*holder, *line.front()?)))
    }

    /// Whether somebody's own share is not used up.
    fn has_turn(&self, holder: &Holder, waiter: &Waiter) -> bool {
        matches!(self.check(holder, waiter.amount), Ok(()) | Err(Full::Total(_)))
    }

    fn is_idle(&self, now: Instant, hold: &Hold) -> bool {
        let is_over = |idle| now.saturating_duration_since(hold.marked) >= idle;
        hold.kept_since.is_none() && self.quota.yields_after.is_some_and(is_over)
    }

    /// Revokes what makes no progress until `amount` is free for `holder`; nothing if that would not be enough.
    fn make_room(&mut self, now: Instant, holder: &Holder, amount: u64) -> bool {
        let Some(chosen) = self.idle_enough(now, holder, amount) else { return false };
        for id in chosen {
            self.remove(id);
            self.decisions.push_back(Decision::Revoked(id));
        }
        true
    }

    /// What makes no progress and would leave `amount` for `holder` within all of its limits; `None` if there is not enough
    /// of it.
    fn idle_enough(&self, now: Instant, holder: &Holder, amount: u64) -> Option<Vec<HoldId>> {
        self.quota.yields_after?;
        let holds = self.holds.iter().filter(|(_, hold)| self.is_idle(now, hold));
        let mut candidates: Vec<Idle> = holds
            .map(|(id, hold)| Idle { id: *id, holder: hold.holder, amount: hold.amount, marked: hold.marked })
            .collect();
        // Who comes last loses first, and of that what has stood still for longest.
        candidates.sort_by_key(|idle| (std::cmp::Reverse(self.rank(&idle.holder, 0)), idle.marked, idle.id));
        let over = |limit: u64, held: u64| held.saturating_add(amount).saturating_sub(limit);
        let mut chosen = Vec::new();
        // The narrowest limit first: what its own holds give up counts for the wider ones, too.
        if holder.is_somebody() {
            let own = over(self.peer_limit(holder), self.of_peer(holder));
            choose(&candidates, &mut chosen, own, |of| of == holder)?;
            if let Some(subnet) = holder.subnet() {
                let of_subnet = over(self.quota.of_subnet, self.of_subnet(holder));
                choose(&candidates, &mut chosen, of_subnet, |of| of.subnet() == Some(subnet))?;
            }
        }
        // Of others only those who would not come before it then: nobody drives others out.
        let own = self.rank(holder, amount);
        let may_go = |of: &Holder| of == holder || self.rank(of, 0) >= own;
        choose(&candidates, &mut chosen, over(self.quota.total, self.total()), may_go)?;
        Some(chosen.into_iter().map(|idle| idle.id).collect())
    }

    fn hold(&mut self, now: Instant, holder: Holder, amount: u64) -> HoldId {
        let id = HoldId(self.draw());
        self.counts.add(&holder, amount);
        self.holds.insert(id, Hold { holder, amount, marked: now, progress: 0, kept_since: None });
        id
    }

    fn remove(&mut self, hold: HoldId) -> bool {
        let Some(Hold { holder, amount, .. }) = self.holds.remove(&hold) else { return false };
        self.counts.remove(&holder, amount);
        true
    }

    const fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A hold that makes no progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Idle {
    id: HoldId,
    holder: Holder,
    amount: u64,
    marked: Instant,
}

/// Adds to `chosen` the first of the idle holds that may go, until those that may come to `wanted`; `None` if they never do.
fn choose(idle: &[Idle], chosen: &mut Vec<Idle>, wanted: u64, may_go: impl Fn(&Holder) -> bool) -> Option<()> {
    let mut freed: u64 = chosen.iter().filter(|hold| may_go(&hold.holder)).map(|hold| hold.amount).sum();
    for hold in idle {
        if freed >= wanted {
            break;
        }
        if may_go(&hold.holder) && !chosen.contains(hold) {
            freed = freed.saturating_add(hold.amount);
            chosen.push(*hold);
        }
    }
    (freed >= wanted).then_some(())
}

/// How long [`Quota::yields_after`] is where progress is a matter of round trips: long enough for a slow path, short enough
/// for whoever waits.
pub const USUAL_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
