//! What a content sub-network asks of this node, answered from store, archives and pipeline. The sub-networks differ in
//! their keys only, so one handler serves them all.

use bytes::Bytes;
use cairn_store::Placement;
use content_types::{ContentId, ContentKey, Distance, SubNetwork};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::Enr;
use overlay::service::{Admitted, ContentHandler, ContentSource, OfferVerdict, Reader, Rejection};

use crate::express::Express;
use crate::headers::Asker;
use crate::holdings::{Holdings, HoldingsError};
use crate::pipeline::Pipeline;
use crate::verified::VerifiedContent;

/// The [`ContentHandler`] of one sub-network.
pub(crate) struct ContentNetworkHandler {
    network: SubNetwork,
    holdings: Holdings,
    pipeline: Pipeline,
    express: Option<Express>,
}

impl ContentNetworkHandler {
    pub(crate) fn new(network: SubNetwork, holdings: Holdings, pipeline: Pipeline, express: Option<Express>) -> Self {
        Self { network, holdings, pipeline, express }
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
            Ok(placement) => Ok(Admitted { stored: placement == Placement::Stored }),
            Err(error) => {
                tracing::warn!(network = %self.network, %error, "content not stored");
                Err(Rejection::Storage(error.to_string()))
            }
        }
    }
}

impl ContentHandler for ContentNetworkHandler {
    fn content_id(&self, key: &[u8]) -> Option<ContentId> {
        self.decode(key).map(|key| key.content_id())
    }

    fn max_value_len(&self, key: &[u8]) -> usize {
        self.decode(key).map_or(0, |key| key.max_value_len())
    }

    fn radius(&self) -> Distance {
        self.holdings.radius(self.network)
    }

    fn express(&self, from: &Enr, key: &[u8]) -> Option<BoxFuture<'static, Option<Bytes>>> {
        self.express.as_ref()?.fetch(from, self.decode(key)?)
    }

    fn get(&self, key: Bytes, reader: Reader) -> BoxFuture<'_, Option<Bytes>> {
        async move {
            let key = self.decode(&key)?;
            let read = match reader {
                Reader::Own => self.holdings.get(&key).await,
                Reader::Peer(peer) => self.holdings.get_for_peer(peer, &key).await,
            };
            match read {
                Ok(value) => value,
                Err(error @ HoldingsError::Busy) => {
                    tracing::debug!(network = %self.network, %error, "content not read");
                    None
                }
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
            ContentSource::Offer(peer) => Asker::Peer(peer),
            ContentSource::Lookup(_) | ContentSource::Local => Asker::User,
        };
        self.validate_and_store(asker, key, value).boxed()
    }
}

#[cfg(test)]
mod tests {
    use content_types::history;

    use super::*;
    use crate::testing::Fixture;

    /// While peers read as many archives as they may, neither their requests nor what they offer causes more such
    /// reads; what a lookup finds is for a user, and is checked all the same.
    #[tokio::test]
    async fn what_peers_send_and_ask_for_stays_within_their_share() {
        let fixture = Fixture::with_archives();
        let Fixture { chain, dir: _dir, node_id, workers, holdings, pipeline, .. } = fixture;
        let handler = ContentNetworkHandler::new(SubNetwork::History, holdings, pipeline, None);

        let busy = workers.all_archive_reads_for_peers().await;
        let body = |number| {
            let key = ContentKey::from(history::ContentKey::BlockBody { number });
            (key.encode(), chain.block(number).unwrap().body)
        };
        let (key, value) = body(5);
        assert_eq!(handler.get(key.clone(), Reader::Peer(crate::holdings::reader(node_id))).await, None);
        assert_eq!(handler.get(key.clone(), Reader::Own).await.as_ref(), Some(&value));
        let offered = handler.admit(key.clone(), value.clone(), ContentSource::Offer(node_id)).await;
        let says_why = |why: &str| why.contains("too much is being read");
        assert!(matches!(&offered, Err(Rejection::Unverifiable(why)) if says_why(why)), "{offered:?}");
        let found = handler.admit(key.clone(), value.clone(), ContentSource::Lookup(node_id)).await;
        assert!(found.is_ok(), "{found:?}");
        drop(busy);
        assert_eq!(handler.get(key, Reader::Peer(crate::holdings::reader(node_id))).await, Some(value));
        let (key, value) = body(6);
        let offered = handler.admit(key, value, ContentSource::Offer(node_id)).await;
        assert!(offered.is_ok(), "{offered:?}");
    }
}
