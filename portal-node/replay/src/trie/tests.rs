//! Tries against alloy's builder, which makes each anew from all that is in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use alloy_primitives::{B256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder};
use bytes::Bytes;
use content_types::trie::ProofError;
use content_types::trie::proof::look_up;
use proptest::prelude::*;

use super::hash::TrieUpdate;
use super::*;

#[derive(Default)]
struct Memory(RefCell<HashMap<(TrieId, TriePath), Bytes>>);

impl Records for Memory {
    fn record(&self, trie: TrieId, place: &TriePath) -> Result<Option<Bytes>, TrieError> {
        Ok(self.0.borrow().get(&(trie, *place)).cloned())
    }
}

impl Memory {
    fn change(&self, changes: &[(TrieId, B256, Vec<Change>)]) -> TrieUpdate {
        let mut forest = Forest::new(self);
        for (trie, root, changes) in changes {
            forest.apply(*trie, *root, changes).unwrap();
        }
        let update = forest.hash().unwrap();
        for (trie, place, record) in &update.records {
            match record {
                Some(record) => self.0.borrow_mut().insert((*trie, *place), record.clone()),
                None => self.0.borrow_mut().remove(&(*trie, *place)),
            };
        }
        update
    }
}

fn root_from_scratch(all: &BTreeMap<B256, Bytes>) -> B256 {
    let mut builder = HashBuilder::default();
    for (key, value) in all {
        builder.add_leaf(alloy_trie::Nibbles::unpack(key), value);
    }
    builder.root()
}

/// Keys that share much: paths of all lengths, and nodes short enough to stand in others.
fn key() -> impl Strategy<Value = B256> {
    (prop::collection::vec(0u8..3, 4), 0usize..32, any::<bool>()).prop_map(|(choices, at, is_deep)| {
        let mut key = [0x11; 32];
        key[at] = choices[0] << 4 | choices[1];
        key[31] = choices[2] << 4 | if is_deep { choices[3] } else { 0 };
        if choices[3] == 1 { keccak256([choices[0], choices[1], choices[2]]) } else { key.into() }
    })
}

fn value() -> impl Strategy<Value = Option<Bytes>> {
    prop_oneof![
        2 => Just(None),
        2 => (1u8..5).prop_map(|byte| Some(Bytes::from(vec![byte]))),
        1 => (1u8..5).prop_map(|byte| Some(Bytes::from(vec![byte | 0x80; 33]))),
        1 => (1u8..5).prop_map(|byte| Some(Bytes::from(vec![byte; 110]))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn roots_and_nodes_are_those_of_a_trie_made_anew(
        batches in prop::collection::vec(prop::collection::btree_map(key(), value(), 0..12), 1..10),
    ) {
        let memory = Memory::default();
        let mut all = [BTreeMap::new(), BTreeMap::new()];
        let mut roots = [EMPTY_ROOT_HASH; 2];
        let mut nodes = Nodes::new();
        for batch in batches {
            // Two tries at once, the second one with half of the changes.
            let half: Vec<Change> = batch.clone().into_iter().step_by(2).collect();
            let whole: Vec<Change> = batch.into_iter().collect();
            let changes = [(0, roots[0], whole), (7, roots[1], half)];
            for (all, (_, _, changes)) in all.iter_mut().zip(&changes) {
                for (key, value) in changes {
                    match value {
                        Some(value) => all.insert(*key, value.clone()),
                        None => all.remove(key),
                    };
                }
            }
            let update = memory.change(&changes);
            roots = [update.roots[0].1, update.roots[1].1];
            prop_assert_eq!(roots, [root_from_scratch(&all[0]), root_from_scratch(&all[1])]);
            for node in update.nodes {
                prop_assert_eq!(node.hash, keccak256(&node.rlp));
                nodes.entry((node.trie, node.hash)).or_default().push((node.path, node.rlp));
            }
            // Whatever is in a trie can be reached through the nodes that were handed out.
            for ((trie, root), all) in [0, 7].into_iter().zip(roots).zip(&all) {
                for (key, value) in all {
                    prop_assert_eq!(walk(trie, root, key, &nodes), Some(value.to_vec()));
                }
            }
            // The store has no record that leads nowhere: as many as the tries that are there have branches.
            let mut expected = memory.0.borrow().len();
            for (trie, (root, all)) in [0, 7].into_iter().zip(roots.iter().zip(&all)) {
                let fresh = Memory::default();
                let changes = all.iter().map(|(key, value)| (*key, Some(value.clone()))).collect();
                prop_assert_eq!(fresh.change(&[(trie, EMPTY_ROOT_HASH, changes)]).roots[0].1, *root);
                for (place, record) in &*fresh.0.borrow() {
                    let stored = memory.0.borrow().get(place).cloned();
                    prop_assert_eq!(stored.as_ref(), Some(record));
                    expected -= 1;
                }
            }
            prop_assert_eq!(expected, 0);
        }
    }
}

/// Nodes as they were handed out, by their hashes, with where they lie.
type Nodes = HashMap<(TrieId, B256), Vec<(TriePath, Bytes)>>;

/// What lies under `key`, by the nodes alone.
fn walk(trie: TrieId, root: B256, key: &B256, nodes: &Nodes) -> Option<Vec<u8>> {
    let mut proof: Vec<Bytes> = Vec::new();
    let mut depth = 0;
    loop {
        // A node that is none makes the check say which one it takes.
        let expected = match look_up(root, key, &[&proof[..], &[Bytes::new()]].concat()) {
            Err(ProofError::NotLinked { expected, .. }) => expected,
            _ => return look_up(root, key, &proof).unwrap().map(<[u8]>::to_vec),
        };
        let known = nodes.get(&(trie, expected)).into_iter().flatten();
        let mut on_way = known.filter(|(path, _)| path.len() >= depth && TriePath::of(key, path.len()) == *path);
        let (path, rlp) = on_way.next().unwrap();
        depth = path.len();
        proof.push(rlp.clone());
    }
}
