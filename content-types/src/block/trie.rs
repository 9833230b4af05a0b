//! The root of an ordered trie: the Merkle Patricia trie that maps `rlp(index)` to the item at that index.
//!
//! The keys of such a trie are known beforehand, and so is its shape: it is walked depth first with its nodes built in
//! place, and each item goes from where it lies into the hasher. No map, no sorting, nothing on the heap.

use alloy_primitives::{B256, Keccak256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;

use super::rlp::Header;

/// Largest `rlp(index)`, bytes.
const KEY_MAX: usize = 1 + size_of::<u64>();
/// Children of a branch node.
const BRANCH_WIDTH: usize = 16;
/// A node whose encoding is shorter than this stands in its parent itself, not by its hash; bytes.
const HASHED_FROM: usize = 32;
/// Largest reference to a node: the header of a string and a hash; bytes.
const REFERENCE_MAX: usize = 33;
/// RLP's empty string: the absent child of a branch, and a branch's absent value.
const EMPTY: u8 = 0x80;
/// Indices 1 to 127 are their own RLP, so that they come before 0, whose RLP is 0x80.
const OWN_RLP_MAX: usize = 0x7f;

/// The root of the trie that maps `rlp(index)` to `items[index]`.
pub fn ordered_trie_root<T: AsRef<[u8]>>(items: &[T]) -> B256 {
    ordered_root(items.len(), |index, leaf| leaf.hash(items[index].as_ref()))
}

/// The root of the trie over `count` items; `reference` is called once for each index, in the order of the keys, and
/// finishes the leaf with the item's bytes.
pub(super) fn ordered_root(count: usize, reference: impl FnMut(usize, Leaf) -> Reference) -> B256 {
    if count == 0 {
        return EMPTY_ROOT_HASH;
    }
    let root = Walk { count, reference }.node(0, count, 0);
    match root.as_bytes().strip_prefix(&[EMPTY + 32]) {
        Some(hash) if root.len as usize == REFERENCE_MAX => B256::from_slice(hash),
        _ => keccak256(root.as_bytes()),
    }
}

/// How a node stands in its parent: by its hash, or itself if it is short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    bytes: [u8; REFERENCE_MAX],
    len: u8,
}

impl Reference {
    fn hash(hash: B256) -> Self {
        let mut bytes = [EMPTY + 32; REFERENCE_MAX];
        bytes[1..].copy_from_slice(hash.as_slice());
        Self { bytes, len: REFERENCE_MAX as u8 }
    }

