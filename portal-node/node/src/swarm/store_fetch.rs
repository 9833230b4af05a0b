//! Ranges of blocks into the node's own store, from many peers. A fetch is asked for again and again, which tells how far it
//! is; one that nobody asks for any more is over, so that whoever wants it can simply go away.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_archive::MAX_BLOCKS;
use cairn_swarm::download::Order;
use cairn_swarm::quic::{FetchProgress, Swarm, SwarmFetchError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::library::NodeLibrary;
use super::peers::KnownPeers;
use super::progress::{PeerState, peers_of};
use super::store_sink::StoreSink;
use crate::pipeline::Pipeline;
use crate::workers::blocking;

/// Fetches into the store at a time; each has connections and memory of its own.
const MAX_FETCHES: usize = 4;
/// A fetch that nobody asked for this long ends.
const LEASE: Duration = Duration::from_secs(30);
/// How often that, and who serves what is missing, is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How a fetch into the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreFetchPhase {
    /// It goes on.
    #[default]
    Running,
    /// Everything that could be had is here.
    Done,
    /// It ended before that; `error` says why.
    Failed,
}

/// How far a fetch into the store is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreFetchState {
    /// Whether it goes on.
    pub phase: StoreFetchPhase,
    /// Items of the range: of each block a header, a body and a receipt list.
    pub items: u64,
    /// Of those, here or not to be kept; what is looked at comes era by era.
    pub done: u64,
    /// Items that were stored.
    pub stored: u64,
    /// Items that this node does not keep: outside its radius, or there is no room.
    pub outside: u64,
    /// Items that nobody served for as long as was waited.
    pub unserved: u64,
    /// Bytes received.
    pub received: u64,
    /// Items that were wrong.
    pub invalid: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// The peers that are asked.
    pub peers: Vec<PeerState>,
}

/// What is to be fetched into the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreRange {
    /// The first block.
    pub first: u64,
    /// The last block.
    pub last: u64,
}

/// Why a fetch is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// The range has no blocks.
    #[error("the range is empty")]
    Empty,
    /// There are others.
    #[error("{MAX_FETCHES} fetches into the store are under way already")]
    TooMany,
    /// The node stops.
    #[error("the node is stopping")]
    Stopping,
}

/// A fetch that is under way, or ended lately.
struct StoreFetchJob {
    state: watch::Receiver<StoreFetchState>,
    asked: Arc<Mutex<Instant>>,
}

impl StoreFetchJob {
    fn is_abandoned(&self) -> bool {
        self.asked.lock().elapsed() > LEASE
    }
}

/// The fetches into a node's store. Cheap to clone.
#[derive(Clone)]
pub struct StoreFetches {
    peers: KnownPeers,
    pipeline: Pipeline,
    library: Arc<NodeLibrary>,
    tasks: TaskTracker,
    stop: CancellationToken,
    jobs: Arc<Mutex<BTreeMap<StoreRange, StoreFetchJob>>>,
}

impl StoreFetches {
    pub(crate) fn new(
        peers: KnownPeers,
        pipeline: Pipeline,
        library: Arc<NodeLibrary>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { peers, pipeline, library, tasks, stop, jobs: Arc::default() }
    }

    pub(crate) const fn swarm(&self) -> &Swarm {
        &self.peers.swarm
    }

    /// Begins to fetch a range, or goes on with that if it was asked for before; tells how far it is. It ends when it is not
    /// asked for for half a minute, and keeps what came. `patience` is how long is waited while nobody serves what is missing.
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// [`NotBegun`].
    pub fn ask(&self, range: StoreRange, patience: Duration) -> Result<StoreFetchState, NotBegun> {
        if range.first > range.last {
            return Err(NotBegun::Empty);
        }
        let mut jobs = self.jobs.lock();
        jobs.retain(|_, job| !job.is_abandoned());
        if let Some(job) = jobs.get(&range) {
            *job.asked.lock() = Instant::now();
            let state = job.state.borrow().clone();
            if state.phase != StoreFetchPhase::Running {
                // Told once; who asks again wants it looked at again.
                jobs.remove(&range);
            }
            return Ok(state);
        }
        if jobs.len() >= MAX_FETCHES {
            return Err(NotBegun::TooMany);
        }
        if self.stop.is_cancelled() {
            return Err(NotBegun::Stopping);
        }
        let items = (range.last - range.first).saturating_add(1).saturating_mul(3);
        let (sender, state) = watch::channel(StoreFetchState { items, ..StoreFetchState::default() });
        let asked = Arc::new(Mutex::new(Instant::now()));
        let run = StoreFetchRun { of: self.clone(), patience, asked: Arc::clone(&asked), state: sender };
        let stop = self.stop.child_token();
        self.tasks.spawn(async move { run.run(range, stop).await });
        let begun = state.borrow().clone();
        jobs.insert(range, StoreFetchJob { state, asked });
        Ok(begun)
    }
}

