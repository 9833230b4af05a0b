//! The ledger shared by tasks: permits that are given back when they are dropped, and waiting for one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::holder::Holder;
use crate::ledger::{Decision, HoldId, Ledger, WaiterId};
use crate::quota::{Full, Quota};

/// What all share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    ledger: Ledger,
    waiting: HashMap<WaiterId, oneshot::Sender<HoldId>>,
    /// What tells the holders that they have lost what they hold.
    revocations: HashMap<HoldId, CancellationToken>,
}

/// A part of what all share, given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    hold: HoldId,
    amount: u64,
    revoked: CancellationToken,
}

impl Limiter {
    /// All of it is free.
    pub fn new(quota: Quota) -> Self {
        let state = State { ledger: Ledger::new(quota), waiting: HashMap::new(), revocations: HashMap::new() };
        Self { shared: Arc::new(Shared(Mutex::new(state))) }
    }

    /// Changes what there is from now on; what is held stays.
    pub fn set_quota(&self, quota: Quota) {
        self.shared.change(|ledger| ledger.set_quota(now(), quota));
    }

    /// What there is.
    pub fn quota(&self) -> Quota {
        *self.shared.0.lock().ledger.quota()
    }

    /// What is held in all.
    pub fn total(&self) -> u64 {
        self.shared.0.lock().ledger.total()
    }

    /// What one peer holds.
    pub fn of_peer(&self, holder: &Holder) -> u64 {
        self.shared.0.lock().ledger.of_peer(holder)
    }

    /// Whether `amount` could be taken now, without anybody losing what it holds.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn check(&self, holder: &Holder, amount: u64) -> Result<(), Full> {
        self.shared.0.lock().ledger.check(holder, amount)
    }

    /// Takes `amount` now.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn try_take(&self, holder: Holder, amount: u64) -> Result<Permit, Full> {
        let hold = self.shared.change(|ledger| ledger.take(now(), holder, amount))?;
        Ok(Shared::permit(&self.shared, hold, amount))
    }

    /// Takes `amount` as soon as it is there, in the order of asking; whoever waits for its own share keeps nobody else
    /// waiting.
    ///
    /// # Errors
    ///
    /// When there never is so much for this holder.
    pub async fn take(&self, holder: Holder, amount: u64) -> Result<Permit, Full> {
        let (tell, told) = oneshot::channel();
        let waiter = {
            let mut state = self.shared.0.lock();
            let waiter = state.ledger.wait(now(), holder, amount)?;
            state.waiting.insert(waiter, tell);
            state.carry_out();
            waiter
        };
        // If this future is dropped, its place in the queue goes with it.
        let mut queued = Queued { shared: &self.shared, waiter, told };
        loop {
            let next = self.shared.0.lock().ledger.poll_timeout(now());
            let granted = match next {
                Some(at) => tokio::select! {
                    granted = &mut queued.told => Some(granted),
                    () = tokio::time::sleep_until(at.into()) => None,
                },
                None => Some((&mut queued.told).await),
            };
            match granted {
                Some(Ok(hold)) => return Ok(Shared::permit(&self.shared, hold, amount)),
                // It is not dropped before it has told.
                Some(Err(_)) => return Err(Full::Total(self.quota().total)),
                None => self.shared.change(|ledger| ledger.handle_timeout(now())),
            }
        }
    }

    /// The same, for `patience` at most.
    ///
    /// # Errors
    ///
    /// Which limit kept it waiting until then.
    pub async fn take_within(&self, holder: Holder, amount: u64, patience: Duration) -> Result<Permit, Full> {
        match tokio::time::timeout(patience, self.take(holder, amount)).await {
            Ok(taken) => taken,
            Err(_) => Err(self.check(&holder, amount).err().unwrap_or(Full::Total(self.quota().total))),
        }
    }
}

impl Shared {
    /// Changes the ledger and carries out what it decides.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut state = self.0.lock();
        let result = change(&mut state.ledger);
        state.carry_out();
        result
    }

    fn permit(shared: &Arc<Self>, hold: HoldId, amount: u64) -> Permit {
        let revoked = shared.0.lock().revocations.entry(hold).or_default().clone();
        Permit { shared: Arc::clone(shared), hold, amount, revoked }
    }
}

impl State {
    fn carry_out(&mut self) {
        while let Some(decision) = self.ledger.poll_output() {
            match decision {
                Decision::Granted(waiter, hold) => {
                    // Known from here on: it may be revoked before its holder has looked.
                    self.revocations.insert(hold, CancellationToken::new());
                    let told = self.waiting.remove(&waiter).map(|tell| tell.send(hold));
                    if !matches!(told, Some(Ok(()))) {
                        self.revocations.remove(&hold);
                        self.ledger.release(now(), hold);
                    }
                }
                Decision::Revoked(hold) => {
                    if let Some(revoked) = self.revocations.get(&hold) {
                        revoked.cancel();
                    }
                }
            }
        }
    }
}

