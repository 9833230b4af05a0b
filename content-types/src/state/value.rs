//! The two forms of a value: bare, as it is stored and given to who asks for it, and with the proofs that it is offered with.
//!
//! Both are SSZ containers of parts of variable length, whose offsets come first. The parts are slices of the value.

use alloy_primitives::{B256, keccak256};
use bytes::{BufMut, Bytes, BytesMut};

use super::key::ContentKey;
use crate::layout::{LayoutError, container, list, list_of, parts};
use crate::limits::{MAX_CODE_LENGTH, MAX_TRIE_NODE_LENGTH, MAX_TRIE_PROOF_NODES, OFFSET_LENGTH};
use crate::trie::{ProofError, proof};
use crate::verify::Unverified;

const HASH_LENGTH: usize = B256::len_bytes();

/// `content_for_retrieval`: a node's RLP, or code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bare(pub Bytes);

impl Bare {
    /// Decodes `Container(node: TrieNode)` or `Container(code: ByteList)`.
    ///
    /// # Errors
    ///
    /// [`Unverified::Layout`] and [`Unverified::TooLong`].
    pub fn decode(key: &ContentKey, value: &Bytes) -> Result<Self, Unverified> {
        let [part] = parts::<1>(value, 0)?;
        limited(key, part.len())?;
        Ok(Self(part))
    }

    /// The container.
    pub fn encode(&self) -> Bytes {
        let mut value = BytesMut::with_capacity(OFFSET_LENGTH + self.0.len());
        value.put_u32_le(OFFSET_LENGTH as u32);
        value.put_slice(&self.0);
        value.freeze()
    }

    /// Checks that it is what the key names. Whether the state of any block has it the key doesn't tell.
    ///
    /// # Errors
    ///
    /// [`Unverified::StateProof`].
    pub fn check(&self, key: &ContentKey) -> Result<(), Unverified> {
        let (expected, actual) = (key.hash(), keccak256(&self.0));
        let is_code = matches!(key, ContentKey::Code { .. });
        match (actual == expected, is_code) {
            (false, false) => Err(ProofError::OtherNode { expected, actual }.into()),
            (false, true) => Err(ProofError::OtherCode { expected, actual }.into()),
            (true, true) if self.0.is_empty() => Err(ProofError::NoCode.into()),
            (true, _) => Ok(()),
        }
    }
}

/// `content_for_offer`: what proves that the state of a block has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proved {
    /// Of a node of the account trie, which is the last of the proof.
    AccountTrieNode {
        /// From the state root on.
        proof: Vec<Bytes>,
        /// Of which block.
        block_hash: B256,
    },
    /// Of a node of a storage trie, which is the last of its proof.
    StorageTrieNode {
        /// From the account's storage root on.
        storage_proof: Vec<Bytes>,
        /// From the state root to the account.
        account_proof: Vec<Bytes>,
        /// Of which block.
        block_hash: B256,
    },
    /// Of a code.
    Code {
        /// The code itself.
        code: Bytes,
        /// From the state root to the account.
        account_proof: Vec<Bytes>,
        /// Of which block.
        block_hash: B256,
    },
}

impl Proved {
    /// Decodes the container that belongs to a key's type.
    ///
    /// # Errors
    ///
    /// [`Unverified::Layout`] and [`Unverified::TooLong`].
    pub fn decode(key: &ContentKey, value: &Bytes) -> Result<Self, Unverified> {
        Ok(match key {
            ContentKey::AccountTrieNode { .. } => {
                let [proof] = parts::<1>(value, HASH_LENGTH)?;
                let block_hash = hash_at(value, OFFSET_LENGTH)?;
                Self::AccountTrieNode { proof: proof_nodes(&proof)?, block_hash }
            }
            ContentKey::StorageTrieNode { .. } => {
                let [storage, account] = parts::<2>(value, HASH_LENGTH)?;
                let block_hash = hash_at(value, 2 * OFFSET_LENGTH)?;
                Self::StorageTrieNode {
                    storage_proof: proof_nodes(&storage)?,
                    account_proof: proof_nodes(&account)?,
                    block_hash,
                }
            }
            ContentKey::Code { .. } => {
                let [code, account] = parts::<2>(value, HASH_LENGTH)?;
                limited(key, code.len())?;
                let block_hash = hash_at(value, 2 * OFFSET_LENGTH)?;
                Self::Code { code, account_proof: proof_nodes(&account)?, block_hash }
            }
        })
    }

