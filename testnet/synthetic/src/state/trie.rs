//! A Merkle Patricia trie in memory, made of all its values at once, that can be gone through node by node with their proofs.

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Header;
use alloy_trie::EMPTY_ROOT_HASH;
use bytes::Bytes;
use content_types::trie::Nibbles;

/// Set in the first nibble of a compact path (yellow paper, appendix C): the node is a leaf; the number of nibbles is odd.
const LEAF: u8 = 0x20;
const ODD: u8 = 0x10;

/// A trie.
#[derive(Debug, Clone)]
pub(super) struct Trie(Option<Node>);

#[derive(Debug, Clone)]
struct Node {
    /// Nibbles from the root to where it begins, of the key of any value under it.
    path: Nibbles,
    rlp: Bytes,
    children: Vec<Node>,
}

/// A node that is found by its hash.
pub(super) struct Located<'a> {
    pub(super) path: Nibbles,
    /// From the root on, the node itself last.
    pub(super) proof: &'a [Bytes],
}

impl Located<'_> {
    pub(super) fn node_hash(&self) -> B256 {
        self.proof.last().map(keccak256).unwrap_or_default()
    }
}

/// A key by its nibbles, and what lies under it.
type Leaf = (Nibbles, Vec<u8>);

impl Trie {
    /// What lies under which hashed key.
    pub(super) fn new(values: Vec<(B256, Vec<u8>)>) -> Self {
        let mut leaves: Vec<Leaf> = values.into_iter().map(|(key, value)| (Nibbles::of_key(&key), value)).collect();
        leaves.sort();
        Self((!leaves.is_empty()).then(|| build(&leaves, 0)))
    }

    pub(super) fn root(&self) -> B256 {
        self.0.as_ref().map_or(EMPTY_ROOT_HASH, |root| keccak256(&root.rlp))
    }

    /// Shows each node that is found by its hash; what is shorter than a hash stands in the node above.
    pub(super) fn visit(&self, show: &mut impl FnMut(&Located<'_>)) {
        if let Some(root) = &self.0 {
            root.visit(&mut Vec::new(), show);
        }
    }

    /// From the root to what lies under a key.
    pub(super) fn proof(&self, key: &B256) -> Vec<Bytes> {
        let way = Nibbles::of_key(key);
        let (mut proof, mut next) = (Vec::new(), self.0.as_ref());
        while let Some(node) = next {
            if proof.is_empty() || node.has_hash() {
                proof.push(node.rlp.clone());
            }
            next = node.children.iter().find(|child| way.as_slice().starts_with(child.path.as_slice()));
        }
        proof
    }
}

impl Node {
    fn has_hash(&self) -> bool {
        self.rlp.len() >= B256::len_bytes()
    }

    fn visit(&self, above: &mut Vec<Bytes>, show: &mut impl FnMut(&Located<'_>)) {
        if !above.is_empty() && !self.has_hash() {
            return;
        }
        above.push(self.rlp.clone());
        show(&Located { path: self.path, proof: above });
        self.children.iter().for_each(|child| child.visit(above, show));
        above.pop();
    }

    /// What stands for it in the node above.
    fn reference(&self) -> Vec<u8> {
        if self.has_hash() { alloy_rlp::encode(keccak256(&self.rlp)) } else { self.rlp.to_vec() }
    }
}

/// The node over these leaves, of which there is one at least, in order; all are alike in their first `depth` nibbles.
fn build(leaves: &[Leaf], depth: usize) -> Node {
    let (first, last) = (leaves[0].0.as_slice(), leaves[leaves.len() - 1].0.as_slice());
    let path = leaves[0].0.prefix(depth);
    if let [(way, value)] = leaves {
        let own = compact(&way.as_slice()[depth..], LEAF);
        return Node { path, rlp: list(&[own, alloy_rlp::encode(&value[..])]), children: Vec::new() };
    }
    let common = (depth..first.len()).take_while(|at| first[*at] == last[*at]).count();
    if common > 0 {
        let branch = build(leaves, depth + common);
        let own = compact(&first[depth..depth + common], 0);
        return Node { path, rlp: list(&[own, branch.reference()]), children: vec![branch] };
    }
    let (mut items, mut children) = (vec![vec![alloy_rlp::EMPTY_STRING_CODE]; 17], Vec::new());
    for under in leaves.chunk_by(|a, b| a.0.as_slice()[depth] == b.0.as_slice()[depth]) {
        let child = build(under, depth + 1);
        items[usize::from(under[0].0.as_slice()[depth])] = child.reference();
        children.push(child);
    }
    Node { path, rlp: list(&items), children }
}

/// Nibbles packed behind their flags, as a string.
fn compact(nibbles: &[u8], flags: u8) -> Vec<u8> {
    let (odd, pairs) = nibbles.split_at(nibbles.len() % 2);
    let first = flags | odd.first().map_or(0, |nibble| ODD | nibble);
    let packed: Vec<u8> = std::iter::once(first).chain(pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1])).collect();
    alloy_rlp::encode(&packed[..])
}

/// A list of items that are encoded already.
fn list(items: &[Vec<u8>]) -> Bytes {
    let payload = items.concat();
    let mut rlp = Vec::with_capacity(payload.len() + 4);
    Header { list: true, payload_length: payload.len() }.encode(&mut rlp);
    rlp.extend(payload);
    rlp.into()
}
