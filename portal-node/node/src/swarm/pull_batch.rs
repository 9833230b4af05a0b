//! Some runs that are fetched together into the node's store: surveyed, fetched from whoever holds them, with the headers that this
//! takes, until all is here or too little comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_store::StoreError;
use cairn_swarm::download;
use cairn_swarm::geometry::{Component, RUN_BLOCKS, Run, RunSet};
use cairn_swarm::quic::{FetchProgress, Held, Outside, Swarm, SwarmFetchError};
use content_types::{BlockId, NodeId};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::batch_patience::{BatchPatience, Over};
use super::header_search::HeaderSearch;
use super::library::NodeLibrary;
use super::pull::NextBatch;
use super::standing::{BatchOutcome, RunEnd, Standings};
use super::store_sink::StoreSink;
use crate::headers::HeaderSource;
use crate::pipeline::Pipeline;
use crate::workers::{Stopping, blocking};

/// Headers that are looked up at once.
const HEADER_LOOKUPS: usize = 16;
/// How many of a batch may be missed before the others are not looked for.
const MAX_HEADER_MISSES: usize = 32;
/// How long headers are looked up for a batch.
const HEADERS_TIME: Duration = Duration::from_secs(60);
/// How often a batch is looked at.
const BATCH_LOOK: Duration = Duration::from_millis(250);

/// What a batch of runs is fetched with.
pub(super) struct Batch {
    pub(super) swarm: Swarm,
    pub(super) pipeline: Pipeline,
    pub(super) library: Arc<NodeLibrary>,
    pub(super) headers: Arc<HeaderSource>,
    pub(super) standings: Arc<Mutex<Standings>>,
    /// Bytes that have come, of all batches.
    pub(super) received: Arc<AtomicU64>,
    pub(super) next: NextBatch,
}

/// What came of a batch.
pub(super) struct BatchEnd {
    pub(super) runs: Vec<(Run, RunEnd)>,
    /// Something could not be stored, for no fault of a peer.
    pub(super) is_refused: bool,
}

/// Why a batch could not even be tried.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// How a fetch ended, and what came from whom.
struct Fetched {
    outcome: Result<(), SwarmFetchError>,
    brought: Brought,
    /// Whether it ended for what peers did or did not, and not for what this node did.
    is_peers_doing: bool,
}

/// Bytes that came from each peer.
#[derive(Debug, Default)]
struct Brought {
    /// All of it, and what the connection that there is now was seen to have brought.
    of: BTreeMap<NodeId, (u64, u64)>,
}

impl Brought {
    /// The peers of which more has come than before.
    fn handle_progress(&mut self, progress: &FetchProgress) -> Vec<NodeId> {
        let mut delivered = Vec::new();
        for from in &progress.peers {
            let (all, seen) = self.of.entry(from.peer).or_default();
            // A new connection begins anew.
            let more = if from.received < *seen { from.received } else { from.received - *seen };
            (*all, *seen) = (all.saturating_add(more), from.received);
            if more > 0 {
                delivered.push(from.peer);
            }
        }
        delivered
    }

    fn bytes(&self) -> BTreeMap<NodeId, u64> {
        self.of.iter().map(|(peer, (all, _))| (*peer, *all)).collect()
    }
}

impl Batch {
    pub(super) async fn fetch(self, stop: CancellationToken) -> BatchEnd {
        match self.try_to_fetch(stop).await {
            Ok(end) => end,
            Err(error) => {
                tracing::warn!(%error, "runs cannot be fetched into the store");
                let runs = self.next.runs.into_iter().map(|run| (run, RunEnd::NotTried)).collect();
                BatchEnd { runs, is_refused: true }
            }
        }
    }

    async fn try_to_fetch(&self, stop: CancellationToken) -> Result<BatchEnd, PullError> {
        let asked: BTreeSet<Run> = self.next.runs.iter().copied().collect();
        let indices: BTreeSet<u64> = asked.iter().map(|run| run.index).collect();
        // What is said later makes nobody a holder of what was tried before.
        let sessions = self.swarm.sessions();
        let claims: Vec<(NodeId, Arc<Held>)> =
            sessions.iter().map(|session| (session.node_id(), session.view().held)).collect();
        let (pipeline, library) = (self.pipeline.clone(), Arc::clone(&self.library));
        let survey = move || {
            let blocks = indices.into_iter().flat_map(|index| Run { component: Component::Headers, index }.blocks());
            let is_asked_for = |of, number| of == Component::Headers || asked.contains(&Run::of(of, number));
            StoreSink::survey(pipeline, library, blocks, is_asked_for)
        };
        let sink = Arc::new(blocking(survey).await??);
        let before: Vec<usize> = self.next.runs.iter().map(|run| sink.missing_of(*run)).collect();
        let Fetched { outcome, brought, is_peers_doing } = self.fetch_into(&sink, &stop).await;
        let is_refused = match outcome {
            Ok(()) | Err(SwarmFetchError::Stopped) => false,
            Err(error @ SwarmFetchError::Unproved { .. }) => {
                tracing::debug!(%error, "runs were not fetched");
                false
            }
            Err(SwarmFetchError::Sink(error)) => {
                tracing::warn!(error, "what was fetched cannot be stored");
                true
            }
        };
        // What others offered meanwhile, or before, may have made a run whole of which nothing came here.
        let (runs, library) = (self.next.runs.clone(), Arc::clone(&self.library));
        let runs = blocking(move || {
            let end = |(run, before): (Run, usize)| {
                let end = end_of(&sink, run, before);
                if end == RunEnd::Complete {
                    library.note_if_whole(run)?;
                }
                Ok((run, end))
            };
            runs.into_iter().zip(before).map(end).collect::<Result<Vec<_>, StoreError>>()
        });
        let runs = runs.await??;
        let claims: &[_] = if is_peers_doing && !is_refused { &claims } else { &[] };
        let outcome = BatchOutcome { runs: &runs, claims, brought: &brought.bytes() };
        self.standings.lock().handle_ended(Instant::now(), &outcome);
        Ok(BatchEnd { runs, is_refused })
    }

