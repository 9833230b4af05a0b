//! What tells one sub-network's service from another.

use std::time::Duration;

use cairn_peer_book::PeerBook;
use cairn_proto::gossip::GossipWidth;
use cairn_proto::routing::{AddressPolicy, PING_INTERVAL, REFRESH_INTERVAL};
use cairn_proto::wire::Extensions;

use crate::transport::{Enr, ProtocolId};

/// How one sub-network is spoken.
#[derive(Clone)]
pub struct SubNetworkConfig {
    /// The name in logs.
    pub name: &'static str,
    /// The identifier in TALKREQ.
    pub protocol: ProtocolId,
    /// The chain that peers must announce.
    pub chain_id: u64,
    /// Description of this client for ping extension type 0, at most
    /// [`MAX_CLIENT_INFO_BYTES`](cairn_proto::wire::MAX_CLIENT_INFO_BYTES): `name/version-commit/os-arch/language`, all four, or
    /// peers may drop the whole payload; empty for privacy.
    pub client_info: String,
    /// The ping extensions that this node lists.
    pub ping_extensions: Extensions,
    /// Peers to start from.
    pub bootnodes: Vec<Enr>,
    /// Which addresses peers may have, and whether the table takes only a few of one subnet.
    pub addresses: AddressPolicy,
    /// The node's book of peers, which all of its networks share.
    pub book: PeerBook,
    /// To how many peers content is gossiped.
    pub gossip: GossipWidth,
    /// Whether what a lookup found is offered, as it was found, to the peers on the way that lack it (poke).
    pub pokes: bool,
    /// Pause between PINGs to a peer that answers.
    pub ping_interval: Duration,
    /// Pause between lookups in a bucket's range.
    pub refresh_interval: Duration,
}

impl SubNetworkConfig {
    /// The defaults of a sub-network on the chain with this ID.
    pub fn new(name: &'static str, protocol: ProtocolId, chain_id: u64) -> Self {
        Self {
            name,
            protocol,
            chain_id,
            client_info: String::new(),
            ping_extensions: Extensions::STANDARD,
            bootnodes: Vec::new(),
            addresses: AddressPolicy::Internet,
            book: PeerBook::default(),
            gossip: GossipWidth::default(),
            pokes: true,
            ping_interval: PING_INTERVAL,
            refresh_interval: REFRESH_INTERVAL,
        }
    }
}
