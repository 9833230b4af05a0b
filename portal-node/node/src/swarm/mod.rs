//! The node's side of the swarm: what it serves over QUIC, whom it dials, and ranges that it fetches into archives.
//!
//! | module | what |
//! |---|---|
//! | `coverage` | how many peers hold what |
//! | `exchange` | others that peers are told of, and whom they tell of |
//! | `library` | what is served: store and archives |
//! | `peers` | whom to dial, out of the node records that the node knows |
//! | `tracker` | who holds an era: announced, and asked for |
//! | `sink` | what comes, checked block by block and put into an archive |
//! | `web` | what no peer serves, from mirrors |
//! | `fetch` | one archive from many peers |
//! | `patience` | how long is waited while nobody serves what is missing |
//! | `sync` | many archives, within a budget |
//! | `shelf` | the folder that they go into |
//! | `store_fetch` | ranges into the node's own store |
//! | `store_sink` | what comes, checked item by item and put into the store |
//! | `run_bits` | runs of a component as bits |
//! | `failures` | runs that were not had, and when they are tried again |
//! | `standing` | whether peers keep what they say |
//! | `choice` | which of the runs that could be fetched next are |
//! | `pull` | which runs a storage peer fetches next to hold what lies within its radius: a decision without I/O |
//! | `batch_patience` | when a batch of them is over though something is missing |
//! | `header_search` | when headers are looked up that peers only claim |
//! | `pull_batch` | a batch of them, fetched into the store |
//! | `puller` | the same done, for as long as the node runs |
//! | `progress` | how a fetch's peers do, for whoever asks |

mod batch_patience;
mod choice;
mod coverage;
mod exchange;
mod failures;
mod fetch;
mod header_search;
mod library;
mod patience;
mod peers;
mod progress;
mod pull;
mod pull_batch;
#[cfg(test)]
mod pull_tests;
mod puller;
mod run_bits;
mod shelf;
mod sink;
mod standing;
mod store_fetch;
mod store_sink;
mod streams;
mod sync;
mod tracker;
mod web;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use alloy_rlp::Encodable;
use cairn_peer_book::PeerBook;
use cairn_swarm::quic::{BoundSocket, Config, Identity, StartError, Swarm};
use content_types::ChainSpec;
use overlay::discovery::ListenAddresses;
use overlay::{Discovery, Enr, Transport};
use tokio::sync::watch;

use crate::quic_address::{QUIC_KEY, QUIC6_KEY};

pub use cairn_swarm::{
    download::Order,
    quic::{self, FetchProgress, Limits},
};
pub(crate) use coverage::coverage;
pub use coverage::{Coverage, EraCoverage, RareRun};
pub(crate) use exchange::keep_telling;
pub use fetch::{ArchiveFetch, FetchArchiveError, WantedArchive};
pub(crate) use library::{NodeLibrary, keep_held};
pub(crate) use patience::Patience;
pub use patience::Unserved;
pub(crate) use peers::KnownPeers;
pub use progress::{PeerState, PullStatus, peers_of};
pub(crate) use puller::Puller;
pub(crate) use shelf::archive_there;
pub use store_fetch::{NotBegun, StoreFetchPhase, StoreFetchState, StoreFetches, StoreRange};
pub use sync::{EraEnd, EraSync, SyncOptions, SyncProgress};
pub(crate) use tracker::{TrackerConfig, keep_announced, keep_tracker, start as start_tracker};
pub use web::{MirrorTrouble, TroubleKind};

/// How far the UDP port of QUIC lies above that of discv5 unless told otherwise, and the tracker's above that. Peers on one
/// machine often have discv5 on ports that follow each other.
pub const PORT_ABOVE: u16 = 1000;

/// Which UDP port QUIC takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QuicPort {
    /// [`PORT_ABOVE`] discv5's, or a free one if that is taken.
    #[default]
    Above,
    /// This one; 0 takes a free one.
    At(u16),
    /// No QUIC: neither served nor spoken.
    Nowhere,
}

/// Text that names no port of QUIC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no UDP port: give one, 0 for a free one, or `none`")]
pub struct ParseQuicPortError(String);

impl FromStr for QuicPort {
    type Err = ParseQuicPortError;

    fn from_str(text: &str) -> Result<Self, ParseQuicPortError> {
        match text {
            "none" => Ok(Self::Nowhere),
            port => port.parse().map(Self::At).map_err(|_| ParseQuicPortError(text.to_owned())),
        }
    }
}

/// Takes the port, before the node's record is made that names it.
///
/// # Errors
/// [`StartError::Bind`].
pub(crate) fn bind(port: QuicPort, listen: ListenAddresses) -> Result<Option<BoundSocket>, StartError> {
    let discovery = listen.v4.map(SocketAddr::V4).or(listen.v6.map(SocketAddr::V6));
    let ip = discovery.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    let bind = |port| BoundSocket::bind(SocketAddr::new(ip, port)).map(Some);
    match port {
        QuicPort::Nowhere => Ok(None),
        QuicPort::At(port) => bind(port),
        QuicPort::Above => {
            let next = discovery
                .map(|address| address.port())
                .filter(|port| *port > 0)
                .and_then(|port| port.checked_add(PORT_ABOVE));
            bind(next.unwrap_or(0)).or_else(|_| bind(0))
        }
    }
}

/// What the node's record says of the endpoint.
pub(crate) fn port_entry(socket: &BoundSocket) -> (&'static str, u16) {
    let address = socket.address();
    (if address.is_ipv4() { QUIC_KEY } else { QUIC6_KEY }, address.port())
}

/// Starts the endpoint.
///
/// # Errors
/// [`StartError`].
pub(crate) fn start(
    socket: BoundSocket,
    key: [u8; 32],
    chain: &ChainSpec,
    limits: Limits,
    discovery: &Discovery,
    library: Arc<NodeLibrary>,
    book: PeerBook,
) -> Result<Swarm, StartError> {
    let config = Config { limits, book, ..Config::new(socket.address(), chain.chain_id(), chain.genesis_hash()) };
    let (sender, record) = watch::channel(encoded(&discovery.local_enr()));
    let mut updates = discovery.local_enr_updates();
    tokio::spawn(async move {
        while updates.changed().await.is_ok() && !sender.is_closed() {
            sender.send_replace(encoded(&updates.borrow_and_update()));
        }
    });
    Swarm::start_on(socket, config, Identity::new(key)?, library, record)
}

fn encoded(enr: &Enr) -> Vec<u8> {
    let mut bytes = Vec::new();
    enr.encode(&mut bytes);
    bytes
}
