//! The one way in: whatever content comes from (an offer, a lookup, an archive, the JSON-RPC) is checked here against a
//! proved header before it is stored, sent on or shown to anybody.

mod block;
mod refusal;
mod waiting;

use std::sync::Arc;

use bytes::Bytes;
use content_types::room::{BlockPart, Evidence, Subject};
use content_types::{BlockId, ContentKey, Form, ProvedHeader, verify};

use crate::headers::{Asker, HeaderSource};
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

    /// Checks that `value`, in this form, is what `key` stands for. What needs a header gets it fetched if it is not at hand; hashing
    /// runs on the processor's workers.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken, or what was missing to judge.
    pub(crate) async fn validate(&self, key: ContentKey, form: Form, value: Bytes) -> Result<VerifiedContent, Refusal> {
        self.validate_for(Asker::User, key, form, value).await
    }

    /// The same; where a header has to be searched for, within the share of searches that `asker` has.
    ///
    /// # Errors
    /// [`Refusal`] names the rule that was broken, or what was missing to judge.
    pub(crate) async fn validate_for(
        &self,
        asker: Asker,
        key: ContentKey,
        form: Form,
        value: Bytes,
    ) -> Result<VerifiedContent, Refusal> {
        let result = self.check(asker, key, form, value).await;
        self.metrics.validated(key.label(), result.as_ref().map_or_else(Refusal::label, |_| "valid"));
        result
    }

    /// Whether content that is offered under this key could be checked at all, as far as can be told by the key and without asking
    /// anybody.
    pub(crate) fn can_verify(&self, key: &ContentKey) -> bool {
        match key.subject() {
            Subject::Part { block, part: BlockPart::Header } => self.headers.is_within_trust(&block),
            Subject::Part { block, .. } | Subject::About(block) => {
                self.headers.is_within_trust(&block) && !self.headers.is_known_missing(&block)
            }
            Subject::NearHead => false,
            // Only the value tells.
            Subject::Other => true,
        }
    }

    async fn check(&self, asker: Asker, key: ContentKey, form: Form, value: Bytes) -> Result<VerifiedContent, Refusal> {
        verify::length(key.max_value_len(form), &value)?;
        let needed = match key.evidence(form, &value)? {
            Evidence::Head => return Err(Refusal::NeedsHead),
            Evidence::Lists(id) => {
                let verifier = self.trust.verifier();
                let check = move || VerifiedContent::proved_header(&verifier, key, form, id, value);
                let (content, header) = self.workers.cpu(check).await??;
                self.headers.remember(header);
                return Ok(content);
            }
            Evidence::Header(id) => Some(id),
            Evidence::Key => None,
        };
        // What costs nobody else anything comes first: a search is started for nothing that cannot be right.
        if let Some(id) = needed.filter(|id| !self.headers.is_within_trust(id)) {
            return Err(Refusal::BeyondTrust(id));
        }
        let bytes = value.clone();
        let examined = self.workers.cpu(move || key.examine(form, bytes)).await??;
        let header = match needed {
            Some(id) => Some(self.header_for(asker, id, value.len()).await?),
            None => None,
        };
        Ok(VerifiedContent::examined(key, form, value, examined, header)?)
    }

    /// A proved header for a value of `bytes`, which waits until it is found.
    async fn header_for(&self, asker: Asker, id: BlockId, bytes: usize) -> Result<ProvedHeader, Refusal> {
        if let Some(header) = self.headers.cached(&id) {
            return Ok(header);
        }
        let _room = self.waiting.enter(asker, bytes)?;
        Ok(self.headers.get_for(asker, id).await?)
    }
}

#[cfg(test)]
mod tests {
    use content_types::{history, legacy_history};

    use super::*;
    use crate::testing::Fixture;

    #[tokio::test]
    async fn values_that_wait_for_headers_keep_none_waiting_that_can_be_checked() {
        let Fixture { chain, dir: _dir, node_id, pipeline, .. } = Fixture::new();
        let _waiting = pipeline.waiting.fill();
        let peer = Asker::Peer { id: node_id, subnet: None };
        let body = |number| (history::ContentKey::BlockBody { number }.into(), chain.block(number).unwrap().body);
        let (key, value) = body(5);
        let refusal = pipeline.validate_for(peer, key, Form::Offered, value.clone()).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Busy), "{refusal}");
        let header = legacy_history::ContentKey::HeaderByNumber(5).into();
        pipeline.validate_for(peer, header, Form::Offered, chain.block(5).unwrap().header_with_proof()).await.unwrap();
        pipeline.validate_for(peer, key, Form::Offered, value).await.unwrap();
    }
}
