//! What an execution client answers, as headers. It is text from outside: every field is read strictly, and the hash is
//! computed from the fields, so that whatever is missing, unknown or invented shows.

use std::ops::Range;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, U256};
use alloy_rpc_types_eth::EIP1186AccountProofResponse;
use content_types::BlockId;
use content_types::header::{DecodedHeader, HeaderError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::http::HttpError;

/// A header as the execution client gives it. Its hash is computed here; whether it belongs to the chain is open.
#[derive(Clone, Debug)]
pub(crate) struct ClaimedHeader {
    pub(crate) header: DecodedHeader,
    /// Up to and with this block; newer clients leave it out.
    pub(crate) total_difficulty: Option<U256>,
}

impl ClaimedHeader {
    pub(super) fn expect_number(self, number: u64) -> Result<Self, ClientError> {
        if self.header.number() == number { Ok(self) } else { Err(self.other(format!("block {number}"))) }
    }

    pub(super) fn expect_hash(self, hash: B256) -> Result<Self, ClientError> {
        if self.header.hash() == hash { Ok(self) } else { Err(self.other(hash.to_string())) }
    }

    fn other(&self, asked: String) -> ClientError {
        ClientError::Other { asked, number: self.header.number() }
    }
}

/// Why an execution client gave no header.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is not what JSON-RPC and the method prescribe.
    #[error("unreadable answer: {0}")]
    ClientAnswer(#[from] serde_json::Error),
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
    #[error("it does not have {0}")]
    Unknown(BlockId),
    /// The client knows another chain than the one that is meant.
    #[error("it is a client of another chain than {chain}: {told} instead of {expected}")]
    OtherChain {
        /// The chain that is meant.
        chain: String,
        /// What the client says of itself.
        told: String,
        /// What it would say as a client of that chain.
        expected: String,
    },
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

impl ClientError {
    /// Whether the client did not answer at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Http(HttpError::Transport(_)))
    }

    /// Whether it, or what stands before it, takes no request: for want of a key, say, or because there were too many.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Http(HttpError::Status(_)))
    }
}

/// What an execution client answers to one request.
#[derive(Deserialize)]
struct ClientAnswer {
    id: u64,
    #[serde(default)]
    result: Option<ClaimedBlock>,
    #[serde(default)]
    error: Option<AnswerError>,
}

/// An answer that says of a request, or of a batch as a whole, that it is refused. Which request it belongs to may be left open.
#[derive(Deserialize)]
struct Refusal {
    error: AnswerError,
}

#[derive(Deserialize)]
struct NumberAnswer {
    result: U256,
}

#[derive(Deserialize)]
struct AnswerError {
    code: i64,
    message: String,
}

/// A block as the client tells it, less what is no part of its header.
#[derive(Deserialize)]
struct ClaimedBlock {
    hash: B256,
    #[serde(default, rename = "totalDifficulty")]
    total_difficulty: Option<U256>,
    #[serde(flatten)]
    header: Header,
}

impl From<AnswerError> for ClientError {
    fn from(AnswerError { code, message }: AnswerError) -> Self {
        Self::Refused { code, message }
    }
}

/// An answer of one form, unless it is an error, which has another.
fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(answer).map_err(|unreadable| match serde_json::from_slice::<Refusal>(answer) {
        Ok(Refusal { error }) => error.into(),
        Err(_) => unreadable.into(),
    })
}

/// The number in the answer to `eth_chainId`, and to `eth_blockNumber`.
///
/// # Errors
/// [`ClientError`] when there is none that can be read.
pub(super) fn number(answer: &[u8]) -> Result<U256, ClientError> {
    read(answer).map(|NumberAnswer { result }| result)
}

/// A result, which is `null` of a block that the client does not have.
#[derive(Deserialize)]
struct OfBlock<T> {
    #[serde(default = "Option::default")]
    result: Option<T>,
    #[serde(default)]
    error: Option<AnswerError>,
}

fn of_block<T: DeserializeOwned>(answer: &[u8], number: u64) -> Result<T, ClientError> {
    let OfBlock { result, error } = read(answer)?;
    match error {
        Some(error) => Err(error.into()),
        None => result.ok_or(ClientError::Unknown(BlockId::Number(number))),
    }
}

/// The proof in the answer to `eth_getProof`.
///
/// # Errors
/// [`ClientError`] when there is none that can be read.
pub(super) fn proof(answer: &[u8], number: u64) -> Result<EIP1186AccountProofResponse, ClientError> {
    of_block(answer, number)
}

/// The code in the answer to `eth_getCode`.
///
/// # Errors
/// [`ClientError`] when there is none that can be read.
pub(super) fn code(answer: &[u8], number: u64) -> Result<Bytes, ClientError> {
    of_block(answer, number)
}

