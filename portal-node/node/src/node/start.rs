//! Starting: what others rest on comes first.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use cairn_peer_book::PeerBook;
use cairn_store::{Budgets, Chain, Store, StoreConfig, StoreError};
use cairn_swarm::quic::BoundSocket;
use content_types::SubNetwork;
use enr::{CombinedKey, EnrKey};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::discovery::DiscoveryConfig;
use overlay::{Discovery, Enr, Transfers};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Node;
use super::running::Running;
use super::stop::close;
use crate::bootnodes::Bootnodes;
use crate::capsules::SharedCapsules;
use crate::config::NodeConfig;
use crate::express::Express;
use crate::fetch::Fetcher;
use crate::headers::{HeaderNetwork, HeaderSource};
use crate::holdings::Holdings;
use crate::http::HttpError;
use crate::identity::{self, IdentityError};
use crate::metrics::{Metrics, MetricsServer};
use crate::networks::{self, Network, Shared, TrustNetwork};
use crate::pipeline::Pipeline;
use crate::ports::TRACKER_KEY;
use crate::present::BlobFees;
use crate::rpc::local::Local;
use crate::rpc::{self, RpcError, RpcServer};
use crate::seeding::{Archives, GivenContent, HandOver, SeedOptions};
use crate::state::StateReader;
use crate::status::{StatusParts, StatusSource};
use crate::swarm::{
    self, KnownPeers, NodeLibrary, PORT_ABOVE, Puller, StoreFetches, TrackerConfig, keep_announced, keep_held,
    keep_tracker,
};
use crate::tasks;
use crate::trust::{TrustStore, TrustStoreError};
use crate::trust_fetcher::TrustFetcher;
use crate::workers::{Stopping, Workers, result_of};