    /// Fetches until everything is here, or too little comes.
    async fn fetch_into(&self, sink: &Arc<StoreSink>, stop: &CancellationToken) -> Fetched {
        let mut brought = Brought::default();
        if sink.wanted().is_empty() {
            return Fetched { outcome: Ok(()), brought, is_peers_doing: false };
        }
        let fetch = sink.fetch(self.swarm.clone(), download::Order::RarestFirst);
        let (mut progress, ending) = (fetch.progress(), stop.child_token());
        let looking = self.look_up_headers(sink, fetch.outside());
        let (mut looking, mut is_looking) = (std::pin::pin!(looking), true);
        let mut fetching = std::pin::pin!(fetch.run(&ending));
        let mut patience = BatchPatience::new(Instant::now(), self.swarm.limits().download);
        let (mut kept, mut counted, mut is_peers_doing) = (0, 0, true);
        loop {
            let ended = tokio::select! {
                ended = &mut fetching => Some(ended),
                () = &mut looking, if is_looking => {
                    is_looking = false;
                    None
                }
                () = tokio::time::sleep(BATCH_LOOK) => None,
            };
            let now = progress.borrow_and_update().clone();
            self.received.fetch_add(now.received.saturating_sub(counted), Ordering::Relaxed);
            counted = now.received;
            let delivered = brought.handle_progress(&now);
            if now.kept > kept {
                let mut standings = self.standings.lock();
                delivered.into_iter().for_each(|peer| standings.handle_delivered(Instant::now(), peer));
                kept = now.kept;
            }
            if let Some(outcome) = ended {
                return Fetched { outcome, brought, is_peers_doing: is_peers_doing && !stop.is_cancelled() };
            }
            let is_served = now.total.unreachable < now.total.missing;
            let over = patience.look(Instant::now(), kept, is_served, is_looking);
            if self.library.holdings().store().refusal().is_some() {
                is_peers_doing = false;
                ending.cancel();
            } else if let Some(why) = over {
                is_peers_doing = why == Over::Stalled;
                ending.cancel();
            }
        }
    }

    /// Storage peers hold headers by their keys, scattered over all of them: those of which nobody serves whole runs are looked up
    /// one by one. What is only claimed is waited for a moment.
    async fn look_up_headers(&self, sink: &StoreSink, outside: Outside) {
        let mut claimed = RunSet::default();
        let sessions = self.swarm.sessions();
        sessions.iter().for_each(|session| claimed.union(&session.view().held[Component::Headers.index()]));
        let mut search = HeaderSearch::new(Instant::now(), sink.headers_here(), self.next.is_retry);
        let is_claimed = |number: &u64| claimed.contains(number / RUN_BLOCKS);
        let search = async {
            let unclaimed = sink.headers_needed().into_iter().filter(|number| !is_claimed(number));
            self.look_up(sink, &outside, unclaimed.collect()).await;
            while !search.is_claimed_one_due(Instant::now(), sink.headers_here()) {
                tokio::time::sleep(BATCH_LOOK).await;
            }
            self.look_up(sink, &outside, sink.headers_needed()).await;
        };
        let _ = tokio::time::timeout(HEADERS_TIME, search).await;
    }

    async fn look_up(&self, sink: &StoreSink, outside: &Outside, numbers: BTreeSet<u64>) {
        let look_up = |number| async move {
            // The fetch may have brought it meanwhile.
            if sink.has_header(number) { None } else { Some(self.headers.get(BlockId::Number(number)).await) }
        };
        let mut lookups = std::pin::pin!(stream::iter(numbers).map(look_up).buffer_unordered(HEADER_LOOKUPS));
        let mut misses = 0;
        while let Some(found) = lookups.next().await
            && misses < MAX_HEADER_MISSES
        {
            match found {
                None => {}
                Some(Ok(header)) => {
                    let number = header.number();
                    sink.learn(header);
                    outside.kept(Component::Headers, number, 0);
                }
                Some(Err(_)) => misses += 1,
            }
        }
    }
}

/// How it ended with a run of which so many blocks were missing.
fn end_of(sink: &StoreSink, run: Run, before: usize) -> RunEnd {
    if sink.has_all_of(run) {
        RunEnd::Complete
    } else if sink.missing_of(run) < before {
        RunEnd::Partly
    } else if sink.has_header_of_missing(run) {
        RunEnd::Missed
    } else {
        RunEnd::NotTried
    }
}
