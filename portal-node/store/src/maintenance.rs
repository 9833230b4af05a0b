//! The thread that does what no caller should wait for: checkpoints, evictions that were put off, giving room back.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{commit::Work, core::Core, error::StoreError, reclaim::Reclaimer};

/// Pause when there was nothing to do.
const IDLE: Duration = Duration::from_millis(100);
/// Pause between two steps. The file system's journal makes commits wait for what is done here, so it is done in small
/// steps and never at full speed.
const PAUSE: Duration = Duration::from_millis(1);
/// Least time between two checkpoints.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// Least time between two attempts to let radii grow.
const GROWTH_INTERVAL: Duration = Duration::from_secs(60);

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
    let mut work = Steps {
        reclaimer: Reclaimer::default(),
        checkpointed: 0,
        last_checkpoint: Instant::now(),
        last_growth: Instant::now(),
    };
    let mut is_failing = false;
    let mut pause = PAUSE;
    while !signal.wait(pause) {
        let result = work.step(core);
        // A full disk would otherwise be reported ten times a second.
        if let (Err(error), false) = (&result, is_failing) {
            tracing::warn!(%error, "maintenance of the store failed; it is tried again");
        }
        is_failing = result.is_err();
        pause = if result.is_ok_and(|did_something| did_something) { PAUSE } else { IDLE };
    }
}

struct Steps {
    reclaimer: Reclaimer,
    /// Bytes that had been written at the last checkpoint.
    checkpointed: u64,
    last_checkpoint: Instant,
    last_growth: Instant,
}

impl Steps {
    /// Does a little of what is to be done; returns whether there was anything.
    fn step(&mut self, core: &Core) -> Result<bool, StoreError> {
        if self.last_growth.elapsed() >= GROWTH_INTERVAL {
            self.last_growth = Instant::now();
            core.commit_now(Work { grow: true, ..Work::default() })?;
        }
        if core.has_leftovers.load(Ordering::Relaxed) {
            core.commit_now(Work::default())?;
            return Ok(true);
        }
        let written = core.counters.written.load(Ordering::Relaxed);
        if written != self.checkpointed && self.last_checkpoint.elapsed() >= CHECKPOINT_INTERVAL {
            // What is buried by now is buried in the checkpoint too.
            let buried = std::mem::take(&mut *core.graveyard.lock());
            core.checkpoint()?;
            (self.checkpointed, self.last_checkpoint) = (written, Instant::now());
            self.reclaimer.bury(core, buried);
            return Ok(true);
        }
        self.reclaimer.step(core)
    }
}

impl Core {
    /// Returns when the index has everything that was committed before, safe from a crash.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.index.flush().map_err(|error| self.index_failed(error))
    }
}
