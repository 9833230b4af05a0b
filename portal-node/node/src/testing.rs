//! What unit tests of this crate stand on: a small chain, its trust lists, and the parts of a node over a store and
//! archives in a folder of their own, joined as `node::start` joins them but without a network.

use std::path::Path;
use std::sync::Arc;

use cairn_store::{Budgets, Store, StoreConfig};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use content_types::{NodeId, SubNetwork, TrustListKind};
use tempfile::TempDir;

use crate::headers::HeaderSource;
use crate::holdings::Holdings;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::trust::TrustStore;
use crate::workers::Workers;

/// Room in the store for each sub-network: more than the chain takes.
const CAPACITY: u64 = 1 << 20;

/// The parts of a node that knows a chain's trust lists.
pub(crate) struct Fixture {
    pub(crate) chain: SyntheticChain,
    pub(crate) dir: TempDir,
    pub(crate) node_id: NodeId,
    pub(crate) workers: Workers,
    pub(crate) holdings: Holdings,
    pub(crate) headers: Arc<HeaderSource>,
    pub(crate) pipeline: Pipeline,
}

impl Fixture {
    /// Holds nothing.
    pub(crate) fn new() -> Self {
        let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let node_id = NodeId::from([7; 32]);
        let budgets = SubNetwork::ALL.into_iter().fold(Budgets::NONE, |budgets, of| budgets.with(of, CAPACITY));
        let config = StoreConfig::new(dir.path().join("store"), node_id, budgets);
        let store = Arc::new(Store::open(config, Box::new(|_| {})).unwrap());
        let trust = Arc::new(trust(&chain, dir.path()));
        let workers = Workers::new();
        let holdings = Holdings::new(store, workers.clone(), node_id);
        let headers = HeaderSource::new(Arc::clone(&trust), holdings.clone(), workers.clone(), None).unwrap();
        let headers = Arc::new(headers);
        let pipeline = Pipeline::new(trust, Arc::clone(&headers), workers.clone(), Arc::new(Metrics::new()));
        Self { chain, dir, node_id, workers, holdings, headers, pipeline }
    }

    /// Serves the whole chain from archives that prove their headers.
    pub(crate) fn with_archives() -> Self {
        let fixture = Self::new();
        for archive in fixture.chain.write_archives(fixture.dir.path()).unwrap() {
            fixture.holdings.store().add_archive(&archive, Arc::new(fixture.chain.verifier())).unwrap();
        }
        fixture
    }
}

fn trust(chain: &SyntheticChain, dir: &Path) -> TrustStore {
    let trust = TrustStore::open(dir.join("trust"), Arc::clone(chain.spec())).unwrap();
    let roots = chain.spec().trust_roots();
    for kind in TrustListKind::ALL {
        let list = chain.trust_lists().encoded(&roots.root(kind).unwrap(), roots).unwrap();
        trust.import(kind, &list).unwrap().unwrap();
    }
    trust
}
