//! What the store has of a trie: a record for each branch, under the place where the branch or its extension begins. A trie
//! that is one leaf has a record for that, at its root.
//!
//! A branch: `nibbles of the extension (1 byte) ‖ these, two in a byte ‖ three masks of 16 bits, big-endian: which children there
//! are, which of them are leaves, which stand by themselves instead of by a hash ‖ the children`. A child that is a branch: its
//! reference, behind a byte that says how long it is if it is no hash. A leaf: the rest of its key, two nibbles in a byte
//! from the branch on; the length of its value (1 byte); the value; and its hash, if it has one.
//! A leaf at the root: `0xff ‖ key ‖ value`.

use alloy_primitives::B256;
use bytes::{Buf as _, Bytes};

use super::node::{Branch, Child, Leaf, Reference, WIDTH, encode_leaf};
use super::path::{KEY_NIBBLES, TriePath, nibble};

/// First byte of the record of a leaf.
const LEAF: u8 = 0xff;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Leaf(Leaf),
    Branch(Box<Branch>),
}

/// Bytes that are no record: the store is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a damaged record of a trie node")]
pub struct DamagedRecord;

/// The record of a leaf that is all its trie has.
pub(crate) fn encode_root_leaf(leaf: &Leaf) -> Vec<u8> {
    [&[LEAF], leaf.key.as_slice(), &leaf.value].concat()
}

/// The record of a branch. `reference` says how a child that is a branch stands in it.
pub(crate) fn encode_branch<'a>(branch: &'a Branch, reference: impl Fn(&'a Child) -> Option<&'a Reference>) -> Vec<u8> {
    let mut record = Vec::with_capacity(64 + 40 * WIDTH);
    record.push(branch.path.len() - branch.start);
    encode_nibbles(branch.path.key(), branch.start, branch.path.len(), &mut record);
    let masks = record.len();
    record.extend_from_slice(&[0; 6]);
    let (mut present, mut leaves, mut inline) = (0u16, 0u16, 0u16);
    for (child, bit) in branch.children.iter().zip((0..WIDTH).map(|nibble| 1 << nibble)) {
        let reference = reference(child);
        if let Some(Reference::Inline { .. }) = reference {
            inline |= bit;
        }
        match (child, reference) {
            (Child::Empty, _) | (_, None) => continue,
            (Child::Leaf(leaf), Some(reference)) => {
                leaves |= bit;
                encode_nibbles(&leaf.key, branch.path.len() + 1, KEY_NIBBLES, &mut record);
                record.push(leaf.value.len() as u8);
                record.extend_from_slice(&leaf.value);
                if let Reference::Hash(hash) = reference {
                    record.extend_from_slice(hash.as_slice());
                }
            }
            (Child::Stored(_) | Child::Changed(_), Some(reference)) => {
                if let Reference::Inline { len, .. } = reference {
                    record.push(*len);
                }
                record.extend_from_slice(reference.bytes());
            }
        }
        present |= bit;
    }
    for (mask, at) in [present, leaves, inline].into_iter().zip((masks..).step_by(2)) {
        record[at..at + 2].copy_from_slice(&mask.to_be_bytes());
    }
    record
}

/// Reads the record that lies at `place`.
///
/// # Errors
///
/// [`DamagedRecord`].
pub(crate) fn decode(place: TriePath, mut record: Bytes) -> Result<Record, DamagedRecord> {
    let first = record.try_get_u8().map_err(|_| DamagedRecord)?;
    if first == LEAF {
        let key = take_hash(&mut record)?;
        return Ok(Record::Leaf(Leaf { key, value: record, reference: None }));
    }
    let end = place.len() + first.min(KEY_NIBBLES);
    if end >= KEY_NIBBLES {
        return Err(DamagedRecord);
    }
    let mut key = *place.key();
    take_nibbles(&mut key, place.len(), end, &mut record)?;
    let mut branch = Box::new(Branch::new(place.len(), TriePath::of(&key, end)));
    let mut mask = || record.try_get_u16().map_err(|_| DamagedRecord);
    let (present, leaves, inline) = (mask()?, mask()?, mask()?);
    for (child, nibble) in branch.children.iter_mut().zip(0..) {
        let (is_leaf, is_inline) = (leaves & 1 << nibble != 0, inline & 1 << nibble != 0);
        if present & 1 << nibble == 0 {
            continue;
        }
        *child = if is_leaf {
            let mut key = *branch.path.child(nibble).key();
            take_nibbles(&mut key, end + 1, KEY_NIBBLES, &mut record)?;
            let len = record.try_get_u8().map_err(|_| DamagedRecord)?;
            let value = take(&mut record, usize::from(len))?;
            let mut leaf = Leaf { key, value, reference: None };
            leaf.reference = if is_inline {
                let mut rlp = Vec::new();
                encode_leaf(&leaf, end + 1, &mut rlp);
                Some(Reference::inline(&rlp).ok_or(DamagedRecord)?)
            } else {
                Some(Reference::Hash(take_hash(&mut record)?))
            };
            Child::Leaf(leaf)
        } else if is_inline {
            let len = record.try_get_u8().map_err(|_| DamagedRecord)?;
            Child::Stored(Reference::inline(&take(&mut record, usize::from(len))?).ok_or(DamagedRecord)?)
        } else {
            Child::Stored(Reference::Hash(take_hash(&mut record)?))
        };
    }
    if record.is_empty() { Ok(Record::Branch(branch)) } else { Err(DamagedRecord) }
}

