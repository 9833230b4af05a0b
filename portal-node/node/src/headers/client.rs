//! Headers from an execution client's JSON-RPC (`eth_getBlockByNumber`, `eth_getBlockByHash`).
//!
//! What comes from here is only bytes: [`super::HeaderSource`] proves a header before anything uses it.

use std::ops::Range;

use alloy_consensus::Header;
use alloy_primitives::{B256, U256};
use bytes::Bytes;
use content_types::header::{DecodedHeader, HeaderError};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{self, HttpError};

/// Blocks in one batch request. A block without its transactions' bodies has some 15 kB in JSON at most.
const BATCH_BLOCKS: u64 = 64;
/// Batch requests under way at once.
const PARALLEL_BATCHES: usize = 4;
/// Most bytes of an answer: a batch of blocks with 1,000 transaction hashes each.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// A header as the execution client gives it. Its hash is computed here; whether it belongs to the chain is open.
#[derive(Clone, Debug)]
pub(crate) struct ClaimedHeader {
    pub(crate) header: DecodedHeader,
    /// Up to and with this block; newer clients leave it out.
    pub(crate) total_difficulty: Option<U256>,
}

/// Why an execution client gave no header.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is not what JSON-RPC and the method prescribe.
    #[error("unreadable answer: {0}")]
    Answer(#[from] serde_json::Error),
    /// The fields make no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The client answered with an error.
    #[error("error {code}: {message}")]
    Refused {
        /// JSON-RPC error code; 4444 says that history was pruned.
        code: i64,
        /// Its message.
        message: String,
    },
    /// The client has no such block.
    #[error("it does not have the block")]
    Unknown,
    /// A batch was answered with another number of results than asked for.
    #[error("{got} answers to a batch of {asked}")]
    Batch {
        /// Requests sent.
        asked: usize,
        /// Answers that came.
        got: usize,
    },
    /// The fields do not hash to what the client says the block's hash is: it knows fields that this program does not.
    #[error("block {number} has the hash {claimed} in the answer, and its fields hash to {computed}")]
    Hash {
        /// Block number in the answer.
        number: u64,
        /// The answer's hash.
        claimed: B256,
        /// Keccak of the header made from the answer's fields.
        computed: B256,
    },
    /// Another block than asked for.
    #[error("asked for {asked}, it sent block {number}")]
    Other {
        /// What was asked for.
        asked: String,
        /// What came.
        number: u64,
    },
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    #[serde(default)]
    result: Option<Block>,
    #[serde(default)]
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct Block {
    hash: B256,
    #[serde(default, rename = "totalDifficulty")]
    total_difficulty: Option<U256>,
    #[serde(flatten)]
    header: Header,
}

impl Answer {
    fn into_header(self) -> Result<ClaimedHeader, ClientError> {
        if let Some(AnswerError { code, message }) = self.error {
            return Err(ClientError::Refused { code, message });
        }
        let Block { hash, total_difficulty, header } = self.result.ok_or(ClientError::Unknown)?;
        let header = DecodedHeader::decode(alloy_rlp::encode(&header).into())?;
        if header.hash() != hash {
            return Err(ClientError::Hash { number: header.number(), claimed: hash, computed: header.hash() });
        }
        Ok(ClaimedHeader { header, total_difficulty })
    }
}

/// An execution client behind a URL. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ExecutionClient {
    http: Client,
    url: Url,
}

impl ExecutionClient {
    pub(crate) fn new(url: Url) -> Result<Self, HttpError> {
        Ok(Self { http: http::client()?, url })
    }

    pub(crate) async fn header_by_number(&self, number: u64) -> Result<ClaimedHeader, ClientError> {
        let header = self.one(by_number(0, number)).await?;
        expect_number(header, number)
    }

    pub(crate) async fn header_by_hash(&self, hash: B256) -> Result<ClaimedHeader, ClientError> {
        let header = self.one(request(0, "eth_getBlockByHash", &json!(hash))).await?;
        if header.header.hash() != hash {
            return Err(ClientError::Other { asked: hash.to_string(), number: header.header.number() });
        }
        Ok(header)
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

    async fn one(&self, request: Value) -> Result<ClaimedHeader, ClientError> {
        serde_json::from_slice::<Answer>(&self.post(&request).await?)?.into_header()
    }

    async fn batch(&self, blocks: Range<u64>) -> Result<Vec<ClaimedHeader>, ClientError> {
        // The block number is the request's id: answers may come in any order.
        let requests: Vec<Value> = blocks.clone().map(|number| by_number(number, number)).collect();
        let mut answers: Vec<Answer> = serde_json::from_slice(&self.post(&Value::from(requests.clone())).await?)?;
        if answers.len() != requests.len() {
            return Err(ClientError::Batch { asked: requests.len(), got: answers.len() });
        }
        answers.sort_by_key(|answer| answer.id);
        blocks.zip(answers).map(|(number, answer)| expect_number(answer.into_header()?, number)).collect()
    }

    async fn post(&self, body: &Value) -> Result<Bytes, ClientError> {
        let response = self.http.post(self.url.clone()).json(body).send().await.map_err(HttpError::from)?;
        Ok(http::read_bounded(response, MAX_ANSWER_BYTES).await?)
    }
}

fn expect_number(header: ClaimedHeader, number: u64) -> Result<ClaimedHeader, ClientError> {
    if header.header.number() == number {
        Ok(header)
    } else {
        Err(ClientError::Other { asked: format!("block {number}"), number: header.header.number() })
    }
}

fn by_number(id: u64, number: u64) -> Value {
    request(id, "eth_getBlockByNumber", &json!(format!("{number:#x}")))
}

fn request(id: u64, method: &str, block: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [block, false] })
}
