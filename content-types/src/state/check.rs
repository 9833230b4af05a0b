//! What it takes to judge a value, and the check.

use alloy_primitives::B256;
use bytes::Bytes;

use super::key::ContentKey;
use super::value::{self, Bare, Proved};
use crate::BlockId;
use crate::limits::{MAX_CODE_LENGTH, MAX_STATE_PROOF_LENGTH, MAX_TRIE_NODE_LENGTH, OFFSET_LENGTH};
use crate::room::{Evidence, Form, Key, KeyError, Subject};
use crate::verify::{Examined, Unverified};

impl Key for ContentKey {
    fn decode(key: &[u8]) -> Result<Self, KeyError> {
        Self::decode(key)
    }

    fn encode(&self) -> Bytes {
        self.encode()
    }

    fn max_value_len(&self, form: Form) -> usize {
        let proofs = |count: usize| count * (OFFSET_LENGTH + MAX_STATE_PROOF_LENGTH) + B256::len_bytes();
        match (self, form) {
            (Self::AccountTrieNode { .. } | Self::StorageTrieNode { .. }, Form::Stored) => {
                OFFSET_LENGTH + MAX_TRIE_NODE_LENGTH
            }
            (Self::Code { .. }, Form::Stored) => OFFSET_LENGTH + MAX_CODE_LENGTH,
            (Self::AccountTrieNode { .. }, Form::Offered) => proofs(1),
            (Self::StorageTrieNode { .. }, Form::Offered) => proofs(2),
            (Self::Code { .. }, Form::Offered) => OFFSET_LENGTH + MAX_CODE_LENGTH + proofs(1),
        }
    }

    /// The same node may belong to the states of many blocks: the key names none.
    fn subject(&self) -> Subject {
        Subject::Other
    }

    fn label(&self) -> &'static str {
        match self {
            Self::AccountTrieNode { .. } => "state_account_trie_node",
            Self::StorageTrieNode { .. } => "state_storage_trie_node",
            Self::Code { .. } => "state_code",
        }
    }

    /// What is stored has the hash in its key. What is offered says of which block it is a part, and the header of that proves it.
    fn evidence(&self, form: Form, value: &[u8]) -> Result<Evidence, Unverified> {
        match form {
            Form::Stored => Ok(Evidence::Key),
            Form::Offered => Ok(Evidence::Header(BlockId::Hash(value::block_hash(self, value)?))),
        }
    }

    fn examine(&self, form: Form, value: Bytes) -> Result<Examined, Unverified> {
        match form {
            Form::Stored => {
                Bare::decode(self, &value)?.check(self)?;
                Ok(Examined::by_key(value))
            }
            Form::Offered => {
                let (state_root, bare) = Proved::decode(self, &value)?.check(self)?;
                Ok(Examined::of_state(state_root, bare.encode()))
            }
        }
    }
}