/// A place in the queue.
struct Queued<'a> {
    shared: &'a Shared,
    waiter: WaiterId,
    told: oneshot::Receiver<HoldId>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.0.lock();
        self.told.close();
        if let Ok(hold) = self.told.try_recv() {
            // Granted, and nobody has looked. Once it was looked at there is nothing left to receive.
            state.revocations.remove(&hold);
            state.ledger.release(now(), hold);
        } else if state.waiting.remove(&self.waiter).is_some() {
            state.ledger.give_up(now(), self.waiter);
        }
        state.carry_out();
    }
}

impl Permit {
    /// How much it stands for.
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// It moved so many bytes: see [`Quota::yields_after`].
    pub fn progress(&self, bytes: u64) {
        self.shared.0.lock().ledger.progress(now(), self.hold, bytes);
    }

    /// What it was taken for came to its end as it should: its peer is no newcomer any more.
    pub fn prove(&self) {
        self.shared.change(|ledger| ledger.prove(now(), self.hold));
    }

    /// Waits until it is lost to somebody else: its holder made no progress. What it was for has to stop.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }

    /// Whether it is lost.
    pub fn is_revoked(&self) -> bool {
        self.revoked.is_cancelled()
    }

    /// Takes over what `other` stands for. That has to be of the same holder, or it is given back.
    pub fn join(&mut self, other: Self) {
        let is_joined = self.shared.change(|ledger| ledger.join(self.hold, other.hold));
        if is_joined {
            self.amount += other.amount;
        }
    }

    /// Gives away `amount`, or as much as there is. `None` if it is lost.
    pub fn split_off(&mut self, amount: u64) -> Option<Self> {
        let amount = amount.min(self.amount);
        let hold = self.shared.change(|ledger| ledger.split(self.hold, amount))?;
        self.amount -= amount;
        Some(Shared::permit(&self.shared, hold, amount))
    }

    /// Gives back all above `amount`.
    pub fn shrink(&mut self, amount: u64) {
        if amount < self.amount {
            self.amount = amount;
            self.shared.change(|ledger| ledger.shrink(now(), self.hold, amount));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.0.lock();
        state.revocations.remove(&self.hold);
        state.ledger.release(now(), self.hold);
        state.carry_out();
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn peer(id: u8) -> Holder {
        Holder::peer([id; 32], [127, 0, 0, 1].into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_goes_to_who_has_waited_longest() {
        let limiter = Limiter::new(Quota::new(2).of_peer(1));
        let first = limiter.try_take(peer(1), 1).unwrap();
        let _second = limiter.try_take(peer(2), 1).unwrap();
        let mut same = pin!(limiter.take(peer(1), 1));
        let mut other = pin!(limiter.take(peer(3), 1));
        assert!(futures::poll!(&mut same).is_pending() && futures::poll!(&mut other).is_pending());
        drop(first);
        let taken = same.await.unwrap();
        assert!(futures::poll!(&mut other).is_pending());
        drop(taken);
        assert_eq!(other.await.unwrap().amount(), 1);
        assert_eq!(limiter.total(), 1);
        assert!(matches!(limiter.take(peer(1), 2).await, Err(Full::Peer(1))), "more than it ever has");
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_leaves_nothing_behind() {
        let limiter = Limiter::new(Quota::new(1));
        let held = limiter.try_take(peer(1), 1).unwrap();
        let patience = Duration::from_secs(1);
        assert_eq!(limiter.take_within(peer(2), 1, patience).await.unwrap_err(), Full::Total(1));
        {
            let mut waiting = pin!(limiter.take(peer(2), 1));
            assert!(futures::poll!(&mut waiting).is_pending());
            // Granted, and dropped before it looked.
            drop(held);
        }
        assert_eq!(limiter.total(), 0);
        let state = limiter.shared.0.lock();
        assert!(state.waiting.is_empty() && state.revocations.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_are_told_that_they_have_lost_their_place() {
        let idle = Duration::from_secs(1);
        let limiter = Limiter::new(Quota::new(1).yields_after(idle));
        let held = limiter.try_take(peer(1), 1).unwrap();
        let taken = limiter.take(peer(2), 1).await.unwrap();
        assert!(held.is_revoked() && !taken.is_revoked());
        held.revoked().await;
        drop(held);
        assert_eq!(limiter.total(), 1, "what was lost is not given back twice");
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_parted_and_put_together() {
        let limiter = Limiter::new(Quota::new(100));
        let mut held = limiter.try_take(peer(1), 60).unwrap();
        held.join(limiter.try_take(peer(1), 40).unwrap());
        assert!(limiter.try_take(peer(2), 1).is_err());
        let value = held.split_off(70).unwrap();
        held.shrink(10);
        assert_eq!((value.amount(), held.amount(), limiter.total()), (70, 10, 80));
        held.join(value);
        held.join(limiter.try_take(peer(2), 20).unwrap());
        assert_eq!((held.amount(), limiter.total()), (80, 80), "another's is given back");
        assert_eq!(held.split_off(1_000).unwrap().amount(), 80);
    }
}
