//! Content keys and the range-friendly content ID.
//!
//! Of a block number's 64 bits the lowest 16, its place in a cycle of 65,536 blocks, become the highest bits of the ID.
//! The other 48, which cycle it is, follow in reversed order, so that consecutive cycles spread over the gaps between
//! neighbouring blocks. The content type is the last byte.

use bytes::Bytes;

use crate::block::{BodyEncoding, ReceiptsEncoding};
use crate::room::{BlockPart, Form, Key, KeyError, Subject};
use crate::{ContentId, limits};

/// Bits of a block number that say where in its cycle a block stands (`CYCLE_BITS`).
pub(super) const CYCLE_BITS: u32 = 16;

/// Blocks of one cycle: they are spread evenly over the whole key space, in order.
pub const BLOCKS_PER_CYCLE: u64 = 1 << CYCLE_BITS;

/// Blocks of one run: starting at a multiple of this number, they share the highest 8 bits of their content IDs, hence
/// are all the blocks of their cycle in one aligned interval of 1/256 of the key space.
pub const BLOCKS_PER_RUN: u64 = BLOCKS_PER_CYCLE / 256;

/// Bytes of an encoded key: the selector and a `uint64`.
const KEY_LENGTH: usize = 9;

/// What is stored about a block. The value is the key's selector and the last byte of the content ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ContentType {
    /// Transactions, ommers and withdrawals.
    BlockBody = 0x00,
    /// Receipts.
    BlockReceipts = 0x01,
}

impl ContentType {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::BlockBody, Self::BlockReceipts];

    fn from_selector(selector: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|content_type| *content_type as u8 == selector)
    }
}

/// A content key of the history network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentKey {
    /// Selector `0x00`: the block's transactions, ommers and withdrawals.
    BlockBody {
        /// Block number.
        number: u64,
    },
    /// Selector `0x01`: the block's receipts, without blooms.
    BlockReceipts {
        /// Block number.
        number: u64,
    },
}

impl ContentKey {
    /// The key of a block's content of type `content_type`.
    pub const fn new(content_type: ContentType, number: u64) -> Self {
        match content_type {
            ContentType::BlockBody => Self::BlockBody { number },
            ContentType::BlockReceipts => Self::BlockReceipts { number },
        }
    }

    /// What the key stands for.
    pub const fn content_type(&self) -> ContentType {
        match self {
            Self::BlockBody { .. } => ContentType::BlockBody,
            Self::BlockReceipts { .. } => ContentType::BlockReceipts,
        }
    }

    /// The block's number.
    pub const fn number(&self) -> u64 {
        match self {
            Self::BlockBody { number } | Self::BlockReceipts { number } => *number,
        }
    }

    /// The key that `id` was derived from, or `None` when it is no content ID of the history network.
    pub fn from_content_id(id: &ContentId) -> Option<Self> {
        let id = id.as_bytes();
        let content_type = ContentType::from_selector(id[31])?;
        if id[8..31].iter().any(|byte| *byte != 0) {
            return None;
        }
        let place = u16::from_be_bytes([id[0], id[1]]);
        let cycle = u64::from_be_bytes([id[2], id[3], id[4], id[5], id[6], id[7], 0, 0]).reverse_bits();
        Some(Self::new(content_type, cycle << CYCLE_BITS | u64::from(place)))
    }
}

impl Key for ContentKey {
    fn decode(key: &[u8]) -> Result<Self, KeyError> {
        let (&selector, rest) = key.split_first().ok_or(KeyError::Empty)?;
        let network = super::SPEC.name;
        let content_type =
            ContentType::from_selector(selector).ok_or(KeyError::UnknownSelector { network, selector })?;
        let number = <[u8; 8]>::try_from(rest).map_err(|_| KeyError::Length {
            network,
            selector,
            expected: KEY_LENGTH,
            actual: key.len(),
        })?;
        Ok(Self::new(content_type, u64::from_le_bytes(number)))
    }

    /// The selector and the block number, little-endian.
    fn encode(&self) -> Bytes {
        let mut key = [0; KEY_LENGTH];
        key[0] = self.content_type() as u8;
        key[1..].copy_from_slice(&self.number().to_le_bytes());
        Bytes::copy_from_slice(&key)
    }