impl std::fmt::Debug for StoreFetches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreFetches").field("jobs", &self.jobs.lock().len()).finish_non_exhaustive()
    }
}

/// One fetch, era by era.
struct StoreFetchRun {
    of: StoreFetches,
    patience: Duration,
    asked: Arc<Mutex<Instant>>,
    state: watch::Sender<StoreFetchState>,
}

/// How an era's part of the range went.
enum EraOutcome {
    Everything,
    /// So many items were served by nobody, and whether anything was.
    Unserved(u64, bool),
    Abandoned,
}

impl StoreFetchRun {
    async fn run(self, range: StoreRange, stop: CancellationToken) {
        let mut first = range.first;
        loop {
            let last = (first | (MAX_BLOCKS - 1)).min(range.last);
            match self.era(first..=last, &stop).await {
                Ok(EraOutcome::Everything) => {}
                Ok(EraOutcome::Unserved(items, got_some)) => {
                    let rest = if got_some { 0 } else { range.last.saturating_sub(last).saturating_mul(3) };
                    self.state.send_modify(|state| state.unserved += items.saturating_add(rest));
                    // Where nobody has anything, the next era is hardly another matter.
                    if !got_some {
                        break;
                    }
                }
                Ok(EraOutcome::Abandoned) => return self.fail("it was stopped".to_owned()),
                Err(error) => return self.fail(error),
            }
            match last.checked_add(1).filter(|next| *next <= range.last) {
                Some(next) => first = next,
                None => break,
            }
        }
        self.state.send_modify(|state| {
            state.phase = StoreFetchPhase::Done;
            state.peers.clear();
        });
    }

    fn fail(&self, error: String) {
        tracing::info!(error, "a fetch into the store ended");
        self.state.send_modify(|state| {
            state.phase = StoreFetchPhase::Failed;
            state.error = Some(error);
            state.peers.clear();
        });
    }

    async fn era(&self, blocks: RangeInclusive<u64>, stop: &CancellationToken) -> Result<EraOutcome, String> {
        let StoreFetches { peers, pipeline, library, .. } = &self.of;
        let items = (blocks.end() - blocks.start() + 1) * 3;
        let era = blocks.start() / MAX_BLOCKS;
        let surveyed = {
            let (pipeline, library) = (pipeline.clone(), Arc::clone(library));
            blocking(move || StoreSink::survey(pipeline, library, blocks, |_, _| true)).await
        };
        let sink = Arc::new(surveyed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?);
        let before = self.state.borrow().clone();
        let fetch = sink.fetch(peers.swarm.clone(), Order::Sequential);
        let progress = fetch.progress();
        let (ending, dialling) = (stop.child_token(), stop.child_token());
        let dialler = tokio::spawn(peers.clone().keep_dialling(era..=era, dialling.clone()));
        let watching = self.watch(&before, items, &sink, progress.clone());
        let mut fetching = std::pin::pin!(fetch.run(&ending));
        let (fetched, ended_by) = tokio::select! {
            fetched = &mut fetching => (fetched, None),
            outcome = watching => {
                ending.cancel();
                (fetching.await, Some(outcome))
            }
        };
        dialling.cancel();
        // It ends with its token.
        let _ = dialler.await;
        self.tell(&before, items, &sink, &progress.borrow());
        match (fetched, ended_by) {
            (Ok(()), _) => Ok(EraOutcome::Everything),
            (Err(SwarmFetchError::Stopped), Some(outcome)) => Ok(outcome),
            (Err(SwarmFetchError::Stopped), None) => Ok(EraOutcome::Abandoned),
            (Err(error), _) => Err(error.to_string()),
        }
    }

    /// Tells how far an era is, until nobody wants it any more or nobody serves what is missing.
    async fn watch(
        &self,
        before: &StoreFetchState,
        items: u64,
        sink: &StoreSink,
        progress: watch::Receiver<FetchProgress>,
    ) -> EraOutcome {
        let mut last = (0, Instant::now());
        loop {
            tokio::time::sleep(LOOK).await;
            let now = progress.borrow().clone();
            self.tell(before, items, sink, &now);
            if self.asked.lock().elapsed() > LEASE {
                return EraOutcome::Abandoned;
            }
            let is_served = now.total.unreachable < now.total.missing;
            if now.kept > last.0 || is_served {
                last = (now.kept, Instant::now());
            } else if last.1.elapsed() > self.patience {
                return EraOutcome::Unserved(now.total.missing, now.kept > 0);
            }
        }
    }

    fn tell(&self, before: &StoreFetchState, items: u64, sink: &StoreSink, now: &FetchProgress) {
        self.state.send_modify(|state| {
            state.done = before.done + items.saturating_sub(now.total.missing);
            state.stored = before.stored + sink.stored();
            state.outside = before.outside + sink.outside();
            state.received = before.received + now.received;
            state.invalid = before.invalid + now.invalid;
            state.peers = peers_of(now);
        });
    }
}
