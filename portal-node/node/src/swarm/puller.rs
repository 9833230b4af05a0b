//! A storage peer that fills itself: what lies within its radius is fetched from whoever holds it, for as long as the node runs.
//! [`Pull`] says what comes next; here that is fetched, some runs at a time, and looked at again when the peers, the radius or
//! the time have changed.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_archive::MAX_BLOCKS;
use cairn_store::StoreError;
use cairn_swarm::download;
use cairn_swarm::geometry::{Component, MAX_BLOCK, RUN_BLOCKS, Run, RunSet};
use cairn_swarm::quic::{Held, Swarm, SwarmFetchError};
use content_types::{BlockId, SubNetwork};
use futures::{StreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::library::NodeLibrary;
use super::peers::{DialPlan, KnownPeers};
use super::progress::PullStatus;
use super::pull::{BATCH_RUNS, Pull, PullCounts, PullView};
use super::store_sink::StoreSink;
use crate::headers::HeaderSource;
use crate::pipeline::Pipeline;
use crate::seeding::Archives;
use crate::workers::{Stopping, Workers, blocking, result_of};

/// Batches of runs that are fetched at once: while the last of one trickles in, the next is under way.
const BATCHES: usize = 2;
/// How often it is looked whether anything has changed.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is decided anew though nothing has.
const DECIDE_INTERVAL: Duration = Duration::from_secs(30);
/// Pause after something could not be stored.
const PAUSE: Duration = Duration::from_secs(30);
/// Headers that are looked up at once where nobody serves runs of them.
const HEADER_LOOKUPS: usize = 16;
/// How many of a batch may be missed before the others are not looked for.
const MAX_HEADER_MISSES: usize = 32;
/// How long headers are looked up for a batch.
const HEADERS_TIME: Duration = Duration::from_secs(60);
/// How often a batch is looked at.
const BATCH_LOOK: Duration = Duration::from_millis(250);
/// How long a batch goes on that brings nothing: a peer that serves others by turns comes round to this one within that.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same while nobody is connected that holds what is missing.
const UNSERVED_PATIENCE: Duration = Duration::from_secs(20);
/// The longest that a batch goes on: who brings next to nothing shall not hold it up for ever.
const BATCH_TIME: Duration = Duration::from_secs(30 * 60);
/// As long as fewer connected peers hold what is missing, others are dialled.
const USEFUL_PEERS: usize = 8;
/// But not while so many are connected.
const PEERS: usize = 32;
/// How often peers are sought. The node does so for as long as it runs.
const SEEK_INTERVAL: Duration = Duration::from_secs(3);

/// What fills a node's store.
pub(crate) struct Puller {
    pub(crate) peers: KnownPeers,
    pub(crate) pipeline: Pipeline,
    pub(crate) library: Arc<NodeLibrary>,
    pub(crate) headers: Arc<HeaderSource>,
    pub(crate) archives: Arc<Archives>,
    pub(crate) workers: Workers,
    /// Room for what the History network keeps, in bytes.
    pub(crate) budget: u64,
    /// Where it tells how far it is.
    pub(crate) status: watch::Sender<PullStatus>,
}

/// What came of a batch: of each run, whether nothing of it is missing any more.
struct BatchEnd {
    runs: Vec<(Run, bool)>,
    /// Something could not be stored, for no fault of a peer.
    is_refused: bool,
}

impl Puller {
    /// Fetches until it is stopped.
    pub(crate) async fn keep_pulling(self, stop: CancellationToken) {
        if self.budget == 0 || stop.run_until_cancelled(self.archives.wait_until_scanned()).await.is_none() {
            return;
        }
        let status = self.status.subscribe();
        let dialling = DialPlan { interval: SEEK_INTERVAL, may_dial: move |connected| may_dial(&status, connected) };
        let dialler = tokio::spawn(self.peers.clone().keep_dialling_by(dialling, stop.clone()));
        let mut batches = JoinSet::new();
        // When the node stops.
        let Err(Stopping) = self.pull(&mut batches, &stop).await;
        // What was on its way to the store arrives there.
        while batches.join_next().await.is_some() {}
        let _ = dialler.await;
    }

    async fn pull(&self, batches: &mut JoinSet<BatchEnd>, stop: &CancellationToken) -> Result<Infallible, Stopping> {
        let holdings = self.library.holdings();
        let mut pull = Pull::new(Instant::now(), holdings.node_id());
        let mut changes = self.peers.swarm.changes();
        let received = Arc::new(AtomicU64::new(0));
        let mut meter = RateMeter::default();
        let (mut is_due, mut decided, mut resume) = (true, Instant::now(), Instant::now());
        let mut radius = holdings.radius(SubNetwork::History);
        loop {
            tokio::select! {
                Some(ended) = batches.join_next() => {
                    let BatchEnd { runs, is_refused } = result_of(ended)?;
                    let now = Instant::now();
                    runs.into_iter().for_each(|(run, is_complete)| pull.handle_ended(now, run, is_complete));
                    if is_refused {
                        resume = now + PAUSE;
                    }
                    is_due = true;
                }
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return Err(Stopping),
            }
            let now = Instant::now();
            self.tell(|status| status.rate = meter.rate(now, received.load(Ordering::Relaxed)));
            let radius_now = holdings.radius(SubNetwork::History);
            is_due |=
                changes.has_changed().unwrap_or(false) || radius_now != radius || now >= decided + DECIDE_INTERVAL;
            if !is_due {
                continue;
            }
            (is_due, decided, radius) = (false, now, radius_now);
            changes.mark_unchanged();
            let may_fetch = now >= resume && holdings.store().refusal().is_none();
            loop {
                let most = if may_fetch && batches.len() < BATCHES { BATCH_RUNS } else { 0 };
                let (after, counts, runs) = self.decide(pull, most).await?;
                pull = after;
                self.tell(|status| {
                    (status.wanted, status.held, status.peers) = (counts.wanted, counts.held, counts.useful);
                });
                if runs.is_empty() {
                    break;
                }
                tracing::debug!(runs = runs.len(), wanted = counts.wanted, held = counts.held, "runs are fetched");
                let batch = Batch {
                    swarm: self.peers.swarm.clone(),
                    pipeline: self.pipeline.clone(),
                    library: Arc::clone(&self.library),
                    headers: Arc::clone(&self.headers),
                    received: Arc::clone(&received),
                };
                batches.spawn(batch.fetch(runs, stop.child_token()));
            }
        }
    }

    /// Whoever watches is told of what is new only.
    fn tell(&self, change: impl FnOnce(&mut PullStatus)) {
        self.status.send_if_modified(|status| {
            let before = *status;
            change(status);
            *status != before
        });
    }

    /// Asks what comes next, on a thread for that: what there is to be gone through are all runs of a chain.
    async fn decide(&self, mut pull: Pull, most: usize) -> Result<(Pull, PullCounts, Vec<Run>), Stopping> {
        let sessions = self.peers.swarm.sessions();
        let peers: Vec<_> =
            sessions.iter().filter(|session| !session.is_closed()).map(|session| session.view().held).collect();
        let (own, headers) = (self.peers.swarm.held(), Arc::clone(&self.headers));
        let radius = self.library.holdings().radius(SubNetwork::History);
        let room = self.room();
        let decision = move || {
            let provable = provable(&headers, peers.iter().chain([&own]));
            let view = PullView { own: &own, radius, room, provable: &provable, peers: &peers };
            let (counts, runs) = pull.next(Instant::now(), &view, most);
            (pull, counts, runs)
        };
        self.workers.cpu(decision).await
    }

    /// How many runs there is room for if others are as large as those that are here; `None` before there is a whole one.
    fn room(&self) -> Option<u64> {
        let usage = self.library.holdings().store().usage(SubNetwork::History);
        let items = u128::from(usage.items / RUN_BLOCKS * RUN_BLOCKS);
        let runs = (u128::from(self.budget) * items).checked_div(u128::from(usage.bytes) * u128::from(RUN_BLOCKS))?;
        (items > 0).then(|| u64::try_from(runs).unwrap_or(u64::MAX))
    }
}

fn may_dial(status: &watch::Receiver<PullStatus>, connected: usize) -> usize {
    if status.borrow().peers >= USEFUL_PEERS { 0 } else { PEERS.saturating_sub(connected) }
}

/// The runs up to the last that anybody holds whose headers could be proved, in whole eras.
fn provable<'a>(headers: &HeaderSource, held: impl Iterator<Item = &'a Arc<Held>>) -> RunSet {
    const ERA_RUNS: u64 = MAX_BLOCKS / RUN_BLOCKS;
    let last = held.flat_map(|held| held.iter()).filter_map(|runs| runs.last_before(MAX_BLOCK / RUN_BLOCKS + 1)).max();
    let mut provable = RunSet::default();
    for era in 0..last.map_or(0, |last| last / ERA_RUNS + 1) {
        if headers.is_within_trust(&BlockId::Number(era * MAX_BLOCKS)) {
            provable.insert(era * ERA_RUNS..(era + 1) * ERA_RUNS);
        }
    }
    provable
}