    /// The container.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::AccountTrieNode { proof, block_hash } => container(&[list(proof)], block_hash.as_slice()),
            Self::StorageTrieNode { storage_proof, account_proof, block_hash } => {
                container(&[list(storage_proof), list(account_proof)], block_hash.as_slice())
            }
            Self::Code { code, account_proof, block_hash } => {
                container(&[code.to_vec(), list(account_proof)], block_hash.as_slice())
            }
        }
    }

    /// Walks through the proofs. They lead from the state root that comes with what is proved, which the header of
    /// `block_hash` has to have.
    ///
    /// # Errors
    ///
    /// [`Unverified::StateProof`] says where they lead elsewhere.
    pub fn check(self, key: &ContentKey) -> Result<(B256, Bare), Unverified> {
        let root = |proof: &[Bytes]| proof.first().map(keccak256).ok_or(ProofError::TooShort(0));
        let last = |proof: &[Bytes]| proof.last().cloned().map(Bare).ok_or(ProofError::TooShort(0));
        let account = |address_hash: &B256, proof: &[Bytes]| {
            let of_account = |error| ProofError::Account(Box::new(error));
            let state_root = root(proof).map_err(of_account)?;
            let account = proof::account(state_root, address_hash, proof).map_err(of_account)?;
            Ok::<_, Unverified>((state_root, account))
        };
        match (self, key) {
            (Self::AccountTrieNode { proof, .. }, ContentKey::AccountTrieNode { path, node_hash }) => {
                let state_root = root(&proof)?;
                proof::locate(state_root, path, *node_hash, &proof)?;
                Ok((state_root, last(&proof)?))
            }
            (
                Self::StorageTrieNode { storage_proof, account_proof, .. },
                ContentKey::StorageTrieNode { address_hash, path, node_hash },
            ) => {
                let (state_root, account) = account(address_hash, &account_proof)?;
                proof::locate(account.storage_root, path, *node_hash, &storage_proof)?;
                Ok((state_root, last(&storage_proof)?))
            }
            (Self::Code { code, account_proof, .. }, ContentKey::Code { address_hash, code_hash }) => {
                let (state_root, account) = account(address_hash, &account_proof)?;
                if account.code_hash != *code_hash {
                    return Err(ProofError::OtherCode { expected: *code_hash, actual: account.code_hash }.into());
                }
                let bare = Bare(code);
                bare.check(key)?;
                Ok((state_root, bare))
            }
            _ => Err(LayoutError::Offsets("a value of another type than its key's").into()),
        }
    }
}

/// The block that an offered value names, without a look at the rest.
///
/// # Errors
///
/// [`Unverified::TooShort`].
pub(super) fn block_hash(key: &ContentKey, value: &[u8]) -> Result<B256, Unverified> {
    let at = match key {
        ContentKey::AccountTrieNode { .. } => OFFSET_LENGTH,
        ContentKey::StorageTrieNode { .. } | ContentKey::Code { .. } => 2 * OFFSET_LENGTH,
    };
    hash_at(value, at).map_err(|_| Unverified::TooShort { actual: value.len(), needed: at + HASH_LENGTH })
}

fn hash_at(value: &[u8], at: usize) -> Result<B256, Unverified> {
    let hash = value.get(at..at + HASH_LENGTH).ok_or(LayoutError::Offsets("the block hash is cut off"))?;
    Ok(B256::from_slice(hash))
}

/// `List(TrieNode, limit=65)`.
fn proof_nodes(part: &Bytes) -> Result<Vec<Bytes>, Unverified> {
    Ok(list_of(part, MAX_TRIE_PROOF_NODES, MAX_TRIE_NODE_LENGTH)?)
}

/// Whether a bare node or code may have so many bytes.
fn limited(key: &ContentKey, actual: usize) -> Result<(), Unverified> {
    let limit = match key {
        ContentKey::AccountTrieNode { .. } | ContentKey::StorageTrieNode { .. } => MAX_TRIE_NODE_LENGTH,
        ContentKey::Code { .. } => MAX_CODE_LENGTH,
    };
    if actual > limit { Err(Unverified::TooLong { actual, limit }) } else { Ok(()) }
}
