//! A read of the state of one block: an account, a slot of its storage, or its code.
//!
//! The state network gives nodes bare: each is found under its place in a trie and its hash, and the hash stands in the node
//! above. So a read begins at the state root of a proved header and goes down, and what it comes to is proved by the way there.
//! [`StateRead`] is a state machine: it says by [`StateRead::poll_output`] what to ask for, is told of it by
//! [`StateRead::handle_value`], and keeps what it went through, since that is the proof that others are offered a node with
//! (state network, "POKE Mechanism").

use alloy_primitives::{Address, B256, Bytes as AlloyBytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::TrieAccount;
use bytes::Bytes;

use super::key::ContentKey;
use super::value::Proved;
use super::way::Way;
use crate::trie::{ProofError, Reached, Walk, proof};

/// What is read of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Balance, nonce, and the roots of the rest.
    Account,
    /// What stands in one slot of its storage.
    Slot(U256),
    /// Its code.
    Code,
}

/// What a read comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The account; `None` if the state has none under the address.
    Account(Option<TrieAccount>),
    /// What stands in the slot; zero where nothing does.
    Slot(U256),
    /// The code; empty where there is none.
    Code(AlloyBytes),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutput {
    /// To ask for this, and to tell of it by [`StateRead::handle_value`].
    Ask(ContentKey),
    /// Nothing more.
    Done(Answer),
}

/// A read. See the [module](self).
#[derive(Debug, Clone)]
pub struct StateRead {
    address_hash: B256,
    part: Part,
    stage: Stage,
    account_proof: Vec<Bytes>,
    storage_proof: Vec<Bytes>,
    /// What was gone through last.
    last: Option<(ContentKey, Bytes)>,
}

#[derive(Debug, Clone)]
enum Stage {
    Account(Walk),
    Storage(Walk),
    Code(B256),
    Done(Answer),
}

impl StateRead {
    /// A read of a part of the account with this address, in the state with this root.
    pub fn new(state_root: B256, address: &Address, part: Part) -> Self {
        let address_hash = keccak256(address);
        let stage = match Walk::new(state_root, &address_hash) {
            Some(walk) => Stage::Account(walk),
            None => Stage::Done(nothing(part)),
        };
        Self { address_hash, part, stage, account_proof: Vec::new(), storage_proof: Vec::new(), last: None }
    }

    /// What to ask for, or what the read has come to.
    pub fn poll_output(&self) -> ReadOutput {
        let address_hash = self.address_hash;
        ReadOutput::Ask(match &self.stage {
            Stage::Account(walk) => {
                let (path, node_hash) = walk.next();
                ContentKey::AccountTrieNode { path, node_hash }
            }
            Stage::Storage(walk) => {
                let (path, node_hash) = walk.next();
                ContentKey::StorageTrieNode { address_hash, path, node_hash }
            }
            Stage::Code(code_hash) => ContentKey::Code { address_hash, code_hash: *code_hash },
            Stage::Done(answer) => return ReadOutput::Done(answer.clone()),
        })
    }

    /// What is left of the way down the trie that it is in: the nodes behind the one that is asked for, as far as they are in the
    /// same trie. `None` for code, and at the end.
    pub fn way(&self) -> Option<Way> {
        match &self.stage {
            Stage::Account(walk) => Way::on(None, walk),
            Stage::Storage(walk) => Way::on(Some(self.address_hash), walk),
            Stage::Code(_) | Stage::Done(_) => None,
        }
    }

    /// The node or code that was asked for, bare. After [`ReadOutput::Done`] it is passed over.
    ///
    /// # Errors
    ///
    /// [`ProofError`]: it is another, or the trie is malformed there. The read stays where it was.
    pub fn handle_value(&mut self, value: Bytes) -> Result<(), ProofError> {
        let ReadOutput::Ask(key) = self.poll_output() else { return Ok(()) };
        let next = match &mut self.stage {
            Stage::Account(walk) => {
                let found = match walk.handle_node(&value)? {
                    Reached::Node => None,
                    Reached::Nothing => Some(Stage::Done(nothing(self.part))),
                    Reached::Value(account) => Some(behind(self.part, proof::decode_account(account)?)),
                };
                self.account_proof.push(value.clone());
                found
            }
            Stage::Storage(walk) => {
                let found = match walk.handle_node(&value)? {
                    Reached::Node => None,
                    Reached::Nothing => Some(Stage::Done(nothing(self.part))),
                    Reached::Value(slot) => Some(Stage::Done(Answer::Slot(decode_slot(slot)?))),
                };
                self.storage_proof.push(value.clone());
                found
            }
            Stage::Code(expected) => {
                let (expected, actual) = (*expected, keccak256(&value));
                if actual != expected {
                    return Err(ProofError::OtherCode { expected, actual });
                }
                Some(Stage::Done(Answer::Code(value.clone().into())))
            }
            Stage::Done(_) => None,
        };
        self.last = Some((key, value));
        if let Some(next) = next {
            self.stage = next;
        }
        Ok(())
    }

    /// What was gone through last, as it can be offered to others: with the proof from the state root of this block, which is the
    /// one that the read began with.
    pub fn offer(&self, block_hash: B256) -> Option<(ContentKey, Proved)> {
        let (key, value) = self.last.clone()?;
        let (storage_proof, account_proof) = (self.storage_proof.clone(), self.account_proof.clone());
        let proved = match key {
            ContentKey::AccountTrieNode { .. } => Proved::AccountTrieNode { proof: account_proof, block_hash },
            ContentKey::StorageTrieNode { .. } => Proved::StorageTrieNode { storage_proof, account_proof, block_hash },
            ContentKey::Code { .. } => Proved::Code { code: value, account_proof, block_hash },
        };
        Some((key, proved))
    }
}

/// What a state says of a part that it has not.
fn nothing(part: Part) -> Answer {
    match part {
        Part::Account => Answer::Account(None),
        Part::Slot(_) => Answer::Slot(U256::ZERO),
        Part::Code => Answer::Code(AlloyBytes::new()),
    }
}

/// Where a read goes on behind the account.
fn behind(part: Part, account: TrieAccount) -> Stage {
    match part {
        Part::Account => Stage::Done(Answer::Account(Some(account))),
        Part::Slot(slot) => match Walk::new(account.storage_root, &keccak256(B256::from(slot))) {
            Some(walk) => Stage::Storage(walk),
            None => Stage::Done(nothing(part)),
        },
        Part::Code if account.code_hash == KECCAK256_EMPTY => Stage::Done(nothing(part)),
        Part::Code => Stage::Code(account.code_hash),
    }
}

/// A slot as it stands in a storage trie: RLP of a number.
pub(crate) fn decode_slot(mut value: &[u8]) -> Result<U256, ProofError> {
    let slot = U256::decode(&mut value).map_err(ProofError::MalformedSlot)?;
    if value.is_empty() { Ok(slot) } else { Err(ProofError::MalformedSlot(alloy_rlp::Error::UnexpectedLength)) }
}
