//! What a content sub-network asks of this node, answered by what keeps its content and by the pipeline. What is different about
//! a sub-network its keys and its [`Spec`](content_types::room::Spec) say, so one handler serves them all.

use std::sync::Arc;

use bytes::Bytes;
use cairn_limits::Holder;
use content_types::state::page::WayPage;
use content_types::{ContentId, ContentKey, Distance, Form, SubNetwork};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::Enr;
use overlay::service::{Admitted, Busy, ContentHandler, ContentSource, OfferVerdict, Reader, Rejection};

use super::keeper::{Interest, Keeper};
use crate::express::Express;
use crate::headers::Asker;
use crate::holdings::HoldingsError;
use crate::pipeline::Pipeline;
use crate::verified::VerifiedContent;

/// The [`ContentHandler`] of one sub-network.
pub(crate) struct ContentNetworkHandler {
    network: SubNetwork,
    keeper: Arc<dyn Keeper>,
    pipeline: Pipeline,
    express: Option<Express>,
}

impl ContentNetworkHandler {
    pub(crate) fn new(
        network: SubNetwork,
        keeper: Arc<dyn Keeper>,
        pipeline: Pipeline,
        express: Option<Express>,
    ) -> Self {
        Self { network, keeper, pipeline, express }
    }

    fn decode(&self, key: &[u8]) -> Option<ContentKey> {
        ContentKey::decode(self.network, key).ok()
    }

    fn verdict(&self, key: Option<&ContentKey>, interest: Interest) -> OfferVerdict {
        let Some(key) = key else { return OfferVerdict::NotVerifiable };
        match interest {
            Interest::Held => OfferVerdict::AlreadyStored,
            Interest::None => OfferVerdict::OutsideRadius,
            Interest::Wanted | Interest::Later if !self.pipeline.can_verify(key) => OfferVerdict::NotVerifiable,
            Interest::Wanted => OfferVerdict::Wanted,
            Interest::Later => OfferVerdict::NoRoom,
        }
    }

    async fn validate_and_store(&self, key: Bytes, value: Bytes, from: ContentSource) -> Result<Admitted, Rejection> {
        let asker = match from {
            ContentSource::Offer { peer, subnet } => Asker::Peer { id: peer, subnet },
            ContentSource::Lookup(_) | ContentSource::Local => Asker::User,
        };
        let key = ContentKey::decode(self.network, &key).map_err(|error| Rejection::Invalid(error.into()))?;
        let content = self.pipeline.validate_for(asker, key, from.form(), value).await?;
        self.store(content).await
    }

    async fn store(&self, content: VerifiedContent) -> Result<Admitted, Rejection> {
        match self.keeper.put(content).await {
            Ok(stored) => Ok(Admitted { stored }),
            Err(error) => {
                if matches!(error, HoldingsError::Store(_)) {
                    // The store itself says when that begins and when it ends.
                    tracing::debug!(network = %self.network, %error, "content not stored");
                } else {
                    tracing::warn!(network = %self.network, %error, "content not stored");
                }
                Err(Rejection::Storage(error.into()))
            }
        }
    }
}

impl ContentHandler for ContentNetworkHandler {
    fn content_id(&self, key: &[u8]) -> Option<ContentId> {
        self.decode(key).map(|key| key.content_id())
    }

    fn max_value_len(&self, key: &[u8], form: Form) -> usize {
        self.decode(key).map_or(0, |key| key.max_value_len(form))
    }

    fn radius(&self) -> Distance {
        self.keeper.radius(self.network)
    }

