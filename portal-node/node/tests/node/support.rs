//! A small chain as archives and trust lists, and nodes on loopback that know it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_archive::Archive;
use cairn_archive::convert::{Target, convert};
use cairn_node::{Node, trust};
use cairn_node::{NodeConfig, RpcConfig};
use cairn_proto::routing::AddressPolicy;
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use content_types::trust::TrustListKind;
use content_types::{ContentKey, SubNetwork, legacy_history};
use overlay::Overlay;
use overlay::discovery::Nat;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use crate::waiting::until;

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A chain with a few blocks of every fork, and folders with its archives and trust lists.
pub(crate) struct World {
    pub(crate) chain: SyntheticChain,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_accounts(0)
    }

    /// The same with so many accounts in its state.
    pub(crate) fn with_accounts(accounts: usize) -> Self {
        let config = SyntheticConfig {
            pre_merge_blocks: 12,
            bellatrix_blocks: 4,
            capella_blocks: 4,
            deneb_blocks: 4,
            accounts,
            ..SyntheticConfig::small()
        };
        let world = Self { chain: SyntheticChain::new(config).unwrap(), dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(world.archives()).unwrap();
        world.chain.write_archives(world.archives()).unwrap();
        world.write_trust(&world.trust());
        world
    }

    pub(crate) fn archives(&self) -> PathBuf {
        self.dir.path().join("archives")
    }

    /// Writes the archives without proofs, and gives the folder that they are in.
    pub(crate) fn write_bare_archives(&self) -> PathBuf {
        let bare = self.dir.path().join("bare");
        std::fs::create_dir(&bare).unwrap();
        for archive in std::fs::read_dir(self.archives()).unwrap() {
            let archive = Archive::open(archive.unwrap().path()).unwrap();
            let target = Target::Ere { proofs: false, receipts: true };
            convert(&archive, archive.blocks(), self.chain.spec().name(), target, &bare, |_| {}).unwrap();
        }
        bare
    }

    pub(crate) fn trust(&self) -> PathBuf {
        self.dir.path().join("trust")
    }

    pub(crate) fn write_trust(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        let roots = self.chain.spec().trust_roots();
        for kind in TrustListKind::ALL {
            let list = self.chain.trust_lists().encoded(&roots.root(kind).unwrap(), roots).unwrap();
            std::fs::write(dir.join(trust::file_name(kind)), list).unwrap();
        }
    }

    /// A node in a folder called `name`, that has the trust lists and nothing else.
    pub(crate) fn config(&self, name: &str) -> NodeConfig {
        let mut config = NodeConfig::new(Arc::clone(self.chain.spec()), self.dir.path().join(name));
        config.listen = LOOPBACK.into();
        config.nat = Nat::None;
        config.addresses = AddressPolicy::Local;
        config.capacity = 64 << 20;
        config.trust_dir = Some(self.trust());
        config.rpc = Some(RpcConfig::at(LOOPBACK));
        config
    }

    pub(crate) async fn start(&self, name: &str) -> Node {
        Node::start(self.config(name)).await.unwrap()
    }

    /// A node that serves the archives.
    pub(crate) async fn start_seeder(&self, name: &str) -> Node {
        let mut config = self.config(name);
        config.seeds = vec![self.archives()];
        let node = Node::start(config).await.unwrap();
        node.archives().wait_until_scanned().await;
        assert!(node.archives().problems().is_empty(), "{:?}", node.archives().problems());
        // By number blocks are found at once, by hash when the headers have been read.
        let last = self.chain.block_hash(self.chain.config().blocks() - 1).unwrap();
        let key = ContentKey::from(legacy_history::ContentKey::HeaderByHash(last));
        until("hashes indexed", || node.store().contains(&key).unwrap()).await;
        node
    }
}

/// Makes two nodes know each other in every sub-network. Only one of them calls: when both do at the same moment,
/// discv5 forgets the request of one, and it takes seconds until that is found out.
pub(crate) async fn connect(caller: &Node, called: &Node) {
    for network in SubNetwork::ALL {
        let (caller_side, called_side) = (caller.overlay(network).unwrap(), called.overlay(network).unwrap());
        caller_side.add_enr(called.enr());
        until("peers in both tables", || knows(caller_side, called) && knows(called_side, caller)).await;
    }
}

/// Whether a live peer with a known radius in the table is `node`.
fn knows(overlay: &Overlay, node: &Node) -> bool {
    let mut entries = overlay.routing_table().buckets.into_iter().flatten();
    entries.any(|entry| entry.live && entry.radius.is_some() && entry.enr.node_id() == node.enr().node_id())
}

/// A JSON-RPC client of a node.
pub(crate) struct Rpc {
    http: reqwest::Client,
    url: String,
}

impl Rpc {
    pub(crate) fn of(node: &Node) -> Self {
        install_tls();
        Self { http: reqwest::Client::new(), url: format!("http://{}", node.rpc_address().unwrap()) }
    }

    pub(crate) async fn post(&self, body: &Value) -> Value {
        self.http.post(&self.url).json(body).send().await.unwrap().json().await.unwrap()
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.post(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await;
        assert_eq!(answer["jsonrpc"], "2.0");
        assert_eq!(answer["id"], 1);
        answer
    }

    /// The result of a call that has to succeed.
    pub(crate) async fn ok(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Code, message and data of the error of a call that has to fail.
    pub(crate) async fn error(&self, method: &str, params: Value) -> (i64, String, Value) {
        let answer = self.call(method, params).await;
        let error = &answer["error"];
        assert!(error.is_object(), "{method}: {answer}");
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned(), error["data"].clone())
    }
}

/// reqwest wants a cryptography provider even where no TLS is spoken.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Stops a node and fails if that takes longer than it may.
pub(crate) async fn stop(node: Node) {
    tokio::time::timeout(Duration::from_secs(5), node.shutdown()).await.expect("a node stops within 5 seconds");
}
