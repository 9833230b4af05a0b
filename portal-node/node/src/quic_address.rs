//! Where a node record says that its node speaks QUIC.

use std::net::SocketAddr;

use cairn_proto::routing::AddressPolicy;
use cairn_swarm::quic::PeerAddress;
use overlay::Enr;

/// The ports of QUIC in a node record, for IPv4 and IPv6.
pub(crate) const QUIC_KEY: &str = "quic";
pub(crate) const QUIC6_KEY: &str = "quic6";

/// Where a node record says that its node speaks QUIC, if the address is one that is believed.
pub(crate) fn address_of(enr: &Enr, addresses: AddressPolicy) -> Option<PeerAddress> {
    let port = |key| enr.get_decodable::<u16>(key).and_then(Result::ok).filter(|port| *port > 0);
    let v4 = || Some(SocketAddr::from((enr.ip4()?, port(QUIC_KEY)?)));
    let v6 = || Some(SocketAddr::from((enr.ip6()?, port(QUIC6_KEY)?)));
    let address = v4().or_else(v6).filter(|address| addresses.believes(address.ip()))?;
    Some(PeerAddress { key: public_key(enr)?, address })
}

/// The compressed secp256k1 key of a node record.
pub(crate) fn public_key(enr: &Enr) -> Option<[u8; 33]> {
    let enr::CombinedPublicKey::Secp256k1(key) = enr.public_key() else { return None };
    key.to_sec1_bytes().as_ref().try_into().ok()
}
