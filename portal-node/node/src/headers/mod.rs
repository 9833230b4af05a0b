//! Where proved headers come from. Bodies and receipts are checked against them, so everything rests on these.
//!
//! A header is looked for in order of cost: among those used lately, in the store and the archives, on the legacy history
//! network, at an execution client. Each is proved before it is handed out; several who ask for the same one share a
//! search; one that nobody had is not looked for again at once.

mod cache;
mod client;
mod id;
mod prover;
mod proving;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use content_types::{ContentKey, ProvedHeader};
use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};
use hashlink::LruCache;
use overlay::Overlay;
use overlay::service::{LookupError, LookupTrace};
use parking_lot::{Mutex, RwLock};
use reqwest::Url;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::holdings::Holdings;
use crate::http::HttpError;
use crate::pipeline::verify_header;
use crate::trust::TrustStore;
use crate::workers::Workers;
use cache::HeaderCache;
use proving::ClientProver;

pub use client::ClientError;
pub use id::{BlockId, ParseBlockIdError};
pub(crate) use prover::ArchiveProver;

/// Proved headers kept in memory. Each takes about 1.5 kB.
const CACHED_HEADERS: usize = 4096;
/// Searches on the network at once. Each is a lookup of its own; more wait.
const NETWORK_SEARCHES: usize = 16;
/// Blocks that nobody had, remembered so that an offer of their bodies does not start a search each time.
const REMEMBERED_MISSES: usize = 4096;
/// How long a block that nobody had is not looked for again.
const MISS_LIFETIME: Duration = Duration::from_secs(30);
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
    pub attempts: Vec<(HeaderOrigin, String)>,
    /// The network's part of the search.
    pub trace: Option<Arc<LookupTrace>>,
}

fn reasons(attempts: &[(HeaderOrigin, String)]) -> String {
    let reasons: Vec<String> = attempts.iter().map(|(origin, why)| format!("{origin}: {why}")).collect();
    reasons.join("; ")
}

type Found = Result<ProvedHeader, HeaderUnavailable>;
type Search = BoxFuture<'static, Found>;

/// Finds proved headers.
pub struct HeaderSource {
    trust: Arc<TrustStore>,
    holdings: Holdings,
    workers: Workers,
    /// There while the sub-network runs. Its own handler checks what it finds with headers from here, so the two refer to
    /// each other until it is detached.
    network: RwLock<Option<Overlay>>,
    network_searches: Semaphore,
    client: Option<ClientProver>,
    cache: Mutex<HeaderCache>,
    searches: Mutex<HashMap<BlockId, WeakShared<Search>>>,
    misses: Mutex<LruCache<BlockId, Instant>>,
}

