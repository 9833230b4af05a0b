//! Content keys; the content ID is SHA-256 of the key.
//!
//! The first two types have a part of variable length, the path. In SSZ an offset stands in its place, and it follows behind.

use alloy_primitives::B256;
use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::OFFSET_LENGTH;
use crate::room::KeyError;
use crate::trie::Nibbles;
use crate::trie::nibbles::MAX_PACKED;

const ACCOUNT_TRIE_NODE: u8 = 0x20;
const STORAGE_TRIE_NODE: u8 = 0x21;
const CODE: u8 = 0x22;

const HASH_LENGTH: usize = B256::len_bytes();
/// Where the path begins in a key of an account trie node, and in one of a storage trie node, in bytes behind the selector.
const ACCOUNT_PATH_AT: usize = OFFSET_LENGTH + HASH_LENGTH;
const STORAGE_PATH_AT: usize = HASH_LENGTH + OFFSET_LENGTH + HASH_LENGTH;

/// Its name in flags, configuration and messages.
const NAME: &str = "state";

/// A content key of the state network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentKey {
    /// Selector `0x20`: a node of the trie of all accounts.
    AccountTrieNode {
        /// Where it lies, without the nibbles that stand in it.
        path: Nibbles,
        /// Keccak-256 of its RLP.
        node_hash: B256,
    },
    /// Selector `0x21`: a node of the storage trie of one account.
    StorageTrieNode {
        /// Keccak-256 of the account's address.
        address_hash: B256,
        /// Where it lies, without the nibbles that stand in it.
        path: Nibbles,
        /// Keccak-256 of its RLP.
        node_hash: B256,
    },
    /// Selector `0x22`: the code of one account.
    Code {
        /// Keccak-256 of the account's address.
        address_hash: B256,
        /// Keccak-256 of the code.
        code_hash: B256,
    },
}

impl ContentKey {
    /// Decodes selector and container.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says which rule the bytes break.
    pub fn decode(key: &[u8]) -> Result<Self, KeyError> {
        let (&selector, rest) = key.split_first().ok_or(KeyError::Empty)?;
        let fields = Fields { selector, rest };
        match selector {
            ACCOUNT_TRIE_NODE => {
                let path = fields.path(0, ACCOUNT_PATH_AT)?;
                Ok(Self::AccountTrieNode { path, node_hash: fields.hash(OFFSET_LENGTH)? })
            }
            STORAGE_TRIE_NODE => {
                let path = fields.path(HASH_LENGTH, STORAGE_PATH_AT)?;
                let (address_hash, node_hash) = (fields.hash(0)?, fields.hash(HASH_LENGTH + OFFSET_LENGTH)?);
                Ok(Self::StorageTrieNode { address_hash, path, node_hash })
            }
            CODE if rest.len() == 2 * HASH_LENGTH => {
                Ok(Self::Code { address_hash: fields.hash(0)?, code_hash: fields.hash(HASH_LENGTH)? })
            }
            CODE => Err(KeyError::Length { network: NAME, selector, expected: 1 + 2 * HASH_LENGTH, actual: key.len() }),
            _ => Err(KeyError::UnknownSelector { network: NAME, selector }),
        }
    }

    /// Keccak-256 of the node's RLP, or of the code: what it stands for, whichever state it is found in.
    pub const fn hash(&self) -> B256 {
        match self {
            Self::AccountTrieNode { node_hash: hash, .. }
            | Self::StorageTrieNode { node_hash: hash, .. }
            | Self::Code { code_hash: hash, .. } => *hash,
        }
    }

    /// Selector, then the SSZ container.
    pub fn encode(&self) -> Bytes {
        let mut key = BytesMut::with_capacity(1 + STORAGE_PATH_AT + MAX_PACKED);
        match self {
            Self::AccountTrieNode { path, node_hash } => {
                key.put_u8(ACCOUNT_TRIE_NODE);
                key.put_u32_le(ACCOUNT_PATH_AT as u32);
                key.put_slice(node_hash.as_slice());
                key.put_slice(&path.pack());
            }
            Self::StorageTrieNode { address_hash, path, node_hash } => {
                key.put_u8(STORAGE_TRIE_NODE);
                key.put_slice(address_hash.as_slice());
                key.put_u32_le(STORAGE_PATH_AT as u32);
                key.put_slice(node_hash.as_slice());
                key.put_slice(&path.pack());
            }
            Self::Code { address_hash, code_hash } => {
                key.put_u8(CODE);
                key.put_slice(address_hash.as_slice());
                key.put_slice(code_hash.as_slice());
            }
        }
        key.freeze()
    }
}

