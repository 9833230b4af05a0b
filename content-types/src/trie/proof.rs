//! Proofs of the state: nodes of a trie, from its root on, each the child of the one before (state network, "Merkle Patricia Trie
//! (MPT) Proofs").
//!
//! Two questions are asked of a proof. [`locate`]: does it lead to that very node, as the Portal Network's keys name it?
//! [`look_up`]: what does the trie have under this key, if it has anything, as `eth_getProof` (EIP-1186) tells it?

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::TrieAccount;

use super::error::ProofError;
use super::nibbles::Nibbles;
use super::node::{Step, step};
use super::walk::{Reached, Walk};

/// Checks that `proof` leads from `root` along `way` to the node with this hash, and contains nothing else.
///
/// # Errors
///
/// [`ProofError`] says where it does not.
pub fn locate<N: AsRef<[u8]>>(root: B256, way: &Nibbles, node_hash: B256, proof: &[N]) -> Result<(), ProofError> {
    let (target, leading) = proof.split_last().ok_or(ProofError::TooShort(0))?;
    let (mut expected, mut rest) = (root, way.as_slice());
    for (position, node) in leading.iter().enumerate() {
        linked(position, expected, node.as_ref())?;
        let no_such_node = || ProofError::NoSuchNode { way: *way, position };
        let (taken, next) = step(node.as_ref(), rest).map_err(|source| ProofError::Node { position, source })?;
        // A node that stands inside another has no hash of its own, and so no key.
        let Step::Hash(hash) = next else { return Err(no_such_node()) };
        expected = hash;
        rest = rest.get(taken..).ok_or_else(no_such_node)?;
    }
    let position = leading.len();
    linked(position, expected, target.as_ref())?;
    if !rest.is_empty() {
        return Err(ProofError::NoSuchNode { way: *way, position });
    }
    if expected != node_hash {
        return Err(ProofError::OtherNode { expected: node_hash, actual: expected });
    }
    // Whatever has the hash of a node is one, as long as the root is that of a state; a private chain's may be anything.
    step(target.as_ref(), &[]).map_err(|source| ProofError::Node { position, source })?;
    Ok(())
}

/// What the trie with this root has under a hashed key: `None` if `proof` shows that it has nothing. An empty trie has an empty
/// proof.
///
/// # Errors
///
/// [`ProofError`] where it shows neither, or more than it takes.
pub fn look_up<'a, N: AsRef<[u8]>>(root: B256, key: &B256, proof: &'a [N]) -> Result<Option<&'a [u8]>, ProofError> {
    let extraneous = |more: usize| if more == 0 { Ok(()) } else { Err(ProofError::Extraneous(more)) };
    let Some(mut walk) = Walk::new(root, key) else {
        return extraneous(proof.len()).map(|()| None);
    };
    for (position, node) in proof.iter().enumerate() {
        let found = match walk.handle_node(node.as_ref())? {
            Reached::Node => continue,
            Reached::Value(value) => Some(value),
            Reached::Nothing => None,
        };
        return extraneous(proof.len() - position - 1).map(|()| found);
    }
    Err(ProofError::TooShort(proof.len()))
}

/// The account under the hash of its address.
///
/// # Errors
///
/// [`ProofError::NoAccount`] if the state has none, and as [`look_up`].
pub fn account<N: AsRef<[u8]>>(state_root: B256, address_hash: &B256, proof: &[N]) -> Result<TrieAccount, ProofError> {
    decode_account(look_up(state_root, address_hash, proof)?.ok_or(ProofError::NoAccount)?)
}

/// An account as it stands in the account trie.
///
/// # Errors
///
/// [`ProofError::MalformedAccount`].
pub fn decode_account(mut value: &[u8]) -> Result<TrieAccount, ProofError> {
    let account = TrieAccount::decode(&mut value).map_err(ProofError::MalformedAccount)?;
    if value.is_empty() { Ok(account) } else { Err(ProofError::MalformedAccount(alloy_rlp::Error::UnexpectedLength)) }
}

fn linked(position: usize, expected: B256, node: &[u8]) -> Result<(), ProofError> {
    let actual = keccak256(node);
    if actual == expected { Ok(()) } else { Err(ProofError::NotLinked { position, expected, actual }) }
}
