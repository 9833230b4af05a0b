//! Whole eras into a folder, within a budget of disk: by number, or what the fewest peers hold first. What is whole is served
//! at once, if the folder is one that the node serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_archive::ArchiveError;
use cairn_archive::write::{ArchiveWriter, Plan};
use cairn_swarm::download::Order;
use cairn_swarm::quic::{FetchProgress, SwarmFetchError};
use content_types::{HeaderVerifier, NodeId};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::coverage::{holders, holdings};
use super::fetch::{ArchiveFetch, FetchArchiveError, WantedArchive};
use super::patience::Patience;
use super::peers::KnownPeers;
use super::shelf::{DiskRoom, EraCandidate, Shelf, least_size, next};
use super::tracker::providers;
use super::web::MirrorTrouble;
use crate::not_found::NotFoundCause;
use crate::seeding::Archives;
use crate::workers::blocking;

/// How often it is looked at what goes on.
const LOOK: Duration = Duration::from_millis(250);
/// Before the first era is chosen, nothing may have changed about the peers for so long.
const QUIET: Duration = Duration::from_secs(2);
/// The longest that is waited for that.
const SETTLE: Duration = Duration::from_secs(10);
/// How often the tracker is asked who holds the eras that are missing.
const ASK_TRACKER: Duration = Duration::from_secs(30);
/// Eras that the tracker is asked about at once.
const LOOKUPS: usize = 4;

/// What is to be kept of the chain, and where.
#[derive(Clone, Debug)]
pub struct SyncOptions {
    /// The folder, which has to exist.
    pub folder: PathBuf,
    /// An archive for each era.
    pub plans: Vec<Plan>,
    /// Which eras come first, and which runs of an era.
    pub order: Order,
    /// Bytes that all archives in the folder may take; `None` for as many as there are.
    pub capacity: Option<u64>,
    /// Eras that are fetched at once.
    pub at_once: usize,
    /// How long is waited while nobody serves what is missing.
    pub patience: Duration,
    /// Mirrors of archive files for what no peer serves.
    pub web_seeds: Vec<String>,
}

/// How an era came out.
#[derive(Debug)]
pub enum EraEnd {
    /// It was there before.
    There(PathBuf),
    /// It was fetched.
    Fetched {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// Bytes received for it this time.
        received: u64,
    },
    /// Nobody serves some of it. What came is kept.
    Unserved {
        /// Items that are missing.
        missing: u64,
        /// Items that there are, those that came before among them; 0 if nobody was found who holds anything of it.
        wanted: u64,
        /// Whether any peer is there at all.
        cause: NotFoundCause,
        /// Why mirrors that were named gave no more.
        mirrors: Vec<MirrorTrouble>,
    },
    /// The budget has no room for it. Nothing of it is left.
    NoRoom,
    /// It could not be written.
    Failed(FetchArchiveError),
}

/// What goes on.
#[derive(Clone, Debug, Default)]
pub struct SyncProgress {
    /// Bytes of the archives in the folder.
    pub used: u64,
    /// The eras that are being fetched, and how far they are.
    pub running: Vec<(u64, FetchProgress)>,
}

/// Eras that are to be fetched.
pub struct EraSync {
    shared: Arc<SyncShared>,
    network: String,
    plans: Vec<Plan>,
    at_once: usize,
    progress: watch::Sender<SyncProgress>,
}

/// What a sync and the fetches of its eras share.
struct SyncShared {
    peers: KnownPeers,
    verifier: HeaderVerifier,
    archives: Arc<Archives>,
    folder: PathBuf,
    order: Order,
    patience: Duration,
    web_seeds: Vec<String>,
    room: Mutex<DiskRoom>,
    capacity: Option<u64>,
    /// Who says to the tracker that it holds an era.
    announced: Mutex<BTreeMap<u64, BTreeSet<NodeId>>>,
}

/// An era that is being fetched.
struct RunningEra {
    plan: Plan,
    progress: Mutex<Option<watch::Receiver<FetchProgress>>>,
    /// Cancelled when there is no room for it.
    too_much: CancellationToken,
}

/// Ends with the era and how it came out.
type EraFetch = BoxFuture<'static, (u64, EraEnd)>;

