//! A [`Download`] done over a swarm's sessions: requests go out, what comes is checked and kept by a [`Sink`] on threads
//! of their own, and who sent what is wrong is barred.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZero,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_limits::{Limiter, Quota};
use cairn_peer_book::{Offence, Who};
use content_types::limits::MAX_RECEIPTS_LENGTH;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Session, Swarm,
    checkers::{CheckerReport, ToCheck, check},
    fetch_progress::{Blames, FetchProgress, FetchedFrom},
    fetch_request::{PartRequest, Told},
    sink::{ErrorSource, PutError, Sink},
};
use crate::{
    download::{Download, DownloadConfig, End, Output, PeerKey, RequestId},
    geometry::Component,
};

/// Events of requests that wait to be taken note of; what they carry is bounded by the buffer.
const EVENTS: usize = 256;

/// Bytes of items that are not whole, of all requests to peers that have delivered something. What has come counts from its
/// first byte: a length is only a claim.
const MAX_PARTIAL: u64 = 48 << 20;

/// Bytes of items of one peer that are not whole: the longest item, and some.
const MAX_PARTIAL_OF_PEER: u64 = MAX_RECEIPTS_LENGTH as u64 + (4 << 20);

/// The same of all requests to peers that have delivered nothing yet. Apart, so that whoever only claims to send much keeps
/// nobody from sending that does.
const MAX_PARTIAL_OF_STRANGERS: u64 = 36 << 20;

/// Of that, what one stranger and its subnet may have. Longer items are for who has delivered a shorter one, as the header is that
/// a fetch begins with.
const MAX_PARTIAL_OF_STRANGER: u64 = MAX_PARTIAL_OF_STRANGERS / 4;

/// A request that has brought next to nothing for so long loses its room to others that wait for some.
const PARTIAL_IDLE: Duration = Duration::from_secs(2);

/// How often it is looked at what has changed about sessions, at most: a peer can change what it holds as often as it likes.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// See [`FetchOptions::doubt_patience`].
const DOUBT_PATIENCE: Duration = Duration::from_secs(5);

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What is fetched, and how.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// How the download goes about it.
    pub download: DownloadConfig,
    /// Bytes that have come and wait to be checked, at most; an item that is longer passes alone. What a kill loses is in
    /// here.
    pub buffer: usize,
    /// Threads that check.
    pub threads: usize,
    /// Breaks ties; another one each time.
    pub seed: u64,
    /// How long nobody has to serve what is missing before headers that could not be judged end the fetch.
    pub doubt_patience: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            download: DownloadConfig::default(),
            buffer: 512 << 10,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            seed: 0,
            doubt_patience: DOUBT_PATIENCE,
        }
    }
}

/// Why a fetch ended before everything was there.
#[derive(Debug, thiserror::Error)]
pub enum SwarmFetchError {
    /// What came could not be kept.
    #[error(transparent)]
    Sink(ErrorSource),
    /// Nobody serves what is missing but with headers that cannot be judged here.
    #[error("block {number} and maybe others cannot be proved here: {source} ({peers} peers sent such headers)")]
    Unproved {
        /// The first such block.
        number: u64,
        /// How many peers sent such headers.
        peers: usize,
        /// What is missing to judge.
        source: ErrorSource,
    },
    /// It was stopped.
    #[error("it was stopped")]
    Stopped,
}

/// A request that a session works on.
struct RequestUnderWay {
    peer: PeerKey,
    who: Who,
    component: Component,
    cancel: CancellationToken,
}

/// Tells a fetch of items that came from elsewhere: a mirror, say. It asks nobody for them any more.
#[derive(Debug, Clone)]
pub struct Outside {
    report: mpsc::WeakUnboundedSender<Vec<CheckerReport>>,
}

impl Outside {
    /// An item was checked and put into the fetch's sink.
    pub fn kept(&self, component: Component, number: u64, bytes: u64) {
        self.tell(component, number, bytes, Ok(()));
    }

    /// An item could not be put: the fetch ends.
    pub fn failed(&self, component: Component, number: u64, error: PutError) {
        self.tell(component, number, 0, Err(error));
    }

    fn tell(&self, component: Component, number: u64, bytes: u64, outcome: Result<(), PutError>) {
        if let Some(report) = self.report.upgrade() {
            // A fetch that is over needs to know nothing.
            let _ = report.send(vec![CheckerReport { peer: None, component, number, bytes, outcome }]);
        }
    }
}