impl HeaderSource {
    /// A source over what this node holds, and an execution client if there is one.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(
        trust: Arc<TrustStore>,
        holdings: Holdings,
        workers: Workers,
        headers_from: Option<Url>,
    ) -> Result<Self, HttpError> {
        let client = headers_from.map(|url| ClientProver::new(url, workers.clone())).transpose()?;
        Ok(Self {
            trust,
            holdings,
            workers,
            network: RwLock::new(None),
            network_searches: Semaphore::new(NETWORK_SEARCHES),
            client,
            cache: Mutex::new(HeaderCache::new(CACHED_HEADERS)),
            searches: Mutex::new(HashMap::new()),
            misses: Mutex::new(LruCache::new(REMEMBERED_MISSES)),
        })
    }

    /// Searches on this network from now on.
    pub(crate) fn attach(&self, legacy_history: Overlay) {
        *self.network.write() = Some(legacy_history);
    }

    /// Searches on no network any more.
    pub(crate) fn detach(&self) {
        self.network.write().take();
    }

    /// The proved header of a block.
    ///
    /// # Errors
    /// [`HeaderUnavailable`] says who was asked and why each had none.
    pub async fn get(self: &Arc<Self>, id: BlockId) -> Found {
        if let Some(header) = self.cached(&id) {
            return Ok(header);
        }
        let search = {
            let mut searches = self.searches.lock();
            match searches.get(&id).and_then(WeakShared::upgrade) {
                Some(under_way) => under_way,
                None => {
                    if searches.len() >= NOTED_SEARCHES {
                        searches.retain(|_, search| search.upgrade().is_some());
                    }
                    let search = Arc::clone(self).search(id).boxed().shared();
                    if let Some(noted) = search.downgrade() {
                        searches.insert(id, noted);
                    }
                    search
                }
            }
        };
        search.await
    }

    /// Takes a header that was proved elsewhere into the cache.
    pub(crate) fn remember(&self, header: ProvedHeader) {
        self.misses.lock().remove(&BlockId::Number(header.number()));
        self.misses.lock().remove(&BlockId::Hash(header.hash()));
        self.cache.lock().insert(header);
    }

    /// Whether a search failed so lately that the next one would too.
    pub(crate) fn is_known_missing(&self, id: &BlockId) -> bool {
        self.misses.lock().get(id).is_some_and(|since| since.elapsed() < MISS_LIFETIME)
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

    async fn search(self: Arc<Self>, id: BlockId) -> Found {
        let mut attempts = Vec::new();
        let mut trace = None;
        match self.held(id).await {
            Ok(header) => return Ok(self.found(header)),
            Err(why) => attempts.push((HeaderOrigin::Local, why)),
        }
        let network = self.network.read().clone();
        if let Some(network) = network {
            match self.search_network(&network, id).await {
                Ok(header) => return Ok(self.found(header)),
                Err((why, lookup)) => {
                    attempts.push((HeaderOrigin::Network, why));
                    trace = lookup.map(Arc::new);
                }
            }
        }
        if let Some(client) = &self.client {
            let child = |number| self.nearest_cached_descendant(number);
            match client.get(id, &self.trust.verifier(), child).await {
                Ok(header) => return Ok(self.found(header)),
                Err(error) => attempts.push((HeaderOrigin::ExecutionClient, error.to_string())),
            }
        }
        self.misses.lock().insert(id, Instant::now());
        Err(HeaderUnavailable { id, attempts, trace })
    }

    fn found(&self, header: ProvedHeader) -> ProvedHeader {
        self.remember(header.clone());
        header
    }

    async fn held(&self, id: BlockId) -> Result<ProvedHeader, String> {
        let key = ContentKey::from(id.header_key());
        match self.holdings.get(&key).await {
            Ok(Some(value)) => self.prove(id, value).await,
            Ok(None) => Err("not held".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn search_network(
        &self,
        network: &Overlay,
        id: BlockId,
    ) -> Result<ProvedHeader, (String, Option<LookupTrace>)> {
        let Ok(_place) = self.network_searches.acquire().await else {
            return Err(("the node is stopping".to_owned(), None));
        };
        match network.lookup_content(id.header_key().encode()).await {
            // The sub-network's handler proved it on the way in, and so it is in the cache, unless it was pushed out.
            Ok(found) => match self.cached(&id) {
                Some(header) => Ok(header),
                None => self.prove(id, found.value).await.map_err(|why| (why, Some(found.trace))),
            },
            Err(error) => {
                let why = error.to_string();
                let trace = match error {
                    LookupError::NotFound(not_found) => Some(not_found.trace),
                    LookupError::Key => None,
                };
                Err((why, trace))
            }
        }
    }

    async fn prove(&self, id: BlockId, header_with_proof: Bytes) -> Result<ProvedHeader, String> {
        let verifier = self.trust.verifier();
        match self.workers.cpu(move || verify_header(&verifier, &id, &header_with_proof)).await {
            Ok(result) => result.map_err(|refusal| refusal.to_string()),
            Err(stopping) => Err(stopping.to_string()),
        }
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
