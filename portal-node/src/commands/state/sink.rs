//! Where a replay brings what blocks have brought: nowhere, or to the network. It ends the replay when it is told to, and lets
//! nothing be written that has still to be handed out.

use std::{ops::ControlFlow, sync::Arc};

use cairn_node::outbox::{Closed, Outbox};
use cairn_replay::{
    Changes, Sink,
    offers::{GapError, Offers},
};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How far a replay is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReplayStand {
    /// The last block that was executed.
    pub(super) block: u64,
    /// Gas of the blocks of this run.
    pub(super) gas: u64,
}

/// See the [module](self).
pub(super) struct ReplaySink {
    pub(super) outbox: Option<Arc<Outbox>>,
    pub(super) runtime: Handle,
    pub(super) stop: CancellationToken,
    pub(super) stand: Arc<Mutex<ReplayStand>>,
    /// Why it has broken, if not because it was told to.
    pub(super) gap: Option<GapError>,
    /// Whether something was taken that has not been handed out whole.
    is_cut: bool,
}

impl ReplaySink {
    pub(super) fn new(outbox: Option<Arc<Outbox>>, stop: CancellationToken) -> Self {
        Self { outbox, runtime: Handle::current(), stop, stand: Arc::default(), gap: None, is_cut: false }
    }

    /// Waits for the network, or for the word to stop.
    fn wait(&mut self, work: impl Future<Output = Result<(), Closed>>) -> ControlFlow<()> {
        let stop = self.stop.clone();
        let done = self.runtime.block_on(async { stop.run_until_cancelled(work).await });
        if matches!(done, Some(Ok(()))) {
            return ControlFlow::Continue(());
        }
        self.is_cut = true;
        ControlFlow::Break(())
    }

    fn hand_out(&mut self, outbox: &Outbox, changes: &Changes) -> ControlFlow<()> {
        for offer in Offers::of(changes).iter() {
            match offer {
                Ok((key, proved)) => self.wait(outbox.push(changes.number, key.encode(), proved.encode()))?,
                Err(gap) => {
                    (self.gap, self.is_cut) = (Some(gap), true);
                    return ControlFlow::Break(());
                }
            }
        }
        self.wait(outbox.end_block(changes.number))
    }
}

impl Sink for ReplaySink {
    fn take(&mut self, changes: Changes) -> ControlFlow<()> {
        if let Some(outbox) = self.outbox.clone().filter(|outbox| changes.number >= outbox.begins()) {
            self.hand_out(&outbox, &changes)?;
        }
        let mut stand = self.stand.lock();
        (stand.block, stand.gas) = (changes.number, stand.gas.saturating_add(changes.gas_used));
        drop(stand);
        if self.stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn release(&mut self, _: u64) -> ControlFlow<()> {
        match self.outbox.clone() {
            _ if self.is_cut => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
            Some(outbox) => self.wait(outbox.settle()),
        }
    }
}