/// A download over a swarm's sessions.
pub struct Fetch {
    swarm: Swarm,
    download: Download,
    sessions: HashMap<PeerKey, (Arc<Session>, u64)>,
    under_way: BTreeMap<RequestId, RequestUnderWay>,
    buffer: Arc<Semaphore>,
    buffer_bytes: usize,
    /// Room for items that are not whole: for strangers, and for who has delivered something.
    partial: [Limiter; 2],
    tell: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    to_check: Option<mpsc::UnboundedSender<ToCheck>>,
    checked: mpsc::UnboundedReceiver<Vec<CheckerReport>>,
    report: mpsc::UnboundedSender<Vec<CheckerReport>>,
    tasks: TaskTracker,
    progress: watch::Sender<FetchProgress>,
    kept: u64,
    received: u64,
    invalid: u64,
    blames: Blames,
    doubts: Doubts,
    doubt_patience: Duration,
}

/// Headers that could not be judged.
#[derive(Debug, Default)]
struct Doubts {
    /// The first block of which one came last, and why it could not be judged.
    first: Option<(u64, ErrorSource)>,
    peers: BTreeSet<PeerKey>,
    /// Since when nobody else serves what is missing.
    since: Option<Instant>,
}

impl Fetch {
    /// A fetch of these blocks into a sink. `known` are blocks whose headers the sink has.
    pub fn new(
        swarm: Swarm,
        options: &FetchOptions,
        wanted: impl IntoIterator<Item = (Component, Range<u64>)>,
        known: impl IntoIterator<Item = Range<u64>>,
        sink: &Arc<dyn Sink>,
    ) -> Self {
        let download = Download::new(Instant::now(), options.download, wanted, known, options.seed);
        let (tell, told) = mpsc::channel(EVENTS);
        // Both are bounded by the buffer: an item has its room until it is checked.
        let (to_check, items) = mpsc::unbounded_channel();
        let (report, checked) = mpsc::unbounded_channel();
        let items = Arc::new(Mutex::new(items));
        let threads = options.threads.max(1);
        for _ in 0..threads {
            let (sink, items, report) = (Arc::clone(sink), Arc::clone(&items), report.clone());
            tokio::task::spawn_blocking(move || check(&*sink, threads, &items, &report));
        }

        let buffer = options.buffer.clamp(1, u32::MAX as usize);
        Self {
            swarm,
            download,
            sessions: HashMap::new(),
            under_way: BTreeMap::new(),
            buffer: Arc::new(Semaphore::new(buffer)),
            buffer_bytes: buffer,
            partial: [(MAX_PARTIAL_OF_STRANGERS, MAX_PARTIAL_OF_STRANGER), (MAX_PARTIAL, MAX_PARTIAL_OF_PEER)].map(
                |(bytes, of_peer)| {
                    let quota = Quota::new(bytes).of_peer(of_peer).of_subnet(of_peer);
                    Limiter::new(quota.yields_after(PARTIAL_IDLE))
                },
            ),
            tell,
            told,
            to_check: Some(to_check),
            checked,
            report,
            tasks: TaskTracker::new(),
            progress: watch::Sender::new(FetchProgress::default()),
            kept: 0,
            received: 0,
            invalid: 0,
            blames: Blames::default(),
            doubts: Doubts::default(),
            doubt_patience: options.doubt_patience,
        }
    }

    /// What tells this fetch of items that were put into its sink by others.
    pub fn outside(&self) -> Outside {
        Outside { report: self.report.downgrade() }
    }

    /// How far it is, now and then.
    pub fn progress(&self) -> watch::Receiver<FetchProgress> {
        self.progress.subscribe()
    }

