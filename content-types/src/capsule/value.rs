//! The object and its encoding: an SSZ container of parts of variable length.
//!
//! `PROTOCOL.md` beside this crate's manifest has the layout. The digest proves nothing: it tells damage from another claim that is true as
//! well (another slot of which the same nodes show that it is empty, say).

use alloy_primitives::{Address, B256, U256};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::error::CapsuleError;
use crate::layout::{LayoutError, container, list, list_of, parts};
use crate::limits::{MAX_CODE_LENGTH, MAX_HEADER_LENGTH, MAX_HEADER_PROOF_LENGTH, MAX_TRIE_NODE_LENGTH};

/// Bytes of a capsule.
pub const MAX_CAPSULE_LENGTH: usize = 32 << 20;
/// Accounts that a capsule tells of, and codes in it.
pub const MAX_CLAIMS: usize = 4096;
/// Slots that a capsule tells of, of all accounts: each costs a walk to check.
pub const MAX_SLOTS: usize = 65_536;
/// Nodes in a capsule.
pub const MAX_NODES: usize = 65_536;

const DIGEST_LENGTH: usize = 32;
const ADDRESS_LENGTH: usize = Address::len_bytes();
const SLOT_LENGTH: usize = B256::len_bytes();

/// What a capsule tells of one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Which account.
    pub address: Address,
    /// Which slots of its storage, in ascending order.
    pub slots: Vec<U256>,
    /// Whether its code is told.
    pub code: bool,
}

/// A capsule as it is written: nothing about it is checked but its layout. [`Capsule::open`] checks the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capsule {
    /// RLP of the block's header.
    pub header: Bytes,
    /// The header's own proof, encoded; empty if there is none.
    pub header_proof: Bytes,
    /// What it tells of, in order.
    pub claims: Vec<Claim>,
    /// Nodes of tries, in the order in which the claims lead through them.
    pub nodes: Vec<Bytes>,
    /// Codes, in the order of the claims.
    pub codes: Vec<Bytes>,
}

impl Capsule {
    /// Decodes a capsule.
    ///
    /// # Errors
    ///
    /// [`CapsuleError::Layout`] names the rule that the bytes break; [`CapsuleError::Digest`].
    pub fn decode(capsule: &Bytes) -> Result<Self, CapsuleError> {
        let bounded = |part: Bytes, limit: usize| match part.len() {
            actual if actual > limit => Err(LayoutError::TooLong { actual, limit }),
            _ => Ok(part),
        };
        let capsule = bounded(capsule.clone(), MAX_CAPSULE_LENGTH)?;
        let [header, proof, claims, nodes, codes] = parts::<5>(&capsule, DIGEST_LENGTH)?;
        let claims = list_of(&claims, MAX_CLAIMS, MAX_CAPSULE_LENGTH)?;
        let claims: Vec<_> = claims.iter().map(Claim::decode).collect::<Result<_, _>>()?;
        let (actual, limit) = (claims.iter().map(|claim| claim.slots.len()).sum(), MAX_SLOTS);
        if actual > limit {
            return Err(LayoutError::TooMany { actual, limit }.into());
        }
        if !claims.is_sorted_by(|a, b| a.address < b.address) {
            return Err(LayoutError::Offsets("the addresses are not in order").into());
        }
        let read = Self {
            header: bounded(header, MAX_HEADER_LENGTH)?,
            header_proof: bounded(proof, MAX_HEADER_PROOF_LENGTH)?,
            claims,
            nodes: list_of(&nodes, MAX_NODES, MAX_TRIE_NODE_LENGTH)?,
            codes: list_of(&codes, MAX_CLAIMS, MAX_CODE_LENGTH)?,
        };
        if read.encode() != capsule { Err(CapsuleError::Digest) } else { Ok(read) }
    }

    /// The container.
    pub fn encode(&self) -> Bytes {
        let claims: Vec<_> = self.claims.iter().map(Claim::encode).collect();
        let parts =
            [self.header.to_vec(), self.header_proof.to_vec(), list(&claims), list(&self.nodes), list(&self.codes)];
        let digest = Sha256::digest(container(&parts, &[]));
        container(&parts, &digest)
    }
}

impl Claim {
    /// Claims as a capsule has them: in order, each account once whoever named it, each slot once.
    pub fn in_order(mut claims: Vec<Self>) -> Vec<Self> {
        claims.sort();
        claims.dedup_by(|next, first| {
            let is_same = next.address == first.address;
            if is_same {
                first.slots.append(&mut next.slots);
                first.code |= next.code;
            }
            is_same
        });
        for claim in &mut claims {
            claim.slots.sort_unstable();
            claim.slots.dedup();
        }
        claims
    }

    /// SHA-256 of the encoded list of claims, which have to be [in order](Self::in_order).
    pub(crate) fn digest_of(claims: &[Self]) -> B256 {
        let claims: Vec<_> = claims.iter().map(Self::encode).collect();
        B256::from_slice(&Sha256::digest(list(&claims)))
    }

    fn decode(claim: &Bytes) -> Result<Self, LayoutError> {
        let [slots] = parts::<1>(claim, ADDRESS_LENGTH + 1)?;
        let fixed = claim.slice(claim.len() - slots.len() - ADDRESS_LENGTH - 1..claim.len() - slots.len());
        let code = match fixed.last() {
            Some(0) => false,
            Some(1) => true,
            _ => return Err(LayoutError::Offsets("a boolean is 0 or 1")),
        };
        let (each, rest) = slots.as_chunks::<SLOT_LENGTH>();
        if !rest.is_empty() {
            return Err(LayoutError::Offsets("a slot is cut off"));
        }
        let slots: Vec<_> = each.iter().map(|slot| U256::from_be_bytes(*slot)).collect();
        if !slots.is_sorted_by(|a, b| a < b) {
            return Err(LayoutError::Offsets("the slots are not in order"));
        }
        Ok(Self { address: Address::from_slice(&fixed[..ADDRESS_LENGTH]), slots, code })
    }

    fn encode(&self) -> Bytes {
        let slots: Vec<u8> = self.slots.iter().flat_map(|slot| slot.to_be_bytes::<SLOT_LENGTH>()).collect();
        let fixed = [self.address.as_slice(), &[u8::from(self.code)]].concat();
        container(&[slots], &fixed)
    }
}