    fn express(&self, from: &Enr, key: &[u8]) -> Option<BoxFuture<'static, Option<Bytes>>> {
        self.express.as_ref()?.fetch(from, self.decode(key)?)
    }

    fn get(&self, key: Bytes, reader: Reader) -> BoxFuture<'_, Result<Option<Bytes>, Busy>> {
        async move {
            let Some(key) = self.decode(&key) else { return Ok(None) };
            match self.keeper.get(&key, reader).await {
                Ok(value) => Ok(value),
                Err(error @ HoldingsError::Busy) => {
                    tracing::debug!(network = %self.network, %error, "content not read");
                    Err(Busy)
                }
                Err(error) => {
                    tracing::warn!(network = %self.network, %error, "content not read");
                    Ok(None)
                }
            }
        }
        .boxed()
    }

    fn own_request(&self, from: Holder, request: &[u8]) -> Option<BoxFuture<'static, Bytes>> {
        let wanted = (self.network == SubNetwork::State).then(|| WayPage::decode(request)).flatten()?;
        let keeper = Arc::clone(&self.keeper);
        let answer = async move {
            let page = keeper.way_page(from, wanted).await;
            page.inspect_err(|error| tracing::debug!(%error, "a way was not read")).unwrap_or_default()
        };
        Some(answer.boxed())
    }

    fn offer(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Vec<OfferVerdict>> {
        async move {
            let keys: Vec<Option<ContentKey>> = keys.iter().map(|key| self.decode(key)).collect();
            let interests = self.keeper.interests(keys.clone()).await;
            keys.iter().zip(interests).map(|(key, interest)| self.verdict(key.as_ref(), interest)).collect()
        }
        .boxed()
    }

    fn admit(&self, key: Bytes, value: Bytes, from: ContentSource) -> BoxFuture<'_, Result<Admitted, Rejection>> {
        self.validate_and_store(key, value, from).boxed()
    }
}

#[cfg(test)]
mod tests {
    use cairn_store::Item;
    use cairn_synthetic::SyntheticConfig;
    use content_types::state::page::nodes_of;
    use content_types::state::{Bare, Part, StateRead};
    use content_types::{history, legacy_history};
    use overlay::service::Cause;
    use parking_lot::Mutex;

    use super::*;
    use crate::testing::Fixture;
    use crate::workers::PeerRead;

    /// While peers read as many archives as they may, neither their requests nor what they offer causes more such
    /// reads; what a lookup finds is for a user, and is checked all the same.
    #[tokio::test]
    async fn what_peers_send_and_ask_for_stays_within_their_share() {
        let fixture = Fixture::with_archives();
        let Fixture { chain, dir: _dir, node_id, workers, holdings, pipeline, .. } = fixture;
        let handler = ContentNetworkHandler::new(SubNetwork::History, Arc::new(holdings), pipeline, None);

        let busy = workers.all_reads_for_peers(PeerRead::Archive).await;
        let body = |number| {
            let key = ContentKey::from(history::ContentKey::BlockBody { number });
            (key.encode(), chain.block(number).unwrap().body)
        };
        let (key, value) = body(5);
        assert_eq!(handler.get(key.clone(), Reader::Peer(Holder::id(node_id))).await, Err(Busy));
        assert_eq!(handler.get(key.clone(), Reader::Own).await, Ok(Some(value.clone())));
        let offered =
            handler.admit(key.clone(), value.clone(), ContentSource::Offer { peer: node_id, subnet: None }).await;
        let says_why = |why: &Cause| why.to_string().contains("too much is being read");
        assert!(matches!(&offered, Err(Rejection::Unverifiable(why)) if says_why(why)), "{offered:?}");
        let found = handler.admit(key.clone(), value.clone(), ContentSource::Lookup(node_id)).await;
        assert!(found.is_ok(), "{found:?}");
        drop(busy);
        assert_eq!(handler.get(key, Reader::Peer(Holder::id(node_id))).await, Ok(Some(value)));
        let (key, value) = body(6);
        let offered = handler.admit(key, value, ContentSource::Offer { peer: node_id, subnet: None }).await;
        assert!(offered.is_ok(), "{offered:?}");
    }

