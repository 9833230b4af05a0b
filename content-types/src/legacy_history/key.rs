//! Content keys; the content ID is SHA-256 of the key.

use alloy_primitives::B256;
use bytes::{BufMut, Bytes, BytesMut};

use crate::block::{BodyEncoding, ReceiptsEncoding};
use crate::room::{BlockPart, Form, Key, KeyError, Subject};
use crate::{BlockId, limits};

const HEADER_BY_HASH: u8 = 0x00;
const BODY: u8 = 0x01;
const RECEIPTS: u8 = 0x02;
const HEADER_BY_NUMBER: u8 = 0x03;
const EPHEMERAL_HEADERS: u8 = 0x04;
const EPHEMERAL_HEADER_OFFER: u8 = 0x05;

/// A content key of the legacy history network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentKey {
    /// Selector `0x00`: the header with this hash, with its proof.
    HeaderByHash(B256),
    /// Selector `0x01`: the body of the block with this hash.
    Body(B256),
    /// Selector `0x02`: the receipts of the block with this hash, with blooms.
    Receipts(B256),
    /// Selector `0x03`: the header of the canonical block with this number, with its proof.
    HeaderByNumber(u64),
    /// Selector `0x04`, for FINDCONTENT only: a header near the head of the chain and its ancestors. The content ID
    /// means nothing.
    EphemeralHeaders {
        /// The first header's hash.
        block_hash: B256,
        /// How many ancestors are asked for after it.
        ancestor_count: u8,
    },
    /// Selector `0x05`, for OFFER only: one header near the head of the chain. The content ID means nothing.
    EphemeralHeaderOffer(B256),
}

impl ContentKey {
    /// The key of a block's header with its proof.
    pub const fn header(block: BlockId) -> Self {
        match block {
            BlockId::Number(number) => Self::HeaderByNumber(number),
            BlockId::Hash(hash) => Self::HeaderByHash(hash),
        }
    }
}

impl Key for ContentKey {
    fn decode(key: &[u8]) -> Result<Self, KeyError> {
        let (&selector, rest) = key.split_first().ok_or(KeyError::Empty)?;
        match selector {
            HEADER_BY_HASH => exactly(selector, rest).map(|hash| Self::HeaderByHash(B256::new(hash))),
            BODY => exactly(selector, rest).map(|hash| Self::Body(B256::new(hash))),
            RECEIPTS => exactly(selector, rest).map(|hash| Self::Receipts(B256::new(hash))),
            HEADER_BY_NUMBER => exactly(selector, rest).map(|number| Self::HeaderByNumber(u64::from_le_bytes(number))),
            EPHEMERAL_HEADERS => {
                let fields: [u8; 33] = exactly(selector, rest)?;
                let (hash, count) = fields.split_at(32);
                Ok(Self::EphemeralHeaders { block_hash: B256::from_slice(hash), ancestor_count: count[0] })
            }
            EPHEMERAL_HEADER_OFFER => exactly(selector, rest).map(|hash| Self::EphemeralHeaderOffer(B256::new(hash))),
            _ => Err(KeyError::UnknownSelector { network: super::SPEC.name, selector }),
        }
    }

    fn encode(&self) -> Bytes {
        let with_hash = |selector, hash: &B256| {
            let mut key = BytesMut::with_capacity(34);
            key.put_u8(selector);
            key.put_slice(hash.as_slice());
            key
        };
        let key = match self {
            Self::HeaderByHash(hash) => with_hash(HEADER_BY_HASH, hash),
            Self::Body(hash) => with_hash(BODY, hash),
            Self::Receipts(hash) => with_hash(RECEIPTS, hash),
            Self::HeaderByNumber(number) => {
                let mut key = BytesMut::with_capacity(9);
                key.put_u8(HEADER_BY_NUMBER);
                key.put_u64_le(*number);
                key
            }
            Self::EphemeralHeaders { block_hash, ancestor_count } => {
                let mut key = with_hash(EPHEMERAL_HEADERS, block_hash);
                key.put_u8(*ancestor_count);
                key
            }
            Self::EphemeralHeaderOffer(hash) => with_hash(EPHEMERAL_HEADER_OFFER, hash),
        };
        key.freeze()
    }

    fn max_value_len(&self, _form: Form) -> usize {
        match self {
            Self::HeaderByHash(_) | Self::HeaderByNumber(_) => limits::MAX_HEADER_WITH_PROOF_LENGTH,
            Self::Body(_) => limits::MAX_BODY_LENGTH,
            Self::Receipts(_) => limits::MAX_RECEIPTS_LENGTH,
            Self::EphemeralHeaders { .. } => limits::MAX_EPHEMERAL_HEADERS_LENGTH,
            Self::EphemeralHeaderOffer(_) => limits::MAX_OFFERED_HEADER_LENGTH,
        }
    }

