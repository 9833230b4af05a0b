//! The replay itself: blocks in, one after the other; what each has brought out, once its state's root was checked.
//!
//! Some threads find out who sent the transactions of blocks to come, one executes blocks and brings their changes into the
//! tries, one writes batches of blocks to the store. A batch is there whole or not at all; after
//! a crash the replay goes on behind the last batch that is, and hands out what came after it once more.
//!
//! What is in the store is handed out never again, so a [`Sink`] is asked before a batch is written, and may keep it from that
//! until it has brought what it got where it belongs.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::block::Block;
use crate::changes::Changes;
use crate::error::{ReplayError, Trouble};
use crate::genesis::Genesis;
use crate::prepare::PreparedBlocks;
use crate::rules::Rules;
use crate::state::Pending;
use crate::store::{Reached, Store};
use crate::tip::Tip;

/// How much is collected before it is written.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Blocks of a batch.
    pub blocks: u64,
    /// Bytes that what a batch changes takes in memory, about. Up to two batches are held: one is written while the next is
    /// collected.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { blocks: 4096, bytes: 32 << 20 }
    }
}

/// What a run has done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Blocks replayed, without block 0.
    pub blocks: u64,
    /// Their transactions.
    pub transactions: u64,
    /// The gas they took.
    pub gas: u64,
    /// How long that took.
    pub time: Duration,
}

/// Who gets what each block has brought.
pub trait Sink {
    /// Takes what a block has brought, block 0 included, and may end the run.
    fn take(&mut self, changes: Changes) -> ControlFlow<()>;

    /// Everything up to this block is about to be written, after which it is handed out never again. Returns when the sink can do
    /// without; to break ends the run, and nothing of it is written: the next run hands it out once more. Asked again at the end
    /// of the run, also when it has broken.
    fn release(&mut self, number: u64) -> ControlFlow<()>;
}

/// A function, which has done what it does with something when it returns.
struct Handle<F>(F);

impl<F: FnMut(Changes) -> ControlFlow<()>> Sink for Handle<F> {
    fn take(&mut self, changes: Changes) -> ControlFlow<()> {
        (self.0)(changes)
    }

    fn release(&mut self, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A chain that is replayed.
pub struct Replay<S: Store> {
    store: S,
    tip: Tip<S::Snapshot>,
    limits: BatchLimits,
}

impl<S: Store> Replay<S> {
    /// Goes on where the store is, or begins with the genesis state.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when the store cannot be read.
    pub fn open(store: S, rules: Rules, genesis: Genesis, limits: BatchLimits) -> Result<Self, ReplayError> {
        let snapshot = store.snapshot().map_err(|error| ReplayError::new(None, error))?;
        Ok(Self { store, tip: Tip::new(rules, genesis, snapshot), limits })
    }

    /// The last block whose state is there; `None`: not even block 0.
    pub fn reached(&self) -> Option<Reached> {
        self.tip.reached()
    }

    /// Gives the store back.
    pub fn into_store(self) -> S {
        self.store
    }

    /// The store, which may be some blocks behind [`Replay::reached`] where a sink has not released them.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Replays `blocks`, which have consecutive numbers. Those up to the one that was reached are passed over; the next has to
    /// follow on it. `handle` gets what each block has brought, block 0 included, and may end the run.
    ///
    /// When this returns, everything that was handed out is in the store.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] names the block at which it ended, and why. Everything before that block is in the store, unless the
    /// store itself has failed.
    pub fn run<I, E>(
        &mut self,
        blocks: I,
        handle: impl FnMut(Changes) -> ControlFlow<()>,
    ) -> Result<Progress, ReplayError>
    where
        I: Iterator<Item = Result<Block, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.run_into(blocks, &mut Handle(handle))
    }

    /// The same with a sink, which decides when what it got is written.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] names the block at which it ended, and why. Everything before that block is in the store, as far as the sink
    /// has released it and unless the store itself has failed.
    pub fn run_into<I, E>(&mut self, blocks: I, sink: &mut impl Sink) -> Result<Progress, ReplayError>
    where
        I: Iterator<Item = Result<Block, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let Self { store, tip, limits } = self;
        let started = Instant::now();
        let mut progress = Progress::default();
        let outcome = thread::scope(|scope| {
            let from = tip.number();
            let blocks = PreparedBlocks::spawn(scope, blocks, from);
            let mut writer = Writer::spawn(scope, store, limits, from);
            // Takes the blocks, so that those who prepare more of them end with it.
            let outcome = advance(tip, blocks, &mut writer, &mut progress, sink);
            let written = writer.finish(tip, sink);
            outcome.and(written)
        });
        progress.time = started.elapsed();
        outcome.map(|()| progress)
    }
}

