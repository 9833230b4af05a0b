//! What a capsule is called on the network: the block, and a digest of what it tells of. Who knows what to ask for knows the key; and
//! for a key there is one value, since a capsule is the only one of its block and claims.

use alloy_primitives::B256;
use bytes::{BufMut, Bytes, BytesMut};

use crate::capsule::{Capsule, Claim};
use crate::room::KeyError;

const CAPSULE: u8 = 0x30;

const HASH_LENGTH: usize = B256::len_bytes();
const KEY_LENGTH: usize = 1 + 2 * HASH_LENGTH;

/// A content key of the capsules' network: selector `0x30`, the hash of the block, and SHA-256 of the list of claims as a capsule has
/// it. The content ID is SHA-256 of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey {
    /// The hash of the block.
    pub block_hash: B256,
    /// SHA-256 of `List[Claim, 4096]`, in SSZ.
    pub claims: B256,
}

impl ContentKey {
    /// The key of a capsule that tells so much of a block, in whatever order it is named.
    pub fn of(block_hash: B256, claims: Vec<Claim>) -> Self {
        Self { block_hash, claims: Claim::digest_of(&Claim::in_order(claims)) }
    }

    /// The key of this capsule. It is decoded or made by this crate, so that its claims are in order.
    pub fn of_capsule(capsule: &Capsule) -> Self {
        let block_hash = alloy_primitives::keccak256(&capsule.header);
        Self { block_hash, claims: Claim::digest_of(&capsule.claims) }
    }

    /// Decodes selector and container.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says which rule the bytes break.
    pub fn decode(key: &[u8]) -> Result<Self, KeyError> {
        let network = super::SPEC.name;
        let (&selector, rest) = key.split_first().ok_or(KeyError::Empty)?;
        if selector != CAPSULE {
            return Err(KeyError::UnknownSelector { network, selector });
        }
        let (block_hash, claims) = match rest.split_at_checked(HASH_LENGTH) {
            Some((block_hash, claims)) if claims.len() == HASH_LENGTH => (block_hash, claims),
            _ => return Err(KeyError::Length { network, selector, expected: KEY_LENGTH, actual: key.len() }),
        };
        Ok(Self { block_hash: B256::from_slice(block_hash), claims: B256::from_slice(claims) })
    }

    /// Selector, then the SSZ container.
    pub fn encode(&self) -> Bytes {
        let mut key = BytesMut::with_capacity(KEY_LENGTH);
        key.put_u8(CAPSULE);
        key.put_slice(self.block_hash.as_slice());
        key.put_slice(self.claims.as_slice());
        key.freeze()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};

    use super::*;

    fn claim(address: u8, slots: &[u64]) -> Claim {
        let slots = slots.iter().map(|slot| U256::from(*slot)).collect();
        Claim { address: Address::repeat_byte(address), slots, code: false }
    }

    #[test]
    fn keys_round_trip_and_malformed_ones_say_why() {
        let key = ContentKey { block_hash: B256::repeat_byte(1), claims: B256::repeat_byte(2) };
        let encoded = key.encode();
        assert_eq!(ContentKey::decode(&encoded), Ok(key));
        let network = "capsules";
        assert_eq!(ContentKey::decode(&[]), Err(KeyError::Empty));
        assert_eq!(ContentKey::decode(&[0x31; 65]), Err(KeyError::UnknownSelector { network, selector: 0x31 }));
        for actual in [1, 33, 64, 66] {
            let error = KeyError::Length { network, selector: CAPSULE, expected: 65, actual };
            assert_eq!(ContentKey::decode(&vec![CAPSULE; actual]), Err(error));
        }
    }

    #[test]
    fn the_order_in_which_claims_are_named_makes_no_difference_and_what_they_are_does() {
        let of = |claims: &[Claim]| ContentKey::of(B256::ZERO, claims.to_vec());
        let key = of(&[claim(1, &[3, 7]), claim(2, &[])]);
        assert_eq!(of(&[claim(2, &[]), claim(1, &[7]), claim(1, &[3, 7])]), key);
        assert_ne!(of(&[claim(2, &[]), claim(1, &[7])]), key);
        assert_ne!(of(&[Claim { code: true, ..claim(1, &[3, 7]) }, claim(2, &[])]), key);
        assert_ne!(ContentKey::of(B256::repeat_byte(1), vec![claim(1, &[3, 7]), claim(2, &[])]), key);
    }
}