    fn subject(&self) -> Subject {
        let (block, part) = match self {
            Self::HeaderByHash(hash) => (BlockId::Hash(*hash), BlockPart::Header),
            Self::HeaderByNumber(number) => (BlockId::Number(*number), BlockPart::Header),
            Self::Body(hash) => (BlockId::Hash(*hash), BlockPart::Body(BodyEncoding::Ssz)),
            Self::Receipts(hash) => (BlockId::Hash(*hash), BlockPart::Receipts(ReceiptsEncoding::Ssz)),
            // Both follow from the hash of a recent block, which somebody outside the network has to tell.
            Self::EphemeralHeaders { .. } | Self::EphemeralHeaderOffer(_) => return Subject::NearHead,
        };
        Subject::Part { block, part }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::HeaderByHash(_) => "legacy_header_by_hash",
            Self::HeaderByNumber(_) => "legacy_header_by_number",
            Self::Body(_) => "legacy_body",
            Self::Receipts(_) => "legacy_receipts",
            Self::EphemeralHeaders { .. } | Self::EphemeralHeaderOffer(_) => "legacy_ephemeral_header",
        }
    }
}

fn exactly<const N: usize>(selector: u8, rest: &[u8]) -> Result<[u8; N], KeyError> {
    rest.try_into().map_err(|_| KeyError::Length {
        network: super::SPEC.name,
        selector,
        expected: 1 + N,
        actual: 1 + rest.len(),
    })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{b256, hex};
    use proptest::prelude::*;

    use super::*;

    /// legacy/history/history-network-test-vectors.md, "Content Id Derivations"
    #[test]
    fn specification_vectors() {
        let hash = b256!("d1c390624d3bd4e409a61a858e5dcc5517729a9170d014a6c96530d64dd8621d");
        let recent = b256!("d24fd73f794058a3807db926d8898c6481e902b7edb91ce0d479d6760f276183");
        let cases = [
            (
                ContentKey::HeaderByHash(hash),
                hex!("00d1c390624d3bd4e409a61a858e5dcc5517729a9170d014a6c96530d64dd8621d").to_vec(),
                hex!("3e86b3767b57402ea72e369ae0496ce47cc15be685bec3b4726b9f316e3895fe"),
            ),
            (
                ContentKey::Body(hash),
                hex!("01d1c390624d3bd4e409a61a858e5dcc5517729a9170d014a6c96530d64dd8621d").to_vec(),
                hex!("ebe414854629d60c58ddd5bf60fd72e41760a5f7a463fdcb169f13ee4a26786b"),
            ),
            (
                ContentKey::Receipts(hash),
                hex!("02d1c390624d3bd4e409a61a858e5dcc5517729a9170d014a6c96530d64dd8621d").to_vec(),
                hex!("a888f4aafe9109d495ac4d4774a6277c1ada42035e3da5e10a04cc93247c04a4"),
            ),
            (
                ContentKey::HeaderByNumber(12_345_678),
                hex!("034e61bc0000000000").to_vec(),
                hex!("2113990747a85ab39785d21342fa5db1f68acc0011605c0c73f68fc331643dcf"),
            ),
            (
                ContentKey::EphemeralHeaders { block_hash: recent, ancestor_count: 1 },
                hex!("04d24fd73f794058a3807db926d8898c6481e902b7edb91ce0d479d6760f27618301").to_vec(),
                hex!("bf9f37c72f6635bbe8dbb4d9377a56d8d579a434399f4c5ba4aad5a213ca04d8"),
            ),
            (
                ContentKey::EphemeralHeaderOffer(recent),
                hex!("05d24fd73f794058a3807db926d8898c6481e902b7edb91ce0d479d6760f276183").to_vec(),
                hex!("76744a5338183a04ea39bbb94906e539b9a839b4aa508f8493b2afbba2491567"),
            ),
        ];
        for (key, encoded, id) in cases {
            assert_eq!(key.encode(), encoded);
            assert_eq!(ContentKey::decode(&encoded), Ok(key));
            assert_eq!(key.content_id().as_bytes(), &id);
        }
    }

    #[test]
    fn malformed_keys() {
        let network = crate::legacy_history::SPEC.name;
        assert_eq!(ContentKey::decode(&[]), Err(KeyError::Empty));
        assert_eq!(ContentKey::decode(&[6; 33]), Err(KeyError::UnknownSelector { network, selector: 6 }));
        for (selector, expected) in [(0, 33), (1, 33), (2, 33), (3, 9), (4, 34), (5, 33)] {
            for actual in [expected - 1, expected + 1] {
                let error = KeyError::Length { network, selector, expected, actual };
                assert_eq!(ContentKey::decode(&vec![selector; actual]), Err(error));
            }
        }
    }

    fn any_key() -> impl Strategy<Value = ContentKey> {
        let hash = || any::<[u8; 32]>().prop_map(B256::new);
        prop_oneof![
            hash().prop_map(ContentKey::HeaderByHash),
            hash().prop_map(ContentKey::Body),
            hash().prop_map(ContentKey::Receipts),
            any::<u64>().prop_map(ContentKey::HeaderByNumber),
            (hash(), any::<u8>())
                .prop_map(|(block_hash, ancestor_count)| ContentKey::EphemeralHeaders { block_hash, ancestor_count }),
            hash().prop_map(ContentKey::EphemeralHeaderOffer),
        ]
    }

    proptest! {
        #[test]
        fn keys_round_trip(key in any_key()) {
            prop_assert_eq!(ContentKey::decode(&key.encode()), Ok(key));
        }

        #[test]
        fn arbitrary_bytes_decode_to_what_encodes_to_them(
            selector in 0..7_u8,
            rest in prop::collection::vec(any::<u8>(), 0..36),
        ) {
            let bytes = [&[selector], rest.as_slice()].concat();
            if let Ok(key) = ContentKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }
}