/// The records that the tracker keeps for others, in the data directory.
const TRACKER_FILE: &str = "tracker";
/// The store's folder in the data directory.
const STORE_DIR: &str = "store";

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key or the saved node record.
    #[error("node key: {0}")]
    Identity(#[from] IdentityError),
    /// A trust list on disk.
    #[error("trust lists: {0}")]
    Trust(#[from] TrustStoreError),
    /// QUIC.
    #[error(transparent)]
    Quic(#[from] cairn_swarm::quic::StartError),
    /// The tracker.
    #[error("tracker: {0}")]
    Tracker(#[from] cairn_tracker::Error),
    /// The base protocol.
    #[error("discovery: {0}")]
    Discovery(#[from] overlay::discovery::StartError),
    /// The store.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A protocol identifier was taken, which cannot happen to a node's own transport.
    #[error(transparent)]
    Protocol(#[from] overlay::transport::AlreadyRegistered),
    /// The execution client's HTTP.
    #[error("execution client: {0}")]
    Http(#[from] HttpError),
    /// The JSON-RPC server.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The metrics server.
    #[error("metrics cannot listen on {address}: {source}")]
    Metrics {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime went down meanwhile.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// What has to be opened before anything in the data directory is changed.
struct OpenedNode {
    key: CombinedKey,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    budgets: Budgets,
}

/// What can be read from the data directory before anything runs.
struct PreparedNode {
    previous: Option<Enr>,
    trust: Arc<TrustStore>,
    book: PeerBook,
}

impl Node {
    /// Starts everything that `config` asks for, on the current tokio runtime. Archives are opened after the start, see
    /// [`Archives::wait_until_scanned`].
    ///
    /// # Errors
    /// [`StartError`] says which part did not start. What was started before it is stopped again, and so is a node that
    /// nobody waits for any more.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        // A task of its own comes to an end, whoever waits for it. Half of a start could not be undone.
        let starting = tokio::spawn(async move { start(config).await.map(Unclaimed::new) });
        Ok(result_of(starting.await)??.claim()?)
    }
}

/// A started node that is stopped unless somebody takes it.
struct Unclaimed {
    node: Option<Node>,
    runtime: Handle,
}

impl Unclaimed {
    fn new(node: Node) -> Self {
        Self { node: Some(node), runtime: Handle::current() }
    }

    fn claim(mut self) -> Result<Node, Stopping> {
        self.node.take().ok_or(Stopping)
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.spawn(node.shutdown());
        }
    }
}

async fn start(config: NodeConfig) -> Result<Node, StartError> {
    let workers = Workers::new();
    // The store says whether another process has the data directory, or another chain: what does not start on it leaves it
    // as it is, the files of a running node among it.
    let opened = open(&config, &workers).await?;
    let store = Arc::clone(&opened.store);
    match start_with(config, opened, workers).await {
        Ok(node) => Ok(node),
        Err(error) => {
            close(store).await;
            Err(error)
        }
    }
}

async fn start_with(config: NodeConfig, opened: OpenedNode, workers: Workers) -> Result<Node, StartError> {
    let PreparedNode { previous, trust, book } = prepare(&config, &opened.key, &workers).await?;
    let key = &opened.key;
    let socket = swarm::bind(config.quic, config.listen)?;
    let mut discovery = discovery_config(&config, key, previous)?;
    let key = discovery.key;
    if let Some(socket) = &socket {
        discovery.service_ports.push(swarm::port_entry(socket));
    }
    let tracker = match &socket {
        Some(socket) => Some(start_tracker(&config, key, socket.address()).await?),
        None => None,
    };
    if let Some(tracker) = tracker.as_ref().filter(|_| config.serves()) {
        discovery.service_ports.push((TRACKER_KEY, tracker.local_addr().port()));
    }
    let mut running = Running::new(Discovery::start(discovery).await?);
    running.tracker.clone_from(&tracker);
    let quic = socket.map(|socket| (socket, key));
    match start_on(&mut running, opened, config, (trust, book), workers, quic).await {
        Ok(node) => Ok(node),
        Err(error) => {
            running.stop().await;
            Err(error)
        }
    }
}

async fn open(config: &NodeConfig, workers: &Workers) -> Result<OpenedNode, StartError> {
    let metrics = Arc::new(Metrics::new());
    let budgets = SubNetwork::ALL
        .into_iter()
        .fold(Budgets::NONE, |budgets, network| budgets.with(network, config.budget(network)));
    let key_file = config.key_file.clone().unwrap_or_else(|| identity::default_key_file(&config.data_dir));
    let (dir, told) = (config.data_dir.join(STORE_DIR), Arc::clone(&metrics));
    let chain = Chain { id: config.chain.chain_id(), genesis_hash: config.chain.genesis_hash() };
    let disk_reserve = config.disk_reserve;
    workers
        .write(move || {
            let key = identity::load_or_create_key(&key_file)?;
            let node_id = enr::NodeId::from(key.public()).raw().into();
            let config = StoreConfig { chain: Some(chain), disk_reserve, ..StoreConfig::new(dir, node_id, budgets) };
            let store = Arc::new(Store::open(config, Box::new(move |event| told.store_event(event)))?);
            Ok(OpenedNode { key, store, metrics, budgets })
        })
        .await?
}

async fn prepare(config: &NodeConfig, key: &CombinedKey, workers: &Workers) -> Result<PreparedNode, StartError> {
    let (data_dir, trust_dir) = (config.data_dir.clone(), config.trust_dir());
    let (chain, public) = (Arc::clone(&config.chain), key.public());
    workers
        .write(move || {
            let previous = identity::last_record(&data_dir, &public);
            let trust = Arc::new(TrustStore::open(trust_dir, chain)?);
            let book = tasks::load_bars(&data_dir);
            Ok(PreparedNode { previous, trust, book })
        })
        .await?
}

fn discovery_config(
    config: &NodeConfig,
    key: &CombinedKey,
    previous: Option<Enr>,
) -> Result<DiscoveryConfig, IdentityError> {
    let key = key.encode().try_into().map_err(|encoded: Vec<u8>| IdentityError::Length(encoded.len()))?;
    Ok(DiscoveryConfig {
        previous_enr: previous,
        listen: config.listen,
        nat: config.nat,
        chain_id: config.chain.chain_id(),
        bootnodes: config.bootnodes.clone(),
        addresses: config.addresses,
        ..DiscoveryConfig::new(key)
    })
}

async fn start_on(
    running: &mut Running,
    OpenedNode { store, metrics, budgets, .. }: OpenedNode,
    config: NodeConfig,
    (trust, book): (Arc<TrustStore>, PeerBook),
    workers: Workers,
    quic: Option<(BoundSocket, [u8; 32])>,
) -> Result<Node, StartError> {
    let discovery = running.discovery.clone();
    let holdings = Holdings::new(store, workers.clone(), discovery.node_id());
    let (header_network, header_queries) = HeaderNetwork::new();
    let headers = Arc::new(HeaderSource::new(
        Arc::clone(&trust),
        holdings.clone(),
        workers.clone(),
        Some(header_network),
        config.headers_from.clone(),
        running.stop.child_token(),
    )?);
    let pipeline = Pipeline::new(Arc::clone(&trust), Arc::clone(&headers), workers.clone(), Arc::clone(&metrics));

    let transfers = Transfers::with_limits(Arc::new(discovery.clone()), config.transfers)?;
    running.transfers = Some(transfers.clone());
    let quic = match quic {
        None => None,
        Some((socket, key)) => {
            let library = Arc::new(NodeLibrary::new(holdings.clone()));
            let swarm = swarm::start(
                socket,
                key,
                &config.chain,
                config.limits,
                &discovery,
                Arc::clone(&library),
                book.clone(),
            )?;
            running.swarm = Some(swarm.clone());
            Some((swarm, library))
        }
    };
    let shared = Shared {
        discovery: discovery.clone(),
        transfers,
        holdings: holdings.clone(),
        pipeline: pipeline.clone(),
        metrics: Arc::clone(&metrics),
        chain_id: config.chain.chain_id(),
        client_info: client_version(),
        bootnodes: config.bootnodes.clone(),
        addresses: config.addresses,
        book: book.clone(),
        budgets,
        express: Express::new(running.swarm.clone(), Arc::new(discovery.clone()), book.clone(), config.addresses),
    };
    let mut networks = Vec::new();
    for network in SubNetwork::ALL {
        let network = Arc::new(Network::start(network, &shared)?);
        running.overlays.push(network.overlay().clone());
        networks.push(network);
    }
    let trust_network = TrustNetwork::start(Arc::clone(&trust), workers.clone(), &shared)?;
    running.overlays.push(trust_network.overlay.clone());

    let archives = Arc::new(Archives::new(
        config.seeds.clone(),
        holdings.clone(),
        Arc::clone(&trust),
        Arc::clone(&headers),
        workers.clone(),
    ));
    let bootnodes = Bootnodes::default();
    let pulls = config.pull && quic.is_some() && budgets.get(SubNetwork::History) > 0;
    let pull_status = pulls.then(watch::Sender::default);
    let status = StatusSource::new(StatusParts {
        client_version: client_version(),
        discovery: discovery.clone(),
        networks: networks.clone(),
        trust: Arc::clone(&trust),
        headers: Arc::clone(&headers),
        archives: Arc::clone(&archives),
        bootnodes: bootnodes.clone(),
        pull: pull_status.as_ref().map(watch::Sender::subscribe),
        started: Instant::now(),
    });
    metrics.watch(status.snapshot());
    metrics.watch_ports(discovery.port_mappings());
    let peers = quic.as_ref().map(|(swarm, _)| KnownPeers {
        swarm: swarm.clone(),
        networks: networks.clone(),
        named: config.bootnodes.clone(),
        tracker: running.tracker.clone(),
        addresses: config.addresses,
    });
    let with_library = peers.clone().zip(quic.as_ref().map(|(_, library)| Arc::clone(library)));
    let store_fetches = with_library.clone().map(|(peers, library)| {
        StoreFetches::new(peers, pipeline.clone(), library, running.tasks.clone(), running.stop.clone())
    });
    let puller = with_library.zip(pull_status).map(|((peers, library), status)| Puller {
        peers,
        pipeline: pipeline.clone(),
        library,
        headers: Arc::clone(&headers),
        archives: Arc::clone(&archives),
        workers: workers.clone(),
        budget: budgets.get(SubNetwork::History),
        status,
    });
    if let Some(swarm) = &running.swarm {
        metrics.watch_swarm(swarm.stats_source());
    }
    let trust_fetcher =
        TrustFetcher::new(Arc::clone(&trust), trust_network, networks.clone(), config.bootnodes.clone());
    let fetcher = Fetcher::new(Arc::clone(&headers), holdings.clone(), pipeline, workers.clone(), networks.clone());
    let state = StateReader::new(fetcher.clone(), &networks, shared.express.ways().clone());
    let capsules = SharedCapsules::new(fetcher.clone(), &networks);
    if config.rpc.is_some() || config.socket.is_some() {
        let methods =
            rpc::methods(discovery.clone(), &networks, status.clone(), client_version(), store_fetches.as_ref());
        let methods = methods.map_err(RpcError::from)?;
        let local = Local {
            fetcher: fetcher.clone(),
            workers: workers.clone(),
            fees: BlobFees::of(trust.chain()),
            trust: trust_fetcher.clone(),
            discovery: discovery.clone(),
            networks: networks.clone(),
            given: GivenContent::new(networks.clone()),
        };
        let server =
            RpcServer::start(config.rpc.as_ref(), config.socket.as_deref(), methods, local, &running.tasks).await?;
        running.rpc = Some(server);
    }
    let metrics_server = match config.metrics {
        None => None,
        Some(address) => Some(
            MetricsServer::start(address, Arc::clone(&metrics), status.health(), &running.tasks, running.stop.clone())
                .await
                .map_err(|source| StartError::Metrics { address, source })?,
        ),
    };

    let run = |task: BoxFuture<'static, ()>| {
        let stop = running.stop.clone();
        running.tasks.spawn(async move { stop.run_until_cancelled(task).await });
    };
    if let Some(of_headers) = networks::of_headers(&networks) {
        run(networks::answer_header_queries(of_headers.overlay().clone(), header_queries).boxed());
    }
    for network in &networks {
        let hand_over = HandOver {
            network: Arc::clone(network),
            holdings: holdings.clone(),
            workers: workers.clone(),
            metrics: Arc::clone(&metrics),
        };
        run(hand_over.run().boxed());
    }
    run(Arc::clone(&archives).watch().boxed());
    run(Arc::clone(&archives).keep_proving().boxed());
    if let Some((_, library)) = quic {
        run(keep_held(library, Arc::clone(&archives), workers.clone()).boxed());
        if let Some(tracker) = &running.tracker {
            let keep = keep_tracker(Arc::clone(tracker), Arc::clone(&archives), networks.clone(), config.addresses);
            run(keep.boxed());
            run(keep_announced(Arc::clone(tracker), config.nat, discovery.port_mappings()).boxed());
        }
    }
    if let Some(swarm) = &running.swarm {
        run(swarm::keep_telling(swarm.clone(), config.addresses).boxed());
    }
    if let Some(puller) = puller {
        running.tasks.spawn(puller.keep_pulling(running.stop.clone()));
    }
    run(bootnodes.look_after(config.bootnodes.clone(), discovery.clone(), networks.clone()).boxed());
    run(tasks::save_bars(book, config.data_dir.clone(), workers.clone()).boxed());
    run(tasks::save_record(discovery, config.data_dir.clone(), workers.clone()).boxed());
    if config.fetch_trust {
        run(trust_fetcher.clone().keep_fetching().boxed());
    }

    let node = Node {
        running: running.clone(),
        networks,
        trust_fetcher,
        trust,
        headers,
        holdings,
        archives,
        fetcher,
        state,
        capsules,
        workers,
        metrics,
        status,
        metrics_server,
        peers,
        store_fetches,
        data_dir: config.data_dir,
    };
    if config.offer_seeds {
        drop(node.offer_archives(SeedOptions::default()));
    }
    Ok(node)
}

/// A tracker at the address of QUIC, on a port above it or on a free one.
async fn start_tracker(
    config: &NodeConfig,
    key: [u8; 32],
    quic: SocketAddr,
) -> Result<Arc<cairn_tracker::Tracker>, cairn_tracker::Error> {
    let start = |port| {
        swarm::start_tracker(TrackerConfig {
            key,
            chain: &config.chain,
            listen: SocketAddr::new(quic.ip(), port),
            serves: config.serves(),
            bootnodes: &config.bootnodes,
            addresses: config.addresses,
            state_file: config.serves().then(|| config.data_dir.join(TRACKER_FILE)),
        })
    };
    match start(quic.port().checked_add(PORT_ABOVE).unwrap_or(0)).await {
        Err(cairn_tracker::Error::Listen { .. }) => start(0).await,
        started => started,
    }
}

/// Name, version with commit, platform and compiler: the four parts of ping extension type 0, which `web3_clientVersion` has too.
pub(crate) fn client_version() -> String {
    let (version, commit, compiler) = (env!("CARGO_PKG_VERSION"), env!("CAIRN_COMMIT"), env!("CAIRN_COMPILER"));
    format!("cairn/v{version}-{commit}/{}-{}/{compiler}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_who_it_is_in_four_parts() {
        let text = client_version();
        let parts: Vec<_> = text.split('/').collect();
        let [name, version, platform, language] = parts[..] else { panic!("{text}") };
        assert_eq!(name, "cairn");
        let (version, commit) = version.split_once('-').expect("version and commit");
        assert!(version.starts_with('v') && !commit.is_empty() && !commit.contains('-'), "{text}");
        assert_eq!(platform.split('-').count(), 2, "{text}");
        assert!(language.starts_with("rustc") && text.len() <= cairn_proto::wire::MAX_CLIENT_INFO_BYTES, "{text}");
    }
}
