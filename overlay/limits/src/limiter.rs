//! The ledger shared by tasks: permits that are given back when they are dropped, and waiting for one.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::holder::Holder;
use crate::ledger::{Decision, HoldId, Ledger, WaiterId};
use crate::quota::{Full, Quota};

/// What all share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter {
    shared: Arc<SharedLedger>,
}

/// The ledger as limiters and permits share it.
#[derive(Debug)]
struct SharedLedger {
    state: Mutex<LimiterState>,
    /// Something was given back or lost: there may be room for who only asks.
    freed: Notify,
    /// What the timekeeper waits for may come sooner, or nobody waits any more.
    sooner: Notify,
}

/// The ledger, and who is to be told of its decisions.
#[derive(Debug)]
struct LimiterState {
    ledger: Ledger,
    waiting: HashMap<WaiterId, oneshot::Sender<HoldId>>,
    /// What tells the holders that they have lost what they hold.
    revocations: HashMap<HoldId, CancellationToken>,
    /// Whether there is a task that looks at the clock for those who wait: one for all of them, since a change that each had to
    /// look at would cost the more the more there are.
    is_timed: bool,
}

/// A part of what all share, given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<SharedLedger>,
    hold: HoldId,
    amount: u64,
    revoked: CancellationToken,
}

impl Limiter {
    /// All of it is free.
    pub fn new(quota: Quota) -> Self {
        let state = LimiterState {
            ledger: Ledger::new(quota),
            waiting: HashMap::new(),
            revocations: HashMap::new(),
            is_timed: false,
        };
        let state = Mutex::new(state);
        Self { shared: Arc::new(SharedLedger { state, freed: Notify::new(), sooner: Notify::new() }) }
    }

    /// Changes what there is from now on; what is held stays.
    pub fn set_quota(&self, quota: Quota) {
        self.shared.change(|ledger| ledger.set_quota(now(), quota));
    }

    /// What there is.
    pub fn quota(&self) -> Quota {
        *self.shared.state.lock().ledger.quota()
    }

    /// What is held in all.
    pub fn total(&self) -> u64 {
        self.shared.state.lock().ledger.total()
    }

    /// What one peer holds.
    pub fn of_peer(&self, holder: &Holder) -> u64 {
        self.shared.state.lock().ledger.of_peer(holder)
    }

    /// Whether `amount` could be taken now, without anybody losing what it holds.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn check(&self, holder: &Holder, amount: u64) -> Result<(), Full> {
        self.shared.state.lock().ledger.check(holder, amount)
    }

    /// Takes `amount` now.
    ///
    /// # Errors
    ///
    /// Which limit is reached.
    pub fn try_take(&self, holder: Holder, amount: u64) -> Result<Permit, Full> {
        let (outcome, is_sooner) = self.shared.state.lock().carry_out(|state| {
            let hold = state.ledger.take(now(), holder, amount)?;
            Ok(state.permit(&self.shared, hold, amount))
        });
        self.shared.tell(is_sooner);
        outcome
    }

    /// Takes `amount` as soon as it is there: who has less goes first, and among equals who has asked first. Whoever waits for its
    /// own share keeps nobody else waiting.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, if it has to wait.
    ///
    /// # Errors
    ///
    /// When there never is so much for this holder.
    pub async fn take(&self, holder: Holder, amount: u64) -> Result<Permit, Full> {
        // Mostly there is room, and nobody to wait for.
        if let Ok(permit) = self.try_take(holder, amount) {
            return Ok(permit);
        }
        let (tell, told) = oneshot::channel();
        let (waiter, is_sooner) = self.shared.state.lock().carry_out(|state| {
            let waiter = state.ledger.wait(now(), holder, amount)?;
            state.waiting.insert(waiter, tell);
            Ok((waiter, !std::mem::replace(&mut state.is_timed, true)))
        });
        let (waiter, is_first) = waiter?;
        // If this future is dropped, its place in the queue goes with it.
        let mut queued = Queued { shared: &self.shared, holder, waiter, told };
        self.shared.tell(is_sooner);
        if is_first {
            // Without the lock: a runtime that is ending drops the task here and now, and its end takes the lock.
            tokio::spawn(keep_time(Timekeeper { shared: Arc::clone(&self.shared), is_done: false }));
        }
        match (&mut queued.told).await {
            Ok(hold) => Ok(SharedLedger::permit(&self.shared, hold, amount)),
            // It is not dropped before it has told.
            Err(_) => Err(Full::Total(self.quota().total)),
        }
    }

    /// Takes `amount` as soon as it is there, for `patience` at most.
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

