//! Node records (ENR, EIP-778) and what a Portal node announces in them.
//!
//! | key | value | version |
//! |---|---|---|
//! | `p` | RLP list `[min, max, chain_id]`; more items may follow | 2 |
//! | `pv` | RLP string, a byte for each supported version | 1 |
//! | `c` | RLP string, a short name of the client | |
//! | `cairn` | RLP number, the version of the requests that Cairn has beside the specification's | |
//!
//! Cairn announces all four. A foreign record is read with tolerance: `p` that cannot be read counts as absent, and a
//! peer is spoken to by the highest version that either key gives. The keys `quic` and `quic6` belong to the swarm.
//!
//! Specification: `portal-wire-protocol.md`, "ENR record", "Protocol Version" and "Chain id".

use std::{fmt, net::SocketAddr};

use alloy_rlp::{Decodable, Encodable, Header};
use bytes::Bytes;
use content_types::NodeId;
use enr::CombinedPublicKey;

/// A node record, of the type that discv5 uses.
pub type Enr = enr::Enr<enr::CombinedKey>;

/// Key of the versions and the chain ID, as version 2 announces them.
pub const PORTAL_KEY: &str = "p";
/// Key of the versions as version 1 announces them.
pub const VERSIONS_KEY: &str = "pv";
/// Key of the client's name.
pub const CLIENT_KEY: &str = "c";
/// Key of the version of the requests that are none of the specification's. Who does not announce it is not asked them.
pub const OWN_REQUESTS_KEY: &str = "cairn";
/// That version: the one request is the way down a trie (`content-types/PROTOCOL.md`). Others are added under the same number.
pub const OWN_REQUESTS: u8 = 1;

/// Longest client name that Cairn puts into a record, bytes. A whole record has 300 (EIP-778).
pub const MAX_CLIENT_NAME_BYTES: usize = 32;

/// A version of the Portal wire protocol that Cairn speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// Decline codes in ACCEPT, a length before each item of a stream.
    V1 = 1,
    /// Chain ID in the record; its messages are those of version 1.
    V2 = 2,
}

impl Version {
    /// All of them, the highest first.
    const DESCENDING: [Version; 2] = [Version::V2, Version::V1];

    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// Why a peer is not spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// Neither `p` nor `pv`: version 0, or not a Portal node at all.
    #[error("its record announces no protocol version")]
    NoVersion,
    /// Versions are announced, none of them 1 or 2.
    #[error("its record announces none of the versions 1 and 2")]
    NoCommonVersion,
    /// It lives on another chain.
    #[error("its record is of chain {0}")]
    OtherChain(u64),
}

/// A record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeRecordError {
    /// Not RLP of a record, longer than 300 bytes, or the signature is wrong.
    #[error("not a node record: {0}")]
    Invalid(alloy_rlp::Error),
    /// Bytes after the record.
    #[error("{0} bytes follow the node record")]
    TrailingBytes(usize),
    /// Signed with a key that discv5 sessions cannot use.
    #[error("the node record is not signed with a secp256k1 key")]
    KeyType,
}

/// The value of `p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortalInfo {
    /// Lowest supported version.
    pub min: u64,
    /// Highest supported version.
    pub max: u64,
    /// The chain that the node operates on.
    pub chain_id: u64,
}

impl Decodable for PortalInfo {
    fn decode(buf: &mut &[u8]) -> alloy_rlp::Result<Self> {
        // Items after the third belong to later versions.
        let mut items = Header::decode_bytes(buf, true)?;
        let info =
            Self { min: u64::decode(&mut items)?, max: u64::decode(&mut items)?, chain_id: u64::decode(&mut items)? };
        if info.min > info.max {
            return Err(alloy_rlp::Error::Custom("lowest version above the highest"));
        }
        Ok(info)
    }
}

impl Encodable for PortalInfo {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        let payload_length = self.min.length() + self.max.length() + self.chain_id.length();
        Header { list: true, payload_length }.encode(out);
        self.min.encode(out);
        self.max.encode(out);
        self.chain_id.encode(out);
    }
}

/// What a record says about the Portal protocol, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortalFields {
    /// The value of `p`.
    pub info: Option<PortalInfo>,
    /// The value of `pv`.
    pub versions: Option<Bytes>,
    /// The value of `c`.
    pub client: Option<String>,
}

