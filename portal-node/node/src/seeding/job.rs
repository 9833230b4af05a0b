//! The job that offers archives to the network: block after block, checked, planned, sent, with a bounded number of
//! offers under way. When peers are slow it is slow; when nobody is there it waits.

use std::ops::Range;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use cairn_archive::Archive;
use content_types::{ContentKey, legacy_history};
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::archives::Archives;
use super::offer::{self, Item, Placed};
use super::position::{self, Position};
use super::prepare;
use crate::networks::Network;
use crate::pipeline::{Pipeline, VerifiedContent};
use crate::workers::{Stopping, Workers, result_of};

/// Blocks that are read, checked and offered together: enough that a peer gets full offers, few enough that 100 kB a
/// block stay within some ten megabytes.
const RUN_BLOCKS: u64 = 32;
/// Runs that are prepared ahead of the one being offered.
const RUNS_AHEAD: usize = 2;

/// How archives are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedOptions {
    /// Peers that each piece is offered to.
    pub replicas: usize,
    /// Offers under way at once.
    pub parallel_offers: usize,
    /// Whether to start over instead of where the last run stopped.
    pub from_start: bool,
}

impl Default for SeedOptions {
    fn default() -> Self {
        Self { replicas: 4, parallel_offers: 16, from_start: false }
    }
}

/// How far the job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedProgress {
    /// Archive being offered.
    pub archive: Option<String>,
    /// Blocks in all archives.
    pub blocks_total: u64,
    /// Blocks that were offered, in this run and before.
    pub blocks_done: u64,
    /// Blocks that could not be offered because they are damaged or don't prove true.
    pub blocks_refused: u64,
    /// Pieces of content offered in this run.
    pub pieces: u64,
    /// Of them, those that at least one peer took or had already.
    pub pieces_placed: u64,
    /// Pieces that peers took, each peer counted.
    pub accepted: u64,
    /// Bytes of what peers took.
    pub bytes: u64,
    /// Whether all is done.
    pub finished: bool,
}

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
        let (stopping, tracker) = (stop.clone(), tasks.clone());
        let task = tasks.spawn(async move {
            let job = Job { source, options, progress: sender, tasks: tracker };
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

    /// Waits until all is done, or the job was stopped, and tells how far it came.
    pub async fn wait(self) -> SeedProgress {
        if self.task.await.is_err() {
            tracing::error!("the seeding job broke off");
        }
        self.progress.borrow().clone()
    }
}

/// What the job works with.
#[derive(Clone)]
pub(crate) struct SeedSource {
    pub(crate) archives: Arc<Archives>,
    pub(crate) pipeline: Pipeline,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) workers: Workers,
    pub(crate) position_file: PathBuf,
}

struct Job {
    source: SeedSource,
    options: SeedOptions,
    progress: watch::Sender<SeedProgress>,
    tasks: TaskTracker,
}

/// The pieces made of a run of blocks.
struct Run {
    blocks: u64,
    refused: u64,
    end: u64,
    contents: Vec<VerifiedContent>,
}

impl Job {
    async fn run(self) {
        self.source.archives.wait_until_scanned().await;
        let file = self.source.position_file.clone();
        let from_start = self.options.from_start;
        let load = move || if from_start { Position::start(&file) } else { Position::load(&file) };
        let Ok(mut position) = self.source.workers.read(load).await else { return };

        let archives = self.source.archives.list();
        let total = archives.iter().map(|archive| blocks(archive).count() as u64).sum();
        self.progress.send_modify(|progress| progress.blocks_total = total);
        for archive in archives {
            let Ok(advanced) = self.offer_archive(archive, position).await else { return };
            position = advanced;
        }
        self.progress.send_modify(|progress| {
            progress.archive = None;
            progress.finished = true;
        });
    }

    async fn offer_archive(&self, archive: Arc<Archive>, mut position: Position) -> Result<Position, Stopping> {
        let key = position::key(&archive);
        let all = blocks(&archive);
        let start = position.next(&key).unwrap_or(all.start).clamp(all.start, all.end);
        self.progress.send_modify(|progress| {
            progress.archive = Some(file_name(&archive));
            progress.blocks_done += start - all.start;
        });
        let ranges = (start..all.end)
            .step_by(RUN_BLOCKS as usize)
            .map(|from| from..from.saturating_add(RUN_BLOCKS).min(all.end));
        let prepare = |range| prepare_run(self.source.clone(), Arc::clone(&archive), range);
        let mut runs = pin!(ahead(&self.tasks, ranges.map(prepare)));
        while let Some(run) = runs.next().await {
            let run = run?;
            let (next, blocks, refused) = (run.end, run.blocks, run.refused);
            self.offer_run(run).await;
            let key = key.clone();
            position = self
                .source
                .workers
                .write(move || {
                    if let Err(error) = position.advance(&key, next) {
                        tracing::warn!(%error, "position of seeding not saved");
                    }
                    position
                })
                .await?;
            self.progress.send_modify(|progress| {
                progress.blocks_done += blocks;
                progress.blocks_refused += refused;
            });
        }
        Ok(position)
    }