impl Limiter {
    /// Waits until `amount` could be taken, for `patience` at most, and takes nothing.
    ///
    /// # Errors
    ///
    /// Which limit is reached until then.
    pub async fn available_within(&self, holder: Holder, amount: u64, patience: Duration) -> Result<(), Full> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            let mut freed = pin!(self.shared.freed.notified());
            // Before it looks: what is freed in between wakes it.
            freed.as_mut().enable();
            let next = {
                let (state, now) = (self.shared.state.lock(), now());
                match state.ledger.could_take(now, &holder, amount) {
                    Ok(()) => return Ok(()),
                    Err(full) if now >= end.into_std() => return Err(full),
                    Err(_) => state.ledger.next_idle(now),
                }
            };
            let next = next.map_or(end, |at| end.min(at.into()));
            tokio::select! {
                () = freed => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// A peer finished something elsewhere that counts here too: it is no newcomer any more.
    pub fn prove(&self, holder: Holder) {
        self.shared.change(|ledger| ledger.prove_holder(now(), holder));
    }

    /// Whether a peer has finished something.
    pub fn is_proved(&self, holder: &Holder) -> bool {
        self.shared.state.lock().ledger.is_proved(holder)
    }
}

impl SharedLedger {
    /// Changes the ledger and carries out what it decides.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        self.change_state(|state| change(&mut state.ledger))
    }

    fn change_state<T>(&self, change: impl FnOnce(&mut LimiterState) -> T) -> T {
        let (result, is_sooner) = self.state.lock().carry_out(change);
        self.tell(is_sooner);
        self.freed.notify_waiters();
        result
    }

    fn tell(&self, is_sooner: bool) {
        if is_sooner {
            self.sooner.notify_waiters();
        }
    }

    fn permit(shared: &Arc<Self>, hold: HoldId, amount: u64) -> Permit {
        shared.state.lock().permit(shared, hold, amount)
    }
}

impl LimiterState {
    fn permit(&mut self, shared: &Arc<SharedLedger>, hold: HoldId, amount: u64) -> Permit {
        let revoked = self.revocations.entry(hold).or_default().clone();
        Permit { shared: Arc::clone(shared), hold, amount, revoked }
    }

    /// Changes the ledger and carries out what it decides; and whether the timekeeper has to look sooner for that, or no more.
    fn carry_out<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = self.ledger.next_look();
        let result = change(self);
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
        let after = self.ledger.next_look();
        let is_sooner = after.is_some_and(|after| before.is_none_or(|before| after < before));
        (result, self.is_timed && (is_sooner || self.ledger.is_idle()))
    }
}

/// Whoever looks at the clock. If it goes before its work is done, with its runtime, the next who waits needs another one.
struct Timekeeper {
    shared: Arc<SharedLedger>,
    is_done: bool,
}

impl Drop for Timekeeper {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.state.lock().is_timed = false;
        }
    }
}

