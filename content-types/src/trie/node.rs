//! One node of a Merkle Patricia trie, and where a way goes on from it.

use alloy_primitives::B256;
use alloy_rlp::{Header, PayloadView};

use super::nibbles::MAX_NIBBLES;

/// Children of a branch.
const BRANCH_WIDTH: usize = 16;
/// Set in the first nibble of a compact path (yellow paper, appendix C): the node is a leaf; the number of nibbles is odd.
const LEAF: u8 = 0x20;
const ODD: u8 = 0x10;

/// A node that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// It is no RLP, or something follows it.
    #[error("malformed RLP: {0}")]
    Rlp(alloy_rlp::Error),
    /// A branch has 17 items, and a leaf or an extension two.
    #[error("a node of {0} items")]
    Items(usize),
    /// The path of a leaf or an extension is not packed as it has to be.
    #[error("the node's own path is malformed")]
    Path,
    /// A child stands by its hash, or itself if it has fewer than 32 bytes.
    #[error("a child that is neither a hash nor a short node")]
    Child,
    /// A value is a string.
    #[error("a value that is a list")]
    Value,
}

impl From<alloy_rlp::Error> for NodeError {
    fn from(error: alloy_rlp::Error) -> Self {
        Self::Rlp(error)
    }
}

/// Where a way goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// At the node with this hash.
    Hash(B256),
    /// At the node that stands here itself.
    Embedded(&'a [u8]),
    /// It has come to its end.
    Value(&'a [u8]),
    /// Nowhere: the trie has nothing on it.
    Nothing,
}

/// Takes the node's part of `way`, and says how many nibbles that is and where it goes on.
pub(super) fn step<'a>(node: &'a [u8], way: &[u8]) -> Result<(usize, Step<'a>), NodeError> {
    let items = list(node)?;
    match &items[..] {
        [path, behind] => {
            let (is_leaf, path) = compact_path(string(path).ok_or(NodeError::Path)?)?;
            let step = match way.strip_prefix(&path[..]) {
                Some([]) if is_leaf => Step::Value(string(behind).ok_or(NodeError::Value)?),
                Some(_) if !is_leaf => child(behind)?,
                _ => Step::Nothing,
            };
            // An extension always leads somewhere.
            if !is_leaf && (path.is_empty() || child(behind)? == Step::Nothing) {
                return Err(NodeError::Child);
            }
            Ok((path.len(), step))
        }
        [children @ .., value] if children.len() == BRANCH_WIDTH => match way.first() {
            Some(nibble) => Ok((1, child(children.get(usize::from(*nibble)).ok_or(NodeError::Path)?)?)),
            None => Ok((
                0,
                match string(value).ok_or(NodeError::Value)? {
                    [] => Step::Nothing,
                    value => Step::Value(value),
                },
            )),
        },
        items => Err(NodeError::Items(items.len())),
    }
}

/// The items of a node, each encoded, and nothing behind them.
fn list(mut node: &[u8]) -> Result<Vec<&[u8]>, NodeError> {
    let items = match Header::decode_raw(&mut node)? {
        PayloadView::List(items) => items,
        PayloadView::String(_) => return Err(alloy_rlp::Error::UnexpectedString.into()),
    };
    if node.is_empty() { Ok(items) } else { Err(alloy_rlp::Error::UnexpectedLength.into()) }
}

/// The bytes of a string.
fn string(mut item: &[u8]) -> Option<&[u8]> {
    Header::decode_bytes(&mut item, false).ok()
}

/// What stands for a child.
fn child(item: &[u8]) -> Result<Step<'_>, NodeError> {
    match string(item) {
        Some([]) => Ok(Step::Nothing),
        Some(hash) => B256::try_from(hash).map(Step::Hash).map_err(|_| NodeError::Child),
        // A node as long as a hash, or longer, has to stand by its hash, or one trie would have several roots.
        None if item.len() < B256::len_bytes() => Ok(Step::Embedded(item)),
        None => Err(NodeError::Child),
    }
}

/// Whether it is a leaf's, and its nibbles.
fn compact_path(packed: &[u8]) -> Result<(bool, Vec<u8>), NodeError> {
    let (&first, pairs) = packed.split_first().ok_or(NodeError::Path)?;
    let is_odd = first & ODD != 0;
    if first & !(LEAF | ODD | 0x0f) != 0 || (!is_odd && first & 0x0f != 0) || pairs.len() > MAX_NIBBLES / 2 {
        return Err(NodeError::Path);
    }
    let odd = is_odd.then_some(first & 0x0f);
    let path = odd.into_iter().chain(pairs.iter().flat_map(|pair| [pair >> 4, pair & 0x0f])).collect();
    Ok((first & LEAF != 0, path))
}
