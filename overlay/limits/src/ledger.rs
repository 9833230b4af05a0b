//! Who holds how much, as a state machine: what is asked for and given back goes in with the time, what was granted and who
//! has to make room comes out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hashlink::LruCache;

use self::lines::{Lines, Waiter};
use crate::counts::Counts;
use crate::holder::{Holder, Subnet};
use crate::quota::{Full, MIN_PROGRESS, Quota};

mod lines;
mod revoking;

/// Peers that are remembered as having finished something.
const MAX_PROVED: usize = 4096;

/// How often it is looked, at most, whether those who have used up their own share could have some of it back: that takes a walk
/// over all that is held.
const KEPT_INTERVAL: Duration = Duration::from_millis(20);

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

/// The counts.
#[derive(Debug)]
pub struct Ledger {
    quota: Quota,
    counts: Counts,
    holds: BTreeMap<HoldId, Hold>,
    waiting: Lines,
    proved: LruCache<Holder, ()>,
    decisions: VecDeque<Decision>,
    next: u64,
    /// No hold that moves now will have stood still for too long before this, and there is nothing else to look at before.
    next_look: Option<Instant>,
    /// When it may be looked again at those whose own share is used up.
    kept_from: Option<Instant>,
    /// Whether there will be a reason for that then.
    is_kept_due: bool,
}