impl EraSync {
    pub(crate) fn new(
        peers: KnownPeers,
        verifier: HeaderVerifier,
        archives: Arc<Archives>,
        network: &str,
        options: SyncOptions,
    ) -> Self {
        let SyncOptions { folder, plans, order, capacity, at_once, patience, web_seeds } = options;
        let room = Mutex::new(DiskRoom::new(capacity, 0, BTreeMap::new()));
        let announced = Mutex::default();
        let shared =
            SyncShared { peers, verifier, archives, folder, order, patience, web_seeds, room, capacity, announced };
        let progress = watch::Sender::default();
        Self { shared: Arc::new(shared), network: network.to_owned(), plans, at_once: at_once.max(1), progress }
    }

    /// What goes on, now and then.
    pub fn progress(&self) -> watch::Receiver<SyncProgress> {
        self.progress.subscribe()
    }

    /// Fetches what is missing, and tells how each era came out as soon as that is known. When `stop` is cancelled, what was
    /// fetched until then is kept for the next time.
    ///
    /// # Errors
    /// [`FetchArchiveError`] when the folder cannot be read.
    pub async fn run(
        self,
        ends: mpsc::UnboundedSender<(u64, EraEnd)>,
        stop: &CancellationToken,
    ) -> Result<(), FetchArchiveError> {
        let Self { shared, network, plans, at_once, progress } = self;
        let (folder, wanted) = (shared.folder.clone(), plans.clone());
        let looked = blocking(move || Shelf::look(&folder, &network, &wanted)).await?;
        let folder = shared.folder.display().to_string();
        let Shelf { there, begun, used, sizes } =
            looked.map_err(|source| FetchArchiveError::Folder { folder, source })?;
        *shared.room.lock() = DiskRoom::new(shared.capacity, used, sizes);
        progress.send_replace(SyncProgress { used, running: Vec::new() });
        let pending = plans.into_iter().filter(|plan| !there.contains_key(&plan.era()));
        let pending: BTreeMap<u64, Plan> = pending.map(|plan| (plan.era(), plan)).collect();
        for (era, path) in there {
            // Who does not listen any more has stopped this, too.
            let _ = ends.send((era, EraEnd::There(path)));
        }
        if pending.is_empty() {
            return Ok(());
        }
        let ending = stop.child_token();
        let dialler = tokio::spawn(shared.peers.clone().keep_dialling_known(ending.clone()));
        let (eras, asking) = (pending.keys().copied().collect(), Arc::clone(&shared));
        let asker =
            tokio::spawn(ending.clone().run_until_cancelled_owned(async move { asking.ask_tracker(eras).await }));
        let mut sync = RunningSync {
            shared,
            pending,
            begun,
            at_once,
            running: Vec::new(),
            fetching: FuturesUnordered::new(),
            is_full: false,
            progress,
            ends,
        };
        if stop.run_until_cancelled(sync.shared.settle()).await.is_some() {
            sync.run(stop).await;
        }
        ending.cancel();
        // Both end with their token.
        let _ = (dialler.await, asker.await);
        Ok(())
    }
}

impl std::fmt::Debug for EraSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EraSync").field("plans", &self.plans.len()).finish_non_exhaustive()
    }
}

/// A sync under way.
struct RunningSync {
    shared: Arc<SyncShared>,
    pending: BTreeMap<u64, Plan>,
    begun: Vec<u64>,
    at_once: usize,
    /// In the order in which they were begun.
    running: Vec<Arc<RunningEra>>,
    fetching: FuturesUnordered<EraFetch>,
    /// Nothing is begun any more: something did not fit.
    is_full: bool,
    progress: watch::Sender<SyncProgress>,
    ends: mpsc::UnboundedSender<(u64, EraEnd)>,
}

impl RunningSync {
    async fn run(&mut self, stop: &CancellationToken) {
        let mut last_busy = Instant::now();
        loop {
            while !self.is_full && self.running.len() < self.at_once && self.begin_next(stop) {}
            if !self.running.is_empty() {
                last_busy = Instant::now();
            } else if self.pending.is_empty() || self.is_full || last_busy.elapsed() > self.shared.patience {
                break;
            }
            tokio::select! {
                Some((era, end)) = self.fetching.next() => {
                    self.running.retain(|running| running.plan.era() != era);
                    self.is_full |= matches!(end, EraEnd::NoRoom);
                    let _ = self.ends.send((era, end));
                }
                () = tokio::time::sleep(LOOK) => self.look_at_room().await,
                () = stop.cancelled() => {
                    // What they have on their way to be kept is kept.
                    while self.fetching.next().await.is_some() {}
                    return;
                }
            }
            self.tell();
        }
        for (era, _) in std::mem::take(&mut self.pending) {
            let end = if self.is_full {
                EraEnd::NoRoom
            } else {
                let cause = self.shared.peers.why_unserved();
                EraEnd::Unserved { missing: 0, wanted: 0, cause, mirrors: Vec::new() }
            };
            let _ = self.ends.send((era, end));
        }
    }

