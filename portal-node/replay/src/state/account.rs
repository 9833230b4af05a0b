//! An account as the store has it, and as a leaf of the account trie.

use alloy_primitives::{B256, KECCAK256_EMPTY, U256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};

use crate::trie::TrieId;

/// What an account has, beside its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccountInfo {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code_hash: B256,
}

/// An account of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) info: AccountInfo,
    /// The trie of its storage; 0 while it has none. An account that is destroyed and made again gets another one, so that
    /// nothing of the old one is seen.
    pub(crate) trie: TrieId,
    pub(crate) storage_root: B256,
}

/// The RLP of an account in the store: roots and hashes of nothing are left out.
#[derive(RlpEncodable, RlpDecodable)]
#[rlp(trailing)]
struct Stored {
    nonce: u64,
    balance: U256,
    code_hash: Option<B256>,
    trie: Option<u64>,
    storage_root: Option<B256>,
}

impl Account {
    /// The value of the account's leaf.
    pub(crate) fn leaf(&self) -> Vec<u8> {
        alloy_rlp::encode(TrieAccount {
            nonce: self.info.nonce,
            balance: self.info.balance,
            storage_root: self.storage_root,
            code_hash: self.info.code_hash,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let has_storage = self.storage_root != EMPTY_ROOT_HASH;
        let has_code = self.info.code_hash != KECCAK256_EMPTY;
        alloy_rlp::encode(Stored {
            nonce: self.info.nonce,
            balance: self.info.balance,
            // What comes behind it needs it.
            code_hash: (has_code || has_storage).then_some(self.info.code_hash),
            trie: has_storage.then_some(self.trie),
            storage_root: has_storage.then_some(self.storage_root),
        })
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        use alloy_rlp::Decodable as _;
        let stored = Stored::decode(&mut bytes).ok()?;
        Some(Self {
            info: AccountInfo {
                nonce: stored.nonce,
                balance: stored.balance,
                code_hash: stored.code_hash.unwrap_or(KECCAK256_EMPTY),
            },
            trie: stored.trie.unwrap_or_default(),
            storage_root: stored.storage_root.unwrap_or(EMPTY_ROOT_HASH),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_come_back() {
        let hashes = [KECCAK256_EMPTY, B256::repeat_byte(3)];
        let storages = [(0, EMPTY_ROOT_HASH), (1, B256::repeat_byte(4)), (u64::MAX, B256::repeat_byte(5))];
        for code_hash in hashes {
            for (trie, storage_root) in storages {
                for (nonce, balance) in [(0, U256::ZERO), (1, U256::from(1)), (u64::MAX, U256::MAX)] {
                    let account = Account { info: AccountInfo { nonce, balance, code_hash }, trie, storage_root };
                    assert_eq!(Account::decode(&account.encode()), Some(account));
                }
            }
        }
        assert_eq!(Account::decode(&[]), None);
    }
}
