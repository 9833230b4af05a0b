//! A running peer: everything that [`NodeConfig`] asks for, started in order and stopped in the opposite one.

mod running;
mod start;
mod stop;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_store::Store;
use content_types::{ChainSpec, ContentKey, Form, NodeId, SubNetwork};
use overlay::{Discovery, Enr, Overlay, Transport};

use crate::capsules::SharedCapsules;
use crate::fetch::Fetcher;
use crate::headers::{BlockId, HeaderSource};
use crate::holdings::Holdings;
use crate::metrics::{Metrics, MetricsServer};
use crate::networks::{self, Network};
use crate::pipeline::Refusal;
use crate::present::{self, BlobFees, PieceError, PieceForm, What};
use crate::ranges::{EraFetches, RangeFetch, RangeSource, WantedEras, Ways};
use crate::rpc::RpcServer;
use crate::seeding::{Archives, POSITION_FILE, Quic, SeedHandle, SeedOptions, SeedSource};
use crate::state::StateReader;
use crate::status::{Status, StatusSource};
use crate::swarm::{ArchiveFetch, EraSync, FetchArchiveError, KnownPeers, StoreFetches, SyncOptions, WantedArchive};
use crate::trust::TrustStore;
use crate::trust_fetcher::PeerFetch;
use crate::trust_fetcher::TrustFetcher;
use crate::verified::VerifiedContent;
use crate::workers::Workers;
use running::Running;

pub use start::StartError;

#[cfg(doc)]
use crate::config::NodeConfig;

/// A running peer. [`Node::shutdown`] stops it; dropping it leaves its tasks to the runtime.
pub struct Node {
    running: Running,
    networks: Vec<Arc<Network>>,
    trust_fetcher: TrustFetcher,
    trust: Arc<TrustStore>,
    headers: Arc<HeaderSource>,
    holdings: Holdings,
    archives: Arc<Archives>,
    fetcher: Fetcher,
    state: StateReader,
    capsules: SharedCapsules,
    workers: Workers,
    metrics: Arc<Metrics>,
    status: StatusSource,
    metrics_server: Option<MetricsServer>,
    peers: Option<KnownPeers>,
    store_fetches: Option<StoreFetches>,
    data_dir: std::path::PathBuf,
}

impl Node {
    /// This node's ID.
    pub fn node_id(&self) -> NodeId {
        self.running.discovery.node_id()
    }

    /// This node's record as it is now.
    pub fn enr(&self) -> Enr {
        self.running.discovery.local_enr()
    }

    /// The base protocol.
    pub fn discovery(&self) -> &Discovery {
        &self.running.discovery
    }

    /// One sub-network, if this node speaks it.
    pub fn overlay(&self, network: SubNetwork) -> Option<&Overlay> {
        self.networks.iter().find(|running| running.sub_network() == network).map(|running| running.overlay())
    }

    /// The store.
    pub fn store(&self) -> &Store {
        self.holdings.store()
    }

    /// The chain.
    pub fn chain(&self) -> &Arc<ChainSpec> {
        self.trust.chain()
    }

    /// Where proved headers come from.
    pub fn headers(&self) -> &Arc<HeaderSource> {
        &self.headers
    }

    /// Fetches verified headers, bodies, receipts and blocks.
    pub fn fetch(&self) -> &Fetcher {
        &self.fetcher
    }

    /// Reads accounts, storage and code at a block, verified.
    pub fn state(&self) -> &StateReader {
        &self.state
    }

    /// Capsules that peers keep for one another.
    pub fn capsules(&self) -> &SharedCapsules {
        &self.capsules
    }

    /// Fetches a block or a part of it, verified, and writes it as JSON or RLP, for somebody who waits so long.
    ///
    /// # Errors
    /// [`PieceError`] when it was not found, or has no such form.
    pub async fn present(
        &self,
        id: BlockId,
        what: What,
        form: PieceForm,
        patience: Duration,
    ) -> Result<Vec<u8>, PieceError> {
        let fetcher = self.fetcher.clone().with_patience(patience);
        present::piece(&fetcher, &self.workers, BlobFees::of(self.chain()), id, what, form).await
    }

    /// Checks content, in the form that a peer would offer or that it would store, against a proved header.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken, or what was missing to judge.
    pub async fn validate(&self, key: ContentKey, form: Form, value: Bytes) -> Result<VerifiedContent, Refusal> {
        self.fetcher.pipeline().validate(key, form, value).await
    }

