//! Foreign records are read with tolerance, one's own with none.

use std::net::Ipv4Addr;

use bytes::Bytes;
use cairn_proto::record::{self, Enr, Incompatible, NodeRecordError, PortalFields, Version, portal_entries};
use enr::CombinedKey;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use crate::population::{CHAIN_ID, key, portal_record};

const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn fields(entries: &[(&'static str, Bytes)]) -> PortalFields {
    let key = key(&mut StdRng::seed_from_u64(1));
    PortalFields::read(&crate::population::record(&key, 1, IP, entries))
}

/// RLP of `p` with any items.
fn portal(items: &[u64]) -> (&'static str, Bytes) {
    (record::PORTAL_KEY, alloy_rlp::encode(items.to_vec()).into())
}

/// RLP of `pv`.
fn versions(versions: &[u8]) -> (&'static str, Bytes) {
    (record::VERSIONS_KEY, alloy_rlp::encode(versions).into())
}

#[test]
fn own_fields_in_the_specified_encoding() {
    let entries = portal_entries(11_155_111, "cairn");
    // [1, 2, 0xaa36a7], "\x01\x02", "cairn"
    assert_eq!(hex::encode(&entries[0].1), "c6010283aa36a7");
    assert_eq!(hex::encode(&entries[1].1), "820102");
    assert_eq!(hex::encode(&entries[2].1), format!("85{}", hex::encode("cairn")));
    assert_eq!((entries[3].0, hex::encode(&entries[3].1).as_str()), ("cairn", "01"));
    let fields = fields(&entries);
    assert_eq!(fields.negotiate(11_155_111), Ok(Version::V2));
    assert_eq!(fields.client.as_deref(), Some("cairn"));
    assert_eq!(fields.negotiate(1), Err(Incompatible::OtherChain(11_155_111)));
}

#[test]
fn only_who_says_so_is_asked_what_is_not_specified() {
    let key = key(&mut StdRng::seed_from_u64(1));
    let takes = |entries: &[(&'static str, Bytes)]| {
        record::takes_own_requests(&crate::population::record(&key, 1, IP, entries))
    };
    assert!(takes(&portal_entries(1, "cairn")));
    assert!(!takes(&portal_entries(1, "cairn")[..3]));
    assert!(!takes(&[(record::OWN_REQUESTS_KEY, alloy_rlp::encode(2_u8).into())]));
    assert!(!takes(&[(record::OWN_REQUESTS_KEY, alloy_rlp::encode("long").into())]));
}

#[test]
fn a_long_client_name_is_cut_between_characters() {
    let entries = portal_entries(1, &"ä".repeat(100));
    assert_eq!(fields(&entries).client.unwrap(), "ä".repeat(record::MAX_CLIENT_NAME_BYTES / 2));
}

#[test]
fn the_highest_common_version_wins() {
    for (entries, expected) in [
        (vec![portal(&[1, 2, 1])], Ok(Version::V2)),
        (vec![portal(&[2, 2, 1])], Ok(Version::V2)),
        (vec![portal(&[0, 1, 1])], Ok(Version::V1)),
        (vec![portal(&[2, 9, 1, 77, 88])], Ok(Version::V2)),
        (vec![portal(&[3, 4, 1])], Err(Incompatible::NoCommonVersion)),
        (vec![portal(&[0, 0, 1])], Err(Incompatible::NoCommonVersion)),
        (vec![versions(&[0, 1])], Ok(Version::V1)),
        (vec![versions(&[0])], Err(Incompatible::NoCommonVersion)),
        (vec![versions(&[1, 2])], Ok(Version::V2)),
        (vec![portal(&[3, 4, 1]), versions(&[1])], Ok(Version::V1)),
        (vec![portal(&[1, 2, 5]), versions(&[1])], Err(Incompatible::OtherChain(5))),
        (vec![], Err(Incompatible::NoVersion)),
        // Not readable as the specification has it: absent.
        (vec![portal(&[1, 2])], Err(Incompatible::NoVersion)),
        (vec![portal(&[2, 1, 1])], Err(Incompatible::NoVersion)),
        (vec![(record::PORTAL_KEY, versions(&[1]).1), versions(&[1])], Ok(Version::V1)),
    ] {
        assert_eq!(fields(&entries).negotiate(1), expected, "{entries:?}");
    }
}

#[test]
fn records_travel_as_rlp() {
    let key = key(&mut StdRng::seed_from_u64(1));
    let enr = portal_record(&key, 7, IP);
    let bytes = record::encode(&enr);
    assert_eq!(record::decode(&bytes).unwrap(), *enr);
    assert_eq!(record::decode(&[&bytes[..], &[0]].concat()), Err(NodeRecordError::TrailingBytes(1)));
    let mut forged = bytes.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(record::decode(&forged), Err(NodeRecordError::Invalid(_))));
    let mut secret = [7; 32];
    let other = CombinedKey::ed25519_from_bytes(&mut secret).unwrap();
    let enr = portal_record(&other, 7, IP);
    assert_eq!(record::decode(&record::encode(&enr)), Err(NodeRecordError::KeyType));
}

#[test]
fn the_address_to_contact() {
    let key = key(&mut StdRng::seed_from_u64(1));
    assert_eq!(record::udp_socket(&portal_record(&key, 1, IP)), Some("192.0.2.1:9009".parse().unwrap()));
    let ipv6 = Enr::builder().ip6("2001:db8::1".parse().unwrap()).udp6(9).build(&key).unwrap();
    assert_eq!(record::udp_socket(&ipv6), Some("[2001:db8::1]:9".parse().unwrap()));
    assert_eq!(record::udp_socket(&Enr::builder().ip4(IP).build(&key).unwrap()), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(record::decode(&bytes).is_err());
    }

    #[test]
    fn arbitrary_fields_never_panic(
        p in proptest::collection::vec(any::<u8>(), 0..40),
        pv in proptest::collection::vec(any::<u8>(), 0..40),
        chain_id: u64,
    ) {
        // Inside a record a value is one RLP item: a list of anything, a string of anything.
        let mut list = Vec::new();
        alloy_rlp::Header { list: true, payload_length: p.len() }.encode(&mut list);
        list.extend(&p);
        let fields = fields(&[(record::PORTAL_KEY, list.into()), versions(&pv)]);
        let _ = fields.negotiate(chain_id);
    }
}

#[test]
fn test_records_are_of_the_test_chain() {
    let key = key(&mut StdRng::seed_from_u64(1));
    assert_eq!(PortalFields::read(&portal_record(&key, 1, IP)).negotiate(CHAIN_ID), Ok(Version::V2));
}
