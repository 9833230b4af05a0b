//! Proof capsules: whatever bytes, and claims with nodes of which the first has the hash that the header asks for; as files, and as
//! the network of capsules takes them.
#![no_main]

use alloy_primitives::{Address, U256, keccak256};
use bytes::Bytes;
use content_types::capsule::{Capsule, Claim};
use content_types::capsules::{self, ContentKey as CapsuleKey};
use content_types::{ContentKey, Form, SubNetwork};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], Vec<(u8, Vec<u8>, bool)>, Vec<Vec<u8>>)| {
    let (bytes, claims, nodes) = input;
    if let Ok(capsule) = Capsule::decode(&Bytes::copy_from_slice(bytes)) {
        assert_eq!(capsule.encode(), bytes);
        let _ = capsule.open();
        let key = ContentKey::from(CapsuleKey::of_capsule(&capsule));
        let _ = key.examine(Form::Offered, Bytes::copy_from_slice(bytes));
    }
    let state_root = nodes.first().map(keccak256).unwrap_or_default();
    let header = alloy_consensus::Header { state_root, ..Default::default() };
    let claim = |(address, slots, code): (u8, Vec<u8>, bool)| Claim {
        address: Address::repeat_byte(address),
        slots: slots.into_iter().map(U256::from).collect(),
        code,
    };
    let capsule = Capsule {
        header: alloy_rlp::encode(header).into(),
        header_proof: Bytes::new(),
        claims: claims.into_iter().map(claim).collect(),
        nodes: nodes.into_iter().map(Bytes::from).collect(),
        codes: Vec::new(),
    };
    let opened = capsule.open();
    if let Ok((key, value)) = capsules::shared(&capsule) {
        let key = ContentKey::from(key);
        assert_eq!(ContentKey::decode(SubNetwork::Capsules, &key.encode()).unwrap(), key);
        // Whatever the network takes, a file may be.
        assert!(key.examine(Form::Offered, value).is_err() || opened.is_ok());
    }
});