/// Looks for what has stood still for too long, for as long as anybody waits for room.
async fn keep_time(mut keeper: Timekeeper) {
    let shared = Arc::clone(&keeper.shared);
    loop {
        let mut sooner = pin!(shared.sooner.notified());
        // Before it looks: what changes in between wakes it.
        sooner.as_mut().enable();
        let next = {
            let (mut state, now) = (shared.state.lock(), now());
            // At the same instant as what comes next is asked for: what became idle before this task had its turn would else be
            // passed over, and nobody looked at it again.
            state.carry_out(|state| state.ledger.handle_timeout(now));
            if state.ledger.is_idle() {
                // With the lock held: who waits from now on sees that nobody keeps the time.
                state.is_timed = false;
                keeper.is_done = true;
                None
            } else {
                Some(state.ledger.poll_timeout(now))
            }
        };
        // There may be room for who only asks.
        shared.freed.notify_waiters();
        let Some(next) = next else { return };
        let passed = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sooner => {}
            () = passed => {}
        }
    }
}

/// A place in the queue.
struct Queued<'a> {
    shared: &'a SharedLedger,
    holder: Holder,
    waiter: WaiterId,
    told: oneshot::Receiver<HoldId>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.shared.change_state(|state| {
            self.told.close();
            if let Ok(hold) = self.told.try_recv() {
                // Granted, and nobody has looked. Once it was looked at there is nothing left to receive.
                state.revocations.remove(&hold);
                state.ledger.release(now(), hold);
            } else if state.waiting.remove(&self.waiter).is_some() {
                state.ledger.give_up(now(), &self.holder, self.waiter);
            }
        });
    }
}

impl Permit {
    /// How much it stands for.
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// It moved so many bytes: see [`Quota::yields_after`].
    pub fn progress(&self, bytes: u64) {
        self.shared.state.lock().ledger.progress(now(), self.hold, bytes);
    }

    /// What it was taken for came to its end as it should: its peer is no newcomer any more.
    pub fn prove(&self) {
        self.shared.change(|ledger| ledger.prove(now(), self.hold));
    }

    /// Waits until it is lost to somebody else: its holder made no progress. What it was for has to stop.
    pub fn revoked(&self) -> WaitForCancellationFutureOwned {
        self.revoked.clone().cancelled_owned()
    }

    /// Whether it is lost.
    pub fn is_revoked(&self) -> bool {
        self.revoked.is_cancelled()
    }

    /// Whether it may be lost for want of progress: not while its holder waits for this node. See [`Quota::yields_after`].
    pub fn set_yielding(&self, yields: bool) {
        self.shared.change(|ledger| ledger.set_yielding(now(), self.hold, yields));
    }

    /// Takes over what `other` stands for. That has to be of the same holder, and this not lost meanwhile, or it is given
    /// back; whether it was taken over.
    pub fn join(&mut self, other: Self) -> bool {
        let is_joined = self.shared.change(|ledger| ledger.join(now(), self.hold, other.hold));
        if is_joined {
            self.amount += other.amount;
        }
        is_joined
    }