impl PortalFields {
    /// Reads a record's fields. A value that cannot be read counts as absent.
    pub fn read(enr: &Enr) -> Self {
        let string = |key| enr.get_decodable::<Bytes>(key).and_then(Result::ok);
        Self {
            info: enr.get_decodable(PORTAL_KEY).and_then(Result::ok),
            versions: string(VERSIONS_KEY),
            client: string(CLIENT_KEY).map(|name| String::from_utf8_lossy(&name).into_owned()),
        }
    }

    /// The highest version that both sides speak, for a node on `chain_id`.
    ///
    /// A record with `pv` alone names no chain and passes: what such a peer sends is checked like everything else.
    ///
    /// # Errors
    /// Why the peer is not to be spoken to.
    pub fn negotiate(&self, chain_id: u64) -> Result<Version, Incompatible> {
        if let Some(info) = self.info
            && info.chain_id != chain_id
        {
            return Err(Incompatible::OtherChain(info.chain_id));
        }
        if self.info.is_none() && self.versions.is_none() {
            return Err(Incompatible::NoVersion);
        }
        let speaks = |version: &Version| {
            let number = version.number();
            self.info.is_some_and(|info| (info.min..=info.max).contains(&number.into()))
                || self.versions.as_ref().is_some_and(|versions| versions.contains(&number))
        };
        Version::DESCENDING.into_iter().find(speaks).ok_or(Incompatible::NoCommonVersion)
    }
}

/// What Cairn announces: key and RLP of each Portal field of its own record. `client` is cut to
/// [`MAX_CLIENT_NAME_BYTES`].
pub fn portal_entries(chain_id: u64, client: &str) -> [(&'static str, Bytes); 4] {
    let info = PortalInfo { min: Version::V1.number().into(), max: Version::V2.number().into(), chain_id };
    let versions = [Version::V1.number(), Version::V2.number()];
    let client = &client[..client.floor_char_boundary(MAX_CLIENT_NAME_BYTES)];
    [
        (PORTAL_KEY, alloy_rlp::encode(info).into()),
        (VERSIONS_KEY, alloy_rlp::encode(&versions[..]).into()),
        (CLIENT_KEY, alloy_rlp::encode(client).into()),
        (OWN_REQUESTS_KEY, alloy_rlp::encode(OWN_REQUESTS).into()),
    ]
}

/// Whether the record's node answers the requests that Cairn has beside the specification's.
pub fn takes_own_requests(enr: &Enr) -> bool {
    enr.get_decodable(OWN_REQUESTS_KEY).and_then(Result::ok) == Some(OWN_REQUESTS)
}

/// The node ID of a record, as the overlay counts distances.
pub fn node_id(enr: &Enr) -> NodeId {
    NodeId::from(enr.node_id().raw())
}

/// Where the record says its node listens for discv5; IPv4 before IPv6.
pub fn udp_socket(enr: &Enr) -> Option<SocketAddr> {
    enr.udp4_socket().map(SocketAddr::V4).or_else(|| enr.udp6_socket().map(SocketAddr::V6))
}

/// Where the record says its node listens for discv5, by the protocol that `address` is of.
pub fn announced_like(enr: &Enr, address: SocketAddr) -> Option<SocketAddr> {
    match address {
        SocketAddr::V4(_) => enr.udp4_socket().map(SocketAddr::V4),
        SocketAddr::V6(_) => enr.udp6_socket().map(SocketAddr::V6),
    }
}

/// Whether the record says that its node listens for discv5 at this address.
pub fn announces(enr: &Enr, address: SocketAddr) -> bool {
    let socket = |address: SocketAddr| (address.ip(), address.port());
    announced_like(enr, address).is_some_and(|announced| socket(announced) == socket(address))
}

/// The record's bytes, as NODES and CONTENT carry it.
pub fn encode(enr: &Enr) -> Bytes {
    alloy_rlp::encode(enr).into()
}

/// Reads a record from NODES or CONTENT and checks its signature.
///
/// # Errors
/// Bytes that are not exactly one signed record, or one whose key cannot open a discv5 session.
pub fn decode(bytes: &[u8]) -> Result<Enr, NodeRecordError> {
    let mut rest = bytes;
    let enr = Enr::decode(&mut rest).map_err(NodeRecordError::Invalid)?;
    if !rest.is_empty() {
        return Err(NodeRecordError::TrailingBytes(rest.len()));
    }
    match enr.public_key() {
        CombinedPublicKey::Secp256k1(_) => Ok(enr),
        CombinedPublicKey::Ed25519(_) => Err(NodeRecordError::KeyType),
    }
}
