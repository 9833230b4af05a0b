//! The threads that do what no caller should wait for: renewing the index; checkpoints, evictions that were put off and
//! punching holes; rewriting volumes; looking after archives.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    archives::AddedArchives,
    core::Core,
    error::StoreError,
    reclaim::{Puncher, Rewriter},
    renewal::Renewal,
    signal::Signal,
    work::Work,
};

/// Pause when there was nothing to do.
const IDLE: Duration = Duration::from_millis(100);
/// Pause between two steps. The file system's journal makes commits wait for what is done here, so it is done in small
/// steps and never at full speed.
const PAUSE: Duration = Duration::from_millis(1);
/// Time after which there is a checkpoint if anything was written. What was written since is read again after a crash, and
/// what was evicted since still takes room.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// Changes of entries after which there is one in any case.
const CHECKPOINT_CHANGES: usize = 1 << 16;
/// Time after which the index is measured again.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);
/// Time after which archives' files are looked after again.
const ARCHIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Time after which it is looked again how much room there is on the disk.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two attempts to let radii grow.
const GROWTH_INTERVAL: Duration = Duration::from_secs(60);

/// The running threads; they are stopped and joined when this is dropped.
#[derive(Debug)]
pub(crate) struct Maintenance {
    signal: Arc<Signal>,
    threads: Vec<JoinHandle<()>>,
}

impl Maintenance {
    pub(crate) fn start(core: &Arc<Core>, archives: &Arc<AddedArchives>) -> Result<Self, StoreError> {
        let mut maintenance = Self { signal: Arc::default(), threads: Vec::new() };
        let mut renewal = Renewal::new(core.clone(), archives.clone());
        maintenance.spawn("store-renewal", RENEWAL_INTERVAL, move |signal| renewal.step(signal))?;
        let mut upkeep = StoreUpkeep::new(core.clone());
        maintenance.spawn("store-upkeep", IDLE, move |_| upkeep.step())?;
        let mut rewriter = Rewriter::new(core.clone());
        maintenance.spawn("store-rewrite", IDLE, move |_| rewriter.step())?;
        let archives = archives.clone();
        maintenance.spawn("store-archives", ARCHIVE_INTERVAL, move |_| archives.step())?;
        Ok(maintenance)
    }

    /// Starts a thread that takes step after step, with a long pause after one that says there is nothing to do.
    fn spawn(
        &mut self,
        name: &'static str,
        idle: Duration,
        mut step: impl FnMut(&Signal) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let signal = self.signal.clone();
        let run = move || {
            let mut is_failing = false;
            let mut pause = PAUSE;
            while !signal.wait(pause) {
                let result = step(&signal);
                // A full disk would otherwise be reported ten times a second.
                if let (Err(error), false) = (&result, is_failing) {
                    tracing::warn!(name, %error, "maintenance of the store failed; it is tried again");
                }
                is_failing = result.is_err();
                pause = if result.is_ok_and(|is_more| is_more) { PAUSE } else { idle };
            }
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        self.threads.push(thread.map_err(StoreError::io("start the thread", name))?);
        Ok(())
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        *self.signal.stop.lock() = true;
        self.signal.changed.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a maintenance thread of the store panicked");
            }
        }
    }
}

/// Checkpoints and what has to follow them, evictions that were put off, growing radii.
struct StoreUpkeep {
    core: Arc<Core>,
    puncher: Puncher,
    /// Bytes that had been written at the last checkpoint.
    checkpointed: u64,
    last_checkpoint: Instant,
    last_growth: Instant,
    last_room: Instant,
}

impl StoreUpkeep {
    fn new(core: Arc<Core>) -> Self {
        let now = Instant::now();
        let puncher = Puncher::default();
        Self { core, puncher, checkpointed: 0, last_checkpoint: now, last_growth: now, last_room: now }
    }

    /// Does a little of what is to be done; returns whether there was anything.
    fn step(&mut self) -> Result<bool, StoreError> {
        let core = &self.core;
        if self.last_room.elapsed() >= ROOM_INTERVAL {
            self.last_room = Instant::now();
            core.watch_room();
        }
        if self.last_growth.elapsed() >= GROWTH_INTERVAL {
            self.last_growth = Instant::now();
            core.commit_now(Work { grow: true, ..Work::default() })?;
        }
        if core.has_leftovers.load(Ordering::Relaxed) {
            core.commit_now(Work::default())?;
            return Ok(true);
        }
        let written = core.counters.written.load(Ordering::Relaxed);
        let is_due = self.last_checkpoint.elapsed() >= CHECKPOINT_INTERVAL || core.index.behind() >= CHECKPOINT_CHANGES;
        if written != self.checkpointed && is_due {
            // What is buried by now is buried in the checkpoint too.
            let buried = std::mem::take(&mut *core.graveyard.lock());
            if let Err(error) = core.checkpoint() {
                core.graveyard.lock().extend(buried);
                return Err(error);
            }
            (self.checkpointed, self.last_checkpoint) = (written, Instant::now());
            self.puncher.take_over(core, buried);
            return Ok(true);
        }
        self.puncher.step(core)
    }
}

impl Core {
    /// Returns when the index has everything that was committed before, safe from a crash.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        self.index.checkpoint().map_err(|error| self.index_failed(error))
    }
}