    /// Gives away `amount`, or as much as there is. `None` if it is lost.
    pub fn split_off(&mut self, amount: u64) -> Option<Self> {
        let amount = amount.min(self.amount);
        // Known before the lock is released: it may be revoked from then on.
        let mut state = self.shared.state.lock();
        let hold = state.ledger.split(self.hold, amount)?;
        self.amount -= amount;
        Some(state.permit(&self.shared, hold, amount))
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
        self.shared.change_state(|state| {
            state.revocations.remove(&self.hold);
            state.ledger.release(now(), self.hold);
        });
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
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
        let state = limiter.shared.state.lock();
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
    async fn who_only_asks_is_told_when_there_is_room_and_takes_none() {
        let idle = Duration::from_secs(1);
        let limiter = Limiter::new(Quota::new(2).of_peer(1).yields_after(idle));
        let (held, other) = (limiter.try_take(peer(1), 1).unwrap(), limiter.try_take(peer(2), 1).unwrap());
        assert_eq!(
            limiter.available_within(peer(1), 1, idle / 2).await,
            Err(Full::Peer(1)),
            "its own has not stood still"
        );
        let now = tokio::time::Instant::now();
        held.progress(u64::MAX);
        other.progress(u64::MAX);
        assert_eq!(limiter.available_within(peer(3), 1, 9 * idle).await, Ok(()));
        assert_eq!(now.elapsed(), idle, "as soon as somebody has stood still for too long");
        assert!(!held.is_revoked() && !other.is_revoked());
        held.progress(u64::MAX);
        other.progress(u64::MAX);
        let mut asking = pin!(limiter.available_within(peer(3), 1, 9 * idle));
        assert!(futures::poll!(&mut asking).is_pending());
        drop(held);
        assert_eq!(futures::poll!(&mut asking), std::task::Poll::Ready(Ok(())));
        assert_eq!(limiter.total(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_when_something_may_be_lost_from_now_on() {
        let idle = Duration::from_secs(1);
        let limiter = Limiter::new(Quota::new(1).yields_after(idle));
        let held = limiter.try_take(peer(1), 1).unwrap();
        held.set_yielding(false);
        let mut waiting = pin!(limiter.take(peer(2), 1));
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::time::advance(9 * idle).await;
        assert!(futures::poll!(&mut waiting).is_pending() && !held.is_revoked());
        held.set_yielding(true);
        let taken = tokio::time::timeout(2 * idle, waiting).await.expect("its idle time is over");
        assert!(taken.is_ok() && held.is_revoked());
    }

    /// A busy machine lets the task that keeps the time wait for its turn.
    #[tokio::test(start_paused = true)]
    async fn what_became_idle_before_it_was_looked_for_is_not_passed_over() {
        let idle = Duration::from_secs(1);
        let limiter = Limiter::new(Quota::new(2).yields_after(idle));
        let _held = [1, 1].map(|id| limiter.try_take(peer(id), 1).unwrap());
        // Blocks the only thread while time goes by: `advance` lets other tasks run after it has moved the clock.
        let mut waiting = pin!(limiter.take(peer(2), 2));
        assert!(futures::poll!(&mut waiting).is_pending());
        tokio::time::advance(2 * idle).await;
        assert!(tokio::time::timeout(idle, waiting).await.expect("both have stood still").is_ok());
    }

    /// Its task is dropped where it is made, and nobody stands still for that.
    #[test]
    fn a_runtime_that_ends_leaves_no_lock_behind() {
        struct WaitsAtTheEnd(Limiter);
        impl Drop for WaitsAtTheEnd {
            fn drop(&mut self) {
                let waiting = Box::pin(self.0.take(peer(2), 1));
                let _ = futures::FutureExt::now_or_never(waiting);
            }
        }
        let limiter = Limiter::new(Quota::new(1));
        let _held = limiter.try_take(peer(1), 1).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let at_the_end = WaitsAtTheEnd(limiter.clone());
        runtime.spawn(async move {
            let _at_the_end = at_the_end;
            std::future::pending::<()>().await;
        });
        runtime.block_on(tokio::task::yield_now());
        drop(runtime);
        assert_eq!(limiter.total(), 1);
        assert!(!limiter.shared.state.lock().is_timed);
    }

    /// The clock is looked at by a task of its own, as long as there is a reason.
    #[tokio::test(start_paused = true)]
    async fn a_future_that_nobody_polls_keeps_no_other_waiting() {
        let idle = Duration::from_secs(1);
        let limiter = Limiter::new(Quota::new(2).yields_after(idle));
        let held = [1, 1].map(|id| limiter.try_take(peer(id), 1).unwrap());
        let mut unpolled = Box::pin(limiter.take(peer(2), 1));
        assert!(futures::poll!(&mut unpolled).is_pending());
        let taken = tokio::time::timeout(2 * idle, limiter.take(peer(3), 1)).await.expect("two have stood still");
        assert!(taken.is_ok() && held.iter().all(Permit::is_revoked));
        drop(unpolled);
        assert_eq!(limiter.total(), 1);
        tokio::task::yield_now().await;
        assert!(!limiter.shared.state.lock().is_timed);
        assert_eq!(
            Arc::strong_count(&limiter.shared),
            2 + held.len(),
            "none but this, what is taken, and what was lost"
        );
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
