//! Where proved headers come from. Bodies and receipts are checked against them, so everything rests on these.
//!
//! A header is looked for in order of cost: among those used lately, in the store and the archives, on the legacy
//! history network, at an execution client. Each is proved before it is handed out; several who ask for the same one
//! share a search. Headers needed to check a peer's offer come from here too, but with a smaller share of searches, not
//! for blocks beyond the trust lists, and not again soon after a miss.

pub(crate) mod answers;
mod asker;
mod cache;
mod client;
mod lineage;
mod misses;
mod network;
mod prover;
mod proving;
mod reach;
#[cfg(test)]
mod tests;
mod witness;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
pub use content_types::block_id::{BlockId, ParseBlockIdError};
use content_types::verify::{self, Unverified};
use content_types::{ChainSpec, ContentKey, ProvedHeader, legacy_history};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use overlay::service::{Cause, LookupTrace};
use parking_lot::Mutex;
use reqwest::Url;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::holdings::{Holdings, HoldingsError};
use crate::http::HttpError;
use crate::trust::TrustStore;
use crate::workers::{Stopping, Workers};
use cache::HeaderCache;
use misses::Misses;
use network::NetworkTurns;
pub(crate) use network::{HeaderNetwork, HeaderQuery};
use proving::ClientProver;
use reach::Reach;

pub use answers::ClientError;
pub(crate) use asker::Asker;
pub(crate) use client::ExecutionClient;
pub(crate) use lineage::Lineage;
pub(crate) use prover::ArchiveProver;
pub use proving::ProvingError;
pub use witness::ClientWitness;

/// Proved headers kept in memory. Each takes about 1.5 kB.
const CACHED_HEADERS: usize = 4096;
/// How long a value that a peer offered waits for its header: it takes up memory meanwhile, and the peer's transfer
/// slot. A lookup among peers that all answer takes some tenths of a second, one that is dead a few seconds.
const PEER_PATIENCE: Duration = Duration::from_secs(20);
/// Searches at once for headers of archives that hold no proof of them. Nobody waits for them, so most places stay with
/// users.
const ARCHIVE_SEARCHES: usize = 2;
/// Shared searches noted before the finished ones are cleared away.
const NOTED_SEARCHES: usize = 1024;

/// A place that headers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderOrigin {
    /// Store and archives of this node.
    Local,
    /// The legacy history network.
    Network,
    /// The execution client that the configuration names.
    ExecutionClient,
}

impl fmt::Display for HeaderOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "store and archives",
            Self::Network => "legacy history network",
            Self::ExecutionClient => "execution client",
        })
    }
}

/// Nobody had a proved header of the block.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no proved header of {id}: {}", reasons(.attempts))]
pub struct HeaderUnavailable {
    /// Which block.
    pub id: BlockId,
    /// Who was asked, and why each had none.
    pub attempts: Vec<(HeaderOrigin, NoHeader)>,
    /// The network's part of the search.
    pub trace: Option<Arc<LookupTrace>>,
    /// Whether a header of this block could be proved here, whoever has it.
    pub trust: TrustReach,
}

/// How far trust lists reach, seen from a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustReach {
    /// To it and maybe beyond.
    Covered,
    /// Not so far.
    Beyond,
    /// No list is here.
    NoLists,
}

