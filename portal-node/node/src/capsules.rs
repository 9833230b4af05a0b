//! Proof capsules out of what an execution client proves by `eth_getProof` (EIP-1186), and back into that form. What it says is
//! believed for nothing: a capsule is made of nodes that lead from the header's state root to what is claimed, or it is not made.

use std::collections::HashMap;

use alloy_primitives::{B256, Bytes as AlloyBytes, keccak256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use bytes::Bytes;
use content_types::capsule::{Capsule, Claim, MakeError, Opened, OpenedAccount};
use content_types::header::DecodedHeader;
use content_types::state::ContentKey;
use content_types::{BlockId, ChainSpec, HeaderProof};
use reqwest::Url;

use crate::headers::{ClientError, ExecutionClient};
use crate::http::HttpError;

/// Slots that are asked for in one request: clients limit how many they prove at once.
const SLOTS_A_REQUEST: usize = 512;

/// A node or a code that the proofs lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proofs lack {0}, which the state root leads to")]
pub struct NotGiven(B256);

/// Why no capsule was made.
#[derive(Debug, thiserror::Error)]
pub enum CapsuleSourceError {
    /// The client cannot be reached, does not have the block, or no state of it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What it gave is not the state of the block.
    #[error(transparent)]
    Make(#[from] MakeError<NotGiven>),
}

/// An execution client that proves parts of the state.
#[derive(Clone, Debug)]
pub struct ProofClient(ExecutionClient);

impl ProofClient {
    /// A client that was asked nothing yet.
    ///
    /// # Errors
    /// [`HttpError`] if TLS cannot be set up.
    pub fn new(url: Url) -> Result<Self, HttpError> {
        ExecutionClient::new(url).map(Self)
    }

    /// The header of a block as the client has it, after it has said that it knows the chain. Not proved.
    ///
    /// # Errors
    /// [`ClientError`], when it is of another chain, too.
    pub async fn header(&self, chain: &ChainSpec, block: BlockId) -> Result<DecodedHeader, ClientError> {
        self.0.check_chain(chain).await?;
        let claimed = match block {
            BlockId::Number(number) => self.0.header_by_number(number).await?,
            BlockId::Hash(hash) => self.0.header_by_hash(hash).await?,
        };
        Ok(claimed.header)
    }

    /// Asks for what proves these claims in the state behind a block, and makes a capsule of it.
    ///
    /// # Errors
    /// [`CapsuleSourceError`]: it has no such state any more, say, or what it sent proves something else.
    pub async fn capsule(
        &self,
        header: &DecodedHeader,
        header_proof: Option<&HeaderProof>,
        claims: Vec<Claim>,
    ) -> Result<Capsule, CapsuleSourceError> {
        let mut given = Given::default();
        for claim in &claims {
            // One request at least: the account is proved without any slot, too.
            let requests = claim.slots.len().div_ceil(SLOTS_A_REQUEST).max(1);
            for nth in 0..requests {
                let slots = claim.slots.iter().skip(nth * SLOTS_A_REQUEST).take(SLOTS_A_REQUEST);
                let slots: Vec<B256> = slots.map(|slot| B256::from(*slot)).collect();
                given.take(self.0.proof(claim.address, &slots, header.number()).await?);
            }
            if claim.code {
                given.take_code(self.0.code(claim.address, header.number()).await?);
            }
        }
        Ok(given.capsule(header, header_proof, claims)?)
    }
}

/// A capsule of proofs that came some other way, as a file say: of all accounts and slots that they name.
///
/// # Errors
/// [`MakeError`] when they do not lead there from the header's state root.
pub fn of_proofs(
    header: &DecodedHeader,
    header_proof: Option<&HeaderProof>,
    proofs: Vec<EIP1186AccountProofResponse>,
) -> Result<Capsule, MakeError<NotGiven>> {
    let slots = |proof: &EIP1186AccountProofResponse| {
        proof.storage_proof.iter().map(|slot| slot.key.as_b256().into()).collect()
    };
    let claim =
        |proof: &EIP1186AccountProofResponse| Claim { address: proof.address, slots: slots(proof), code: false };
    let claims = proofs.iter().map(claim).collect();
    let mut given = Given::default();
    proofs.into_iter().for_each(|proof| given.take(proof));
    given.capsule(header, header_proof, claims)
}

/// Nodes and codes that came, by their hash.
#[derive(Default)]
struct Given(HashMap<B256, Bytes>);

impl Given {
    fn take(&mut self, proof: EIP1186AccountProofResponse) {
        let of_slots = proof.storage_proof.into_iter().flat_map(|slot| slot.proof);
        self.0.extend(proof.account_proof.into_iter().chain(of_slots).map(|node| (keccak256(&node), node.0)));
    }

    fn take_code(&mut self, code: AlloyBytes) {
        self.0.insert(keccak256(&code), code.0);
    }

    fn capsule(
        &self,
        header: &DecodedHeader,
        header_proof: Option<&HeaderProof>,
        claims: Vec<Claim>,
    ) -> Result<Capsule, MakeError<NotGiven>> {
        let get = |key: &ContentKey| self.0.get(&key.hash()).cloned().ok_or(NotGiven(key.hash()));
        Capsule::make(header, header_proof, claims, get)
    }
}

/// What a capsule tells, an answer to `eth_getProof` for each account (EIP-1186).
pub fn proofs(opened: &Opened) -> Vec<EIP1186AccountProofResponse> {
    let nodes = |proof: &[Bytes]| proof.iter().cloned().map(AlloyBytes::from).collect();
    let proof = |OpenedAccount { address, account, proof, slots, .. }: &OpenedAccount| {
        // Of an account that there is not, clients tell what an empty one has.
        let account = account.unwrap_or_default();
        let storage_proof = slots.iter().map(|slot| EIP1186StorageProof {
            key: B256::from(slot.slot).into(),
            value: slot.value,
            proof: nodes(&slot.proof),
        });
        EIP1186AccountProofResponse {
            address: *address,
            balance: account.balance,
            code_hash: account.code_hash,
            nonce: account.nonce,
            storage_hash: account.storage_root,
            account_proof: nodes(proof),
            storage_proof: storage_proof.collect(),
        }
    };
    opened.accounts.iter().map(proof).collect()
}