    /// Begins with the next era; false if there is none that could be.
    fn begin_next(&mut self, stop: &CancellationToken) -> bool {
        let candidates = self.shared.candidates(&self.pending, &self.begun);
        let Some(era) = next(self.shared.order, &candidates, rand::random()) else { return false };
        let coming = self.running.iter().map(|running| self.shared.room.lock().expected(running.plan.era())).sum();
        if !self.shared.room.lock().may_take(era, coming) {
            self.is_full = true;
            return false;
        }
        let Some(plan) = self.pending.remove(&era) else { return false };
        let running = Arc::new(RunningEra { plan, progress: Mutex::default(), too_much: stop.child_token() });
        self.running.push(Arc::clone(&running));
        let shared = Arc::clone(&self.shared);
        self.fetching.push(async move { (era, shared.era(&running).await) }.boxed());
        true
    }

    /// Ends the first of the eras under way for which there is no room.
    async fn look_at_room(&self) {
        let (folder, plans) = (self.shared.folder.clone(), self.running.iter().map(|of| of.plan.clone()));
        let plans: Vec<_> = plans.collect();
        if plans.is_empty() {
            return;
        }
        let size = move |plan: &Plan| (plan.era(), least_size(&folder, plan));
        let Ok(sizes) = blocking(move || plans.iter().map(size).collect::<Vec<_>>()).await else { return };
        let Some(era) = self.shared.room.lock().first_too_much(sizes) else { return };
        let too_much = self.running.iter().find(|running| running.plan.era() == era);
        too_much.iter().for_each(|running| running.too_much.cancel());
    }

    fn tell(&self) {
        let of = |running: &Arc<RunningEra>| {
            let progress = running.progress.lock().as_ref().map(|progress| progress.borrow().clone());
            (running.plan.era(), progress.unwrap_or_default())
        };
        let used = self.shared.room.lock().used();
        self.progress.send_replace(SyncProgress { used, running: self.running.iter().map(of).collect() });
    }
}