/// Why one origin had no proved header.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoHeader {
    /// Neither store nor archives have it.
    #[error("not held")]
    NotHeld,
    /// Store or archives could not be read, or not now.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
    /// What is there, or came, does not prove true.
    #[error(transparent)]
    Refused(#[from] Box<Unverified>),
    /// A search ended without it a moment ago, so that no other is made for a peer.
    #[error("nobody had it a moment ago")]
    MissedLately,
    /// What a peer offered cannot wait for its header any longer.
    #[error("not found within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// No peer had it.
    #[error("not found: {asked} peers asked")]
    NotFound {
        /// How many were asked.
        asked: usize,
    },
    /// A peer had it, and it cannot be proved here.
    #[error("found, but not to be proved here: {0}")]
    Unverifiable(#[source] Cause),
    /// The execution client gave none that could be proved.
    #[error("{url}: {source}")]
    Client {
        /// Where it is, without secrets.
        url: Arc<str>,
        /// Why not.
        source: Arc<ProvingError>,
    },
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

fn reasons(attempts: &[(HeaderOrigin, NoHeader)]) -> String {
    let reasons: Vec<String> = attempts.iter().map(|(origin, why)| format!("{origin}: {why}")).collect();
    reasons.join("; ")
}

/// A header, or why there is none.
type HeaderResult = Result<ProvedHeader, HeaderUnavailable>;
type Search = BoxFuture<'static, HeaderResult>;

/// Finds proved headers.
pub struct HeaderSource {
    trust: Arc<TrustStore>,
    holdings: Holdings,
    workers: Workers,
    /// The legacy history network.
    network: Option<HeaderNetwork>,
    network_turns: NetworkTurns,
    client: Option<ClientProver>,
    /// It gave no header, and that was said.
    is_client_missed: AtomicBool,
    cache: Mutex<HeaderCache>,
    /// By whom they are for: a search for one would wait for the turn of another.
    searches: Mutex<HashMap<(BlockId, Asker), WeakShared<Search>>>,
    misses: Misses,
    reach: Reach,
    archive_searches: Arc<Semaphore>,
    /// Ends searches that nobody waits for.
    stop: CancellationToken,
}

impl HeaderSource {
    /// A source over what this node holds, the network, and an execution client if there is one. Searches that nobody waits
    /// for end with `stop`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(
        trust: Arc<TrustStore>,
        holdings: Holdings,
        workers: Workers,
        network: Option<HeaderNetwork>,
        headers_from: Option<Url>,
        stop: CancellationToken,
    ) -> Result<Self, HttpError> {
        let client = headers_from.map(|url| ClientProver::new(url, workers.clone())).transpose()?;
        Ok(Self {
            reach: Reach::new(trust.chain()),
            trust,
            holdings,
            workers,
            network,
            network_turns: NetworkTurns::default(),
            client,
            is_client_missed: AtomicBool::new(false),
            cache: Mutex::new(HeaderCache::new(CACHED_HEADERS)),
            searches: Mutex::new(HashMap::new()),
            misses: Misses::new(),
            archive_searches: Arc::new(Semaphore::new(ARCHIVE_SEARCHES)),
            stop,
        })
    }

    /// The proved header of a block.
    ///
    /// # Errors
    /// [`HeaderUnavailable`] says who was asked and why each had none.
    pub async fn get(self: &Arc<Self>, id: BlockId) -> HeaderResult {
        self.get_for(Asker::User, id).await
    }

    /// The proved header of a block, within the share of searches that `asker` has.
    ///
    /// # Errors
    /// [`HeaderUnavailable`] says who was asked and why each had none.
    pub(crate) async fn get_for(self: &Arc<Self>, asker: Asker, id: BlockId) -> HeaderResult {
        if let Some(header) = self.cached(&id) {
            return Ok(header);
        }
        let search = self.shared_search(asker, id);
        match asker {
            Asker::User => search.await,
            Asker::Peer { .. } => tokio::time::timeout(PEER_PATIENCE, search).await.unwrap_or_else(|_| {
                let attempts = vec![(HeaderOrigin::Network, NoHeader::TooSlow(PEER_PATIENCE))];
                Err(self.unavailable(id, attempts, None))
            }),
        }
    }

    /// Looks for a header that an archive cannot prove, without anybody waiting for it: who asks for the block again finds
    /// it proved. Nothing happens while others are looked for.
    pub(crate) fn seek(self: Arc<Self>, runtime: &Handle, number: u64) {
        let Ok(place) = Arc::clone(&self.archive_searches).try_acquire_owned() else { return };
        let stop = self.stop.clone();
        runtime.spawn(async move {
            stop.run_until_cancelled_owned(async move { self.search_for_archive(number).await }).await;
            drop(place);
        });
    }

    /// A header that proves others of an archive that has no proofs, in its turn among those that archives need.
    pub(crate) async fn get_for_archive(self: &Arc<Self>, number: u64) -> Option<ProvedHeader> {
        let _place = self.archive_searches.acquire().await.ok()?;
        self.search_for_archive(number).await
    }

    /// Nothing is looked for after a miss, or where no list could prove it.
    async fn search_for_archive(self: &Arc<Self>, number: u64) -> Option<ProvedHeader> {
        let id = BlockId::Number(number);
        if self.is_known_missing(&id) || !self.is_within_trust(&id) {
            return None;
        }
        let found = self.get(id).await;
        found.inspect_err(|why| tracing::debug!(number, %why, "no proved header for a block of an archive")).ok()
    }

    /// The search that is under way for this block, or a new one.
    fn shared_search(self: &Arc<Self>, asker: Asker, id: BlockId) -> Shared<Search> {
        let mut searches = self.searches.lock();
        let under_way = |asker| searches.get(&(id, asker)).and_then(WeakShared::upgrade);
        // One for a user serves a peer too.
        if let Some(search) = under_way(Asker::User).or_else(|| under_way(asker)) {
            return search;
        }
        if searches.len() >= NOTED_SEARCHES {
            searches.retain(|_, search| search.upgrade().is_some());
        }
        let search = Arc::clone(self).search(asker, id).boxed().shared();
        if let Some(noted) = search.downgrade() {
            searches.insert((id, asker), noted);
        }
        search
    }

    /// The chain.
    pub(crate) fn chain(&self) -> &ChainSpec {
        self.trust.chain()
    }

    /// Takes a header that was proved elsewhere into the cache.
    pub(crate) fn remember(&self, header: ProvedHeader) {
        self.misses.forget(&header);
        self.reach.learn(self.trust.chain(), &header);
        self.cache.lock().insert(header);
    }

    /// Whether a search failed so lately that the next one would too.
    pub(crate) fn is_known_missing(&self, id: &BlockId) -> bool {
        self.misses.contains(id, Instant::now())
    }

    /// Whether a header of this block could be proved by the lists that are there. What a hash stands for is not known.
    pub(crate) fn is_within_trust(&self, id: &BlockId) -> bool {
        match id {
            BlockId::Number(number) => self.reach.covers(*number, &self.trust.verifier()),
            BlockId::Hash(_) => self.trust.has_lists(),
        }
    }

    /// Headers in the cache.
    pub(crate) fn cached_count(&self) -> usize {
        self.cache.lock().len()
    }

    /// The proved header of a block if it was used lately.
    pub(crate) fn cached(&self, id: &BlockId) -> Option<ProvedHeader> {
        let mut cache = self.cache.lock();
        match id {
            BlockId::Number(number) => cache.by_number(*number),
            BlockId::Hash(hash) => cache.by_hash(hash),
        }
    }

    async fn search(self: Arc<Self>, asker: Asker, id: BlockId) -> HeaderResult {
        let mut attempts = Vec::new();
        let mut trace = None;
        match self.held(asker, id).await {
            Ok(header) => return Ok(self.found(header)),
            Err(why) => attempts.push((HeaderOrigin::Local, why)),
        }
        if asker != Asker::User && self.is_known_missing(&id) {
            attempts.push((HeaderOrigin::Network, NoHeader::MissedLately));
            return Err(self.unavailable(id, attempts, trace));
        }
        if let Some(network) = &self.network {
            match self.search_network(asker, network, id).await {
                Ok(header) => return Ok(self.found(header)),
                Err((why, lookup)) => {
                    attempts.push((HeaderOrigin::Network, why));
                    trace = lookup.map(Arc::new);
                }
            }
        }
        if let Some(client) = &self.client {
            let child = |number| self.nearest_cached_descendant(number);
            match client.get(asker, id, &self.trust.verifier(), child).await {
                Ok(header) => return Ok(self.found(header)),
                Err(error) => {
                    let (url, source) = (Arc::clone(client.url()), Arc::new(error));
                    // Who named it wants to know; of what peers ask for it may well have nothing.
                    let is_said = source.client().is_some_and(ClientError::is_unreachable) || asker == Asker::User;
                    if is_said && !self.is_client_missed.swap(true, Ordering::Relaxed) {
                        tracing::warn!(client = %url, error = %source, "no header from the execution client: it has to come from peers");
                    }
                    attempts.push((HeaderOrigin::ExecutionClient, NoHeader::Client { url, source }));
                }
            }
        }
        if let Some(trace) = &trace {
            self.misses.note(id, trace, Instant::now());
        }
        Err(self.unavailable(id, attempts, trace))
    }

    fn unavailable(
        &self,
        id: BlockId,
        attempts: Vec<(HeaderOrigin, NoHeader)>,
        trace: Option<Arc<LookupTrace>>,
    ) -> HeaderUnavailable {
        let trust = match (self.is_within_trust(&id), self.trust.has_lists()) {
            (true, _) => TrustReach::Covered,
            (false, true) => TrustReach::Beyond,
            (false, false) => TrustReach::NoLists,
        };
        HeaderUnavailable { id, attempts, trace, trust }
    }

    fn found(&self, header: ProvedHeader) -> ProvedHeader {
        self.remember(header.clone());
        header
    }

    async fn held(&self, asker: Asker, id: BlockId) -> Result<ProvedHeader, NoHeader> {
        let key = ContentKey::from(legacy_history::ContentKey::header(id));
        let held = match asker {
            Asker::User => self.holdings.get(&key).await,
            Asker::Peer { .. } => self.holdings.get_for_peer(asker.holder(), &key).await,
        };
        self.prove(id, held?.ok_or(NoHeader::NotHeld)?).await
    }

    async fn prove(&self, id: BlockId, header_with_proof: Bytes) -> Result<ProvedHeader, NoHeader> {
        let verifier = self.trust.verifier();
        let proved = self.workers.cpu(move || verify::header(&verifier, &id, &header_with_proof)).await?;
        proved.map_err(|refusal| Box::new(refusal).into())
    }

    fn nearest_cached_descendant(&self, number: u64) -> Option<ProvedHeader> {
        let mut cache = self.cache.lock();
        (1..=proving::MAX_PARENT_STEPS).find_map(|steps| cache.by_number(number.checked_add(steps)?))
    }
}

impl fmt::Debug for HeaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderSource").field("cached", &self.cached_count()).finish_non_exhaustive()
    }
}