/// The bytes behind a selector.
struct Fields<'a> {
    selector: u8,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn hash(&self, at: usize) -> Result<B256, KeyError> {
        let hash = self.rest.get(at..at + HASH_LENGTH).ok_or_else(|| self.layout("a hash is cut off"))?;
        Ok(B256::from_slice(hash))
    }

    /// The path, whose offset stands at `offset_at` and which begins at `begins`.
    fn path(&self, offset_at: usize, begins: usize) -> Result<Nibbles, KeyError> {
        let offset = self.rest.get(offset_at..).and_then(<[u8]>::first_chunk::<OFFSET_LENGTH>);
        if offset.is_none_or(|offset| u32::from_le_bytes(*offset) as usize != begins) {
            return Err(self.layout("the path does not begin behind the other fields"));
        }
        let packed = self.rest.get(begins..).ok_or_else(|| self.layout("a hash is cut off"))?;
        Nibbles::unpack(packed).map_err(|_| self.layout("the path is no packed nibbles"))
    }

    fn layout(&self, rule: &'static str) -> KeyError {
        KeyError::Layout { network: NAME, selector: self.selector, rule }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{b256, hex};
    use proptest::prelude::*;

    use super::*;

    /// legacy/state/state-network-test-vectors.md
    #[test]
    fn specification_vectors() {
        let node_hash = b256!("6225fcc63b22b80301d9f2582014e450e91f9b329b7cc87ad16894722fff5296");
        let path = Nibbles::new(&[8, 6, 7, 9, 0xe, 8, 0xe, 0xd]).unwrap();
        let encoded = hex!("20240000006225fcc63b22b80301d9f2582014e450e91f9b329b7cc87ad16894722fff5296008679e8ed");
        let key = ContentKey::AccountTrieNode { path, node_hash };
        assert_eq!(key.encode(), encoded[..]);
        assert_eq!(ContentKey::decode(&encoded), Ok(key));
    }

    #[test]
    fn malformed_keys() {
        let network = NAME;
        assert_eq!(ContentKey::decode(&[]), Err(KeyError::Empty));
        assert_eq!(ContentKey::decode(&[0x23; 65]), Err(KeyError::UnknownSelector { network, selector: 0x23 }));
        for actual in [1, 64, 66] {
            let error = KeyError::Length { network, selector: CODE, expected: 65, actual };
            assert_eq!(ContentKey::decode(&vec![CODE; actual]), Err(error));
        }
        let key = |path: &[u8]| {
            let offset = (ACCOUNT_PATH_AT as u32).to_le_bytes();
            [&[ACCOUNT_TRIE_NODE], &offset[..], &[7; 32], path].concat()
        };
        assert!(ContentKey::decode(&key(&[0])).is_ok());
        for (path, rule) in [(&[][..], "nibbles"), (&[2][..], "nibbles"), (&[0; 34][..], "nibbles")] {
            let error = ContentKey::decode(&key(path)).unwrap_err();
            assert!(error.to_string().contains(rule), "{error}");
        }
        let mut elsewhere = key(&[0]);
        elsewhere[1] += 1;
        assert!(ContentKey::decode(&elsewhere).unwrap_err().to_string().contains("begin"));
    }

    fn any_key() -> impl Strategy<Value = ContentKey> {
        let hash = || any::<[u8; 32]>().prop_map(B256::new);
        let path = || prop::collection::vec(0..16_u8, 0..=64).prop_map(|nibbles| Nibbles::new(&nibbles).unwrap());
        prop_oneof![
            (path(), hash()).prop_map(|(path, node_hash)| ContentKey::AccountTrieNode { path, node_hash }),
            (hash(), path(), hash()).prop_map(|(address_hash, path, node_hash)| ContentKey::StorageTrieNode {
                address_hash,
                path,
                node_hash
            }),
            (hash(), hash()).prop_map(|(address_hash, code_hash)| ContentKey::Code { address_hash, code_hash }),
        ]
    }

    proptest! {
        #[test]
        fn keys_round_trip(key in any_key()) {
            prop_assert_eq!(ContentKey::decode(&key.encode()), Ok(key));
        }

        #[test]
        fn arbitrary_bytes_decode_to_what_encodes_to_them(
            key in any_key(),
            at in 0..110_usize,
            value: u8,
            cut in 0..110_usize,
        ) {
            let mut bytes = key.encode().to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(cut);
            if let Ok(key) = ContentKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }
}
