//! In which order peers are asked for trust lists.
//!
//! Only Cairn peers speak the protocol that lists go over, and on the Portal Network they may be few among many: those
//! that say they are Cairn come first, and bootnodes, which the operator chose. A record's word may be false, and only so
//! many peers are asked each time, so the order is another one each time: whoever is known comes up some day.

use std::collections::HashSet;

use cairn_proto::record::PortalFields;
use overlay::Enr;
use rand::Rng;
use rand::seq::SliceRandom;

/// How Cairn's name begins in the client field of a record.
const CLIENT_PREFIX: &str = "cairn";

/// Everybody once: bootnodes and who claims to be Cairn at random, then the others at random.
pub(crate) fn ask_order(bootnodes: &[Enr], listed: impl IntoIterator<Item = Enr>, rng: &mut impl Rng) -> Vec<Enr> {
    let mut seen = HashSet::new();
    let mut is_new = |enr: &Enr| seen.insert(enr.node_id().raw());
    let mut first: Vec<Enr> = bootnodes.iter().filter(|enr| is_new(enr)).cloned().collect();
    let (cairn, mut others): (Vec<Enr>, Vec<Enr>) = listed.into_iter().filter(is_new).partition(claims_cairn);
    first.extend(cairn);
    first.shuffle(rng);
    others.shuffle(rng);
    first.extend(others);
    first
}

fn claims_cairn(enr: &Enr) -> bool {
    PortalFields::read(enr).client.is_some_and(|client| client.starts_with(CLIENT_PREFIX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_proto::record::CLIENT_KEY;
    use enr::{CombinedKey, Enr as Record};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn record(client: &str) -> Enr {
        let key = CombinedKey::generate_secp256k1();
        Record::builder().add_value(CLIENT_KEY, &Bytes::from(client.to_owned())).build(&key).unwrap()
    }

    fn ids(peers: &[Enr]) -> Vec<[u8; 32]> {
        peers.iter().map(|enr| enr.node_id().raw()).collect()
    }

    #[test]
    fn a_cairn_peer_far_away_comes_before_all_who_are_not() {
        let mut listed: Vec<Enr> = (0..100).map(|_| record("other/1.0")).collect();
        let own_name = overlay::DiscoveryConfig::new([1; 32]).client;
        listed.push(record(&own_name));
        let bootnode = record("other/1.0");
        listed.push(bootnode.clone());
        let order = ask_order(std::slice::from_ref(&bootnode), listed.clone(), &mut StdRng::seed_from_u64(1));
        assert_eq!(order.len(), 102, "the bootnode is in the table too");
        let first: HashSet<_> = ids(&order[..2]).into_iter().collect();
        assert_eq!(first, ids(&[listed[100].clone(), bootnode]).into_iter().collect());
    }

    #[test]
    fn no_prefix_is_the_same_at_every_try() {
        for client in ["other/1.0", "cairn/0.1"] {
            let listed: Vec<Enr> = (0..50).map(|_| record(client)).collect();
            let mut rng = StdRng::seed_from_u64(2);
            let asked: HashSet<_> =
                (0..100).flat_map(|_| ids(&ask_order(&[], listed.clone(), &mut rng)[..10])).collect();
            assert_eq!(asked.len(), 50, "a tenth of {client} each time, all of them in the end");
        }
    }
}
