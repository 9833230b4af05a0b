//! The thread that does what no caller should wait for: checkpoints, evictions that were put off, giving room back.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    commit::Work,
    core::Core,
    error::StoreError,
    reclaim::{self, Reclaimer},
};

/// How often the thread looks whether there is something to do.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two attempts to let radii grow.
const TICKS_BETWEEN_GROWTH: u32 = 600;

/// The running thread; it is stopped and joined when this is dropped.
#[derive(Debug)]
pub(crate) struct Maintenance {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the thread to stop, wherever it waits.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    stop: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Waits for `time`; returns early, and `true`, when the thread has to stop.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut stop = self.stop.lock();
        if !*stop {
            self.changed.wait_for(&mut stop, time);
        }
        *stop
    }
}

impl Maintenance {
    pub(crate) fn start(core: Arc<Core>) -> Result<Self, StoreError> {
        let signal = Arc::new(Signal::default());
        let for_thread = signal.clone();
        let thread = thread::Builder::new()
            .name("cairn-store".into())
            .spawn(move || run(&core, &for_thread))
            .map_err(StoreError::io("start the maintenance thread of", "the store"))?;
        Ok(Self { signal, thread: Some(thread) })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        *self.signal.stop.lock() = true;
        self.signal.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's maintenance thread panicked");
        }
    }
}

fn run(core: &Core, signal: &Signal) {
    let mut reclaimer = Reclaimer::default();
    let mut ticks_to_growth = TICKS_BETWEEN_GROWTH;
    let mut checkpointed = 0;
    let mut is_failing = false;
    while !signal.wait(TICK) {
        let grow = ticks_to_growth == 0;
        ticks_to_growth = if grow { TICKS_BETWEEN_GROWTH } else { ticks_to_growth - 1 };
        let result = tick(core, signal, &mut reclaimer, &mut checkpointed, grow);
        // A full disk would otherwise be reported ten times a second.
        if let (Err(error), false) = (&result, is_failing) {
            tracing::warn!(%error, "maintenance of the store failed; it is tried again");
        }
        is_failing = result.is_err();
    }
}

fn tick(
    core: &Core,
    signal: &Signal,
    reclaimer: &mut Reclaimer,
    checkpointed: &mut u64,
    grow: bool,
) -> Result<(), StoreError> {
    if grow {
        core.commit_now(Work { grow, ..Work::default() })?;
    }
    while core.has_leftovers() {
        core.commit_now(Work::default())?;
        if signal.wait(reclaim::PAUSE) {
            return Ok(());
        }
    }
    let written = core.counters.written.load(Ordering::Relaxed);
    if written != *checkpointed {
        // What is buried by now is buried in the checkpoint too.
        let buried = std::mem::take(&mut *core.graveyard.lock());
        core.checkpoint()?;
        *checkpointed = written;
        reclaim::punch(core, signal, buried)?;
    }
    reclaimer.rewrite_one(core, signal)
}

impl Core {
    fn has_leftovers(&self) -> bool {
        let committer = self.committer.lock();
        committer.has_leftovers(&self.ledger.read().networks)
    }

    /// Returns when the index has everything that was committed before, safe from a crash.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.index.flush().map_err(|error| self.index_failed(error))
    }
}
