//! The job that offers archives to the network: block after block, checked, planned, sent, with a bounded number of
//! offers under way. When peers are slow it is slow; when nobody is there it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cairn_archive::Archive;
use content_types::ContentKey;
use content_types::room::{BlockPart, Subject};
use futures::future::select_all;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::archives::{Archives, Served};
use super::offer::{self, Item, Placed};
use super::position::{Key, Position};
use super::prepare;
use super::refused::Refused;
use super::slow::SlowPeers;
use crate::networks::Network;
use crate::pipeline::Pipeline;
use crate::trust::TrustStore;
use crate::verified::VerifiedContent;
use crate::workers::{Stopping, Workers, result_of};

/// Blocks that are read, checked and offered together, if they are not too large: enough that a peer gets full offers.
const BLOCKS_TOGETHER: u64 = 32;
/// Runs that are prepared ahead of the one being offered.
const RUNS_AHEAD: usize = 2;
/// Blocks with open pieces at which no others are offered before those have been offered again.
const MAX_OPEN_BLOCKS: u64 = 1024;
/// Runs that are begun beside so many open blocks, each time that these are offered again: peers that never answer keep what
/// others would take waiting, but not for ever.
const FRESH_RUNS: u32 = 16;
/// First pause before open pieces are offered again, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// After so many times the job counts as finished although pieces are open: they are offered on, but whoever waits for the
/// job should not wait for peers that will never answer.
const PATIENT_TRIES: u32 = 6;

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
    /// Blocks that cannot be offered because they are damaged or don't prove true.
    pub blocks_refused: u64,
    /// Blocks that cannot be offered yet: a trust list is missing, nothing proves the header that the archive has no proof
    /// of, or the file cannot be read. They count as done, and are behind the saved position, only when they were offered.
    pub blocks_waiting: u64,
    /// Blocks of which a piece is open: a peer that should hold it was busy, or has not said that it has it. They are offered
    /// again, with growing pauses, until each piece has an end, and are behind the saved position only then.
    pub blocks_open: u64,
    /// The pieces of those that are open.
    pub pieces_open: u64,
    /// Pieces of content offered in this run.
    pub pieces: u64,
    /// Of them, those that at least one peer took or had already.
    pub pieces_placed: u64,
    /// Pieces that peers took, each peer counted.
    pub accepted: u64,
    /// Bytes of what peers took.
    pub bytes: u64,
    /// Whether all that can be offered now was. Headers that turn up later may prove what still waits, and a job that is not
    /// waited for goes on with that.
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
        source.archives.watch_offers(progress.clone());
        let (stopping, tracker) = (stop.clone(), tasks.clone());
        let task = tasks.spawn(async move {
            let job = Job { source, options, progress: sender, tasks: tracker, slow: SlowPeers::new() };
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

/// What the job works with.
#[derive(Clone)]
pub(crate) struct SeedSource {
    pub(crate) archives: Arc<Archives>,
    pub(crate) pipeline: Pipeline,
    pub(crate) trust: Arc<TrustStore>,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) workers: Workers,
    pub(crate) position_file: PathBuf,
}

struct Job {
    source: SeedSource,
    options: SeedOptions,
    progress: watch::Sender<SeedProgress>,
    tasks: TaskTracker,
    /// Peers that kept one run waiting, for the next one to know.
    slow: SlowPeers,
}

/// An archive and the runs of it that are still to be offered, in order.
struct Rest {
    served: Served,
    key: Key,
    runs: Vec<Run>,
    /// Blocks of the archive that nothing proved when the runs were tried last.
    unproved: Option<u64>,
    /// When the open runs are offered again.
    retry: Option<Retry>,
}

/// When something is tried again.
#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    tries: u32,
}

impl Retry {
    /// After one try more.
    fn after(before: Option<Self>, now: Instant) -> Self {
        let tries = before.map_or(0, |before| before.tries);
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE);
        Self { at: now + pause, tries: tries.saturating_add(1) }
    }
}

/// Consecutive blocks that are still to be offered.
struct Run {
    blocks: Range<u64>,
    state: RunState,
}

enum RunState {
    /// Not tried yet.
    New,
    /// They could not be offered when that was tried: a list or a proof was missing, or the file could not be read.
    Waiting,
    /// They were offered, and these pieces have no end yet.
    Open(Vec<ContentKey>),
}

impl Run {
    const fn len(&self) -> u64 {
        self.blocks.end - self.blocks.start
    }
}

/// Which runs of an archive are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those that nothing but time, or other peers, keeps.
    NotWaiting,
}