    /// Nodes of a way come page by page, within what peers share; nobody else's request is this.
    #[tokio::test]
    async fn pages_of_a_way_are_served_within_the_peers_share() {
        let Fixture { chain, dir: _dir, node_id, workers, holdings, pipeline, .. } =
            Fixture::of(SyntheticConfig { accounts: 1_000, ..SyntheticConfig::small() });
        let state = chain.state(3);
        let address = state.accounts()[0].address;
        let way = StateRead::new(state.root(), &address, Part::Account).way().unwrap();
        let proof = state.account_proof(&address);
        assert!(proof.len() > 2);
        let mut on_the_way = way;
        for node in &proof {
            let (key, bare) = (on_the_way.next(), Bare(node.clone()));
            holdings.store().put_batch(vec![Item::new(&key.into(), bare.encode())]).unwrap();
            on_the_way.handle_node(node).unwrap();
        }
        let request = |page| WayPage { way, page }.encode();
        let handler = ContentNetworkHandler::new(SubNetwork::State, Arc::new(holdings), pipeline.clone(), None);
        let asker = Holder::id(node_id);
        let ask = async |request: &[u8]| handler.own_request(asker, request).unwrap().await;
        let mut pages = Vec::new();
        for page in 0.. {
            match nodes_of(ask(&request(page)).await).unwrap() {
                nodes if nodes.is_empty() => break,
                nodes => pages.push(nodes),
            }
        }
        assert!(pages.len() > 1);
        assert_eq!(pages.concat(), proof);
        assert!(handler.own_request(asker, b"anything").is_none());

        let busy = workers.all_reads_for_peers(PeerRead::Store).await;
        assert_eq!(ask(&request(0)).await, Bytes::new());
        drop(busy);
        assert!(!ask(&request(0)).await.is_empty());
        let elsewhere = ContentNetworkHandler::new(SubNetwork::History, Arc::<Newest>::default(), pipeline, None);
        assert!(elsewhere.own_request(asker, &request(0)).is_none());
    }

    /// Keeps the header with the highest number, whatever its distance, as a sub-network does of which everybody wants the newest.
    #[derive(Default)]
    struct Newest(Mutex<Option<VerifiedContent>>);

    impl Newest {
        fn number(content: &VerifiedContent) -> u64 {
            content.header().unwrap().number()
        }
    }

    impl Keeper for Newest {
        fn get<'a>(
            &'a self,
            key: &'a ContentKey,
            _reader: Reader,
        ) -> BoxFuture<'a, Result<Option<Bytes>, HoldingsError>> {
            let kept = self.0.lock().clone().filter(|kept| kept.key() == key);
            async move { Ok(kept.map(|kept| kept.value().clone())) }.boxed()
        }

        fn interests(&self, keys: Vec<Option<ContentKey>>) -> BoxFuture<'_, Vec<Interest>> {
            let newest = self.0.lock().as_ref().map(Self::number);
            let interest = move |key: Option<ContentKey>| match key {
                Some(ContentKey::LegacyHistory(legacy_history::ContentKey::HeaderByNumber(number))) => match newest {
                    Some(newest) if number == newest => Interest::Held,
                    Some(newest) if number < newest => Interest::None,
                    _ => Interest::Wanted,
                },
                _ => Interest::None,
            };
            async move { keys.into_iter().map(interest).collect() }.boxed()
        }

        fn put(&self, content: VerifiedContent) -> BoxFuture<'_, Result<bool, HoldingsError>> {
            let mut kept = self.0.lock();
            let is_newer = kept.as_ref().is_none_or(|kept| Self::number(kept) < Self::number(&content));
            if is_newer {
                *kept = Some(content);
            }
            async move { Ok(is_newer) }.boxed()
        }

        fn radius(&self, _network: SubNetwork) -> Distance {
            Distance::MAX
        }
    }

    #[tokio::test]
    async fn a_keeper_may_replace_what_is_older_by_what_is_newer_and_know_no_distance() {
        let Fixture { chain, dir: _dir, node_id, pipeline, .. } = Fixture::new();
        let keeper = Arc::<Newest>::default();
        let handler = ContentNetworkHandler::new(SubNetwork::LegacyHistory, keeper, pipeline, None);
        let header = |number| {
            let key = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(number));
            (key.encode(), chain.block(number).unwrap().header_with_proof())
        };
        let keys = || [4, 5, 6].map(|number| header(number).0).to_vec();
        let verdicts = async || handler.offer(keys()).await;
        assert_eq!(verdicts().await, [OfferVerdict::Wanted; 3]);
        for (number, stored) in [(5, true), (4, false), (6, true)] {
            let (key, value) = header(number);
            let admitted = handler.admit(key, value, ContentSource::Offer { peer: node_id, subnet: None }).await;
            assert_eq!(admitted.unwrap(), Admitted { stored }, "{number}");
        }
        assert_eq!(
            verdicts().await,
            [OfferVerdict::OutsideRadius, OfferVerdict::OutsideRadius, OfferVerdict::AlreadyStored]
        );
        let (key, value) = header(6);
        assert_eq!(handler.get(key, Reader::Own).await, Ok(Some(value)));
        assert_eq!(handler.get(header(5).0, Reader::Own).await, Ok(None));
        assert_eq!(handler.radius(), Distance::MAX);
    }
}
