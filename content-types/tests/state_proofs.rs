//! Proofs of tries that another implementation builds, of every shape; then of the same with something wrong about them.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

use std::collections::BTreeMap;

use alloy_primitives::{B256, keccak256};
use alloy_trie::proof::ProofRetainer;
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder};
use bytes::Bytes;
use content_types::trie::proof::{account, locate, look_up};
use content_types::trie::{Nibbles, NodeError, ProofError};
use proptest::prelude::*;

/// What a trie has under which key.
#[derive(Debug)]
struct Trie {
    values: BTreeMap<B256, Vec<u8>>,
}

impl Trie {
    /// The root, and each node on the way to a key with its own way.
    fn proof(&self, key: &B256) -> (B256, Vec<(Nibbles, Bytes)>) {
        let target = alloy_trie::Nibbles::unpack(key);
        let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(vec![target]));
        for (key, value) in &self.values {
            builder.add_leaf(alloy_trie::Nibbles::unpack(key), value);
        }
        let root = builder.root();
        let nodes = builder.take_proof_nodes().into_nodes_sorted().into_iter();
        // What is shorter than a hash stands in the node above.
        let by_hash = nodes.filter(|(way, node)| way.is_empty() || node.len() >= 32);
        (root, by_hash.map(|(way, node)| (Nibbles::new(&way.to_vec()).unwrap(), node.0)).collect())
    }
}

fn nodes(proof: &[(Nibbles, Bytes)]) -> Vec<Bytes> {
    proof.iter().map(|(_, node)| node.clone()).collect()
}

/// Keys that share all but their first byte, all but their last, or nothing: branches at both ends, long extensions, leaves that
/// stand in the node above.
fn key() -> impl Strategy<Value = B256> {
    let shared = prop_oneof![Just([0x11; 32]), Just([0x11; 32]), any::<[u8; 32]>()];
    (shared, any::<u8>(), 0..3_usize).prop_map(|(mut key, byte, place)| {
        key[[0, 30, 31][place]] = byte;
        B256::new(key)
    })
}

fn trie() -> impl Strategy<Value = Trie> {
    let value = prop::collection::vec(1..=255_u8, 1..80).prop_map(|bytes| alloy_rlp::encode(&bytes[..]));
    let short = (1..=255_u8).prop_map(alloy_rlp::encode);
    prop::collection::btree_map(key(), prop_oneof![value, short], 1..40).prop_map(|values| Trie { values })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_a_trie_has_is_shown_and_what_it_lacks_too(trie in trie(), absent in key()) {
        for key in trie.values.keys().chain([&absent]) {
            let (root, proof) = trie.proof(key);
            let nodes = nodes(&proof);
            prop_assert_eq!(look_up(root, key, &nodes), Ok(trie.values.get(key).map(Vec::as_slice)));
            for (count, (way, node)) in proof.iter().enumerate() {
                prop_assert_eq!(locate(root, way, keccak256(node), &nodes[..=count]), Ok(()));
            }
        }
    }

    #[test]
    fn a_proof_with_something_wrong_shows_nothing(trie in trie(), nth: prop::sample::Index, at: prop::sample::Index, bit in 0..8_u8) {
        let key = *trie.values.keys().nth(nth.index(trie.values.len())).unwrap();
        let (root, proof) = trie.proof(&key);
        let (whole, (way, last)) = (nodes(&proof), proof.last().unwrap().clone());
        let hash = keccak256(&last);
        let refused = |nodes: &[Bytes]| look_up(root, &key, nodes).is_err() && locate(root, &way, hash, nodes).is_err();

        let nth = at.index(whole.len());
        let mut one_less = whole.clone();
        one_less.remove(nth);
        prop_assert!(refused(&one_less));
        let mut one_twice = whole.clone();
        one_twice.insert(nth, whole[nth].clone());
        prop_assert!(refused(&one_twice));
        let mut one_more = whole.clone();
        one_more.push(whole[nth].clone());
        prop_assert!(refused(&one_more));
        let mut changed = whole.clone();
        let mut node = changed[nth].to_vec();
        let byte = at.index(node.len());
        node[byte] ^= 1_u8 << bit;
        changed[nth] = node.into();
        prop_assert!(refused(&changed));
        if whole.len() > 1 {
            let mut turned = whole.clone();
            turned.reverse();
            prop_assert!(refused(&turned));
        }

        // The same proof, of another place or of another node.
        let mut longer = way.as_slice().to_vec();
        longer.push(0);
        if let Ok(longer) = Nibbles::new(&longer) {
            prop_assert!(locate(root, &longer, hash, &whole).is_err());
        }
        if let Some((nibble, shorter)) = way.as_slice().split_last() {
            prop_assert!(locate(root, &Nibbles::new(shorter).unwrap(), hash, &whole).is_err());
            let beside = [shorter, &[nibble ^ 1]].concat();
            prop_assert!(locate(root, &Nibbles::new(&beside).unwrap(), hash, &whole).is_err());
        }
        prop_assert_eq!(locate(root, &way, B256::ZERO, &whole), Err(ProofError::OtherNode { expected: B256::ZERO, actual: hash }));
        let not_linked = ProofError::NotLinked { position: 0, expected: B256::ZERO, actual: root };
        prop_assert_eq!(look_up(B256::ZERO, &key, &whole), Err(not_linked));
    }

    /// Nodes that hash to what is asked for, whatever they are: a root may be anything.
    #[test]
    fn any_bytes_are_a_node_or_are_refused(bytes: Vec<u8>, key in key()) {
        let root = keccak256(&bytes);
        let _ = look_up(root, &key, std::slice::from_ref(&bytes));
        let _ = locate(root, &Nibbles::ROOT, root, &[bytes]);
    }
}