impl Ledger {
    /// Nothing is held.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            counts: Counts::default(),
            holds: BTreeMap::new(),
            waiting: Lines::default(),
            proved: LruCache::new(MAX_PROVED),
            decisions: VecDeque::new(),
            next: 0,
            next_look: None,
            kept_from: None,
            is_kept_due: false,
        }
    }

    /// What there is, and for whom.
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Changes what there is. What is held stays.
    pub fn set_quota(&mut self, now: Instant, quota: Quota) {
        self.quota = quota;
        // Whatever was known of when something will be idle is not, any more.
        self.next_look = Some(now);
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
            Ok(()) | Err(Full::Total(_)) if self.is_before(holder) => Err(Full::Total(self.quota.total)),
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
            Ok(()) | Err(Full::Total(_)) if self.is_before(&holder) => Err(Full::Total(self.quota.total)),
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
        self.waiting.push(Waiter { id, holder, amount });
        self.handle_timeout(now);
        Ok(id)
    }

    /// Somebody waits no longer. What was granted meanwhile and not yet told is given back.
    pub fn give_up(&mut self, now: Instant, holder: &Holder, waiter: WaiterId) {
        self.waiting.remove(holder, waiter);
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
                let marked = hold.marked;
                self.expect_idle(now, marked);
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

    /// Adds what `other` holds to a hold of the same holder; whether that was so. All of it is lost when the hold is.
    pub fn join(&mut self, now: Instant, hold: HoldId, other: HoldId) -> bool {
        let is_same = |a: &Hold, b: &Hold| a.holder == b.holder;
        match (self.holds.get(&hold), self.holds.get(&other)) {
            (Some(a), Some(b)) if hold != other && is_same(a, b) => {}
            _ => return false,
        }
        let amount = self.holds.remove(&other).map_or(0, |other| other.amount);
        if let Some(hold) = self.holds.get_mut(&hold) {
            hold.amount += amount;
        }
        // If it has stood still for too long, what has come to it has, too.
        self.serve_waiting(now);
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) could make room for those who wait: when the next hold will have stood
    /// still for too long, or before. To be asked at the time that `handle_timeout` was just called with: what had stood still by then
    /// was of no use to anybody who waits, and is passed over here. Unlike the time of other state machines it is no output among the
    /// others: now and then it takes a walk over all holds, and nobody needs it unless somebody waits.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        if self.next_look.is_none_or(|at| at <= now) {
            let kept = self.kept_from.filter(|at| self.is_kept_due && *at > now);
            self.next_look = self.next_idle(now).into_iter().chain(kept).min();
        }
        self.next_look
    }

    /// What [`poll_timeout`](Self::poll_timeout) would say, or before that: whoever waits for that time is to be told when this
    /// comes before it.
    pub(crate) const fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Whether nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the next hold will have stood still for too long.
    pub fn next_idle(&self, now: Instant) -> Option<Instant> {
        let idle = self.quota.yields_after?;
        let yielding = self.holds.values().filter(|hold| hold.kept_since.is_none());
        yielding.map(|hold| hold.marked + idle).filter(|at| *at > now).min()
    }

    /// A hold that was marked then moves from now on, or stands still.
    fn expect_idle(&mut self, now: Instant, marked: Instant) {
        if let Some(at) = self.quota.yields_after.map(|idle| marked + idle).filter(|at| *at > now) {
            self.look_at(at);
        }
    }

    fn look_at(&mut self, at: Instant) {
        self.next_look = Some(self.next_look.map_or(at, |next| next.min(at)));
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
        self.next_waiting().is_some_and(|first| self.rank(&first.holder, 0) <= own)
    }

    fn serve_waiting(&mut self, now: Instant) {
        self.serve_turns(now);
        if self.serve_kept(now) {
            // What was revoked for one has left room for others.
            self.serve_turns(now);
        }
    }

    /// Serves those whose own share is not used up.
    fn serve_turns(&mut self, now: Instant) {
        while let Some(first) = self.next_waiting() {
            if self.check(&first.holder, first.amount).is_err() && !self.make_room(now, &first.holder, first.amount) {
                break;
            }
            self.grant(now, first);
        }
    }

    /// Serves those whose own share is used up, and used by what makes no progress: one request of each. False if
    /// nothing was done.
    fn serve_kept(&mut self, now: Instant) -> bool {
        let mut kept: Vec<_> = self.firsts().filter(|(_, has_turn)| !has_turn).map(|(first, _)| first).collect();
        if kept.is_empty() || self.quota.yields_after.is_none() {
            return false;
        }
        if let Some(at) = self.kept_from.filter(|at| *at > now) {
            self.is_kept_due = true;
            self.look_at(at);
            return false;
        }
        (self.kept_from, self.is_kept_due) = (Some(now + KEPT_INTERVAL), false);
        let (mut of_peer, mut of_subnet) = (HashMap::<Holder, u64>::new(), HashMap::<Subnet, u64>::new());
        for (_, hold) in self.idle(now) {
            *of_peer.entry(hold.holder).or_default() += hold.amount;
            if let Some(subnet) = hold.holder.subnet() {
                *of_subnet.entry(subnet).or_default() += hold.amount;
            }
        }
        kept.sort_by_key(|first| first.id);
        let mut has_served = false;
        for first in kept {
            let need = self.need(&first.holder, first.amount);
            let of_subnet = first.holder.subnet().and_then(|subnet| of_subnet.get(&subnet));
            let is_enough = |idle: Option<&u64>, need| idle.is_some_and(|idle| *idle >= need) || need == 0;
            if is_enough(of_peer.get(&first.holder), need.of_peer)
                && is_enough(of_subnet, need.of_subnet)
                && self.make_room(now, &first.holder, first.amount)
            {
                self.grant(now, first);
                has_served = true;
            }
        }
        if has_served {
            // They may want more.
            self.is_kept_due = true;
            self.look_at(now + KEPT_INTERVAL);
        }
        has_served
    }

    fn grant(&mut self, now: Instant, Waiter { id, holder, amount }: Waiter) {
        self.waiting.remove(&holder, id);
        let hold = self.hold(now, holder, amount);
        self.decisions.push_back(Decision::Granted(id, hold));
    }

    /// Who comes before whom, if it had `more`: who has finished something before newcomers, then who has less. Whoever comes
    /// with many node IDs, or many requests, stands behind those who come with few so.
    fn rank(&self, holder: &Holder, more: u64) -> (bool, u64) {
        (!self.is_proved(holder), self.of_peer(holder).saturating_add(more))
    }

    /// Whose turn it is: of those whose own share is not used up, the first by rank, and among equals who has waited longest.
    fn next_waiting(&self) -> Option<Waiter> {
        let turns = self.firsts().filter(|(_, has_turn)| *has_turn).map(|(first, _)| first);
        turns.min_by_key(|first| (self.rank(&first.holder, 0), first.id))
    }

    /// Of each who waits the first request that its own share leaves room for, and true; or its first one and false.
    fn firsts(&self) -> impl Iterator<Item = (Waiter, bool)> {
        self.waiting.firsts(|holder| self.counts.own_room(&self.quota, self.peer_limit(holder), holder))
    }

    fn hold(&mut self, now: Instant, holder: Holder, amount: u64) -> HoldId {
        let id = HoldId(self.draw());
        self.counts.add(&holder, amount);
        self.expect_idle(now, now);
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

/// How long [`Quota::yields_after`] is where progress is a matter of round trips: long enough for a slow path, short enough
/// for whoever waits.
pub const USUAL_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
