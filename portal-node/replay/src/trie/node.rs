//! What a trie is made of, and the RLP of its nodes (yellow paper, appendix D).
//!
//! A [`Branch`] carries the extension above it and the leaves right below it, so that a step down the trie, and a change
//! at its end, takes one record of the store instead of two or three.

use alloy_primitives::{B256, keccak256};
use bytes::Bytes;

use super::path::{KEY_NIBBLES, TriePath, nibble};

/// Children of a branch.
pub(crate) const WIDTH: usize = 16;
/// RLP of the empty string.
const EMPTY_STRING: u8 = 0x80;
/// RLP's header of a hash.
const HASH_HEADER: u8 = EMPTY_STRING + 32;
/// Set in the first byte of a compact path: the node is a leaf; the number of nibbles is odd.
const LEAF: u8 = 0x20;
const ODD: u8 = 0x10;

/// How a node stands in its parent: by its hash, or itself if its RLP has fewer than 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    Hash(B256),
    Inline { len: u8, rlp: [u8; 31] },
}

impl Reference {
    /// That of a node with this RLP, if it has fewer than 32 bytes.
    pub(crate) fn inline(rlp: &[u8]) -> Option<Self> {
        let mut inline = [0; 31];
        inline.get_mut(..rlp.len())?.copy_from_slice(rlp);
        Some(Self::Inline { len: rlp.len() as u8, rlp: inline })
    }

    /// The hash of the node, which is what the node has as a root.
    pub(crate) fn as_root(&self) -> B256 {
        match self {
            Self::Hash(hash) => *hash,
            Self::Inline { len, rlp } => keccak256(&rlp[..usize::from(*len)]),
        }
    }

    /// What stands in the parent, without the header of a hash.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Hash(hash) => hash.as_slice(),
            Self::Inline { len, rlp } => &rlp[..usize::from(*len)],
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Hash(_) = self {
            out.push(HASH_HEADER);
        }
        out.extend_from_slice(self.bytes());
    }

    fn encoded_len(&self) -> usize {
        self.bytes().len() + usize::from(matches!(self, Self::Hash(_)))
    }
}

/// A value and its whole key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) key: B256,
    pub(crate) value: Bytes,
    /// `None` while it is not known: the leaf is new, or has another place.
    pub(crate) reference: Option<Reference>,
}

/// What a branch has below one nibble.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Child {
    #[default]
    Empty,
    Leaf(Leaf),
    /// A branch with a record of its own.
    Stored(Reference),
    /// A branch that is being changed: its place among those.
    Changed(usize),
}

/// A branch, with the extension that leads to it if one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Where its record lies, and the extension begins: so many nibbles of `path`.
    pub(crate) start: u8,
    /// Where it branches.
    pub(crate) path: TriePath,
    pub(crate) children: [Child; WIDTH],
}

impl Branch {
    pub(crate) fn new(start: u8, path: TriePath) -> Self {
        Self { start, path, children: Default::default() }
    }

    /// Where its record lies.
    pub(crate) fn place(&self) -> TriePath {
        TriePath::of(self.path.key(), self.start)
    }

    /// Whether an extension leads to it.
    pub(crate) fn is_extended(&self) -> bool {
        self.start < self.path.len()
    }
}

/// Writes the RLP of a leaf whose place is `depth` nibbles deep.
pub(crate) fn encode_leaf(leaf: &Leaf, depth: u8, out: &mut Vec<u8>) {
    list_header(compact_rlp_len(depth, KEY_NIBBLES) + string_len(&leaf.value), out);
    encode_compact(&leaf.key, depth, KEY_NIBBLES, LEAF, out);
    encode_string(&leaf.value, out);
}

/// Writes the RLP of the extension that leads to a branch with this reference.
pub(crate) fn encode_extension(branch: &Branch, below: &Reference, out: &mut Vec<u8>) {
    let (start, end) = (branch.start, branch.path.len());
    list_header(compact_rlp_len(start, end) + below.encoded_len(), out);
    encode_compact(branch.path.key(), start, end, 0, out);
    below.encode(out);
}

/// Writes the RLP of a branch. `reference` says how a child stands in it.
pub(crate) fn encode_branch<'a>(
    branch: &'a Branch,
    reference: impl Fn(&'a Child) -> Option<&'a Reference>,
    out: &mut Vec<u8>,
) {
    let references = branch.children.each_ref().map(reference);
    let children = references.iter().map(|child| child.map_or(1, Reference::encoded_len));
    list_header(children.sum::<usize>() + 1, out);
    for child in references {
        match child {
            Some(reference) => reference.encode(out),
            None => out.push(EMPTY_STRING),
        }
    }
    // Keys are all of one length: no branch has a value.
    out.push(EMPTY_STRING);
}

/// Bytes of a compact path with the nibbles from `start` to `end`.
fn compact_len(start: u8, end: u8) -> usize {
    1 + usize::from((end - start) / 2)
}

/// Bytes of a compact path's RLP. A single byte is its own: it is less than 0x80.
fn compact_rlp_len(start: u8, end: u8) -> usize {
    match compact_len(start, end) {
        1 => 1,
        len => 1 + len,
    }
}

fn encode_compact(key: &B256, start: u8, end: u8, kind: u8, out: &mut Vec<u8>) {
    let len = compact_len(start, end);
    if len > 1 {
        out.push(EMPTY_STRING + len as u8);
    }
    let mut position = start;
    let mut first = kind;
    if (end - start) % 2 == 1 {
        first |= ODD | nibble(key, position);
        position += 1;
    }
    out.push(first);
    while position < end {
        out.push(nibble(key, position) << 4 | nibble(key, position + 1));
        position += 2;
    }
}

fn string_len(bytes: &[u8]) -> usize {
    match bytes {
        [byte] if *byte < EMPTY_STRING => 1,
        _ if bytes.len() < 56 => 1 + bytes.len(),
        _ => 2 + bytes.len(),
    }
}

/// Values have fewer than 256 bytes: accounts at most 110, slots at most 33.
fn encode_string(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes {
        [byte] if *byte < EMPTY_STRING => {}
        _ if bytes.len() < 56 => out.push(EMPTY_STRING + bytes.len() as u8),
        _ => out.extend_from_slice(&[0xb8, bytes.len() as u8]),
    }
    out.extend_from_slice(bytes);
}

fn list_header(payload: usize, out: &mut Vec<u8>) {
    match payload {
        0..56 => out.push(0xc0 + payload as u8),
        56..256 => out.extend_from_slice(&[0xf8, payload as u8]),
        // A branch has at most 17 times 33 bytes.
        _ => {
            let [high, low] = (payload as u16).to_be_bytes();
            out.extend_from_slice(&[0xf9, high, low]);
        }
    }
}