#[test]
fn an_empty_trie_has_an_empty_proof() {
    let none: [Bytes; 0] = [];
    assert_eq!(look_up(EMPTY_ROOT_HASH, &B256::ZERO, &none), Ok(None));
    assert_eq!(look_up(B256::ZERO, &B256::ZERO, &none), Err(ProofError::TooShort(0)));
    // What its root is the hash of is no node.
    assert_eq!(look_up(EMPTY_ROOT_HASH, &B256::ZERO, &[[0x80]]), Err(ProofError::Extraneous(1)));
    assert_eq!(account(EMPTY_ROOT_HASH, &B256::ZERO, &none), Err(ProofError::NoAccount));
    assert_eq!(locate(EMPTY_ROOT_HASH, &Nibbles::ROOT, EMPTY_ROOT_HASH, &none), Err(ProofError::TooShort(0)));
}

/// Nodes that no trie has, in a proof of one node: RLP, as bytes.
#[test]
fn nodes_that_no_trie_has_are_refused() {
    let list = |items: &[&[u8]]| {
        let payload = items.concat();
        let mut node = Vec::new();
        alloy_rlp::Header { list: true, payload_length: payload.len() }.encode(&mut node);
        node.extend(payload);
        node
    };
    let hash = alloy_rlp::encode(B256::repeat_byte(1));
    let long = list(&[&alloy_rlp::encode([7; 40])]);
    let branch = |child: &[u8]| list(&[&[child][..], &[&[0x80][..]; 16][..]].concat());
    for (node, refused) in [
        (list(&[]), NodeError::Items(0)),
        (list(&[&hash, &hash, &hash]), NodeError::Items(3)),
        (list(&[&[0x80][..]; 16]), NodeError::Items(16)),
        // No path; flags that there are not; an even path with a nibble beside the flags; a list.
        (list(&[&[0x80], &hash]), NodeError::Path),
        (list(&[&[0x40], &hash]), NodeError::Path),
        (list(&[&[0x01], &hash]), NodeError::Path),
        (list(&[&[0xc0], &hash]), NodeError::Path),
        // An extension of nothing, and extensions that lead nowhere.
        (list(&[&[0x00], &hash]), NodeError::Child),
        (list(&[&[0x10], &[0x80]]), NodeError::Child),
        (list(&[&[0x10], &[0x05]]), NodeError::Child),
        // A node of 32 bytes or more in a branch; a child that is no hash; a leaf whose value is a list.
        (branch(&long), NodeError::Child),
        (branch(&[0x82, 1, 1]), NodeError::Child),
        (list(&[&[0x20], &[0xc0]]), NodeError::Value),
    ] {
        let (root, proof) = (keccak256(&node), [Bytes::from(node)]);
        let found = look_up(root, &B256::ZERO, &proof);
        let expected = ProofError::Node { position: 0, source: refused };
        // A leaf's value is looked at when the way comes to it, and this way has 64 nibbles.
        let is_passed_by = expected == ProofError::Node { position: 0, source: NodeError::Value };
        assert_eq!(found, if is_passed_by { Ok(None) } else { Err(expected) }, "{proof:?}");
    }
    for node in [&[0x81, 0x80][..], &[], &[0xf8, 0x02, 0x20, 0x20], &[0xc2, 0x20], &[0xc2, 0x20, 0x20, 0x20]] {
        let proof = [node];
        let found = look_up(keccak256(node), &B256::ZERO, &proof);
        assert!(matches!(found, Err(ProofError::Node { source: NodeError::Rlp(_), .. })), "{node:?}: {found:?}");
    }
}
