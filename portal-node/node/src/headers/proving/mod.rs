//! Proves headers that an execution client claims.
//!
//! Two ways lead from a claimed header to trust:
//! - **Parents.** A proved header names its parent's hash, so the headers in between, each the parent of the next, are
//!   proved too. This works for every block that lies a little below one proved already.
//! - **The epoch.** Before the merge, the 8,192 headers of the block's epoch are fetched and their record is hashed;
//!   where its root is the trusted one, every block of the epoch has its proof. The total difficulty that the record
//!   needs is in the client's answers, or follows from the difficulties in the first epoch.
//!
//! After the merge a proof needs beacon chain data, which an execution client does not have.

mod epochs;

use std::ops::Range;
use std::sync::Arc;

use alloy_primitives::{B256, U256};
use cairn_web_seed::without_secrets;
use content_types::header::epoch::EPOCH_SIZE;
use content_types::header::{EpochRecord, EpochTree, HeaderError, HeaderRecord};
use content_types::{HeaderProof, HeaderVerifier, ProvedHeader};
use reqwest::Url;

use super::BlockId;
use super::answers::{ClaimedHeader, ClientError};
use super::asker::{Asker, SearchPlaces};
use super::client::ExecutionClient;
use crate::http::HttpError;
use crate::workers::{Stopping, Workers};
use epochs::{Epochs, Kept, NoEpoch};

/// Most headers between one that is proved and the one to be proved: 256 requests in batches of 64 take no longer than
/// a lookup on the network.
pub(super) const MAX_PARENT_STEPS: u64 = 256;
/// Epoch trees kept; each takes about 1.5 MB.
const CACHED_EPOCHS: Kept = Kept { for_users: 4, for_peers: 2 };
/// Searches at the client at once for users.
const CLIENT_SEARCHES: u64 = 4;
/// Searches at the client at once for what peers offered.
const PEER_CLIENT_SEARCHES: u64 = 1;

/// Why the client's header is not proved.
#[derive(Debug, thiserror::Error)]
pub enum ProvingError {
    /// The client gave no header.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The header or its proof breaks a rule.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// No way leads from this block's header to the trust lists.
    #[error(
        "it has the header of block {0}, but only blocks before the merge, or up to {MAX_PARENT_STEPS} below a proved one, \
         can be proved without beacon chain data"
    )]
    NoWay(u64),
    /// The epoch's record cannot be built.
    #[error("it gives no total difficulty, without which epoch {0} can't be proved")]
    NoTotalDifficulty(u64),
    /// The client's headers are not those of the trusted epoch.
    #[error("its headers of epoch {epoch} have the root {root}, which is not the trusted one")]
    OtherEpoch {
        /// Which epoch.
        epoch: u64,
        /// The root of what the client gave.
        root: B256,
    },
    /// The fetch of the epoch failed, for all who waited for it.
    #[error(transparent)]
    Epoch(#[from] Arc<ProvingError>),
    /// Enough was fetched for what peers offer.
    #[error("another epoch was fetched for what peers offer, and epoch {0} is not yet")]
    EpochLater(u64),
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl ProvingError {
    /// What the client said, or that it said nothing, if that is behind it.
    pub fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            Self::Epoch(error) => error.client(),
            _ => None,
        }
    }
}

/// An execution client, and what was fetched to prove its headers.
pub(crate) struct ClientProver {
    client: ExecutionClient,
    /// Where it is, as it may be shown.
    url: Arc<str>,
    workers: Workers,
    searches: SearchPlaces,
    epochs: Epochs<EpochTree, ProvingError>,
}

impl ClientProver {
    pub(crate) fn new(url: Url, workers: Workers) -> Result<Self, HttpError> {
        Ok(Self {
            url: without_secrets(url.as_str()).into(),
            client: ExecutionClient::new(url)?,
            workers,
            searches: SearchPlaces::new(CLIENT_SEARCHES, PEER_CLIENT_SEARCHES),
            epochs: Epochs::new(CACHED_EPOCHS),
        })
    }

