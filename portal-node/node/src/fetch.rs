//! Headers, bodies, receipts and whole blocks by number or hash, each proved: from what this node holds, then from the
//! networks. What was not found comes with who was asked and what each answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::block::{BodyEncoding, Malformed, ReceiptsEncoding, transcode};
use content_types::room::{BlockPart, Subject};
use content_types::{ContentKey, HeaderProof, HeaderWithProof, ProvedHeader, SubNetwork, history, legacy_history};
use overlay::service::{LookupError, LookupTrace};
use parking_lot::Mutex;

use crate::again::until_settled;
use crate::headers::{BlockId, HeaderSource, HeaderUnavailable, NoHeader, TrustReach};
use crate::holdings::{Holdings, HoldingsError};
use crate::networks::Network;
use crate::not_found::NotFoundCause;
use crate::pipeline::Pipeline;
use crate::workers::{Stopping, Workers};

/// For how long what was not found is asked for again, unless somebody says how long it waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why something was not fetched.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// No proved header, without which nothing else can be checked.
    #[error(transparent)]
    Header(#[from] HeaderUnavailable),
    /// Nobody who was asked had it.
    #[error("the {what} of block {number} ({hash}) was not found: {asked} peers asked", asked = asked(.traces))]
    NotFound {
        /// What was looked for.
        what: FetchedPart,
        /// The block's number.
        number: u64,
        /// The block's hash.
        hash: B256,
        /// The lookups: in which sub-network, who was asked, what each answered.
        traces: Vec<(SubNetwork, LookupTrace)>,
    },
    /// The disk failed.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
    /// Proved content cannot be written in the encoding asked for.
    #[error(transparent)]
    Encoding(#[from] Malformed),
}

impl FetchError {
    /// What is behind it, if it is that something was not found.
    pub fn cause(&self) -> Option<NotFoundCause> {
        let among_peers = NotFoundCause::of_lookups(self.traces());
        match self {
            Self::Holdings(_) | Self::Stopping(_) | Self::Encoding(_) => None,
            Self::Header(error) if error.trust == TrustReach::Beyond => Some(NotFoundCause::BeyondTrust),
            // Peers would have given the lists, too.
            Self::Header(error) if error.trust == TrustReach::NoLists && among_peers == NotFoundCause::NobodyHasIt => {
                Some(NotFoundCause::BeyondTrust)
            }
            // A client that was asked has said more than that nobody answered.
            Self::Header(HeaderUnavailable { attempts, .. }) => {
                let client = attempts.iter().find_map(|(_, why)| match why {
                    NoHeader::Client { source, .. } => Some(source),
                    _ => None,
                });
                Some(match client.map(|why| why.client()) {
                    Some(Some(said)) if said.is_unreachable() => NotFoundCause::ClientUnreachable,
                    Some(Some(said)) if said.is_refusal() => NotFoundCause::ClientRefuses,
                    Some(_) => NotFoundCause::NobodyHasIt,
                    None => among_peers,
                })
            }
            Self::NotFound { .. } => Some(among_peers),
        }
    }

    /// Whether it would be of no use to ask again in a moment.
    fn is_settled(&self) -> bool {
        self.cause().is_none_or(|cause| cause == NotFoundCause::BeyondTrust)
            || self.traces().iter().all(|trace| trace.most_answered())
    }

    /// The lookups on the networks, if there were any.
    pub fn traces(&self) -> Vec<&LookupTrace> {
        match self {
            Self::Header(error) => error.trace.iter().map(Arc::as_ref).collect(),
            Self::NotFound { traces, .. } => traces.iter().map(|(_, trace)| trace).collect(),
            Self::Holdings(_) | Self::Stopping(_) | Self::Encoding(_) => Vec::new(),
        }
    }
}

fn asked(traces: &[(SubNetwork, LookupTrace)]) -> usize {
    traces.iter().map(|(_, trace)| trace.responses.len()).sum()
}

/// A part of a block that is fetched by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchedPart {
    /// Transactions, ommers, withdrawals.
    Body,
    /// Receipts.
    Receipts,
}

impl std::fmt::Display for FetchedPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Body => "body",
            Self::Receipts => "receipts",
        })
    }
}

impl FetchedPart {
    fn history_key(self, number: u64) -> ContentKey {
        match self {
            Self::Body => history::ContentKey::BlockBody { number }.into(),
            Self::Receipts => history::ContentKey::BlockReceipts { number }.into(),
        }
    }

    fn legacy_key(self, hash: B256) -> ContentKey {
        match self {
            Self::Body => legacy_history::ContentKey::Body(hash).into(),
            Self::Receipts => legacy_history::ContentKey::Receipts(hash).into(),
        }
    }

    /// From the encoding of `key`'s sub-network to the one of [`Fetcher`]'s answers, which is that of the history
    /// network.
    fn transcode(key: &ContentKey, value: Bytes) -> Result<Bytes, Malformed> {
        match key.subject() {
            Subject::Part { part: BlockPart::Body(from), .. } if from != BodyEncoding::Rlp => {
                transcode::body(from, BodyEncoding::Rlp, &value).map(Bytes::from)
            }
            Subject::Part { part: BlockPart::Receipts(from), .. } if from != ReceiptsEncoding::Slim => {
                transcode::receipts(from, ReceiptsEncoding::Slim, &value).map(Bytes::from)
            }
            _ => Ok(value),
        }
    }
}

/// A whole block, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedBlock {
    /// Its header.
    pub header: ProvedHeader,
    /// RLP `[transactions, ommers, withdrawals?]`.
    pub body: Bytes,
    /// RLP list of receipts without blooms ([`ReceiptsEncoding::Slim`]).
    pub receipts: Bytes,
}