    fn of_node(encoded: &[u8]) -> Self {
        if encoded.len() >= HASHED_FROM {
            return Self::hash(keccak256(encoded));
        }
        let mut bytes = [0; REFERENCE_MAX];
        bytes[..encoded.len()].copy_from_slice(encoded);
        Self { bytes, len: encoded.len() as u8 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A leaf that lacks only its item.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    path: Path,
}

impl Leaf {
    /// The reference to the leaf with `item` as its value.
    pub(super) fn hash(self, item: &[u8]) -> Reference {
        let path = self.path.as_bytes();
        let (path_header, item_header) = (Header::string(path), Header::string(item));
        let payload = path_header.as_bytes().len() + path.len() + item_header.as_bytes().len() + item.len();
        let list_header = Header::list(payload);
        let head = [list_header.as_bytes(), path_header.as_bytes(), path, item_header.as_bytes()];
        if payload + 1 < HASHED_FROM {
            let mut node = Node::<HASHED_FROM>::new();
            head.iter().for_each(|part| node.push(part));
            node.push(item);
            return Reference::of_node(node.as_bytes());
        }
        let mut start = Node::<{ 3 * 9 + KEY_MAX + 1 }>::new();
        head.iter().for_each(|part| start.push(part));
        let mut hasher = Keccak256::new();
        hasher.update(start.as_bytes());
        hasher.update(item);
        Reference::hash(hasher.finalize())
    }
}

/// The nibbles of a leaf's or an extension's path in hex-prefix form (Yellow Paper, appendix C).
#[derive(Debug, Clone, Copy)]
struct Path {
    bytes: [u8; KEY_MAX + 1],
    len: u8,
}

impl Path {
    fn new(key: &Key, nibbles: std::ops::Range<usize>, is_leaf: bool) -> Self {
        let odd = nibbles.len() % 2;
        let mut bytes = [0; KEY_MAX + 1];
        bytes[0] = (u8::from(is_leaf) << 1 | odd as u8) << 4;
        let len = 1 + nibbles.len() / 2;
        // An odd number of nibbles starts in the low half of the first byte, an even one in the byte after it.
        for (position, nibble) in (2 - odd..).zip(nibbles) {
            bytes[position / 2] |= key.nibble(nibble) << (4 * (1 - position % 2));
        }
        Self { bytes, len: len as u8 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// `rlp(index)`.
struct Key {
    bytes: [u8; KEY_MAX],
    len: usize,
}

impl Key {
    fn new(index: usize) -> Self {
        let digits = (index as u64).to_be_bytes();
        let string = &digits[(index as u64).leading_zeros() as usize / 8..];
        let header = Header::string(string);
        let header = header.as_bytes();
        let mut bytes = [0; KEY_MAX];
        bytes[..header.len()].copy_from_slice(header);
        bytes[header.len()..header.len() + string.len()].copy_from_slice(string);
        Self { bytes, len: header.len() + string.len() }
    }

    fn nibbles(&self) -> usize {
        2 * self.len
    }

    fn nibble(&self, position: usize) -> u8 {
        self.bytes[position / 2] >> (4 * (1 - position % 2)) & 0x0f
    }
}

/// A node's encoding, built on the stack.
struct Node<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Node<N> {
    fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

struct Walk<F> {
    count: usize,
    reference: F,
}

impl<F: FnMut(usize, Leaf) -> Reference> Walk<F> {
    /// The index whose key is the `rank`th in the order of the keys.
    fn index(&self, rank: usize) -> usize {
        let before_zero = OWN_RLP_MAX.min(self.count - 1);
        match rank {
            rank if rank < before_zero => rank + 1,
            rank if rank == before_zero => 0,
            rank => rank,
        }
    }

    fn key(&self, rank: usize) -> Key {
        Key::new(self.index(rank))
    }

    /// The node below which the keys of the ranks `from..to` lie; they share their first `depth` nibbles.
    fn node(&mut self, from: usize, to: usize, depth: usize) -> Reference {
        let first = self.key(from);
        if to - from == 1 {
            let path = Path::new(&first, depth..first.nibbles(), true);
            let index = self.index(from);
            return (self.reference)(index, Leaf { path });
        }
        // In order, the keys between the first and the last share whatever those two share; no key is a prefix of
        // another, so the two differ before either ends.
        let last = self.key(to - 1);
        let fork = (depth..).find(|&at| first.nibble(at) != last.nibble(at)).unwrap_or(depth);
        let branch = self.branch(from, to, fork);
        if fork == depth {
            return branch;
        }
        let path = Path::new(&first, depth..fork, false);
        let path_header = Header::string(path.as_bytes());
        let parts = [path_header.as_bytes(), path.as_bytes(), branch.as_bytes()];
        let mut node = Node::<{ 2 * REFERENCE_MAX }>::new();
        node.push(Header::list(parts.iter().map(|part| part.len()).sum()).as_bytes());
        parts.iter().for_each(|part| node.push(part));
        Reference::of_node(node.as_bytes())
    }

    fn branch(&mut self, from: usize, to: usize, depth: usize) -> Reference {
        let mut children = Node::<{ BRANCH_WIDTH * REFERENCE_MAX + 1 }>::new();
        let mut start = from;
        for nibble in 0..BRANCH_WIDTH as u8 {
            let end = (start..to).find(|&rank| self.key(rank).nibble(depth) != nibble).unwrap_or(to);
            if start == end {
                children.push(&[EMPTY]);
            } else {
                children.push(self.node(start, end, depth + 1).as_bytes());
            }
            start = end;
        }
        children.push(&[EMPTY]);
        let mut node = Node::<{ 9 + BRANCH_WIDTH * REFERENCE_MAX + 1 }>::new();
        node.push(Header::list(children.len).as_bytes());
        node.push(children.as_bytes());
        Reference::of_node(node.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use alloy_trie::root::ordered_trie_root_with_encoder;
    use proptest::prelude::*;

    use super::*;

    fn reference(items: &[Vec<u8>]) -> B256 {
        ordered_trie_root_with_encoder(items, |item, out| out.put_slice(item))
    }

    #[test]
    fn agrees_with_alloy_on_every_count_around_the_edges() {
        for count in (0..300).chain([1000, 4096, 4097, 65_535, 65_536, 65_540]) {
            let items: Vec<_> =
                (0..count as u32).map(|index| index.to_be_bytes().repeat(1 + index as usize % 12)).collect();
            assert_eq!(ordered_trie_root(&items), reference(&items), "{count} items");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_alloy(
            // Empty items can't be: an empty value means that the key is absent.
            items in prop::collection::vec(
                prop_oneof![prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 1..700)],
                0..1000,
            ),
        ) {
            prop_assert_eq!(ordered_trie_root(&items), reference(&items));
        }
    }
}
