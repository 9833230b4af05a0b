//! Who holds how much, as a state machine: what is asked for and given back goes in with the time, what was granted and who
//! has to make room comes out.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use hashlink::LruCache;

use crate::holder::{Holder, Subnet};
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
}

#[derive(Debug)]
struct Waiter {
    id: WaiterId,
    holder: Holder,
    amount: u64,
}

/// The counts.
#[derive(Debug)]
pub struct Ledger {
    quota: Quota,
    total: u64,
    by_peer: HashMap<Holder, u64>,
    by_subnet: HashMap<Subnet, u64>,
    holds: BTreeMap<HoldId, Hold>,
    waiting: VecDeque<Waiter>,
    proved: LruCache<Holder, ()>,
    decisions: VecDeque<Decision>,
    next: u64,
}

impl Ledger {
    /// Nothing is held.
    pub fn new(quota: Quota) -> Self {
        Self {
            quota,
            total: 0,
            by_peer: HashMap::new(),
            by_subnet: HashMap::new(),
            holds: BTreeMap::new(),
            waiting: VecDeque::new(),
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
        self.total
    }

    /// What one peer holds.
    pub fn of_peer(&self, holder: &Holder) -> u64 {
        self.by_peer.get(holder).copied().unwrap_or(0)
    }

    /// What the peers of a holder's subnet hold; nothing for a local network, which has no limit.
    pub fn of_subnet(&self, holder: &Holder) -> u64 {
        holder.subnet().and_then(|subnet| self.by_subnet.get(&subnet)).copied().unwrap_or(0)
    }

    /// How much more a holder could take at once.
    pub fn room_for(&self, holder: &Holder) -> u64 {
        let of_all = self.quota.total.saturating_sub(self.total);
        if !holder.is_somebody() {
            return of_all;
        }
        let of_peer = self.peer_limit(holder).saturating_sub(self.of_peer(holder));
        let of_subnet = match holder.subnet() {
            Some(_) => self.quota.of_subnet.saturating_sub(self.of_subnet(holder)),
            None => u64::MAX,
        };
        of_all.min(of_peer).min(of_subnet)
    }

    /// Whether `amount` could be taken now, without anybody losing what it holds.
    ///
    /// # Errors
    ///
    /// Which limit is reached, the narrowest first.
    pub fn check(&self, holder: &Holder, amount: u64) -> Result<(), Full> {
        if holder.is_somebody() {
            let limit = self.peer_limit(holder);
            if self.of_peer(holder).saturating_add(amount) > limit {
                let is_new = limit < self.quota.of_peer;
                return Err(if is_new { Full::Newcomer(limit) } else { Full::Peer(limit) });
            }
            if holder.subnet().is_some() && self.of_subnet(holder).saturating_add(amount) > self.quota.of_subnet {
                return Err(Full::Subnet(self.quota.of_subnet));
            }
        }
        if self.total.saturating_add(amount) > self.quota.total {
            return Err(Full::Total(self.quota.total));
        }
        Ok(())
    }

    /// Takes `amount`, from those who make no progress if all is taken. Whoever waits goes first.
    ///
    /// # Errors
    ///
    /// Which limit is reached; nothing was taken.
    pub fn take(&mut self, now: Instant, holder: Holder, amount: u64) -> Result<HoldId, Full> {
        match self.check(&holder, amount) {
            Ok(()) if self.is_somebody_kept_waiting() => Err(Full::Total(self.quota.total)),
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
        self.waiting.push_back(Waiter { id, holder, amount });
        self.handle_timeout(now);
        Ok(id)
    }

    /// Somebody waits no longer. What was granted meanwhile and not yet told is given back.
    pub fn give_up(&mut self, now: Instant, waiter: WaiterId) {
        self.waiting.retain(|other| other.id != waiter);
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
        }
    }

    /// What a hold was taken for came to its end as it should: its peer is no newcomer any more.
    pub fn prove(&mut self, now: Instant, hold: HoldId) {
        if let Some(hold) = self.holds.get(&hold)
            && hold.holder.is_somebody()
            && self.proved.insert(hold.holder, ()).is_none()
        {
            self.serve_waiting(now);
        }
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
        self.count_less(&holder, less);
        self.serve_waiting(now);
    }

    /// Parts `amount` of a hold off, or as much as it has.
    pub fn split(&mut self, hold: HoldId, amount: u64) -> Option<HoldId> {
        let of = self.holds.get_mut(&hold)?;
        let amount = amount.min(of.amount);
        of.amount -= amount;
        let part = Hold { holder: of.holder, amount, marked: of.marked, progress: 0 };
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
    /// still for too long. Those that have already were of no use to anybody who waits.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let idle = self.quota.yields_after?;
        if self.waiting.is_empty() {
            return None;
        }
        self.holds.values().map(|hold| hold.marked + idle).filter(|at| *at > now).min()
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
        if self.proved.peek(holder).is_some() { self.quota.of_peer } else { self.quota.of_newcomer }
    }

    /// Whether somebody waits whom only the limit for all keeps: nobody may pass it by, or it could wait for ever.
    fn is_somebody_kept_waiting(&self) -> bool {
        let is_kept =
            |waiter: &Waiter| matches!(self.check(&waiter.holder, waiter.amount), Err(Full::Total(_)) | Ok(()));
        self.waiting.iter().any(is_kept)
    }

    fn serve_waiting(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(Waiter { id, holder, amount }) = self.waiting.get(at).map(|of| Waiter { ..*of }) {
            match self.check(&holder, amount) {
                Ok(()) => {}
                Err(_) if self.make_room(now, &holder, amount) => {}
                Err(Full::Total(_)) => return,
                // Its own share is used up, which is no reason for others to wait.
                Err(Full::Peer(_) | Full::Newcomer(_) | Full::Subnet(_)) => {
                    at += 1;
                    continue;
                }
            }
            self.waiting.remove(at);
            // What was revoked has left room in its peers' shares: who was passed over may have its turn now.
            at = 0;
            let hold = self.hold(now, holder, amount);
            self.decisions.push_back(Decision::Granted(id, hold));
        }
    }

    /// Revokes what makes no progress until `amount` fits into every limit of `holder`. Takes from nobody if that would not
    /// be enough.
    fn make_room(&mut self, now: Instant, holder: &Holder, amount: u64) -> bool {
        let Some(idle) = self.quota.yields_after else { return false };
        let mut idle: Vec<Idle> = self
            .holds
            .iter()
            .filter(|(_, hold)| now.saturating_duration_since(hold.marked) >= idle)
            .map(|(id, hold)| (*id, hold.holder, hold.amount, hold.marked))
            .collect();
        // Who has most goes first, and of that what has stood still for longest.
        idle.sort_by_key(|(id, of, _, marked)| (std::cmp::Reverse(self.of_peer(of)), *marked, *id));
        let over = |limit: u64, held: u64| held.saturating_add(amount).saturating_sub(limit);
        let mut chosen = Vec::new();
        // The narrowest limit first: what its own holds give up counts for the wider ones, too.
        if holder.is_somebody() {
            let own = over(self.peer_limit(holder), self.of_peer(holder));
            if !choose(&idle, &mut chosen, own, |of| of == holder) {
                return false;
            }
            if let Some(subnet) = holder.subnet() {
                let of_subnet = over(self.quota.of_subnet, self.of_subnet(holder));
                if !choose(&idle, &mut chosen, of_subnet, |of| of.subnet() == Some(subnet)) {
                    return false;
                }
            }
        }
        // Of others only those who have at least as much as it would have then: nobody drives others out.
        let own = self.of_peer(holder).saturating_add(amount);
        let is_fair = |of: &Holder| of == holder || self.of_peer(of) >= own;
        if !choose(&idle, &mut chosen, over(self.quota.total, self.total), is_fair) {
            return false;
        }
        for (id, ..) in chosen {
            self.remove(id);
            self.decisions.push_back(Decision::Revoked(id));
        }
        true
    }

    fn hold(&mut self, now: Instant, holder: Holder, amount: u64) -> HoldId {
        let id = HoldId(self.draw());
        self.total += amount;
        if holder.is_somebody() {
            *self.by_peer.entry(holder).or_default() += amount;
            if let Some(subnet) = holder.subnet() {
                *self.by_subnet.entry(subnet).or_default() += amount;
            }
        }
        self.holds.insert(id, Hold { holder, amount, marked: now, progress: 0 });
        id
    }

    fn remove(&mut self, hold: HoldId) -> bool {
        let Some(Hold { holder, amount, .. }) = self.holds.remove(&hold) else { return false };
        self.count_less(&holder, amount);
        true
    }

    fn count_less(&mut self, holder: &Holder, amount: u64) {
        self.total -= amount;
        if holder.is_somebody() {
            less(&mut self.by_peer, holder, amount);
            if let Some(subnet) = holder.subnet() {
                less(&mut self.by_subnet, &subnet, amount);
            }
        }
    }

    const fn draw(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// A hold that makes no progress: whose, how much, and since when.
type Idle = (HoldId, Holder, u64, Instant);

/// Adds to `chosen` the first of the idle holds that may go, until those that may come to `wanted`; whether they do.
fn choose(idle: &[Idle], chosen: &mut Vec<Idle>, wanted: u64, may_go: impl Fn(&Holder) -> bool) -> bool {
    let mut freed: u64 = chosen.iter().filter(|(_, of, ..)| may_go(of)).map(|(_, _, amount, _)| amount).sum();
    for hold in idle {
        if freed >= wanted {
            break;
        }
        if may_go(&hold.1) && !chosen.contains(hold) {
            freed = freed.saturating_add(hold.2);
            chosen.push(*hold);
        }
    }
    freed >= wanted
}

/// Takes `amount` off a count, and forgets the key at zero: who had something once takes no room for ever.
fn less<K: Eq + std::hash::Hash>(counts: &mut HashMap<K, u64>, key: &K, amount: u64) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(amount);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// How long [`Quota::yields_after`] is where progress is a matter of round trips: long enough for a slow path, short enough
/// for whoever waits.
pub const USUAL_PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
