//! What unit tests of this crate stand on: a small chain, its trust lists, and the parts of a node over a store and
//! archives in a folder of their own, joined as `node::start` joins them but without a network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_archive::convert::{Target, convert};
use cairn_archive::{Archive, Format};
use cairn_store::{Budgets, Item, Store, StoreConfig};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use content_types::{NodeId, SubNetwork, TrustListKind, legacy_history};
use tempfile::TempDir;

use crate::headers::{HeaderNetwork, HeaderSource};
use crate::holdings::Holdings;
use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::seeding::Archives;
use crate::trust::TrustStore;
use crate::workers::Workers;
use tokio_util::sync::CancellationToken;

/// Room in the store for each sub-network: more than the chain takes.
const CAPACITY: u64 = 1 << 20;

/// The parts of a node that knows a chain's trust lists.
pub(crate) struct Fixture {
    pub(crate) chain: SyntheticChain,
    pub(crate) dir: TempDir,
    pub(crate) node_id: NodeId,
    pub(crate) trust: Arc<TrustStore>,
    pub(crate) workers: Workers,
    pub(crate) holdings: Holdings,
    pub(crate) headers: Arc<HeaderSource>,
    pub(crate) pipeline: Pipeline,
}

impl Fixture {
    /// Holds nothing.
    pub(crate) fn new() -> Self {
        Self::of(SyntheticConfig::small())
    }

    /// Holds nothing of a chain that is like this.
    pub(crate) fn of(config: SyntheticConfig) -> Self {
        Self::of_network(config, None)
    }

    fn of_network(config: SyntheticConfig, network: Option<HeaderNetwork>) -> Self {
        let chain = SyntheticChain::new(config).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let node_id = NodeId::from([7; 32]);
        let budgets = SubNetwork::ALL.into_iter().fold(Budgets::NONE, |budgets, of| budgets.with(of, CAPACITY));
        let config = StoreConfig::new(dir.path().join("store"), node_id, budgets);
        let store = Arc::new(Store::open(config, Box::new(|_| {})).unwrap());
        let trust = Arc::new(trust(&chain, dir.path()));
        let workers = Workers::new();
        let holdings = Holdings::new(store, workers.clone(), node_id);
        let headers = HeaderSource::new(
            Arc::clone(&trust),
            holdings.clone(),
            workers.clone(),
            network,
            None,
            CancellationToken::new(),
        )
        .unwrap();
        let headers = Arc::new(headers);
        let pipeline =
            Pipeline::new(Arc::clone(&trust), Arc::clone(&headers), workers.clone(), Arc::new(Metrics::new()));
        Self { chain, dir, node_id, trust, workers, holdings, headers, pipeline }
    }

    /// A chain of which every block is from before the merge, so that it fits into an era1 file.
    pub(crate) fn before_the_merge() -> Self {
        let config =
            SyntheticConfig { bellatrix_blocks: 0, capella_blocks: 0, deneb_blocks: 0, ..SyntheticConfig::small() };
        Self::of_network(config, None)
    }

    /// Serves the whole chain from archives that prove their headers.
    pub(crate) fn with_archives() -> Self {
        Self::with_archives_and(None)
    }

    /// The same, with a network to look for headers on.
    pub(crate) fn with_archives_and(network: Option<HeaderNetwork>) -> Self {
        let fixture = Self::of_network(SyntheticConfig::small(), network);
        for archive in fixture.chain.write_archives(fixture.dir.path()).unwrap() {
            let archive = Archive::open(archive).unwrap();
            fixture.holdings.store().add_archive(archive, Arc::new(fixture.chain.verifier())).unwrap();
        }
        fixture
    }

    /// Writes the chain's first era as an archive without proofs, and gives the folder that it is alone in.
    pub(crate) fn write_bare_archive(&self) -> PathBuf {
        let (whole, bare) = (self.dir.path().join("whole"), self.dir.path().join("bare"));
        std::fs::create_dir(&bare).unwrap();
        std::fs::create_dir(&whole).unwrap();
        let archive = Archive::open(self.chain.write_archive(0, Format::Ere, whole).unwrap()).unwrap();
        let target = Target::Ere { proofs: false, receipts: true };
        convert(&archive, archive.blocks(), self.chain.spec().name(), target, &bare, |_| {}).unwrap();
        bare
    }

    /// Archives over these folders, looked at once.
    pub(crate) async fn archives(&self, seeds: Vec<PathBuf>) -> Arc<Archives> {
        let (trust, headers) = (Arc::clone(&self.trust), Arc::clone(&self.headers));
        let archives = Archives::new(seeds, self.holdings.clone(), trust, headers, self.workers.clone());
        let archives = Arc::new(archives);
        archives.scan().await;
        assert_eq!((archives.count(), archives.problems().len()), (1, 0));
        archives
    }

    /// Takes the header of a block into the store, as if it had come from the network.
    pub(crate) fn store_header(&self, number: u64) {
        let key = legacy_history::ContentKey::HeaderByNumber(number).into();
        let header = self.chain.block(number).unwrap().header_with_proof();
        self.holdings.store().put_batch(vec![Item::new(&key, header)]).unwrap();
    }
}

fn trust(chain: &SyntheticChain, dir: &Path) -> TrustStore {
    let trust = TrustStore::open(dir.join("trust"), Arc::clone(chain.spec())).unwrap();
    let roots = chain.spec().trust_roots();
    for kind in TrustListKind::ALL {
        // A chain that ends early has no use for some.
        let Some(root) = roots.root(kind) else { continue };
        let list = chain.trust_lists().encoded(&root, roots).unwrap();
        trust.import(kind, &list).unwrap().unwrap();
    }
    trust
}
