//! Nodes with real, signed records, the same from the same seed.

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use cairn_proto::{
    record::{self, Enr, portal_entries},
    routing::{AddressPolicy, PeerRules},
};
use content_types::NodeId;
use enr::CombinedKey;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

pub(crate) const CHAIN_ID: u64 = 1;

/// For simulations in which every node has an address of 10.0.0.0/8: no subnet counts.
pub(crate) const LOCAL: PeerRules = PeerRules { chain_id: CHAIN_ID, addresses: AddressPolicy::Local };
pub(crate) const INTERNET: PeerRules = PeerRules { chain_id: CHAIN_ID, addresses: AddressPolicy::Internet };

pub(crate) fn key(rng: &mut impl Rng) -> CombinedKey {
    let mut secret = [0; 32];
    rng.fill_bytes(&mut secret);
    CombinedKey::secp256k1_from_bytes(&mut secret).unwrap()
}

pub(crate) fn record(key: &CombinedKey, seq: u64, ip: Ipv4Addr, entries: &[(&'static str, Bytes)]) -> Arc<Enr> {
    let mut builder = Enr::builder();
    builder.seq(seq).ip4(ip).udp4(9009);
    for (key, rlp) in entries {
        builder.add_value_rlp(key, rlp.clone());
    }
    Arc::new(builder.build(key).unwrap())
}

/// A record as Cairn makes it.
pub(crate) fn portal_record(key: &CombinedKey, seq: u64, ip: Ipv4Addr) -> Arc<Enr> {
    record(key, seq, ip, &portal_entries(CHAIN_ID, "cairn"))
}

pub(crate) fn generate(seed: u64, count: usize, ip: impl Fn(&mut StdRng) -> Ipv4Addr) -> Vec<Arc<Enr>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|_| {
            let key = key(&mut rng);
            portal_record(&key, 1, ip(&mut rng))
        })
        .collect()
}

pub(crate) fn private_ip(rng: &mut StdRng) -> Ipv4Addr {
    Ipv4Addr::new(10, rng.random(), rng.random(), rng.random_range(1..255))
}

/// 10,000 nodes with public addresses in 400 subnets.
pub(crate) static INTERNET_NODES: LazyLock<Vec<Arc<Enr>>> = LazyLock::new(|| {
    generate(1, 10_000, |rng| Ipv4Addr::new(rng.random_range(20..120), 0, rng.random_range(0..4), rng.random()))
});

pub(crate) fn random_id(rng: &mut impl Rng) -> NodeId {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    NodeId::from(bytes)
}

pub(crate) fn id(enr: &Arc<Enr>) -> NodeId {
    record::node_id(enr)
}
