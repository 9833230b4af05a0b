//! The job that offers archives to the network: takes up those that were opened, and goes on with what is left of each when
//! its time has come, or when something turned up that may prove more of it. When peers are slow it is slow; when nobody is
//! there it waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::{self, BatchState, Rest, SeedingBatch, Which, blocks};
use super::offer::PeerNotes;
use super::offering::{Offering, SeedSource};
use super::position::{ArchiveKey, Position};
use super::serving::Serving;
use super::shelf::Served;
use super::terms::{SeedOptions, SeedProgress};
use crate::workers::Stopping;

/// A running job. Dropping it lets the job go on.
#[derive(Debug)]
pub struct SeedHandle {
    progress: watch::Receiver<SeedProgress>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl SeedHandle {
    pub(crate) fn start(
        source: SeedSource,
        options: SeedOptions,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sender, progress) = watch::channel(SeedProgress::default());
        source.archives.watch_offers(progress.clone());
        let (stopping, tracker) = (stop.clone(), tasks.clone());
        let task = tasks.spawn(async move {
            let offering = Offering {
                serving: Arc::new(Serving::new(source.quic.clone())),
                source,
                options,
                progress: sender,
                tasks: tracker,
                notes: Arc::new(PeerNotes::new()),
            };
            let job = SeedingJob { offering };
            stopping.run_until_cancelled(job.run()).await;
        });
        Self { progress, stop, task }
    }

    /// How far it is; the receiver tells of each change.
    pub fn progress(&self) -> watch::Receiver<SeedProgress> {
        self.progress.clone()
    }

    /// Stops at once; what was offered since the position was last saved is offered again by the next run.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all that can be offered now was, or the job was stopped, and tells how far it came. The job ends by that.
    pub async fn wait(mut self) -> SeedProgress {
        let finished = self.progress.wait_for(|now| now.finished).await.map(|now| now.clone());
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the seeding job broke off");
        }
        finished.unwrap_or_else(|_| self.progress.borrow().clone())
    }
}

/// Offers all archives, again and again until nothing is left to be offered.
struct SeedingJob {
    offering: Offering,
}

impl SeedingJob {
    async fn run(self) {
        // Stopping is all that ends it before its time.
        if self.offer_all().await.is_ok() {
            self.finish();
        }
    }

    fn finish(&self) {
        self.offering.progress.send_modify(|progress| {
            progress.archive = None;
            progress.finished = true;
        });
    }

    async fn offer_all(&self) -> Result<(), Stopping> {
        let SeedSource { archives, trust, workers, .. } = &self.offering.source;
        archives.wait_until_scanned().await;
        let (file, from_start) = (self.offering.source.position_file.clone(), self.offering.options.from_start);
        let load = move || if from_start { Position::start(&file) } else { Position::load(&file) };
        let mut position = workers.read(load).await?;
        let (mut known, mut left) = (BTreeSet::new(), Vec::new());

        let (mut lists, mut proofs, mut news) = (trust.changes(), archives.proofs(), archives.news());
        let (mut has_lists, mut has_news) = (false, false);
        loop {
            lists.mark_unchanged();
            proofs.mark_unchanged();
            news.mark_unchanged();
            self.pick_up(&mut known, &mut left, &position).await?;
            for rest in &mut left {
                // With a thousand archives, what proves one of them is no reason to read the others again.
                let may_be_back = has_news && rest.served.origin.is_some();
                let is_news = has_lists || may_be_back || rest.unproved != Some(rest.served.unproved_count());
                if is_news {
                    self.offering.progress.send_modify(|progress| progress.finished = false);
                }
                if is_news || rest.is_due(Instant::now()) {
                    let which = if is_news { Which::All } else { Which::NotWaiting };
                    position = self.offering.offer_archive(rest, which, position).await?;
                }
            }
            left.retain(|rest| !rest.batches.is_empty());
            has_lists = lists.has_changed().unwrap_or(false);
            has_news = news.has_changed().unwrap_or(false);
            // Lists are on their way as a rule; who could prove the rest may never turn up.
            let is_settled = trust.missing().is_empty() && !has_lists && !proofs.has_changed().unwrap_or(false);
            let has_ended = left.iter().all(Rest::is_settled);
            let is_all_served = left.iter().all(Rest::is_served);
            if (is_all_served || is_settled && has_ended) && !has_news && archives.has_looked() {
                self.finish();
            }
            let retry = left.iter().filter_map(|rest| rest.retry).map(|retry| retry.at).min();
            let retrying = async {
                match retry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // All outlive the job.
            let changed = tokio::select! {
                () = retrying => Ok(()),
                changed = lists.changed() => {
                    has_lists = true;
                    changed
                }
                changed = proofs.changed() => changed,
                changed = news.changed() => {
                    has_news = true;
                    changed
                }
            };
            if changed.is_err() {
                return Ok(());
            }
        }
    }

    /// Adds the archives that were opened since. One whose file was replaced takes the place of the one before.
    async fn pick_up(
        &self,
        known: &mut BTreeSet<ArchiveKey>,
        left: &mut Vec<Rest>,
        position: &Position,
    ) -> Result<(), Stopping> {
        let list = self.offering.source.archives.served();
        let key = |served: &Served| match &served.origin {
            Some(origin) => ArchiveKey::of_object(&served.archive, origin.stamp.as_deref()),
            None => ArchiveKey::of(&served.archive),
        };
        let load = move || list.into_iter().map(|served| (key(&served), served)).collect::<Vec<_>>();
        for (key, served) in self.offering.source.workers.read(load).await? {
            if !known.insert(key.clone()) {
                continue;
            }
            left.retain(|rest| {
                let is_replaced = rest.key.is_of_same(&key);
                if is_replaced {
                    self.forget(rest);
                }
                !is_replaced
            });
            left.push(self.rest(served, key, position));
        }
        Ok(())
    }

    /// Counts an archive no longer.
    fn forget(&self, rest: &Rest) {
        let all = blocks(&rest.served.archive);
        let pending: u64 = rest.batches.iter().map(SeedingBatch::len).sum();
        let waiting: u64 =
            rest.batches.iter().filter(|batch| matches!(batch.state, BatchState::Waiting)).map(SeedingBatch::len).sum();
        rest.batches.iter().for_each(|batch| self.offering.forget(batch));
        self.offering.progress.send_modify(|progress| {
            let total = all.end - all.start;
            progress.blocks_total = progress.blocks_total.saturating_sub(total);
            progress.blocks_done = progress.blocks_done.saturating_sub(total.saturating_sub(pending));
            progress.blocks_waiting = progress.blocks_waiting.saturating_sub(waiting);
        });
    }

    /// What a position leaves of an archive.
    fn rest(&self, served: Served, key: ArchiveKey, position: &Position) -> Rest {
        let all = blocks(&served.archive);
        let start = position.next(&key).unwrap_or(all.start).clamp(all.start, all.end);
        self.offering.progress.send_modify(|progress| {
            progress.blocks_total += all.end - all.start;
            progress.blocks_done += start - all.start;
        });
        Rest { served, key, batches: batch::batches(start..all.end), unproved: None, retry: None }
    }
}