/// How fast something grows.
#[derive(Default)]
struct RateMeter {
    before: Option<(Instant, u64)>,
    rate: u64,
}

impl RateMeter {
    /// Units a second, of which half is from the time before.
    fn rate(&mut self, now: Instant, total: u64) -> u64 {
        let (then, before) = *self.before.get_or_insert((now, total));
        let millis = now.saturating_duration_since(then).as_millis();
        // Batches may end one right after the other.
        if millis >= LOOK.as_millis() / 2 {
            let grown = u128::from(total.saturating_sub(before)) * 1000 / millis;
            self.rate = (self.rate / 2).saturating_add(u64::try_from(grown).unwrap_or(u64::MAX) / 2);
            self.before = Some((now, total));
        }
        self.rate
    }
}

/// What a batch of runs is fetched with.
struct Batch {
    swarm: Swarm,
    pipeline: Pipeline,
    library: Arc<NodeLibrary>,
    headers: Arc<HeaderSource>,
    /// Bytes that have come, of all batches.
    received: Arc<AtomicU64>,
}

impl Batch {
    async fn fetch(self, runs: Vec<Run>, stop: CancellationToken) -> BatchEnd {
        match self.try_to_fetch(&runs, stop).await {
            Ok(end) => end,
            Err(error) => {
                tracing::warn!(%error, "runs cannot be fetched into the store");
                BatchEnd { runs: runs.into_iter().map(|run| (run, false)).collect(), is_refused: true }
            }
        }
    }