    /// Fetches until everything is kept. Peers that are connected meanwhile take part.
    ///
    /// # Errors
    ///
    /// [`SwarmFetchError`] if something cannot be kept, or `stop` is cancelled. What was kept until then stays.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), SwarmFetchError> {
        let interest = DeclaredInterest::new(&self.swarm);
        let outcome = self.run_until_done(stop).await;
        drop(interest);
        self.report();
        for request in self.under_way.values() {
            request.cancel.cancel();
        }
        // The threads end when nothing more can come, and this with the last that tells.
        self.to_check = None;
        let (closed, _) = mpsc::unbounded_channel();
        self.report = closed;
        self.tasks.close();
        self.tasks.wait().await;
        // What was on its way to be kept is kept before this returns.
        self.told.close();
        while let Some(checked) = self.checked.recv().await {
            checked.into_iter().try_for_each(|checked| self.handle_checked(checked))?;
        }
        self.report();
        outcome
    }

    async fn run_until_done(&mut self, stop: &CancellationToken) -> Result<(), SwarmFetchError> {
        let mut changes = self.swarm.changes();
        let mut next_report = Instant::now();
        self.look_at_sessions();
        let (mut has_changed, mut next_look) = (false, Instant::now() + LOOK_INTERVAL);
        loop {
            let wait = loop {
                match self.download.poll_output(Instant::now()) {
                    Output::Timeout(until) => break until,
                    Output::Finished => return Ok(()),
                    output => self.take(output),
                }
            };
            let now = Instant::now();
            if now >= next_report {
                next_report = now + PROGRESS_INTERVAL;
                self.report();
                self.look_at_rtts();
                self.end_in_doubt(now)?;
            }
            if has_changed && now >= next_look {
                (has_changed, next_look) = (false, now + LOOK_INTERVAL);
                self.look_at_sessions();
                continue;
            }
            let wait = if has_changed { wait.min(next_look) } else { wait };
            tokio::select! {
                Some(told) = self.told.recv() => {
                    self.handle_told(told);
                    while let Ok(told) = self.told.try_recv() {
                        self.handle_told(told);
                    }
                }
                Some(mut checked) = self.checked.recv() => {
                    while let Ok(more) = self.checked.try_recv() {
                        checked.extend(more);
                    }
                    checked.into_iter().try_for_each(|checked| self.handle_checked(checked))?;
                }
                Ok(()) = changes.changed(), if !has_changed => has_changed = true,
                () = tokio::time::sleep_until(wait.into()) => self.look_at_rtts(),
                () = stop.cancelled() => return Err(SwarmFetchError::Stopped),
            }
        }
    }

    /// Tells the download what has changed about sessions.
    fn look_at_sessions(&mut self) {
        let now = Instant::now();
        let sessions = self.swarm.sessions();
        let gone = |(session, _): &(Arc<Session>, u64)| !sessions.iter().any(|of| of.number() == session.number());
        let gone: Vec<_> = self.sessions.iter().filter(|(_, known)| gone(known)).map(|(key, _)| *key).collect();
        for key in gone {
            self.sessions.remove(&key);
            self.download.handle_disconnected(key);
        }
        for session in sessions.into_iter().filter(|session| !session.is_closed()) {
            let key = PeerKey(session.number());
            let known = self.sessions.get(&key).map(|(_, revision)| *revision);
            let max_requests = usize::from(session.hello().max_requests);
            if known.is_none() && !self.download.handle_connected(now, key, max_requests, session.rtt()) {
                continue;
            }
            let view = session.view();
            if known == Some(view.revision) {
                continue;
            }
            for component in Component::ALL {
                self.download.handle_have(key, component, &view.held[component.index()]);
            }
            self.download.handle_choke(key, !view.serves_us);
            self.sessions.insert(key, (session, view.revision));
        }
    }

    fn look_at_rtts(&mut self) {
        for (key, (session, _)) in &self.sessions {
            session.follow_path();
            self.download.handle_rtt(*key, session.rtt());
        }
    }

    /// Does what the download says.
    fn take(&mut self, output: Output) {
        match output {
            Output::Request { id, peer, part } => {
                tracing::trace!(?id, ?peer, ?part, "a part is asked for");
                let Some((session, _)) = self.sessions.get(&peer) else { return };
                let cancel = CancellationToken::new();
                let request = PartRequest {
                    id,
                    part,
                    session: Arc::clone(session),
                    swarm: self.swarm.clone(),
                    tell: self.tell.clone(),
                    buffer: Arc::clone(&self.buffer),
                    buffer_bytes: self.buffer_bytes,
                    partial: self.partial[usize::from(self.download.has_delivered(peer))].clone(),
                    cancel: cancel.clone(),
                };
                self.under_way
                    .insert(id, RequestUnderWay { peer, who: session.who(), component: part.component, cancel });
                self.tasks.spawn(request.run());
            }
            Output::Cancel { id } => {
                if let Some(request) = self.under_way.remove(&id) {
                    request.cancel.cancel();
                }
            }
            Output::Offence { peer, offence } => {
                if let Some((session, _)) = self.sessions.get(&peer) {
                    self.blames.note(session.node_id(), offence);
                    self.swarm.charge(&session.who(), offence);
                }
            }
            Output::Timeout(_) | Output::Finished => {}
        }
    }

    fn handle_told(&mut self, told: Told) {
        let now = Instant::now();
        match told {
            Told::Arrived { id, bytes, items } => {
                self.received += bytes;
                let Some(request) = self.under_way.get(&id) else { return };
                self.download.handle_bytes(now, id, bytes);
                let Some((session, _)) = self.sessions.get(&request.peer) else { return };
                for item in items {
                    if self.download.handle_item(id, item.number)
                        && let Some(to_check) = &self.to_check
                    {
                        let (peer, component) = ((request.peer, session.who()), request.component);
                        // Its threads end with this, not before.
                        let _ = to_check.send(ToCheck { peer, component, item });
                    }
                }
            }
            Told::Ended { id, end } => {
                // Charged here, and not by the download: whoever has hung up meanwhile is none of its peers any more.
                if let Some(request) = self.under_way.remove(&id)
                    && end == End::Invalid
                {
                    self.invalid += 1;
                    self.blames.note(request.who.node_id, Offence::Lie);
                    self.swarm.charge(&request.who, Offence::Lie);
                }
                tracing::trace!(?id, ?end, "a request ended");
                self.download.handle_ended(now, id, end);
            }
        }
    }

    fn handle_checked(&mut self, checked: CheckerReport) -> Result<(), SwarmFetchError> {
        let CheckerReport { peer, component, number, bytes, outcome } = checked;
        match outcome {
            Ok(()) => {
                self.kept += bytes;
                self.download.handle_verified(component, number, bytes);
                if let Some((key, who)) = peer {
                    self.download.handle_delivered(Instant::now(), key);
                    self.swarm.credit(&who.node_id, bytes);
                }
            }
            Err(PutError::Invalid(reason)) => {
                self.invalid += 1;
                self.download.handle_invalid(component, number);
                if let Some((_, who)) = peer {
                    tracing::warn!(peer = %who.node_id, ?component, number, %reason, "a peer sent what is not the chain's");
                    self.blames.note(who.node_id, Offence::Lie);
                    self.swarm.charge(&who, Offence::Lie);
                }
            }
            Err(PutError::Doubtful(reason)) => {
                self.download.handle_invalid(component, number);
                if let Some((key, who)) = peer {
                    tracing::debug!(peer = %who.node_id, ?component, number, %reason, "a peer sent what cannot be judged");
                    // For one run it is not asked again, whatever it claims; the fetch goes on with others.
                    if self.download.handle_doubtful(key, component, number) {
                        self.blames.note(who.node_id, Offence::Doubt);
                        self.swarm.charge(&who, Offence::Doubt);
                    }
                    self.doubts.peers.insert(key);
                }
                self.doubts.first = Some((number, reason));
            }
            Err(PutError::Failed(error)) => return Err(SwarmFetchError::Sink(error)),
        }
        Ok(())
    }

    /// Ends the fetch when nobody is left who serves what is missing but those whose headers cannot be judged.
    fn end_in_doubt(&mut self, now: Instant) -> Result<(), SwarmFetchError> {
        let progress = self.download.progress();
        if self.doubts.first.is_none() || progress.unreachable < progress.missing {
            self.doubts.since = None;
            return Ok(());
        }
        let since = *self.doubts.since.get_or_insert(now);
        if now < since + self.doubt_patience {
            return Ok(());
        }
        let peers = self.doubts.peers.len();
        self.doubts
            .first
            .take()
            .map_or(Ok(()), |(number, source)| Err(SwarmFetchError::Unproved { number, peers, source }))
    }

    fn report(&self) {
        let of_peer = |peer: crate::download::PeerProgress| {
            let (session, _) = self.sessions.get(&peer.peer)?;
            let node_id = session.node_id();
            Some(FetchedFrom {
                peer: node_id,
                address: session.address(),
                rate: peer.rate,
                received: peer.received,
                requests: peer.requests,
                is_choked: peer.is_choked,
                blame: self.blames.of(&node_id),
            })
        };
        self.progress.send_replace(FetchProgress {
            total: self.download.progress(),
            kept: self.kept,
            received: self.received,
            invalid: self.invalid,
            peers: self.download.peers().filter_map(of_peer).collect(),
        });
    }
}

/// As long as there is one, peers are told that this node would ask for ranges.
struct DeclaredInterest(Swarm);

impl DeclaredInterest {
    fn new(swarm: &Swarm) -> Self {
        swarm.inner.fetches.send_modify(|fetches| *fetches += 1);
        Self(swarm.clone())
    }
}

impl Drop for DeclaredInterest {
    fn drop(&mut self) {
        self.0.inner.fetches.send_modify(|fetches| *fetches = fetches.saturating_sub(1));
    }
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("download", &self.download.progress()).finish_non_exhaustive()
    }
}
