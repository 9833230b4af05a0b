//! The one way in: whatever content comes from (an offer, a lookup, an archive, the JSON-RPC) is checked here against a
//! proved header before it is stored, sent on or shown to anybody.

mod block;
mod refusal;
mod waiting;

use std::sync::Arc;

use bytes::Bytes;
use content_types::verify::{self, Roots};
use content_types::{ContentKey, history, legacy_history};

use crate::headers::{Asker, BlockId, HeaderSource};
use crate::metrics::Metrics;
use crate::trust::TrustStore;
use crate::verified::VerifiedContent;
use crate::workers::Workers;
use waiting::WaitingRoom;

pub(crate) use block::{RawBlock, RawHeader};
pub use refusal::Refusal;

/// Checks content. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pipeline {
    trust: Arc<TrustStore>,
    headers: Arc<HeaderSource>,
    workers: Workers,
    metrics: Arc<Metrics>,
    waiting: Arc<WaitingRoom>,
}

impl Pipeline {
    pub(crate) fn new(
        trust: Arc<TrustStore>,
        headers: Arc<HeaderSource>,
        workers: Workers,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { trust, headers, workers, metrics, waiting: Arc::default() }
    }

    /// Checks that `value` is what `key` stands for. Bodies and receipts need a header, which is fetched if it is not
    /// at hand; hashing runs on the processor's workers.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken, or what was missing to judge.
    pub(crate) async fn validate(&self, key: ContentKey, value: Bytes) -> Result<VerifiedContent, Refusal> {
        self.validate_for(Asker::User, key, value).await
    }

    /// The same; where a header has to be searched for, within the share of searches that `asker` has.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken, or what was missing to judge.
    pub(crate) async fn validate_for(
        &self,
        asker: Asker,
        key: ContentKey,
        value: Bytes,
    ) -> Result<VerifiedContent, Refusal> {
        let result = self.check(asker, key, value).await;
        self.metrics.validated(kind(&key), result.as_ref().map_or_else(Refusal::label, |_| "valid"));
        result
    }

    /// Whether content under this key could be checked at all, as far as can be told without asking anybody.
    pub(crate) fn can_verify(&self, key: &ContentKey) -> bool {
        match Needs::of(key) {
            Needs::Nothing(id) => self.headers.is_within_trust(&id),
            Needs::Header(id) => self.headers.is_within_trust(&id) && !self.headers.is_known_missing(&id),
            Needs::Head => false,
        }
    }

    async fn check(&self, asker: Asker, key: ContentKey, value: Bytes) -> Result<VerifiedContent, Refusal> {
        verify::length(&key, &value)?;
        match Needs::of(&key) {
            Needs::Head => Err(Refusal::NeedsHead),
            Needs::Header(id) => {
                // What costs nobody else anything comes first: a search is started for nothing that cannot be right.
                if !self.headers.is_within_trust(&id) {
                    return Err(Refusal::BeyondTrust(id));
                }
                let bytes = value.clone();
                let roots =
                    self.workers.cpu(move || Roots::compute(&key, &bytes)).await?.ok_or(Refusal::NotBlockData)??;
                let header = match self.headers.cached(&id) {
                    Some(header) => header,
                    None => {
                        let _room = self.waiting.enter(asker, value.len())?;
                        self.headers.get_for(asker, id).await?
                    }
                };
                Ok(VerifiedContent::part(key, value, &roots, header)?)
            }
            Needs::Nothing(id) => {
                let verifier = self.trust.verifier();
                let check = move || VerifiedContent::header_with_proof(&verifier, id, value);
                let content = self.workers.cpu(check).await??;
                self.headers.remember(content.header().clone());
                Ok(content)
            }
        }
    }
}

/// What it takes to check a value.
enum Needs {
    /// The value is a header with its own proof.
    Nothing(BlockId),
    /// The proved header of this block.
    Header(BlockId),
    /// The hash of a recent block from a source outside the network, which this node does not have.
    Head,
}

impl Needs {
    fn of(key: &ContentKey) -> Self {
        match key {
            ContentKey::History(key) => Self::Header(BlockId::Number(key.number())),
            ContentKey::LegacyHistory(key) => match key {
                legacy_history::ContentKey::HeaderByHash(hash) => Self::Nothing(BlockId::Hash(*hash)),
                legacy_history::ContentKey::HeaderByNumber(number) => Self::Nothing(BlockId::Number(*number)),
                legacy_history::ContentKey::Body(hash) | legacy_history::ContentKey::Receipts(hash) => {
                    Self::Header(BlockId::Hash(*hash))
                }
                legacy_history::ContentKey::EphemeralHeaders { .. }
                | legacy_history::ContentKey::EphemeralHeaderOffer(_) => Self::Head,
            },
        }
    }
}

/// The content type's name in metrics.
fn kind(key: &ContentKey) -> &'static str {
    match key {
        ContentKey::History(history::ContentKey::BlockBody { .. }) => "history_body",
        ContentKey::History(history::ContentKey::BlockReceipts { .. }) => "history_receipts",
        ContentKey::LegacyHistory(key) => match key {
            legacy_history::ContentKey::HeaderByHash(_) => "legacy_header_by_hash",
            legacy_history::ContentKey::HeaderByNumber(_) => "legacy_header_by_number",
            legacy_history::ContentKey::Body(_) => "legacy_body",
            legacy_history::ContentKey::Receipts(_) => "legacy_receipts",
            legacy_history::ContentKey::EphemeralHeaders { .. }
            | legacy_history::ContentKey::EphemeralHeaderOffer(_) => "legacy_ephemeral_header",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn values_that_wait_for_headers_keep_none_waiting_that_can_be_checked() {
        let Fixture { chain, dir: _dir, node_id, pipeline, .. } = Fixture::new();
        let _waiting = pipeline.waiting.fill();
        let peer = Asker::Peer(node_id);
        let body = |number| (history::ContentKey::BlockBody { number }.into(), chain.block(number).unwrap().body);
        let (key, value) = body(5);
        let refusal = pipeline.validate_for(peer, key, value.clone()).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Busy), "{refusal}");
        let header = legacy_history::ContentKey::HeaderByNumber(5).into();
        pipeline.validate_for(peer, header, chain.block(5).unwrap().header_with_proof()).await.unwrap();
        pipeline.validate_for(peer, key, value).await.unwrap();
    }
}
