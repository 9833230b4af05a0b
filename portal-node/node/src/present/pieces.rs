//! What of a block is wanted, in which form, as bytes.

use alloy_primitives::{B256, U64};
use alloy_rlp::Header as RlpHeader;
use alloy_rpc_types_eth::{Block, TransactionReceipt};
use bytes::Bytes;
use content_types::ProvedHeader;
use serde::{Deserialize, Serialize};

use super::{BlobFees, Body, PresentError, Shown, block, body, fields_of, header, receipts};
use crate::fetch::{FetchError, Fetcher};
use crate::headers::BlockId;
use crate::workers::{Stopping, Workers};

/// What of a block is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Header, body and receipts. In RLP, `[header, transactions, ommers, withdrawals?]`: there are no receipts in it.
    Block,
    /// The header.
    Header,
    /// Transactions, ommers and withdrawals.
    Body,
    /// The receipts. As JSON they take the body too, since much of what is said of them stands in the transactions.
    Receipts,
}

/// The form in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PieceForm {
    /// A JSON object: of a block what `eth_getBlockByNumber` gives with whole transactions, and `receipts` as
    /// `eth_getBlockReceipts` gives them; of a body or receipts alone, number and hash of the block and those.
    Json,
    /// RLP; receipts as a list without blooms (EIP-7642).
    Rlp,
}

/// Why a piece was not had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PieceError {
    /// It was not fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It was, and has no such form.
    #[error("{block}: cannot be shown as JSON, but as RLP: {source}")]
    Form {
        /// Which block.
        block: BlockId,
        /// Why not.
        source: PresentError,
    },
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Fetches a piece and gives it its form, which is done by the workers.
pub(crate) async fn piece(
    fetcher: &Fetcher,
    workers: &Workers,
    fees: BlobFees,
    id: BlockId,
    what: What,
    form: PieceForm,
) -> Result<Vec<u8>, PieceError> {
    let fetched = FetchedPiece::of(fetcher, id, what, form).await?;
    let formed = workers.cpu(move || match form {
        PieceForm::Json => fetched.json(what, &fees),
        PieceForm::Rlp => fetched.rlp(what),
    });
    formed.await?.map_err(|source| PieceError::Form { block: id, source })
}

/// What was fetched for a piece.
struct FetchedPiece {
    header: ProvedHeader,
    body: Bytes,
    receipts: Bytes,
}

impl FetchedPiece {
    async fn of(fetcher: &Fetcher, id: BlockId, what: What, form: PieceForm) -> Result<Self, FetchError> {
        let nothing = Bytes::new;
        Ok(match (what, form) {
            (What::Header, _) => Self { header: fetcher.header(id).await?, body: nothing(), receipts: nothing() },
            (What::Body, _) | (What::Block, PieceForm::Rlp) => {
                let (header, body) = fetcher.body(id).await?;
                Self { header, body, receipts: nothing() }
            }
            (What::Receipts, PieceForm::Rlp) => {
                let (header, receipts) = fetcher.receipts(id).await?;
                Self { header, body: nothing(), receipts }
            }
            (What::Block | What::Receipts, PieceForm::Json) => {
                let crate::fetch::ProvedBlock { header, body, receipts } = fetcher.block(id).await?;
                Self { header, body, receipts }
            }
        })
    }

    fn json(&self, what: What, fees: &BlobFees) -> Result<Vec<u8>, PresentError> {
        let shown = Shown::from(&self.header);
        match what {
            What::Header => written(&header(shown)),
            What::Body => written(&body(shown, &Body::decode(&self.body)?)),
            What::Receipts => {
                let receipts = receipts(shown, &Body::decode(&self.body)?, &self.receipts, fees)?;
                let (number, hash) = (U64::from(self.header.number()), self.header.hash());
                written(&ReceiptsJson { number, hash, receipts })
            }
            What::Block => {
                let body = Body::decode(&self.body)?;
                let receipts = receipts(shown, &body, &self.receipts, fees)?;
                written(&BlockJson { block: block(shown, &body), receipts })
            }
        }
    }

    fn rlp(&self, what: What) -> Result<Vec<u8>, PresentError> {
        Ok(match what {
            What::Header => self.header.rlp().to_vec(),
            What::Body => self.body.to_vec(),
            What::Receipts => self.receipts.to_vec(),
            What::Block => {
                let (header, fields) = (self.header.rlp(), fields_of(&self.body)?);
                let list = RlpHeader { list: true, payload_length: header.len() + fields.len() };
                let mut block = Vec::with_capacity(list.length_with_payload());
                list.encode(&mut block);
                block.extend_from_slice(header);
                block.extend_from_slice(fields);
                block
            }
        })
    }
}

#[derive(Serialize)]
struct BlockJson {
    #[serde(flatten)]
    block: Block,
    receipts: Vec<TransactionReceipt>,
}

#[derive(Serialize)]
struct ReceiptsJson {
    number: U64,
    hash: B256,
    receipts: Vec<TransactionReceipt>,
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, PresentError> {
    serde_json::to_vec(value).map_err(|error| PresentError::Json(error.to_string()))
}
