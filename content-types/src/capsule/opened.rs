//! The way through a capsule. Making one and checking one are the same way: from the state root to each account, from its storage root to
//! each slot. Only where the nodes come from differs: from whoever has the state, or from the capsule, the next one each time.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes as AlloyBytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::TrieAccount;
use bytes::Bytes;

use super::error::{CapsuleError, MakeError};
use super::value::{Capsule, Claim};
use crate::header::DecodedHeader;
use crate::state::ContentKey;
use crate::state::read::decode_slot;
use crate::trie::{ProofError, Reached, Walk, proof};
use crate::{HeaderProof, HeaderVerifier, ProvedHeader};

/// What a capsule tells, as far as it follows from its header. Whether the header is the chain's is another question:
/// [`Capsule::prove_header`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The block's header.
    pub header: DecodedHeader,
    /// What it tells of each account.
    pub accounts: Vec<OpenedAccount>,
}

/// What a capsule tells of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedAccount {
    /// Which.
    pub address: Address,
    /// `None`: the state has no such account.
    pub account: Option<TrieAccount>,
    /// The nodes from the state root on that show it.
    pub proof: Vec<Bytes>,
    /// Its slots, as far as they are told.
    pub slots: Vec<OpenedSlot>,
    /// The code, if it was to be told; empty where there is none.
    pub code: Option<AlloyBytes>,
}

/// What a capsule tells of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedSlot {
    /// Which.
    pub slot: U256,
    /// What stands in it; 0 where nothing does.
    pub value: U256,
    /// The nodes from the account's storage root on that show it.
    pub proof: Vec<Bytes>,
}

impl Capsule {
    /// Makes the capsule of these claims, brought into order, out of what `get` has: bare nodes and codes by their keys on the state
    /// network.
    ///
    /// # Errors
    ///
    /// [`MakeError`] when something is missing, or is not what its key says.
    pub fn make<E>(
        header: &DecodedHeader,
        header_proof: Option<&HeaderProof>,
        claims: Vec<Claim>,
        mut get: impl FnMut(&ContentKey) -> Result<Bytes, E>,
    ) -> Result<Self, MakeError<E>> {
        let claims = Claim::in_order(claims);
        let (mut nodes, mut codes) = (Vec::new(), Vec::new());
        walk(header.header().state_root, &claims, MAX_STEPS, |_, key| {
            let value = get(key).map_err(MakeError::Source)?;
            match key {
                ContentKey::Code { .. } => codes.push(value.clone()),
                ContentKey::AccountTrieNode { .. } | ContentKey::StorageTrieNode { .. } => nodes.push(value.clone()),
            }
            Ok::<_, MakeError<E>>(value)
        })?;
        let header_proof = header_proof.map(HeaderProof::encode).unwrap_or_default();
        Ok(Self { header: header.rlp().clone(), header_proof, claims, nodes, codes })
    }

    /// Checks that everything it tells follows from its header, and that there is nothing else in it.
    ///
    /// # Errors
    ///
    /// [`CapsuleError`] says where it does not.
    pub fn open(&self) -> Result<Opened, CapsuleError> {
        self.open_within(MAX_STEPS)
    }

    /// The same, of what takes so many steps from node to node at most.
    pub(crate) fn open_within(&self, max_steps: usize) -> Result<Opened, CapsuleError> {
        let header = DecodedHeader::decode(self.header.clone())?;
        let (mut nodes, mut codes) = (self.nodes.iter(), self.codes.iter());
        let accounts = walk(header.header().state_root, &self.claims, max_steps, |address, key| {
            let (next, what) = match key {
                ContentKey::Code { .. } => (codes.next(), "code"),
                ContentKey::AccountTrieNode { .. } | ContentKey::StorageTrieNode { .. } => (nodes.next(), "node"),
            };
            next.cloned().ok_or(CapsuleError::Missing { address, what })
        })?;
        match nodes.len() + codes.len() {
            0 => Ok(Opened { header, accounts }),
            more => Err(CapsuleError::Extraneous(more)),
        }
    }

    /// Its bytes and what it tells, if these bytes are taken by whoever gets them: one that was made may be too large.
    ///
    /// # Errors
    ///
    /// [`CapsuleError`], as of [`decode`](Self::decode) and [`open`](Self::open).
    pub fn finish(&self) -> Result<(Bytes, Opened), CapsuleError> {
        let encoded = self.encode();
        let opened = Self::decode(&encoded)?.open()?;
        Ok((encoded, opened))
    }

    /// Proves its header by the proof in it.
    ///
    /// # Errors
    ///
    /// [`CapsuleError::NoHeaderProof`], and [`CapsuleError::Header`] with the rule that the proof breaks.
    pub fn prove_header(&self, verifier: &HeaderVerifier) -> Result<ProvedHeader, CapsuleError> {
        if self.header_proof.is_empty() {
            return Err(CapsuleError::NoHeaderProof);
        }
        let header = DecodedHeader::decode(self.header.clone())?;
        let kind = verifier.chain().proof_kind(header.number(), header.header().timestamp)?;
        Ok(verifier.prove(header, &HeaderProof::decode(kind, &self.header_proof)?)?)
    }
}