    /// Headers go first: a peer that has them need not ask for them to check the rest.
    async fn offer_run(&self, run: Run) {
        let (headers, rest): (Vec<_>, Vec<_>) = run.contents.iter().partition(|content| is_header(content.key()));
        for contents in [headers, rest] {
            for network in &self.source.networks {
                let of_network = |content: &&&VerifiedContent| content.key().sub_network() == network.entry().network;
                let items: Vec<Item> = contents.iter().filter(of_network).map(|content| Item::from(*content)).collect();
                if items.is_empty() {
                    continue;
                }
                let pieces = items.len() as u64;
                let Placed { placed, accepted, bytes } = offer::place(network.overlay(), items, self.options).await;
                self.progress.send_modify(|progress| {
                    progress.pieces += pieces;
                    progress.pieces_placed += placed;
                    progress.accepted += accepted;
                    progress.bytes += bytes;
                });
            }
        }
    }
}

/// Runs each job in a task of its own, the next [`RUNS_AHEAD`] of them while the results before are worked on. A job
/// that only a stream polls stands still meanwhile, and with it the place for hashing that it may have been given.
/// Dropping the stream ends the tasks.
fn ahead<T: Send + 'static>(
    tasks: &TaskTracker,
    jobs: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> impl Stream<Item = Result<T, Stopping>> {
    let start = |job| AbortOnDropHandle::new(tasks.spawn(job)).map(result_of);
    // The stream begins these together, and then one more for each that it gives.
    stream::iter(jobs).map(start).buffered(RUNS_AHEAD + 1)
}

async fn prepare_run(source: SeedSource, archive: Arc<Archive>, range: Range<u64>) -> Run {
    let SeedSource { pipeline, workers, .. } = &source;
    let mut run = Run { blocks: range.end - range.start, refused: 0, end: range.end, contents: Vec::new() };
    for block in prepare::read_run(workers, archive, range).await {
        let contents = match block {
            Ok(block) => prepare::contents(pipeline, workers, block).await,
            Err(problem) => Err(problem),
        };
        match contents {
            Ok(contents) => run.contents.extend(contents),
            Err(problem) => {
                run.refused += 1;
                tracing::warn!(%problem, "block not offered");
            }
        }
    }
    run
}

fn is_header(key: &ContentKey) -> bool {
    use legacy_history::ContentKey::{HeaderByHash, HeaderByNumber};
    matches!(key, ContentKey::LegacyHistory(HeaderByHash(_) | HeaderByNumber(_)))
}

fn blocks(archive: &Archive) -> Range<u64> {
    let blocks = archive.blocks();
    *blocks.start()..blocks.end().saturating_add(1)
}

fn file_name(archive: &Archive) -> String {
    let name = archive.path().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| archive.name().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    /// Reached only when nothing else can happen any more: the clock is paused.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn runs_are_prepared_while_nobody_asks_for_one_but_no_more_than_a_few_and_none_after_the_end() {
        let tasks = TaskTracker::new();
        let (prepared, mut seen) = mpsc::unbounded_channel();
        let jobs = (0..10).map(|number| {
            let prepared = prepared.clone();
            async move {
                tokio::task::yield_now().await;
                prepared.send(number).unwrap();
                // One that never ends has to be ended.
                if number == RUNS_AHEAD + 1 { std::future::pending().await } else { number }
            }
        });
        let mut runs = Box::pin(ahead(&tasks, jobs));
        assert_eq!(runs.next().await, Some(Ok(0)));
        let mut begun = Vec::new();
        while begun.len() <= RUNS_AHEAD {
            begun.push(tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().unwrap());
        }
        begun.sort_unstable();
        assert_eq!(begun, Vec::from_iter(0..=RUNS_AHEAD));
        assert!(tokio::time::timeout(PATIENCE, seen.recv()).await.is_err(), "too far ahead");
        assert_eq!(runs.next().await, Some(Ok(1)));
        assert_eq!(tokio::time::timeout(PATIENCE, seen.recv()).await, Ok(Some(RUNS_AHEAD + 1)));
        drop(runs);
        tasks.close();
        assert_eq!(tokio::time::timeout(PATIENCE, tasks.wait()).await, Ok(()));
    }
}