/// Fetches parts of blocks, asking again for a few seconds while nobody has said anything that settles it. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    headers: Arc<HeaderSource>,
    holdings: Holdings,
    pipeline: Pipeline,
    workers: Workers,
    networks: Vec<Arc<Network>>,
    patience: Duration,
}

impl Fetcher {
    pub(crate) fn new(
        headers: Arc<HeaderSource>,
        holdings: Holdings,
        pipeline: Pipeline,
        workers: Workers,
        networks: Vec<Arc<Network>>,
    ) -> Self {
        Self { headers, holdings, pipeline, workers, networks, patience: PATIENCE }
    }

    /// The same for somebody who waits so long: nothing is asked again after that.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Whether a header of this block could be proved by the trust lists that are there.
    pub(crate) fn is_within_trust(&self, number: u64) -> bool {
        self.headers.is_within_trust(&BlockId::Number(number))
    }

    /// The proved header of a block.
    ///
    /// # Errors
    /// [`FetchError::Header`] says who was asked.
    pub async fn header(&self, id: BlockId) -> Result<ProvedHeader, FetchError> {
        until_settled(self.patience, || async move { Ok(self.headers.get(id).await?) }, FetchError::is_settled).await
    }

    /// The proved header of a block, with its proof where the network or this node has that.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub async fn header_with_proof(&self, id: BlockId) -> Result<(ProvedHeader, Option<HeaderProof>), FetchError> {
        let header = self.header(id).await?;
        let proof = self.header_proof(&header).await;
        Ok((header, proof))
    }

    /// The proof of a header, as the network or this node has it; `None` if it is not found.
    pub(crate) async fn header_proof(&self, header: &ProvedHeader) -> Option<HeaderProof> {
        let network = self.networks.iter().find(|network| network.spec().has_headers)?;
        // Who still reads an archive knows its headers by their numbers alone.
        let by_hash = legacy_history::ContentKey::HeaderByHash(header.hash());
        let by_number = legacy_history::ContentKey::HeaderByNumber(header.number());
        for key in [by_hash, by_number] {
            let Ok(found) = network.overlay().lookup_content(ContentKey::from(key).encode()).await else { continue };
            let found = HeaderWithProof::decode(&found.value, self.headers.chain()).ok();
            if let Some(found) = found.filter(|found| found.header.hash() == header.hash()) {
                return Some(found.proof);
            }
        }
        None
    }

    /// A block's body as RLP `[transactions, ommers, withdrawals?]`, with the header that it was checked against.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn body(&self, id: BlockId) -> Result<(ProvedHeader, Bytes), FetchError> {
        let header = self.header(id).await?;
        let body = self.part(&header, FetchedPart::Body).await?;
        Ok((header, body))
    }

    /// A block's receipts as an RLP list without blooms ([`ReceiptsEncoding::Slim`]), with the header that they were
    /// checked against.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn receipts(&self, id: BlockId) -> Result<(ProvedHeader, Bytes), FetchError> {
        let header = self.header(id).await?;
        let receipts = self.part(&header, FetchedPart::Receipts).await?;
        Ok((header, receipts))
    }

    /// A whole block.
    ///
    /// # Errors
    /// [`FetchError`] for the first part that is missing.
    pub async fn block(&self, id: BlockId) -> Result<ProvedBlock, FetchError> {
        let header = self.header(id).await?;
        let (body, receipts) =
            futures::try_join!(self.part(&header, FetchedPart::Body), self.part(&header, FetchedPart::Receipts))?;
        Ok(ProvedBlock { header, body, receipts })
    }

    async fn part(&self, header: &ProvedHeader, part: FetchedPart) -> Result<Bytes, FetchError> {
        // What each sub-network said last. One whose answer settles it is not asked again because of the other's.
        let said = Mutex::default();
        until_settled(self.patience, || self.part_once(header, part, &said), FetchError::is_settled).await
    }

    async fn part_once(
        &self,
        header: &ProvedHeader,
        part: FetchedPart,
        said: &Mutex<BTreeMap<SubNetwork, LookupTrace>>,
    ) -> Result<Bytes, FetchError> {
        let keys = [part.history_key(header.number()), part.legacy_key(header.hash())];
        for key in &keys {
            // What the store gives out was checked on its way in, or against the chain when it was read from an
            // archive.
            if let Some(value) = self.holdings.get(key).await? {
                return self.encode(key, value).await;
            }
        }
        for key in &keys {
            let sub_network = key.sub_network();
            if said.lock().get(&sub_network).is_some_and(LookupTrace::most_answered) {
                continue;
            }
            let Some(network) = self.networks.iter().find(|network| network.sub_network() == sub_network) else {
                continue;
            };
            let trace = match network.overlay().lookup_content(key.encode()).await {
                // The sub-network's handler let it in, so it is proved.
                Ok(found) => return self.encode(key, found.value).await,
                Err(LookupError::NotFound(missing)) => missing.trace,
                Err(LookupError::Unverifiable(unverifiable)) => unverifiable.trace,
                Err(LookupError::Key) => continue,
            };
            said.lock().insert(sub_network, trace);
        }
        let traces = said.lock().clone().into_iter().collect();
        Err(FetchError::NotFound { what: part, number: header.number(), hash: header.hash(), traces })
    }

    async fn encode(&self, key: &ContentKey, value: Bytes) -> Result<Bytes, FetchError> {
        let key = *key;
        Ok(self.workers.cpu(move || FetchedPart::transcode(&key, value)).await??)
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetcher")
    }
}