impl Rest {
    /// Whether the open runs are to be offered again now.
    fn is_due(&self, now: Instant) -> bool {
        self.retry.is_some_and(|retry| now >= retry.at)
    }

    /// Whether nothing of it is left that could come to an end soon.
    fn is_settled(&self) -> bool {
        let has_new = self.runs.iter().any(|run| matches!(run.state, RunState::New));
        !has_new && self.retry.is_none_or(|retry| retry.tries > PATIENT_TRIES)
    }
}

impl Job {
    async fn run(self) {
        // Stopping is all that ends it before its time.
        if self.offer_all().await.is_ok() {
            self.finish();
        }
    }

    fn finish(&self) {
        self.progress.send_modify(|progress| {
            progress.archive = None;
            progress.finished = true;
        });
    }

    async fn offer_all(&self) -> Result<(), Stopping> {
        let SeedSource { archives, trust, workers, .. } = &self.source;
        archives.wait_until_scanned().await;
        let (file, from_start) = (self.source.position_file.clone(), self.options.from_start);
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
                    self.progress.send_modify(|progress| progress.finished = false);
                }
                if is_news || rest.is_due(Instant::now()) {
                    let which = if is_news { Which::All } else { Which::NotWaiting };
                    position = self.offer_archive(rest, which, position).await?;
                }
            }
            left.retain(|rest| !rest.runs.is_empty());
            has_lists = lists.has_changed().unwrap_or(false);
            has_news = news.has_changed().unwrap_or(false);
            // Lists are on their way as a rule; who could prove the rest may never turn up.
            let is_settled = trust.missing().is_empty() && !has_lists && !proofs.has_changed().unwrap_or(false);
            let has_ended = left.iter().all(Rest::is_settled);
            if (left.is_empty() || is_settled && has_ended) && !has_news && archives.has_looked() {
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
        known: &mut BTreeSet<Key>,
        left: &mut Vec<Rest>,
        position: &Position,
    ) -> Result<(), Stopping> {
        let list = self.source.archives.served();
        let key = |served: &Served| match &served.origin {
            Some(origin) => Key::of_object(&served.archive, origin.stamp.as_deref()),
            None => Key::of(&served.archive),
        };
        let load = move || list.into_iter().map(|served| (key(&served), served)).collect::<Vec<_>>();
        for (key, served) in self.source.workers.read(load).await? {
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
        let pending: u64 = rest.runs.iter().map(Run::len).sum();
        let waiting: u64 = rest.runs.iter().filter(|run| matches!(run.state, RunState::Waiting)).map(Run::len).sum();
        rest.runs.iter().for_each(|run| self.forget_open(run));
        self.progress.send_modify(|progress| {
            let total = all.end - all.start;
            progress.blocks_total = progress.blocks_total.saturating_sub(total);
            progress.blocks_done = progress.blocks_done.saturating_sub(total.saturating_sub(pending));
            progress.blocks_waiting = progress.blocks_waiting.saturating_sub(waiting);
        });
    }

    /// Counts the open pieces of a run no longer.
    fn forget_open(&self, run: &Run) {
        if let RunState::Open(keys) = &run.state {
            self.progress.send_modify(|progress| {
                progress.blocks_open = progress.blocks_open.saturating_sub(run.len());
                progress.pieces_open = progress.pieces_open.saturating_sub(keys.len() as u64);
            });
        }
    }

    /// What a position leaves of an archive.
    fn rest(&self, served: Served, key: Key, position: &Position) -> Rest {
        let all = blocks(&served.archive);
        let start = position.next(&key).unwrap_or(all.start).clamp(all.start, all.end);
        self.progress.send_modify(|progress| {
            progress.blocks_total += all.end - all.start;
            progress.blocks_done += start - all.start;
        });
        let runs = (start..all.end).step_by(BLOCKS_TOGETHER as usize);
        let runs = runs
            .map(|from| Run { blocks: from..from.saturating_add(BLOCKS_TOGETHER).min(all.end), state: RunState::New });
        Rest { served, key, runs: runs.collect(), unproved: None, retry: None }
    }

    /// Offers what is left of an archive, and leaves of it what has to be tried again. The position goes as far as
    /// everything before it is settled.
    async fn offer_archive(&self, rest: &mut Rest, which: Which, mut position: Position) -> Result<Position, Stopping> {
        self.progress.send_modify(|progress| progress.archive = Some(file_name(&rest.served.archive)));
        self.prove(&rest.served).await?;
        rest.unproved = Some(rest.served.unproved_count());
        let is_tried = |run: &Run| which == Which::All || !matches!(run.state, RunState::Waiting);
        let (runs, mut left): (Vec<Run>, Vec<Run>) = std::mem::take(&mut rest.runs).into_iter().partition(is_tried);
        let starts: Vec<u64> = runs.iter().map(|run| run.blocks.start).collect();
        let end = blocks(&rest.served.archive).end;
        let first = |next: u64, left: &[Run]| left.iter().map(|run| run.blocks.start).fold(next, u64::min);
        let mut settled = first(starts.first().copied().unwrap_or(end), &left);
        let (mut refused, mut waiting) = (Refused::default(), Refused::default());
        let jobs: Vec<_> = runs.iter().map(|run| self.prepare(&rest.served, run.blocks.clone())).collect();
        let mut prepared = pin!(ahead(&self.tasks, jobs.into_iter()));
        let (mut fresh, before) = (0, open_blocks(&runs).saturating_add(open_blocks(&left)));
        let mut runs = runs.into_iter().enumerate();
        while let Some((place, run)) = runs.next() {
            let open = open_blocks(&left);
            let is_new = matches!(run.state, RunState::New);
            if is_new && open >= MAX_OPEN_BLOCKS {
                fresh += 1;
            }
            if fresh > FRESH_RUNS {
                // What is open is offered again before more of them: it would only pile up.
                left.push(run);
                left.extend(runs.map(|(_, run)| run));
                break;
            }
            let Some(prepared) = prepared.next().await else { break };
            let mut prepared = prepared?;
            self.forget_open(&run);
            let mut from = run.blocks.start;
            while from < run.blocks.end {
                let is_last = prepared.rest.is_empty();
                let until = if is_last { run.blocks.end } else { prepared.rest.start };
                left.extend(self.offer_prepared(prepared, from..until, &run.state, &mut refused, &mut waiting).await);
                from = until;
                if is_last {
                    break;
                }
                prepared = self.prepare(&rest.served, from..run.blocks.end).await;
            }
            let next = first(starts.get(place + 1).copied().unwrap_or(end), &left);
            if next > settled {
                settled = next;
                position = self.save(position, rest.key.clone(), settled).await?;
            }
        }
        left.sort_by_key(|run| run.blocks.start);
        let is_open = left.iter().any(|run| matches!(run.state, RunState::Open(_)));
        // Where something came to an end, the others may soon.
        let tried = rest.retry.filter(|_| open_blocks(&left) >= before);
        rest.retry = is_open.then(|| Retry::after(tried, Instant::now()));
        rest.runs = left;
        let archive = file_name(&rest.served.archive);
        if let Some(first) = refused.first() {
            tracing::warn!(archive, blocks = %refused, count = refused.count(), first, "blocks cannot be offered");
        }
        if let Some(first) = waiting.first() {
            tracing::warn!(archive, blocks = %waiting, count = waiting.count(), first, "blocks cannot be offered yet");
        }
        Ok(position)
    }

    /// Reads and checks a run; as far as it is not too large at once.
    fn prepare(
        &self,
        served: &Served,
        blocks: Range<u64>,
    ) -> impl Future<Output = prepare::Prepared> + Send + use<> + 'static {
        let SeedSource { pipeline, workers, networks, .. } = self.source.clone();
        let is_remote = served.origin.is_some();
        let run = prepare::run(pipeline, workers, served.clone(), blocks);
        async move {
            // What lies in a bucket is not read for nobody.
            if is_remote && !networks.is_empty() {
                let storage = networks.iter().map(|network| offer::wait_for_storage(network.overlay()).boxed());
                select_all(storage).await;
            }
            run.await
        }
    }

    /// Offers what was prepared of some blocks, and gives what has to be tried again.
    async fn offer_prepared(
        &self,
        prepared: prepare::Prepared,
        blocks: Range<u64>,
        before: &RunState,
        refused: &mut Refused,
        waiting: &mut Refused,
    ) -> Vec<Run> {
        let prepare::Prepared { mut contents, refused: of_refused, waiting: of_waiting, left, .. } = prepared;
        if let RunState::Open(keys) = before {
            contents.retain(|content| keys.contains(content.key()));
        }
        let open = self.offer_run(contents, matches!(before, RunState::Open(_))).await;
        let count = blocks.end - blocks.start;
        let (waits, opens) = (of_waiting.count(), open.len() as u64);
        let pieces_open = open.values().map(Vec::len).sum::<usize>() as u64;
        let waited = if matches!(before, RunState::Waiting) { count } else { 0 };
        self.progress.send_modify(|progress| {
            progress.blocks_done += count.saturating_sub(waits + opens);
            progress.blocks_refused += of_refused.count();
            progress.blocks_open += opens;
            progress.pieces_open += pieces_open;
            progress.blocks_waiting = (progress.blocks_waiting + waits).saturating_sub(waited);
        });
        refused.append(of_refused);
        waiting.append(of_waiting);
        let waiting = left.into_iter().map(|blocks| Run { blocks, state: RunState::Waiting });
        waiting.chain(open_runs(open)).collect()
    }

    /// Looks once more for what proves an archive that has no proofs: what is not proved now is not offered in this run.
    async fn prove(&self, served: &Served) -> Result<(), Stopping> {
        let Some(lineage) = served.lineage.as_ref().filter(|lineage| lineage.unproved_count() > 0) else {
            return Ok(());
        };
        if let Some(network) = self.source.networks.iter().find(|network| network.spec().has_headers) {
            offer::wait_for_peers(network.overlay()).await;
        }
        self.source.archives.prove(lineage).await
    }

    async fn save(&self, mut position: Position, key: Key, next: u64) -> Result<Position, Stopping> {
        let save = move || {
            if let Err(error) = position.advance(&key, next) {
                tracing::warn!(%error, "position of seeding not saved");
            }
            position
        };
        self.source.workers.write(save).await
    }

    /// Offers pieces, headers first: a peer that has them need not ask for them to check the rest. Gives those that are open
    /// after that, by block.
    async fn offer_run(&self, contents: Vec<VerifiedContent>, is_again: bool) -> BTreeMap<u64, Vec<ContentKey>> {
        let mut open: BTreeMap<u64, Vec<ContentKey>> = BTreeMap::new();
        // What a block is made of has a header, and is known as it is offered.
        let pieces = contents
            .iter()
            .filter_map(|content| Some((content.key(), content.header()?.number(), Item::new(content)?)));
        let (headers, rest): (Vec<_>, Vec<_>) = pieces.partition(|(key, ..)| is_header(key));
        for pieces in [headers, rest] {
            for network in &self.source.networks {
                let of_network = pieces.iter().filter(|(key, ..)| key.sub_network() == network.sub_network());
                let (contents, items): (Vec<_>, Vec<_>) =
                    of_network.map(|(key, number, item)| ((**key, *number), item.clone())).unzip();
                if contents.is_empty() {
                    continue;
                }
                let pieces = if is_again { 0 } else { contents.len() as u64 };
                let Placed { open: places, placed, accepted, bytes } =
                    offer::place(network.overlay(), items, self.options, &self.slow).await;
                for (key, number) in places.into_iter().filter_map(|place| contents.get(place)) {
                    open.entry(*number).or_default().push(*key);
                }
                self.progress.send_modify(|progress| {
                    progress.pieces += pieces;
                    progress.pieces_placed += placed;
                    progress.accepted += accepted;
                    progress.bytes += bytes;
                });
            }
        }
        open
    }
}