/// Steps from node to node, of all claims together. The same node may be gone through for each of many slots; it is hashed once and
/// read each time: this is a few tenths of a second.
const MAX_STEPS: usize = 1 << 20;

/// Bytes of codes that are told, each as often as there are accounts that have it.
const MAX_CODE_BYTES: usize = 64 << 20;

/// A node or a code, and whether it was gone through before, which tells that its hash was found right.
struct Given {
    value: Bytes,
    is_checked: bool,
}

/// Goes the way of the claims, down to each account once (a [`StateRead`](crate::state::StateRead) would go there for each slot).
/// What was gone through before is not asked for again: the first that leads through a node has it.
fn walk<E: From<CapsuleError>>(
    state_root: B256,
    claims: &[Claim],
    max_steps: usize,
    mut next: impl FnMut(Address, &ContentKey) -> Result<Bytes, E>,
) -> Result<Vec<OpenedAccount>, E> {
    let mut seen: HashMap<B256, Bytes> = HashMap::new();
    let (mut steps, mut code_bytes) = (0, 0);
    let mut accounts = Vec::with_capacity(claims.len());
    for Claim { address, slots, code } in claims {
        let address = *address;
        let address_hash = keccak256(address);
        let wrong = |source| CapsuleError::Account { address, source };
        let mut get = |key: ContentKey| -> Result<Given, E> {
            steps += 1;
            if steps > max_steps {
                return Err(CapsuleError::TooManySteps(max_steps).into());
            }
            let hash = key.hash();
            if let Some(value) = seen.get(&hash) {
                return Ok(Given { value: value.clone(), is_checked: true });
            }
            let value = next(address, &key)?;
            // What is another is found out by whoever asked for it, and then everything ends.
            seen.insert(hash, value.clone());
            Ok(Given { value, is_checked: false })
        };
        let (found, account_proof) = find(state_root, &address_hash, &mut get, wrong, |path, node_hash| {
            ContentKey::AccountTrieNode { path, node_hash }
        })?;
        let account = found.map(|account| proof::decode_account(&account)).transpose().map_err(wrong)?;
        let storage_root = account.map(|account| account.storage_root);
        let mut told = Vec::with_capacity(slots.len());
        for slot in slots {
            let (found, proof) = match storage_root {
                None => (None, Vec::new()),
                Some(root) => find(root, &keccak256(B256::from(*slot)), &mut get, wrong, |path, node_hash| {
                    ContentKey::StorageTrieNode { address_hash, path, node_hash }
                })?,
            };
            let value = found.map(|value| decode_slot(&value)).transpose().map_err(wrong)?;
            told.push(OpenedSlot { slot: *slot, value: value.unwrap_or_default(), proof });
        }
        let code = match (code, account.map(|account| account.code_hash)) {
            (false, _) => None,
            (true, None | Some(KECCAK256_EMPTY)) => Some(AlloyBytes::new()),
            (true, Some(code_hash)) => {
                let Given { value: code, is_checked } = get(ContentKey::Code { address_hash, code_hash })?;
                let actual = if is_checked { code_hash } else { keccak256(&code) };
                if actual != code_hash {
                    return Err(wrong(ProofError::OtherCode { expected: code_hash, actual }).into());
                }
                code_bytes += code.len();
                if code_bytes > MAX_CODE_BYTES {
                    return Err(CapsuleError::TooMuchCode(MAX_CODE_BYTES).into());
                }
                Some(code.into())
            }
        };
        accounts.push(OpenedAccount { address, account, proof: account_proof, slots: told, code });
    }
    Ok(accounts)
}

/// What a trie has under a hashed key, and the nodes on the way.
fn find<E: From<CapsuleError>>(
    root: B256,
    key: &B256,
    get: &mut impl FnMut(ContentKey) -> Result<Given, E>,
    wrong: impl Fn(ProofError) -> CapsuleError,
    key_of: impl Fn(crate::trie::Nibbles, B256) -> ContentKey,
) -> Result<(Option<Bytes>, Vec<Bytes>), E> {
    let mut proof = Vec::new();
    let Some(mut walk) = Walk::new(root, key) else { return Ok((None, proof)) };
    loop {
        let (path, node_hash) = walk.next();
        let Given { value: node, is_checked } = get(key_of(path, node_hash))?;
        let reached = if is_checked { walk.handle_hashed(&node) } else { walk.handle_node(&node) };
        let found = match reached.map_err(&wrong)? {
            Reached::Node => None,
            Reached::Value(value) => Some(Some(node.slice_ref(value))),
            Reached::Nothing => Some(None),
        };
        proof.push(node);
        if let Some(found) = found {
            return Ok((found, proof));
        }
    }
}