    /// Where the client is, without secrets.
    pub(crate) fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// Fetches a header and proves it. `descendant` gives a proved header that lies at most [`MAX_PARENT_STEPS`] above
    /// a number, if one is at hand.
    pub(crate) async fn get(
        &self,
        asker: Asker,
        id: BlockId,
        verifier: &HeaderVerifier,
        descendant: impl FnOnce(u64) -> Option<ProvedHeader>,
    ) -> Result<ProvedHeader, ProvingError> {
        let place = self.searches.take(asker).await.map_err(|_| Stopping)?;
        let claimed = match id {
            BlockId::Number(number) => self.client.header_by_number(number).await?,
            BlockId::Hash(hash) => self.client.header_by_hash(hash).await?,
        };
        let number = claimed.header.number();
        if let Some(descendant) = descendant(number) {
            return self.prove_by_parents(claimed, descendant).await;
        }
        if !verifier.chain().is_pre_merge(number) {
            return Err(ProvingError::NoWay(number));
        }
        if verifier.lists().pre_merge.is_none() {
            let list = content_types::trust::TrustListKind::PreMergeAccumulator;
            return Err(HeaderError::ListMissing { number, list }.into());
        }
        if asker == Asker::User {
            // An epoch takes long, and another user's may be here. Peers stand in line for this too.
            drop(place);
        }
        let epoch = self.epoch(asker, number / EPOCH_SIZE, verifier).await?;
        let branch = usize::try_from(number % EPOCH_SIZE)
            .ok()
            .and_then(|index| epoch.prove(index))
            .ok_or(ProvingError::NoWay(number))?;
        Ok(verifier.prove(claimed.header, &HeaderProof::HistoricalHashes(branch))?)
    }

    async fn prove_by_parents(
        &self,
        claimed: ClaimedHeader,
        descendant: ProvedHeader,
    ) -> Result<ProvedHeader, ProvingError> {
        let between = claimed.header.number().saturating_add(1)..descendant.number();
        let headers = self.client.headers(between).await?;
        let mut child = descendant;
        for parent in headers.into_iter().rev() {
            child = child.prove_parent(parent.header)?;
        }
        Ok(child.prove_parent(claimed.header)?)
    }

    async fn epoch(&self, asker: Asker, epoch: u64, verifier: &HeaderVerifier) -> Result<Arc<EpochTree>, ProvingError> {
        let start = epoch.saturating_mul(EPOCH_SIZE);
        let end = start.saturating_add(EPOCH_SIZE).min(verifier.chain().merge_block().unwrap_or(u64::MAX));
        let roots = verifier.lists().pre_merge.as_ref().map(|list| list.epoch_roots());
        let trusted = roots.and_then(|roots| roots.get(usize::try_from(epoch).ok()?)).copied();
        let fetch = || fetch_epoch(self.client.clone(), self.workers.clone(), epoch, start..end, trusted);
        self.epochs.get(asker, epoch, fetch).await.map_err(|none| match none {
            NoEpoch::Failed(error) => error.into(),
            NoEpoch::Paused => ProvingError::EpochLater(epoch),
            NoEpoch::Stopping => Stopping.into(),
        })
    }
}

async fn fetch_epoch(
    client: ExecutionClient,
    workers: Workers,
    epoch: u64,
    blocks: Range<u64>,
    trusted: Option<B256>,
) -> Result<EpochTree, ProvingError> {
    tracing::info!(epoch, "fetching an epoch's headers from the execution client to prove them");
    let start = blocks.start;
    let headers = client.headers(blocks).await?;
    let records = records(epoch, &headers)?;
    let tree = workers
        .cpu(move || EpochRecord::new(records).map(EpochRecord::into_tree))
        .await?
        .map_err(|_| ProvingError::NoWay(start))?;
    // A tree of other headers proves nothing, and must not be kept in place of the right one.
    if trusted != Some(tree.root()) {
        return Err(ProvingError::OtherEpoch { epoch, root: tree.root() });
    }
    Ok(tree)
}

/// The epoch's records. Where an answer has no total difficulty, it is the sum so far: of the first epoch's blocks from
/// genesis on, of other epochs' from the first answer that has one.
fn records(epoch: u64, headers: &[ClaimedHeader]) -> Result<Vec<HeaderRecord>, ProvingError> {
    let mut sum = (epoch == 0).then_some(U256::ZERO);
    let mut records = Vec::with_capacity(headers.len());
    for claimed in headers {
        let next = sum.map(|sum| sum.saturating_add(claimed.header.header().difficulty));
        let total_difficulty = next.or(claimed.total_difficulty).ok_or(ProvingError::NoTotalDifficulty(epoch))?;
        sum = Some(total_difficulty);
        records.push(HeaderRecord { block_hash: claimed.header.hash(), total_difficulty });
    }
    Ok(records)
}
