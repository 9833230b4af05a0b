//! Headers from an execution client's JSON-RPC (`eth_getBlockByNumber`, `eth_getBlockByHash`), and which chain it is of.
//!
//! What comes from here is only bytes: [`super::HeaderSource`] proves a header before anything uses it.

use std::ops::Range;

use alloy_primitives::{Address, B256, Bytes as AlloyBytes, U256};
use alloy_rpc_types_eth::EIP1186AccountProofResponse;
use bytes::Bytes;
use content_types::{BlockId, ChainSpec};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::answers::{self, ClaimedHeader, ClientError};
use crate::http::{self, HttpError};

/// Blocks in one batch request. A block without its transactions' bodies has some 15 kB in JSON at most.
const BATCH_BLOCKS: u64 = 64;
/// Batch requests under way at once.
const PARALLEL_BATCHES: usize = 4;
/// Most bytes of an answer: a batch of blocks with 1,000 transaction hashes each.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// An execution client behind a URL. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ExecutionClient {
    http: Client,
    url: Url,
}

impl ExecutionClient {
    pub(crate) fn new(url: Url) -> Result<Self, HttpError> {
        Ok(Self { http: http::rpc_client(&url)?, url })
    }

    pub(crate) async fn header_by_number(&self, number: u64) -> Result<ClaimedHeader, ClientError> {
        self.one(BlockId::Number(number), by_number(0, number)).await?.expect_number(number)
    }

    pub(crate) async fn header_by_hash(&self, hash: B256) -> Result<ClaimedHeader, ClientError> {
        let request = request(0, "eth_getBlockByHash", &json!([hash, false]));
        self.one(BlockId::Hash(hash), request).await?.expect_hash(hash)
    }

    /// Checks that the client knows a chain, by the chain's ID and its first block. Of another chain it could tell anything.
    pub(crate) async fn check_chain(&self, chain: &ChainSpec) -> Result<(), ClientError> {
        let other = |what: &str, told: String, expected: String| ClientError::OtherChain {
            chain: chain.name().to_owned(),
            told: format!("{what} {told}"),
            expected,
        };
        let id = answers::number(&self.post(&request(0, "eth_chainId", &json!([]))).await?)?;
        if id != U256::from(chain.chain_id()) {
            return Err(other("its chain ID is", id.to_string(), chain.chain_id().to_string()));
        }
        let genesis = self.header_by_number(0).await?.header.hash();
        if genesis != chain.genesis_hash() {
            return Err(other("its block 0 is", genesis.to_string(), chain.genesis_hash().to_string()));
        }
        Ok(())
    }

    /// The number of its youngest block.
    pub(crate) async fn head(&self) -> Result<u64, ClientError> {
        let number = answers::number(&self.post(&request(0, "eth_blockNumber", &json!([]))).await?)?;
        // No chain has a block of a higher number.
        Ok(number.saturating_to())
    }

    /// What proves an account and slots of its storage in the state behind a block.
    pub(crate) async fn proof(
        &self,
        address: Address,
        slots: &[B256],
        number: u64,
    ) -> Result<EIP1186AccountProofResponse, ClientError> {
        let params = json!([address, slots, format!("{number:#x}")]);
        answers::proof(&self.post(&request(0, "eth_getProof", &params)).await?, number)
    }

    /// The code of an account in the state behind a block.
    pub(crate) async fn code(&self, address: Address, number: u64) -> Result<AlloyBytes, ClientError> {
        let params = json!([address, format!("{number:#x}")]);
        answers::code(&self.post(&request(0, "eth_getCode", &params)).await?, number)
    }

    /// The headers of a range of blocks, in order.
    pub(crate) async fn headers(&self, blocks: Range<u64>) -> Result<Vec<ClaimedHeader>, ClientError> {
        let end = blocks.end;
        let batches = (blocks.start..end)
            .step_by(BATCH_BLOCKS as usize)
            .map(|start| self.batch(start..start.saturating_add(BATCH_BLOCKS).min(end)));
        let parts: Vec<Vec<ClaimedHeader>> = stream::iter(batches).buffered(PARALLEL_BATCHES).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    async fn one(&self, asked: BlockId, request: Value) -> Result<ClaimedHeader, ClientError> {
        answers::header(&self.post(&request).await?, asked)
    }

    async fn batch(&self, blocks: Range<u64>) -> Result<Vec<ClaimedHeader>, ClientError> {
        // The block number is the request's id: answers may come in any order.
        let requests: Vec<Value> = blocks.clone().map(|number| by_number(number, number)).collect();
        answers::headers(&self.post(&Value::from(requests)).await?, blocks)
    }

    async fn post(&self, body: &Value) -> Result<Bytes, ClientError> {
        let response = self.http.post(self.url.clone()).json(body).send().await.map_err(HttpError::from)?;
        Ok(http::read_bounded(response, MAX_ANSWER_BYTES).await?)
    }
}

fn by_number(id: u64, number: u64) -> Value {
    request(id, "eth_getBlockByNumber", &json!([format!("{number:#x}"), false]))
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}
