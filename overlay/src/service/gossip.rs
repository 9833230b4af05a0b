//! Offers content to peers: neighbourhood gossip, poke after a lookup, and what a person puts in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_limits::{Holder, Quota, SUBNET_SHARE};
use cairn_proto::gossip::{batch_offers, gossip_targets, poke_targets};
use cairn_proto::record::{self, Enr};
use cairn_proto::routing::{K, Peer};
use cairn_proto::wire::{AcceptCode, MAX_REQUEST_BYTES};
use content_types::{ContentId, NodeId};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use super::client::Offered;
use super::inner::RunningOverlay;
use super::{PutReport, RequestError, TableEntry};
use crate::transfer::{Room, try_take_room};

/// Batches of offers under way. Gossip beyond that is dropped: the content is offered again by whoever finds it.
pub(super) const GOSSIP_TASKS: Quota = Quota::new(256).of_peer(16);

/// Bytes of values that wait to be gossiped or are on their way, each counted once: some 600 of usual size. What has no room
/// is dropped likewise.
pub(super) const GOSSIPED_BYTES: Quota = Quota::new(64 << 20);

/// Bytes on their way to the peers of one subnet, which keep what they take slowly from being done with. A value counts once
/// for each peer here, so there is no limit for all.
pub(super) const GOSSIPED_BYTES_TO_SUBNET: Quota = Quota::new(u64::MAX).of_subnet(GOSSIPED_BYTES.total / SUBNET_SHARE);

/// Pause between explorations for content that too few known peers are interested in.
const EXPLORE_INTERVAL: Duration = Duration::from_secs(30);

/// Content that is offered.
#[derive(Clone)]
pub(super) struct GossipItem {
    pub(super) key: Bytes,
    pub(super) id: ContentId,
    pub(super) value: Bytes,
    /// What it takes of the room for gossip.
    pub(super) _room: Arc<Room>,
}

impl GossipItem {
    /// Content that the caller has bounded.
    pub(super) fn new(key: Bytes, id: ContentId, value: Bytes) -> Self {
        Self { key, id, value, _room: Arc::default() }
    }
}

impl RunningOverlay {
    /// The peers to offer `id` to, without `from` and those that declined it a moment ago. Those that are barred are not in the
    /// table.
    fn targets(&self, id: &ContentId, from: Option<NodeId>) -> Vec<Arc<Enr>> {
        let now = Instant::now().into_std();
        let table = self.table.lock();
        let declined = self.declined.lock();
        let candidates = table
            .interested(id)
            .filter(|peer| Some(peer.node_id()) != from && declined.may_offer(&peer.node_id(), id, now));
        gossip_targets(candidates, id, self.config.gossip, &mut rand::rng())
    }

    /// An item to gossip, if there is room for it.
    pub(super) fn gossip_item(&self, key: Bytes, id: ContentId, value: Bytes) -> Option<GossipItem> {
        let room = try_take_room(&self.gossip_room, Holder::nobody(), value.len());
        if room.is_none() {
            tracing::debug!(%id, "too many bytes wait to be gossiped");
        }
        Some(GossipItem { key, id, value, _room: Arc::new(room?) })
    }

    /// Neighbourhood gossip of items that are new here. Returns at once.
    pub(super) fn gossip(self: &Arc<Self>, items: Vec<GossipItem>, from: Option<NodeId>) {
        let mut by_peer: HashMap<NodeId, (Arc<Enr>, Vec<GossipItem>)> = HashMap::new();
        for item in items {
            for enr in self.targets(&item.id, from) {
                by_peer.entry(record::node_id(&enr)).or_insert_with(|| (enr, Vec::new())).1.push(item.clone());
            }
        }
        for (enr, items) in by_peer.into_values() {
            self.offer_later(enr, items);
        }
    }

    /// Offers content that a lookup found to peers on its way that lack it although they want it.
    pub(super) fn poke(self: &Arc<Self>, id: ContentId, key: Bytes, value: Bytes, lacking: &[Arc<Enr>]) {
        let targets = {
            let now = Instant::now().into_std();
            let table = self.table.lock();
            poke_targets(lacking, &id, |peer| table.radius(peer, now))
        };
        if targets.is_empty() {
            return;
        }
        let Some(item) = self.gossip_item(key, id, value) else { return };
        for enr in targets {
            self.offer_later(enr, vec![item.clone()]);
        }
    }

    fn offer_later(self: &Arc<Self>, to: Arc<Enr>, items: Vec<GossipItem>) {
        let Some(contact) = self.transport.contact(&to) else { return };
        let Ok(working) = self.gossiping.try_take(contact.holder(), 1) else {
            tracing::debug!(peer = %to.node_id(), "too much gossip under way");
            return;
        };
        let bytes = items.iter().map(|item| item.value.len()).sum();
        let Some(room) = try_take_room(&self.gossip_shares, contact.holder(), bytes) else {
            tracing::debug!(peer = %to.node_id(), bytes, "too many bytes on their way to the subnet");
            return;
        };
        let inner = self.clone();
        self.spawn(async move {
            if let Err(error) = inner.offer(&to, items).await {
                tracing::debug!(peer = %to.node_id(), %error, "offer");
            }
            drop((working, room));
        });
    }

