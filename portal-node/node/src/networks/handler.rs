//! What a content sub-network asks of this node, answered from store, archives and pipeline. The sub-networks differ in
//! their keys only, so one handler serves them all.

use bytes::Bytes;
use content_types::{ContentId, ContentKey, Distance, SubNetwork};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::service::{Admitted, ContentHandler, ContentSource, OfferVerdict, Rejection};

use crate::headers::Asker;
use crate::holdings::Holdings;
use crate::pipeline::{Pipeline, VerifiedContent};

/// The [`ContentHandler`] of one sub-network.
pub(crate) struct ContentNetwork {
    network: SubNetwork,
    holdings: Holdings,
    pipeline: Pipeline,
}

impl ContentNetwork {
    pub(crate) fn new(network: SubNetwork, holdings: Holdings, pipeline: Pipeline) -> Self {
        Self { network, holdings, pipeline }
    }

    fn decode(&self, key: &[u8]) -> Option<ContentKey> {
        ContentKey::decode(self.network, key).ok()
    }

    fn verdict(&self, key: Option<&ContentKey>, is_held: bool) -> OfferVerdict {
        let Some(key) = key else { return OfferVerdict::NotVerifiable };
        if is_held {
            OfferVerdict::AlreadyStored
        } else if !self.holdings.is_within_radius(self.network, &key.content_id()) {
            OfferVerdict::OutsideRadius
        } else if !self.pipeline.can_verify(key) {
            OfferVerdict::NotVerifiable
        } else {
            OfferVerdict::Wanted
        }
    }

    async fn validate_and_store(&self, asker: Asker, key: Bytes, value: Bytes) -> Result<Admitted, Rejection> {
        let key = ContentKey::decode(self.network, &key).map_err(|error| Rejection::Invalid(error.to_string()))?;
        let content = self.pipeline.validate_for(asker, key, value).await?;
        self.store(content).await
    }

    async fn store(&self, content: VerifiedContent) -> Result<Admitted, Rejection> {
        match self.holdings.put(content).await {
            Ok(stored) => Ok(Admitted { stored }),
            Err(error) => {
                tracing::warn!(network = %self.network, %error, "content not stored");
                Err(Rejection::Storage(error.to_string()))
            }
        }
    }
}

impl ContentHandler for ContentNetwork {
    fn content_id(&self, key: &[u8]) -> Option<ContentId> {
        self.decode(key).map(|key| key.content_id())
    }

    fn max_value_len(&self, key: &[u8]) -> usize {
        self.decode(key).map_or(0, |key| key.max_value_len())
    }

    fn radius(&self) -> Distance {
        self.holdings.radius(self.network)
    }

    fn get(&self, key: Bytes) -> BoxFuture<'_, Option<Bytes>> {
        async move {
            let key = self.decode(&key)?;
            match self.holdings.get_for_peer(&key).await {
                Ok(value) => value,
                Err(error) => {
                    tracing::warn!(network = %self.network, %error, "content not read");
                    None
                }
            }
        }
        .boxed()
    }

    fn offer(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Vec<OfferVerdict>> {
        async move {
            let keys: Vec<Option<ContentKey>> = keys.iter().map(|key| self.decode(key)).collect();
            let held = self.holdings.which_are_held(keys.clone()).await.unwrap_or_default();
            let is_held = held.into_iter().chain(std::iter::repeat(false));
            keys.iter().zip(is_held).map(|(key, is_held)| self.verdict(key.as_ref(), is_held)).collect()
        }
        .boxed()
    }

    fn admit(&self, key: Bytes, value: Bytes, from: ContentSource) -> BoxFuture<'_, Result<Admitted, Rejection>> {
        let asker = match from {
            ContentSource::Offer(_) => Asker::Peer,
            ContentSource::Lookup(_) | ContentSource::Local => Asker::User,
        };
        self.validate_and_store(asker, key, value).boxed()
    }
}
