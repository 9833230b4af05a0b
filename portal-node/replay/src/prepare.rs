//! Blocks on their way from their source to the execution: who sent their transactions takes longer to find out than to execute
//! most of them, so several threads do it, a block each. Whatever comes out comes in order.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use crate::block::{Block, BlockError, RecoveredBlock};
use crate::error::{ReplayError, Trouble};

/// Most threads that look for senders.
const MAX_THREADS: usize = 8;
/// Blocks that wait before and behind each of them. Bodies have a few MiB at most where they have been proved.
const WAITING_BLOCKS: usize = 8;

type Taken = Result<Block, ReplayError>;
type Prepared = Result<RecoveredBlock, ReplayError>;

/// Blocks with their senders, in the order of their source. Ends behind the first error.
pub(crate) struct PreparedBlocks {
    /// Each thread has every so many-th block.
    threads: Vec<Receiver<Prepared>>,
    next: usize,
}

impl PreparedBlocks {
    /// Begins to take blocks from their source; those before `from` are passed over.
    pub(crate) fn spawn<'scope, I, E>(scope: &'scope Scope<'scope, '_>, blocks: I, from: u64) -> Self
    where
        I: Iterator<Item = Result<Block, E>> + Send + 'scope,
        E: std::error::Error + Send + Sync + 'static,
    {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let mut to_threads = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for _ in 0..count {
            let (take, taken) = sync_channel(WAITING_BLOCKS);
            let (prepared, out) = sync_channel(WAITING_BLOCKS);
            to_threads.push(take);
            threads.push(out);
            scope.spawn(move || recover(&taken, &prepared));
        }
        scope.spawn(move || deal(blocks, from, &to_threads));
        Self { threads, next: 0 }
    }
}

impl Iterator for PreparedBlocks {
    type Item = Prepared;

    fn next(&mut self) -> Option<Prepared> {
        let block = self.threads.get(self.next)?.recv().ok()?;
        self.next = (self.next + 1) % self.threads.len();
        Some(block)
    }
}

/// Deals the blocks out, until there are no more or nobody wants them.
fn deal<I, E>(blocks: I, from: u64, threads: &[SyncSender<Taken>])
where
    I: Iterator<Item = Result<Block, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    let wanted = blocks.filter(|block| block.as_ref().map_or(true, |block| block.header().number >= from));
    for (block, thread) in wanted.zip(threads.iter().cycle()) {
        let block = block.map_err(|error| ReplayError::new(None, Trouble::Source(Box::new(error))));
        let is_last = block.is_err();
        if thread.send(block).is_err() || is_last {
            return;
        }
    }
}

fn recover(taken: &Receiver<Taken>, prepared: &SyncSender<Prepared>) {
    for block in taken {
        let block = block.and_then(|block| {
            let number = block.header().number;
            block.recover().map_err(|error: BlockError| ReplayError::new(Some(number), error))
        });
        if prepared.send(block).is_err() {
            return;
        }
    }
}