    /// Offers items to a peer, in as many messages as they need, and delivers what is accepted.
    pub(super) async fn offer(&self, to: &Arc<Enr>, items: Vec<GossipItem>) -> Result<Vec<AcceptCode>, RequestError> {
        let mut codes = Vec::with_capacity(items.len());
        for batch in batch_offers(items, |item| item.key.len(), MAX_REQUEST_BYTES) {
            let offered = self.propose(to, &batch).await?;
            codes.extend(&offered.codes);
            self.deliver(offered, &batch).await?;
        }
        Ok(codes)
    }

    async fn propose(&self, to: &Arc<Enr>, items: &[GossipItem]) -> Result<Offered, RequestError> {
        let offered = self.offer_keys(to, items.iter().map(|item| item.key.clone()).collect()).await?;
        let now = Instant::now().into_std();
        let mut declined = self.declined.lock();
        for (item, code) in items.iter().zip(&offered.codes) {
            declined.handle_answer(offered.contact.node_id(), item.id, *code, now);
        }
        drop(declined);
        Ok(offered)
    }

    /// Sends what was accepted of `items`.
    async fn deliver(&self, offered: Offered, items: &[GossipItem]) -> Result<(), RequestError> {
        let Offered { contact, connection_id, codes, slot } = offered;
        let wanted: Vec<_> =
            items.iter().zip(codes).filter(|(_, code)| code.is_accepted()).map(|(item, _)| item).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let values = wanted.iter().map(|item| item.value.clone()).collect();
        self.send_values(&contact, connection_id, slot, values).await?;
        let now = Instant::now().into_std();
        let mut declined = self.declined.lock();
        wanted.iter().for_each(|item| declined.handle_delivered(contact.node_id(), item.id, now));
        Ok(())
    }

    /// Offers a value to the peers that should hold it and waits for what they answer.
    pub(super) async fn put(self: &Arc<Self>, key: Bytes, value: Bytes) -> Result<PutReport, RequestError> {
        let id = self.handler.content_id(&key).ok_or(RequestError::Key)?;
        let mut targets = self.targets(&id, None);
        if targets.len() < self.config.gossip.nearest && self.may_explore() {
            self.explore(&id).await;
            targets = self.targets(&id, None);
        }
        let item = GossipItem::new(key, id, value);
        let mut answers: FuturesUnordered<_> = targets
            .iter()
            .map(|to| {
                let items = [item.clone()];
                async move { self.propose(to, &items).await }
            })
            .collect();
        let mut report = PutReport::default();
        while let Some(answer) = answers.next().await {
            let Ok(offered) = answer else { continue };
            report.peer_count += 1;
            report.codes.extend(&offered.codes);
            let (inner, item) = (self.clone(), item.clone());
            self.spawn(async move {
                if let Err(error) = inner.deliver(offered, &[item]).await {
                    tracing::debug!(%error, "put content not delivered");
                }
            });
        }
        Ok(report)
    }

    /// Whether the last exploration is long enough ago. In a small network there is nobody more to be found, and the table
    /// keeps itself fresh.
    fn may_explore(&self) -> bool {
        let now = Instant::now();
        let mut explored = self.explored.lock();
        let may = explored.is_none_or(|last| now.duration_since(last) >= EXPLORE_INTERVAL);
        if may {
            *explored = Some(now);
        }
        may
    }

    /// Gets to know the peers around some content: who they are, and how far their radius goes. The nearest ones that say it.
    pub(super) async fn explore(self: &Arc<Self>, id: &ContentId) -> Vec<TableEntry> {
        let found = self.lookup_nodes(NodeId::from(<[u8; 32]>::from(*id))).await;
        let entries: FuturesUnordered<_> = found.into_iter().take(K).map(|enr| self.explored(enr)).collect();
        entries.filter_map(std::future::ready).collect().await
    }

    /// A peer that was found with its radius, asked for it where the table does not have that.
    async fn explored(self: &Arc<Self>, enr: Arc<Enr>) -> Option<TableEntry> {
        let known = {
            let table = self.table.lock();
            table.get(&record::node_id(&enr)).filter(|peer| peer.is_live()).and_then(Peer::radius)
        };
        let radius = match known {
            Some(radius) => radius,
            None => {
                // A datagram may be lost.
                let answer = match self.ping(&enr, None).await {
                    Ok(answer) => answer,
                    Err(_) => self.ping(&enr, None).await.ok()?,
                };
                answer.payload.data_radius()?
            }
        };
        let address = self.transport.contact(&enr)?.address();
        Some(TableEntry { enr, radius: Some(radius), live: true, subnet: self.config.addresses.counted(address.ip()) })
    }
}
