//! The root of an ordered trie: the Merkle Patricia trie that maps `rlp(index)` to the item at that index.
//!
//! The keys of such a trie are known beforehand, and so is its shape. It is laid out level by level from the root, then
//! hashed from the deepest level upwards, each level's nodes together: no map, no sorting, and the items go from where
//! they lie into the hasher.

use std::ops::Range;

use alloy_primitives::{B256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;

use super::keccak::{Message, keccak256_each};
use super::rlp::RlpHeader;

/// Largest `rlp(index)`, bytes.
const KEY_MAX: usize = 1 + size_of::<u64>();
/// Children of a branch node.
const BRANCH_WIDTH: usize = 16;
/// A node whose encoding is shorter than this stands in its parent itself, not by its hash; bytes.
const HASHED_FROM: usize = 32;
/// RLP's empty string: the absent child of a branch, and a branch's absent value.
const EMPTY: u8 = 0x80;
/// Header of the hash by which a node stands in its parent.
const HASH_HEADER: u8 = EMPTY + 32;
/// Indices 1 to 127 are their own RLP, so that they come before 0, whose RLP is 0x80.
const OWN_RLP_MAX: usize = 0x7f;

/// The root of the trie that maps `rlp(index)` to `items[index]`.
///
/// No item may be empty: to a trie, an empty value is an absent one.
pub fn ordered_trie_root<T: AsRef<[u8]>>(items: &[T]) -> B256 {
    if items.is_empty() {
        return EMPTY_ROOT_HASH;
    }
    let mut below = References::default();
    for level in lay_out(items.len()).iter().rev() {
        below = hash_level(level, &below, items);
    }
    match below.bytes.as_slice() {
        [HASH_HEADER, hash @ ..] if hash.len() == B256::len_bytes() => B256::from_slice(hash),
        // A root is hashed however short it is.
        short => keccak256(short),
    }
}

/// A node, whose children are the next ones of the level below.
#[derive(Debug)]
enum TrieNode {
    /// The item at `index`, at the end of `path`.
    Leaf { path: Path, index: usize },
    /// The only child lies at the end of `path`.
    Extension { path: Path },
    /// Bit `n` is set if there is a child at nibble `n`.
    Branch { children: u16 },
}

/// The trie of `count` items, level by level.
fn lay_out(count: usize) -> Vec<Vec<TrieNode>> {
    let keys = Keys { count };
    let mut levels = Vec::new();
    let mut subtrees = vec![Subtree { ranks: 0..count, depth: 0 }];
    while !subtrees.is_empty() {
        let mut next = Vec::new();
        levels.push(subtrees.into_iter().map(|subtree| subtree.root(&keys, &mut next)).collect());
        subtrees = next;
    }
    levels
}

/// The keys of some ranks, which share their first `depth` nibbles.
struct Subtree {
    ranks: Range<usize>,
    depth: usize,
}

impl Subtree {
    /// The root node of the subtree; what lies below it is added to `below`.
    fn root(self, keys: &Keys, below: &mut Vec<Self>) -> TrieNode {
        let Self { ranks, depth } = self;
        let first = keys.key(ranks.start);
        if ranks.len() == 1 {
            let path = Path::new(&first, depth..first.nibbles(), true);
            return TrieNode::Leaf { path, index: keys.index(ranks.start) };
        }
        // In order, the keys between the first and the last share whatever those two share; no key is a prefix of
        // another, so the two differ before either ends.
        let last = keys.key(ranks.end - 1);
        let fork = (depth..first.nibbles()).find(|&at| first.nibble(at) != last.nibble(at)).unwrap_or(depth);
        if fork > depth {
            below.push(Self { ranks, depth: fork });
            return TrieNode::Extension { path: Path::new(&first, depth..fork, false) };
        }
        let mut children = 0;
        let mut start = ranks.start;
        while start < ranks.end {
            let nibble = keys.key(start).nibble(depth);
            let end = (start..ranks.end).find(|&rank| keys.key(rank).nibble(depth) != nibble).unwrap_or(ranks.end);
            children |= 1 << nibble;
            below.push(Self { ranks: start..end, depth: depth + 1 });
            start = end;
        }
        TrieNode::Branch { children }
    }
}

/// How the nodes of a level stand in their parents, one after the other: a hash with its header, or a short node
/// itself.
#[derive(Debug, Default)]
struct References {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl References {
    fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }
}

/// Encodes and hashes the nodes of a level, given the references to those of the level below.
fn hash_level<T: AsRef<[u8]>>(level: &[TrieNode], below: &References, items: &[T]) -> References {
    // Whole branches and extensions, and leaves up to their item.
    let mut heads = Vec::new();
    let mut nodes = Vec::with_capacity(level.len());
    let mut children = 0..;
    let mut next_child = || children.next().map_or(&[EMPTY][..], |child| below.get(child));
    for node in level {
        let start = heads.len();
        let item = match node {
            TrieNode::Leaf { path, index } => {
                let item = items[*index].as_ref();
                let (path_header, item_header) = (RlpHeader::string(path.as_bytes()), RlpHeader::string(item));
                let parts = [path_header.as_bytes(), path.as_bytes(), item_header.as_bytes()];
                push_list(&parts, item.len(), &mut heads);
                item
            }
            TrieNode::Extension { path } => {
                let path_header = RlpHeader::string(path.as_bytes());
                push_list(&[path_header.as_bytes(), path.as_bytes(), next_child()], 0, &mut heads);
                &[]
            }
            TrieNode::Branch { children } => {
                let parts: [&[u8]; BRANCH_WIDTH + 1] = std::array::from_fn(|nibble| {
                    if nibble < BRANCH_WIDTH && children >> nibble & 1 == 1 { next_child() } else { &[EMPTY] }
                });
                push_list(&parts, 0, &mut heads);
                &[]
            }
        };
        nodes.push((start..heads.len(), item));
    }

    let messages: Vec<_> = nodes.into_iter().map(|(head, item)| Message { head: &heads[head], tail: item }).collect();
    let is_hashed = |message: &Message<'_>| message.head.len() + message.tail.len() >= HASHED_FROM;
    let mut references = References::default();
    let mut add = |parts: [&[u8]; 2]| {
        parts.iter().for_each(|part| references.bytes.extend_from_slice(part));
        references.ends.push(references.bytes.len());
    };
    if messages.iter().all(is_hashed) {
        keccak256_each(&messages).iter().for_each(|hash| add([&[HASH_HEADER], hash.as_slice()]));
    } else {
        for message in &messages {
            match is_hashed(message) {
                true => add([&[HASH_HEADER], message.hash().as_slice()]),
                false => add([message.head, message.tail]),
            }
        }
    }
    references
}

/// Appends an RLP list of `parts`, of which `more` bytes are to follow.
fn push_list(parts: &[&[u8]], more: usize, out: &mut Vec<u8>) {
    let payload = parts.iter().map(|part| part.len()).sum::<usize>() + more;
    out.extend_from_slice(RlpHeader::list(payload).as_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The nibbles of a leaf's or an extension's path in hex-prefix form (Yellow Paper, appendix C).
#[derive(Debug, Clone, Copy)]
struct Path {
    bytes: [u8; KEY_MAX + 1],
    len: u8,
}

impl Path {
    fn new(key: &IndexKey, nibbles: Range<usize>, is_leaf: bool) -> Self {
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

/// The keys of the trie in their order.
struct Keys {
    count: usize,
}

impl Keys {
    /// The index whose key is the `rank`th.
    fn index(&self, rank: usize) -> usize {
        let before_zero = OWN_RLP_MAX.min(self.count - 1);
        match rank {
            rank if rank < before_zero => rank + 1,
            rank if rank == before_zero => 0,
            rank => rank,
        }
    }

    fn key(&self, rank: usize) -> IndexKey {
        IndexKey::new(self.index(rank))
    }
}

/// The key of an item of a list: `rlp(index)`.
struct IndexKey {
    bytes: [u8; KEY_MAX],
    len: usize,
}

impl IndexKey {
    fn new(index: usize) -> Self {
        let digits = (index as u64).to_be_bytes();
        let string = &digits[(index as u64).leading_zeros() as usize / 8..];
        let header = RlpHeader::string(string);
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

#[cfg(test)]
mod tests {
    use alloy_rlp::BufMut;
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