    /// The archives that are served in place.
    pub fn archives(&self) -> &Arc<Archives> {
        &self.archives
    }

    /// The metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What this node is doing.
    pub fn status(&self) -> Status {
        self.status.status()
    }

    /// Where the JSON-RPC listens, if it does.
    pub fn rpc_address(&self) -> Option<SocketAddr> {
        self.running.rpc.as_ref().and_then(RpcServer::address)
    }

    /// Where metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_server.as_ref().map(MetricsServer::address)
    }

    /// The trust lists.
    pub fn trust(&self) -> &Arc<TrustStore> {
        &self.trust
    }

    /// Asks peers for every trust list that is missing; each is checked against the chain's root, saved and in use on
    /// return. Tells how it went for each list that was missing.
    pub async fn fetch_trust_from_peers(&self) -> Vec<PeerFetch> {
        self.trust_fetcher.fetch_missing().await
    }

    /// What comes before anything is fetched: the archives are looked through, since what they hold is fetched from nobody, and
    /// a node without any trust list asks its peers for them, since nothing can be proved without.
    pub async fn prepare_to_fetch(&self) {
        self.archives.wait_until_scanned().await;
        if !self.trust.has_lists() {
            self.fetch_trust_from_peers().await;
        }
    }

    /// Offers what the archives hold to the peers whose radius covers it, until all was offered or the handle is
    /// stopped.
    pub fn offer_archives(&self, options: SeedOptions) -> SeedHandle {
        SeedHandle::start(self.seed_source(), options, &self.running.tasks, self.running.stop.child_token())
    }

    /// Fetches an archive from whoever serves its blocks over QUIC.
    ///
    /// # Errors
    /// [`FetchArchiveError`] when this node does not speak QUIC, or the archive cannot be begun.
    pub async fn fetch_archive(&self, wanted: WantedArchive) -> Result<ArchiveFetch, FetchArchiveError> {
        let peers = self.peers.clone().ok_or(FetchArchiveError::NoQuic)?;
        ArchiveFetch::begin(peers.swarm.clone(), peers, self.trust.verifier(), wanted).await
    }

    /// Eras into a folder, from whoever serves them over QUIC.
    ///
    /// # Errors
    /// [`FetchArchiveError::NoQuic`] when this node does not speak QUIC.
    pub fn sync(&self, options: SyncOptions) -> Result<EraSync, FetchArchiveError> {
        let peers = self.peers.clone().ok_or(FetchArchiveError::NoQuic)?;
        let (verifier, archives) = (self.trust.verifier(), Arc::clone(&self.archives));
        Ok(EraSync::new(peers, verifier, archives, self.chain().name(), options))
    }

    /// Fetches a range into an archive: over QUIC from everybody who serves of it, and item by item if nobody does.
    pub fn fetch_range(&self, wanted: WantedArchive, ways: Ways) -> RangeFetch {
        RangeFetch::new(self.range_source(), wanted, ways)
    }

    /// Fetches eras over QUIC, each into an archive of its own.
    pub fn fetch_eras(&self, wanted: WantedEras) -> EraFetches {
        EraFetches::new(self.range_source(), wanted)
    }

    fn range_source(&self) -> RangeSource {
        let header_network = networks::of_headers(&self.networks).cloned();
        let (peers, fetcher) = (self.peers.clone(), self.fetcher.clone());
        RangeSource { peers, verifier: self.trust.verifier(), fetcher, header_network }
    }

    /// Fetches ranges into this node's own store; `None` if this node does not speak QUIC.
    pub fn store_fetches(&self) -> Option<&StoreFetches> {
        self.store_fetches.as_ref()
    }

    fn seed_source(&self) -> SeedSource {
        SeedSource {
            archives: Arc::clone(&self.archives),
            pipeline: self.fetcher.pipeline().clone(),
            trust: Arc::clone(&self.trust),
            networks: self.networks.clone(),
            workers: self.workers.clone(),
            position_file: self.data_dir.join(POSITION_FILE),
            quic: self.peers.as_ref().map(|peers| Quic { swarm: peers.swarm.clone(), addresses: peers.addresses }),
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("node_id", &self.node_id()).finish_non_exhaustive()
    }
}