impl SyncShared {
    /// Waits until peers had the time to say what they hold: the first choice would else be made among those of whoever is
    /// nearest.
    async fn settle(&self) {
        let mut changes = self.peers.swarm.changes();
        let quiet = async {
            loop {
                let change = tokio::time::timeout(QUIET, changes.changed()).await;
                if change.is_err() && !self.peers.swarm.sessions().is_empty() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(SETTLE.min(self.patience), quiet).await;
    }

    /// Asks the tracker who holds the eras, again and again.
    async fn ask_tracker(&self, eras: Vec<u64>) {
        let Some(tracker) = &self.peers.tracker else { return };
        loop {
            let ask = |era| async move { (era, providers(tracker, era).await) };
            let mut asked = futures::stream::iter(eras.clone()).map(ask).buffer_unordered(LOOKUPS);
            while let Some((era, holders)) = asked.next().await {
                self.announced.lock().insert(era, holders.into_iter().collect());
            }
            tokio::time::sleep(ASK_TRACKER).await;
        }
    }

    /// The eras of which somebody holds something.
    fn candidates(&self, pending: &BTreeMap<u64, Plan>, begun: &[u64]) -> Vec<EraCandidate> {
        let held = holdings(&self.peers.swarm);
        let announced = self.announced.lock();
        let of = |(era, plan): (&u64, &Plan)| {
            let told = announced.get(era).into_iter().flatten().filter(|id| !held.contains_key(*id));
            let (told, (fewest, most)) = (told.count() as u32, holders(plan, held.values()));
            let is_there = told > 0 || most > 0 || !self.web_seeds.is_empty();
            is_there.then_some(EraCandidate { era: *era, holders: fewest + told, is_begun: begun.contains(era) })
        };
        pending.iter().filter_map(of).collect()
    }

    fn patience(&self) -> Patience {
        Patience { nobody: self.patience, nothing: self.patience }
    }

    async fn era(&self, running: &RunningEra) -> EraEnd {
        let plan = running.plan.clone();
        let wanted = WantedArchive {
            folder: self.folder.clone(),
            name: None,
            plan: plan.clone(),
            order: self.order,
            web_seeds: self.web_seeds.clone(),
        };
        let begun =
            ArchiveFetch::begin(self.peers.swarm.clone(), self.peers.clone(), self.verifier.clone(), wanted).await;
        let fetch = match begun {
            Ok(fetch) => fetch,
            Err(error) => return EraEnd::Failed(error),
        };
        let (progress, troubles, wanted) = (fetch.progress(), fetch.troubles(), fetch.items());
        *running.progress.lock() = Some(progress.clone());
        let (ending, dialling) = (running.too_much.child_token(), running.too_much.child_token());
        let era = plan.era();
        let dialler = tokio::spawn(self.peers.clone().keep_dialling_providers(era..=era, dialling.clone()));
        let mut fetching = std::pin::pin!(fetch.fetch(&ending));
        let fetched = tokio::select! {
            fetched = &mut fetching => fetched,
            _ = self.patience().run_out(progress.clone()) => {
                ending.cancel();
                fetching.await
            }
        };
        dialling.cancel();
        // It ends with its token.
        let _ = dialler.await;
        let received = progress.borrow().received;
        match fetched {
            Ok(fetched) => {
                let folder = self.folder.clone();
                let sized = {
                    let plan = plan.clone();
                    blocking(move || least_size(&folder, &plan)).await
                };
                let Ok(size) = sized else { return EraEnd::Failed(FetchArchiveError::Stopping(crate::Stopping)) };
                if !self.room.lock().take(era, size) {
                    drop(fetched);
                    return self.forget(plan).await;
                }
                match fetched.finish().await {
                    Ok(path) => self.keep(era, path, received).await,
                    Err(error) => {
                        let _ = self.room.lock().correct(era, 0);
                        EraEnd::Failed(error)
                    }
                }
            }
            Err(FetchArchiveError::Fetch(SwarmFetchError::Stopped)) if running.too_much.is_cancelled() => {
                self.forget(plan).await
            }
            Err(FetchArchiveError::Fetch(SwarmFetchError::Stopped)) => {
                let missing = progress.borrow().total.missing;
                let (cause, mirrors) = (self.peers.why_unserved(), troubles.all());
                EraEnd::Unserved { missing, wanted, cause, mirrors }
            }
            Err(error) => EraEnd::Failed(error),
        }
    }

    /// Has an archive served that was written, if its size is what there is room for: how long it is says for certain only the
    /// file itself.
    async fn keep(&self, era: u64, path: PathBuf, received: u64) -> EraEnd {
        let written = path.clone();
        let bytes = match blocking(move || std::fs::metadata(written).map(|file| file.len())).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(source)) => {
                return EraEnd::Failed(FetchArchiveError::Folder { folder: path.display().to_string(), source });
            }
            Err(stopping) => return EraEnd::Failed(stopping.into()),
        };
        if !self.room.lock().correct(era, bytes) {
            let _ = self.room.lock().correct(era, 0);
            let removed = path.clone();
            return match blocking(move || std::fs::remove_file(removed)).await {
                Ok(Ok(())) => EraEnd::NoRoom,
                Ok(Err(source)) => {
                    EraEnd::Failed(FetchArchiveError::Folder { folder: path.display().to_string(), source })
                }
                Err(stopping) => EraEnd::Failed(stopping.into()),
            };
        }
        self.archives.scan().await;
        EraEnd::Fetched { path, bytes, received }
    }

    /// Leaves nothing behind of an archive for which there is no room.
    async fn forget(&self, plan: Plan) -> EraEnd {
        let folder = self.folder.clone();
        let discard = move || -> Result<(), ArchiveError> { ArchiveWriter::resume(folder, plan)?.discard() };
        match blocking(discard).await {
            Ok(Ok(())) => EraEnd::NoRoom,
            Ok(Err(error)) => EraEnd::Failed(error.into()),
            Err(stopping) => EraEnd::Failed(stopping.into()),
        }
    }
}