/// Executes what comes.
fn advance<S: Store>(
    tip: &mut Tip<S::Snapshot>,
    blocks: PreparedBlocks,
    writer: &mut Writer<'_, S>,
    progress: &mut Progress,
    sink: &mut impl Sink,
) -> Result<(), ReplayError> {
    if let Some(changes) = tip.begin()?
        && sink.take(changes).is_break()
    {
        return Ok(());
    }
    for block in blocks {
        let Some(changes) = tip.advance(&block?)? else { continue };
        progress.blocks += 1;
        progress.transactions += changes.transactions as u64;
        progress.gas += changes.gas_used;
        if sink.take(changes).is_break() || writer.write_if_due(tip, sink)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// A batch on its way to the store.
type Job = (Arc<Pending>, Reached);

/// The thread that writes, seen from the one that executes.
struct Writer<'a, S: Store> {
    store: &'a S,
    limits: &'a BatchLimits,
    jobs: SyncSender<Job>,
    done: Receiver<Result<(), ReplayError>>,
    is_writing: bool,
    last_written: u64,
}

impl<'a, S: Store> Writer<'a, S> {
    fn spawn<'scope>(
        scope: &'scope thread::Scope<'scope, 'a>,
        store: &'a S,
        limits: &'a BatchLimits,
        from: u64,
    ) -> Self {
        let (jobs, to_write) = sync_channel::<Job>(1);
        let (written, done) = sync_channel(1);
        scope.spawn(move || {
            for (pending, reached) in to_write {
                let outcome = store.commit(&pending.to_batch(), reached);
                drop(pending);
                if written.send(outcome.map_err(|error| ReplayError::new(Some(reached.number), error))).is_err() {
                    return;
                }
            }
        });
        Self { store, limits, jobs, done, is_writing: false, last_written: from }
    }

    /// Looks whether a batch was written, and begins with the next if it is full.
    fn write_if_due(
        &mut self,
        tip: &mut Tip<S::Snapshot>,
        sink: &mut impl Sink,
    ) -> Result<ControlFlow<()>, ReplayError> {
        if self.is_writing
            && let Ok(outcome) = self.done.try_recv()
        {
            self.settle(tip, outcome)?;
        }
        let blocks = tip.number() - self.last_written;
        if blocks >= self.limits.blocks || tip.pending_bytes() >= self.limits.bytes {
            self.wait(tip)?;
            if sink.release(tip.number()).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.write(tip);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Writes what is left, if the sink releases it, and waits for it.
    fn finish(mut self, tip: &mut Tip<S::Snapshot>, sink: &mut impl Sink) -> Result<(), ReplayError> {
        self.wait(tip)?;
        if tip.has_unwritten() && sink.release(tip.number()).is_continue() {
            self.write(tip);
        }
        self.wait(tip)
    }

    fn write(&mut self, tip: &mut Tip<S::Snapshot>) {
        let Some(job) = tip.freeze() else { return };
        self.last_written = job.1.number;
        self.is_writing = self.jobs.send(job).is_ok();
    }

    fn wait(&mut self, tip: &mut Tip<S::Snapshot>) -> Result<(), ReplayError> {
        if !self.is_writing {
            return Ok(());
        }
        match self.done.recv() {
            Ok(outcome) => self.settle(tip, outcome),
            Err(_) => Err(ReplayError::new(None, Trouble::WriterDied)),
        }
    }

    fn settle(&mut self, tip: &mut Tip<S::Snapshot>, outcome: Result<(), ReplayError>) -> Result<(), ReplayError> {
        self.is_writing = false;
        outcome?;
        let snapshot = self.store.snapshot().map_err(|error| ReplayError::new(None, error))?;
        tip.written(snapshot);
        Ok(())
    }
}