/// Blocks of open runs.
fn open_blocks(runs: &[Run]) -> u64 {
    runs.iter().filter(|run| matches!(run.state, RunState::Open(_))).map(Run::len).sum()
}

/// Open blocks that follow each other as one run, so that they are read and offered together again.
fn open_runs(open: BTreeMap<u64, Vec<ContentKey>>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (number, keys) in open {
        match runs.last_mut() {
            Some(Run { blocks, state: RunState::Open(of) }) if blocks.end == number => {
                blocks.end = number.saturating_add(1);
                of.extend(keys);
            }
            _ => runs.push(Run { blocks: number..number.saturating_add(1), state: RunState::Open(keys) }),
        }
    }
    runs
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

fn is_header(key: &ContentKey) -> bool {
    matches!(key.subject(), Subject::Part { part: BlockPart::Header, .. })
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
    use tokio::sync::mpsc;

    use super::*;

    /// Reached only when nothing else can happen any more: the clock is paused.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn runs_are_prepared_while_nobody_asks_for_one_but_no_more_than_a_few_and_none_after_the_end() {
        let tasks = TaskTracker::new();
        let (prepared, mut seen) = mpsc::channel(10);
        let jobs = (0..10).map(|number| {
            let prepared = prepared.clone();
            async move {
                tokio::task::yield_now().await;
                prepared.send(number).await.unwrap();
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