impl ClientAnswer {
    fn into_header(self, asked: BlockId) -> Result<ClaimedHeader, ClientError> {
        if let Some(error) = self.error {
            return Err(error.into());
        }
        let ClaimedBlock { hash, total_difficulty, header } = self.result.ok_or(ClientError::Unknown(asked))?;
        let header = DecodedHeader::decode(alloy_rlp::encode(&header).into())?;
        if header.hash() != hash {
            return Err(ClientError::Hash { number: header.number(), claimed: hash, computed: header.hash() });
        }
        Ok(ClaimedHeader { header, total_difficulty })
    }
}

/// The header in an answer to one request.
///
/// # Errors
/// [`ClientError`] when there is none that can be read.
pub(crate) fn header(answer: &[u8], asked: BlockId) -> Result<ClaimedHeader, ClientError> {
    read::<ClientAnswer>(answer)?.into_header(asked)
}

/// The headers in the answer to a batch, in the order of `blocks`, whose numbers are the requests' ids: a client may
/// answer in any order, or all of it with one error.
///
/// # Errors
/// [`ClientError`] for the first block whose header is not there.
pub(crate) fn headers(answer: &[u8], blocks: Range<u64>) -> Result<Vec<ClaimedHeader>, ClientError> {
    let mut answers: Vec<ClientAnswer> = read(answer)?;
    let asked = usize::try_from(blocks.end.saturating_sub(blocks.start)).unwrap_or(usize::MAX);
    if answers.len() != asked {
        return Err(ClientError::Batch { asked, got: answers.len() });
    }
    answers.sort_by_key(|answer| answer.id);
    let header =
        |(number, answer): (u64, ClientAnswer)| answer.into_header(BlockId::Number(number))?.expect_number(number);
    blocks.zip(answers).map(header).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use cairn_synthetic::{SyntheticChain, SyntheticConfig};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::fuzzing;

    /// The answer for each block of a chain with every fork.
    static ANSWERS: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let chain = SyntheticChain::new(SyntheticConfig::small()).unwrap();
        let answer = |header: &DecodedHeader| {
            let mut block = serde_json::to_value(header.header()).unwrap();
            block["hash"] = json!(header.hash());
            json!({ "jsonrpc": "2.0", "id": header.number(), "result": block })
        };
        chain.blocks().map(|block| answer(&block.header)).collect()
    });

    #[test]
    fn a_batch_is_sorted_by_its_requests() {
        let batch = ANSWERS.iter().rev().cloned().collect::<Value>().to_string();
        let last = ANSWERS.len() as u64;
        let headers = headers(batch.as_bytes(), 0..last).unwrap();
        assert!(headers.iter().map(|claimed| claimed.header.number()).eq(0..last));
        let short = super::headers(batch.as_bytes(), 0..last - 1).unwrap_err();
        assert!(matches!(short, ClientError::Batch { asked, got } if asked + 1 == got), "{short}");
        let beside = super::headers(batch.as_bytes(), 1..last + 1).unwrap_err();
        assert!(matches!(beside, ClientError::Other { number: 0, .. }), "{beside}");
    }

    #[test]
    fn an_error_is_read_whether_it_is_of_a_request_or_of_the_whole_batch() {
        let error = json!({ "code": -32005, "message": "too many requests in a batch" });
        for id in [json!(null), json!(3)] {
            let answer = json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string();
            let of_batch = headers(answer.as_bytes(), 3..9).unwrap_err();
            let of_one = header(answer.as_bytes(), BlockId::Number(3)).unwrap_err();
            let of_proof = proof(answer.as_bytes(), 3).unwrap_err();
            let of_code = code(answer.as_bytes(), 3).unwrap_err();
            for refused in [of_batch, of_one, number(answer.as_bytes()).unwrap_err(), of_proof, of_code] {
                assert_eq!(refused.to_string(), "error -32005: too many requests in a batch");
            }
        }
    }

    #[test]
    fn a_block_that_the_client_lacks_is_named() {
        let batch = json!([ANSWERS[3], { "jsonrpc": "2.0", "id": 4, "result": null }]).to_string();
        assert_eq!(headers(batch.as_bytes(), 3..5).unwrap_err().to_string(), "it does not have block 4");
    }

    /// What a field may be replaced with.
    fn any_field() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<u64>().prop_map(|number| json!(format!("{number:#x}"))),
            any::<i64>().prop_map(Value::from),
            "(0x)?[0-9a-f]{0,66}".prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
            Just(json!([])),
        ]
    }

    proptest! {
        #[test]
        fn any_field_of_a_block_is_read_or_refused(block in 0..64_usize, field in 0..24_usize, value in any_field()) {
            let mut answer = ANSWERS[block % ANSWERS.len()].clone();
            let fields = answer["result"].as_object_mut().unwrap();
            let name = fields.keys().nth(field % fields.len()).unwrap().clone();
            fields.insert(name, value);
            fuzzing::execution_client_answer(answer.to_string().as_bytes());
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes: Vec<u8>) {
            fuzzing::execution_client_answer(&bytes);
        }
    }
}