    async fn try_to_fetch(&self, runs: &[Run], stop: CancellationToken) -> Result<BatchEnd, PullError> {
        let asked: BTreeSet<Run> = runs.iter().copied().collect();
        let indices: BTreeSet<u64> = asked.iter().map(|run| run.index).collect();
        let (pipeline, library) = (self.pipeline.clone(), Arc::clone(&self.library));
        let survey = move || {
            let blocks = indices.into_iter().flat_map(|index| Run { component: Component::Headers, index }.blocks());
            let is_asked_for = |of, number| of == Component::Headers || asked.contains(&Run::of(of, number));
            StoreSink::survey(pipeline, library, blocks, is_asked_for)
        };
        let sink = Arc::new(blocking(survey).await??);
        let looking = tokio::time::timeout(HEADERS_TIME, self.look_up_headers(&sink));
        // Those that were not found by then are fetched if somebody comes who serves them.
        let _ = stop.run_until_cancelled(looking).await;
        let is_refused = match self.fetch_into(&sink, &stop).await {
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
        let (runs, library) = (runs.to_vec(), Arc::clone(&self.library));
        let runs = blocking(move || {
            let end = |run: Run| {
                let is_complete = sink.has_all_of(run);
                if is_complete {
                    library.note_if_whole(run)?;
                }
                Ok((run, is_complete))
            };
            runs.into_iter().map(end).collect::<Result<Vec<_>, StoreError>>()
        });
        Ok(BatchEnd { runs: runs.await??, is_refused })
    }

    /// Storage peers hold headers by their keys, scattered over all of them: where nobody is connected who serves whole runs, they
    /// are looked up one by one.
    async fn look_up_headers(&self, sink: &StoreSink) {
        let mut served = self.swarm.held()[Component::Headers.index()].clone();
        let sessions = self.swarm.sessions();
        sessions.iter().for_each(|session| served.union(&session.view().held[Component::Headers.index()]));
        let needed = sink.headers_needed().into_iter().filter(|number| !served.contains(number / RUN_BLOCKS));
        let lookups = stream::iter(needed).map(|number| self.headers.get(BlockId::Number(number)));
        let mut lookups = std::pin::pin!(lookups.buffer_unordered(HEADER_LOOKUPS));
        let mut misses = 0;
        while let Some(found) = lookups.next().await
            && misses < MAX_HEADER_MISSES
        {
            match found {
                Ok(header) => sink.learn(header),
                Err(_) => misses += 1,
            }
        }
    }

    /// Fetches until everything is here, or nothing comes for too long.
    async fn fetch_into(&self, sink: &Arc<StoreSink>, stop: &CancellationToken) -> Result<(), SwarmFetchError> {
        if sink.wanted().is_empty() {
            return Ok(());
        }
        let fetch = sink.fetch(self.swarm.clone(), download::Order::RarestFirst);
        let (mut progress, ending) = (fetch.progress(), stop.child_token());
        let mut fetching = std::pin::pin!(fetch.run(&ending));
        let begun = Instant::now();
        let (mut last, mut kept, mut counted) = (begun, 0, 0);
        loop {
            let ended = tokio::select! {
                ended = &mut fetching => Some(ended),
                () = tokio::time::sleep(BATCH_LOOK) => None,
            };
            let now = progress.borrow_and_update().clone();
            self.received.fetch_add(now.received.saturating_sub(counted), Ordering::Relaxed);
            counted = now.received;
            if let Some(ended) = ended {
                return ended;
            }
            if now.kept > kept {
                (last, kept) = (Instant::now(), now.kept);
            }
            let is_served = now.total.unreachable < now.total.missing;
            let patience = if is_served { PATIENCE } else { UNSERVED_PATIENCE };
            let is_refused = self.library.holdings().store().refusal().is_some();
            if is_refused || last.elapsed() > patience || begun.elapsed() > BATCH_TIME {
                ending.cancel();
            }
        }
    }
}

/// Why a batch could not even be tried.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stopping(#[from] Stopping),
}
