//! Capsules out of what an execution client proves by `eth_getProof` (EIP-1186), and back into that form. What it says is
//! believed for nothing: a capsule is made of nodes that lead from the header's state root to what is claimed, or it is not made.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes as AlloyBytes, keccak256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use bytes::Bytes;
use content_types::capsule::{Capsule, Claim, MakeError, Opened, OpenedAccount};
use content_types::header::DecodedHeader;
use content_types::state::ContentKey;
use content_types::{BlockId, ChainSpec, HeaderProof};
use reqwest::Url;
use serde::Deserialize;

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

    /// Checks that the client knows a chain.
    ///
    /// # Errors
    /// [`ClientError`], when it is of another chain, too.
    pub async fn check_chain(&self, chain: &ChainSpec) -> Result<(), ClientError> {
        self.0.check_chain(chain).await
    }

    /// The number of the youngest block that the client has.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn head(&self) -> Result<u64, ClientError> {
        self.0.head().await
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

/// Proofs that came some other way, as a file say.
#[derive(Debug, Default)]
pub struct GivenProofs {
    proofs: Vec<EIP1186AccountProofResponse>,
    codes: HashMap<Address, AlloyBytes>,
}

/// A file that has no proofs in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither answers to eth_getProof, nor what `cairn capsule export` writes")]
pub struct NoProofs;

/// What a file of proofs may hold.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    /// What `cairn capsule export` writes.
    Exported {
        proofs: Vec<EIP1186AccountProofResponse>,
        #[serde(default)]
        codes: HashMap<Address, AlloyBytes>,
    },
    /// A response of the JSON-RPC as a whole.
    Response { result: Box<EIP1186AccountProofResponse> },
    /// What stands in one.
    Answer(Box<EIP1186AccountProofResponse>),
}

/// One of them, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    One(Written),
    Several(Vec<Written>),
}

impl GivenProofs {
    /// Reads JSON: an answer to `eth_getProof` (EIP-1186), the whole response that it came in, what `cairn capsule export` writes, or
    /// a list of these.
    ///
    /// # Errors
    /// [`NoProofs`], also for an empty list.
    pub fn read(json: &[u8]) -> Result<Self, NoProofs> {
        let written = match serde_json::from_slice(json).map_err(|_| NoProofs)? {
            File::One(written) => vec![written],
            File::Several(written) => written,
        };
        let mut given = Self::default();
        for written in written {
            match written {
                Written::Exported { proofs, codes } => {
                    given.proofs.extend(proofs);
                    given.codes.extend(codes);
                }
                Written::Response { result: proof } | Written::Answer(proof) => given.proofs.push(*proof),
            }
        }
        if given.proofs.is_empty() { Err(NoProofs) } else { Ok(given) }
    }

    /// A capsule of all accounts and slots that the proofs name, and of the codes that there are.
    ///
    /// # Errors
    /// [`MakeError`] when they do not lead there from the header's state root.
    pub fn capsule(
        self,
        header: &DecodedHeader,
        header_proof: Option<&HeaderProof>,
    ) -> Result<Capsule, MakeError<NotGiven>> {
        let claim = |proof: &EIP1186AccountProofResponse| Claim {
            address: proof.address,
            slots: proof.storage_proof.iter().map(|slot| slot.key.as_b256().into()).collect(),
            code: self.codes.contains_key(&proof.address),
        };
        let claims = self.proofs.iter().map(claim).collect();
        let mut given = Given::default();
        self.proofs.into_iter().for_each(|proof| given.take(proof));
        self.codes.into_values().for_each(|code| given.take_code(code));
        given.capsule(header, header_proof, claims)
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(address: u8, slots: &[u64]) -> Value {
        let slot = |slot: &u64| json!({ "key": format!("{slot:#x}"), "value": "0x0", "proof": [] });
        json!({
            "address": Address::repeat_byte(address), "balance": "0x0", "nonce": "0x0", "codeHash": B256::ZERO,
            "storageHash": B256::ZERO, "accountProof": [], "storageProof": slots.iter().map(slot).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn proofs_are_read_in_each_form_in_which_people_have_them() {
        let read = |json: Value| GivenProofs::read(json.to_string().as_bytes());
        let (one, other) = (answer(1, &[3]), answer(2, &[]));
        let exported =
            json!({ "block": 1, "proofs": [one, other], "codes": { Address::repeat_byte(1).to_string(): "0x00" } });
        let response = json!({ "jsonrpc": "2.0", "id": 1, "result": one });
        for (json, accounts, codes) in [
            (one.clone(), 1, 0),
            (response.clone(), 1, 0),
            (exported.clone(), 2, 1),
            (json!([one, other]), 2, 0),
            (json!([response, exported]), 3, 1),
        ] {
            let given = read(json.clone()).unwrap();
            assert_eq!((given.proofs.len(), given.codes.len()), (accounts, codes), "{json}");
        }
        let refused = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "missing trie node" } });
        for json in [json!([]), json!({}), json!("0x00"), refused, json!([[one]])] {
            assert_eq!(read(json.clone()).unwrap_err(), NoProofs, "{json}");
        }
        assert_eq!(GivenProofs::read(b"").unwrap_err(), NoProofs);
    }
}