    /// The range-friendly content ID.
    fn content_id(&self) -> ContentId {
        let number = self.number();
        let mut id = [0; 32];
        id[..2].copy_from_slice(&((number % BLOCKS_PER_CYCLE) as u16).to_be_bytes());
        // Reversed as 64 bits, the number of the cycle fills the highest 48 of them: 6 bytes after the place in the cycle.
        id[2..10].copy_from_slice(&(number >> CYCLE_BITS).reverse_bits().to_be_bytes());
        id[31] = self.content_type() as u8;
        id.into()
    }

    fn max_value_len(&self, _form: Form) -> usize {
        match self {
            Self::BlockBody { .. } => limits::MAX_BODY_LENGTH,
            Self::BlockReceipts { .. } => limits::MAX_RECEIPTS_LENGTH,
        }
    }

    fn subject(&self) -> Subject {
        let part = match self {
            Self::BlockBody { .. } => BlockPart::Body(BodyEncoding::Rlp),
            Self::BlockReceipts { .. } => BlockPart::Receipts(ReceiptsEncoding::Slim),
        };
        Subject::Part { block: self.number().into(), part }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::BlockBody { .. } => "history_body",
            Self::BlockReceipts { .. } => "history_receipts",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;
    use proptest::prelude::*;

    use super::*;

    /// history-network-test-vectors.md
    #[test]
    fn specification_vectors() {
        let cases = [
            (
                ContentKey::BlockBody { number: 12_345_678 },
                hex!("004e61bc0000000000"),
                hex!("614e3d0000000000000000000000000000000000000000000000000000000000"),
            ),
            (
                ContentKey::BlockReceipts { number: 12_345_678 },
                hex!("014e61bc0000000000"),
                hex!("614e3d0000000000000000000000000000000000000000000000000000000001"),
            ),
        ];
        for (key, encoded, id) in cases {
            assert_eq!(key.encode(), encoded.as_slice());
            assert_eq!(ContentKey::decode(&encoded), Ok(key));
            assert_eq!(key.content_id().as_bytes(), &id);
            assert_eq!(ContentKey::from_content_id(&id.into()), Some(key));
        }
    }

    #[test]
    fn runs_are_aligned_intervals() {
        for first in [0, 256, 65_280, 65_536, 12_345_600, 3 << 40] {
            assert_eq!(first % BLOCKS_PER_RUN, 0);
            let prefix = |number| ContentKey::BlockBody { number }.content_id().as_bytes()[0];
            assert!((first..first + BLOCKS_PER_RUN).all(|number| prefix(number) == prefix(first)));
            assert_ne!(prefix(first + BLOCKS_PER_RUN), prefix(first));
        }
    }

    #[test]
    fn malformed_keys() {
        let network = crate::history::SPEC.name;
        assert_eq!(ContentKey::decode(&[]), Err(KeyError::Empty));
        assert_eq!(ContentKey::decode(&[2; 9]), Err(KeyError::UnknownSelector { network, selector: 2 }));
        for actual in [1, 8, 10] {
            let error = KeyError::Length { network, selector: 1, expected: 9, actual };
            assert_eq!(ContentKey::decode(&vec![1; actual]), Err(error));
        }
    }

    pub(crate) fn any_key() -> impl Strategy<Value = ContentKey> {
        (prop::sample::select(&ContentType::ALL[..]), any::<u64>())
            .prop_map(|(content_type, number)| ContentKey::new(content_type, number))
    }

    proptest! {
        #[test]
        fn keys_round_trip(key in any_key()) {
            prop_assert_eq!(ContentKey::decode(&key.encode()), Ok(key));
            prop_assert_eq!(ContentKey::from_content_id(&key.content_id()), Some(key));
        }

        #[test]
        fn arbitrary_bytes_decode_to_what_encodes_to_them(bytes in prop::collection::vec(0..3_u8, 0..12)) {
            if let Ok(key) = ContentKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }

        #[test]
        fn an_id_has_one_key_or_none(id: [u8; 32], last in 0..4_u8, stray in prop::option::of(8..31_usize)) {
            let mut id = id;
            id[8..31].fill(0);
            id[31] = last;
            if let Some(stray) = stray {
                id[stray] = 1;
            }
            let key = ContentKey::from_content_id(&id.into());
            prop_assert_eq!(key.is_some(), stray.is_none() && last < 2);
            if let Some(key) = key {
                prop_assert_eq!(key.content_id(), ContentId::from(id));
            }
        }
    }
}
