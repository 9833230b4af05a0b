//! What a tracker is started with.

use std::{
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{PublicKey, TrackedChain, records::RecordLimits};

/// Unix time in seconds, asked whenever a record is written or read.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a tracker is started with.
#[derive(Clone)]
pub struct Config {
    /// The secp256k1 secret key of the node record.
    pub secret_key: [u8; 32],
    /// The chain whose archives are tracked.
    pub chain: TrackedChain,
    /// The UDP address to listen on; with port 0 the system chooses one. Peers at private or loopback addresses are
    /// dialled only by those who listen on such an address themselves.
    pub listen: SocketAddr,
    /// Whether peers are on this machine and in the local network: then all such addresses are dialled.
    pub is_local: bool,
    /// The addresses at which others reach this node, as far as they are known.
    pub announce: Vec<SocketAddr>,
    /// Whether others can reach this node. If so, it keeps records and answers; if not, it only asks.
    pub reachable: bool,
    /// Peers to begin with. They are dialled again as long as nobody else is known.
    pub bootstrap: Vec<(PublicKey, SocketAddr)>,
    /// Where the records are kept for the next start. Without it they last as long as the process.
    pub state_file: Option<PathBuf>,
    /// Unix time.
    pub clock: Clock,
    /// How much of everything.
    pub limits: TrackerLimits,
}

impl Config {
    /// A reachable node that knows nobody, keeps no state and has the usual limits.
    #[must_use]
    pub fn new(secret_key: [u8; 32], chain: TrackedChain, listen: SocketAddr) -> Self {
        Self {
            secret_key,
            chain,
            listen,
            is_local: false,
            announce: Vec::new(),
            reachable: true,
            bootstrap: Vec::new(),
            state_file: None,
            clock: Arc::new(system_clock),
            limits: TrackerLimits::default(),
        }
    }
}

/// Without the secret key.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("chain", &self.chain)
            .field("listen", &self.listen)
            .field("announce", &self.announce)
            .field("reachable", &self.reachable)
            .field("bootstrap", &self.bootstrap.len())
            .field("state_file", &self.state_file)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn system_clock() -> u64 {
    // A clock before 1970 is as good as none: records then only seem older than they are.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How much of everything a tracker keeps and does at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackerLimits {
    /// Records of others.
    pub records: RecordLimits,
    /// Eras that can have records, counted from the first. The default lasts mainnet until the 2060s. Each takes 50
    /// bytes.
    pub eras: u64,
    /// Connections that others opened. Each costs some tens of KB. One more closes the one that was idle longest, of the subnet
    /// that has most.
    pub inbound_connections: u32,
    /// Connections that this node opened. One announcement touches some thirty peers, and connections stay for a
    /// minute.
    pub outbound_connections: u32,
    /// Connections with one peer: one each way, as happens when both dial at once.
    pub connections_of_peer: u32,
    /// Handshakes under way, each way. Of those that others begin, a subnet may have a quarter.
    pub handshakes: u32,
    /// Handshakes that one address may have under way with us.
    pub handshakes_of_address: u32,
    /// Lookups of providers under way.
    pub lookups: usize,
    /// Lookups that wait for their turn; one more finds nothing.
    pub waiting_lookups: usize,
    /// Providers that one lookup returns.
    pub providers: usize,
    /// Announcements under way.
    pub announcements: usize,
    /// The longest that one lookup or announcement may take.
    pub query_timeout: Duration,
}

impl Default for TrackerLimits {
    fn default() -> Self {
        Self {
            records: RecordLimits::default(),
            eras: 16_384,
            inbound_connections: 256,
            outbound_connections: 512,
            connections_of_peer: 2,
            handshakes: 64,
            handshakes_of_address: 16,
            lookups: 8,
            waiting_lookups: 256,
            providers: 64,
            announcements: 4,
            query_timeout: Duration::from_secs(30),
        }
    }
}