/// Nibbles from `start` to `end`, two in a byte, the first one alone if their number is odd.
fn encode_nibbles(key: &B256, mut start: u8, end: u8, out: &mut Vec<u8>) {
    if (end - start) % 2 == 1 {
        out.push(nibble(key, start));
        start += 1;
    }
    while start < end {
        out.push(nibble(key, start) << 4 | nibble(key, start + 1));
        start += 2;
    }
}

/// Puts nibbles that were written by [`encode_nibbles`] into a key that is zero there.
fn take_nibbles(key: &mut B256, start: u8, end: u8, record: &mut Bytes) -> Result<(), DamagedRecord> {
    let packed = take(record, usize::from((end - start).div_ceil(2)))?;
    // The last nibble of the key's last byte is the packed form's last one: count from there.
    let mut position = end;
    for byte in packed.iter().rev() {
        for nibble in [byte & 0x0f, byte >> 4] {
            if position == start {
                break;
            }
            position -= 1;
            let shifted = if position.is_multiple_of(2) { nibble << 4 } else { nibble };
            *key.0.get_mut(usize::from(position / 2)).ok_or(DamagedRecord)? |= shifted;
        }
    }
    Ok(())
}

fn take(record: &mut Bytes, len: usize) -> Result<Bytes, DamagedRecord> {
    if record.len() < len { Err(DamagedRecord) } else { Ok(record.split_to(len)) }
}

fn take_hash(record: &mut Bytes) -> Result<B256, DamagedRecord> {
    let (hash, _) = record.split_first_chunk::<32>().ok_or(DamagedRecord)?;
    let hash = B256::from(*hash);
    record.advance(B256::len_bytes());
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;
    use proptest::prelude::*;

    use super::*;

    fn own_reference(child: &Child) -> Option<&Reference> {
        match child {
            Child::Leaf(leaf) => leaf.reference.as_ref(),
            Child::Stored(reference) => Some(reference),
            Child::Empty | Child::Changed(_) => None,
        }
    }

    proptest! {
        #[test]
        fn a_branch_comes_back(
            key: [u8; 32], start in 0u8..30, extension in 0u8..34,
            children in prop::collection::vec((0u8..16, any::<[u8; 32]>(), 0u8..4, 1usize..110), 2..17),
        ) {
            let mut branch = Branch::new(start, TriePath::of(&B256::from(key), start + extension));
            for (nibble, random, kind, len) in children {
                let place = branch.path.child(nibble);
                branch.children[usize::from(nibble)] = match kind {
                    0 => Child::Stored(Reference::Hash(B256::from(random))),
                    1 => Child::Stored(Reference::inline(&random[..len % 32]).unwrap()),
                    _ => {
                        let mut key = B256::from(random);
                        let cut = TriePath::of(&key, place.len());
                        for (byte, (cut, own)) in key.iter_mut().zip(cut.key().iter().zip(place.key())) {
                            *byte ^= cut ^ own;
                        }
                        let mut leaf = Leaf { key, value: vec![7; len].into(), reference: None };
                        let mut rlp = Vec::new();
                        encode_leaf(&leaf, place.len(), &mut rlp);
                        leaf.reference = Reference::inline(&rlp).or(Some(Reference::Hash(keccak256(&rlp))));
                        Child::Leaf(leaf)
                    }
                };
            }
            let record = encode_branch(&branch, own_reference);
            prop_assert_eq!(decode(branch.place(), record.into()), Ok(Record::Branch(Box::new(branch))));
        }

        #[test]
        fn no_bytes_are_too_strange(record in prop::collection::vec(any::<u8>(), 0..300), len in 0u8..64) {
            let _ = decode(TriePath::of(&B256::repeat_byte(0x5a), len), record.into());
        }
    }
}
