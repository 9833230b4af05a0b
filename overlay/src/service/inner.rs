//! What all parts of a sub-network's service share.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use cairn_limits::Limiter;
use cairn_peer_book::{Offence, Who};
use cairn_proto::gossip::{Credit, DeclinedOffers, InFlight};
use cairn_proto::lookup::LookupConfig;
use cairn_proto::record::{self, Enr};
use cairn_proto::routing::{Acquaintance, Inserted, Peer, PeerRules, RoutingTable};
use content_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::refetch::Refetches;
use super::{ContentHandler, Observer, SubNetworkConfig};
use crate::transfer::Transfers;
use crate::transport::{Contact, Transport};

/// The service of one sub-network, as its tasks and the clones of an `Overlay` share it.
pub(super) struct RunningOverlay {
    pub(super) config: SubNetworkConfig,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) transfers: Transfers,
    pub(super) handler: Arc<dyn ContentHandler>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) local_id: NodeId,
    pub(super) table: Mutex<RoutingTable>,
    /// Something happened that may give the table's upkeep work.
    pub(super) table_changed: Notify,
    /// Keys that are being received, and from whom.
    pub(super) in_flight: Mutex<InFlight>,
    /// Who keeps its offers.
    pub(super) credit: Mutex<Credit>,
    /// Requests that are worked on.
    pub(super) busy: Limiter,
    pub(super) refetches: Mutex<Refetches>,
    /// Who declined what a moment ago.
    pub(super) declined: Mutex<DeclinedOffers>,
    /// Batches of offers that are under way.
    pub(super) gossiping: Limiter,
    /// Room for the values that are gossiped, and for what each subnet is sent of them.
    pub(super) gossip_room: Limiter,
    pub(super) gossip_shares: Limiter,
    /// Keys that are asked of one peer because another did not deliver.
    pub(super) falling_back: Limiter,
    /// When peers were last sought for content that too few known ones are interested in.
    pub(super) explored: Mutex<Option<Instant>>,
    pub(super) stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl RunningOverlay {
    pub(super) fn rules(&self) -> PeerRules {
        PeerRules { chain_id: self.config.chain_id, addresses: self.config.addresses }
    }

    pub(super) fn lookup_config(&self) -> LookupConfig {
        LookupConfig::new(self.rules())
    }

    /// Runs a task until it ends or the service is shut down.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            stopping.run_until_cancelled(task).await;
        });
    }

    /// A record came up. Its node is taken into the table if it is fit and there is room, and pinged if it never answered.
    pub(super) fn mention(&self, enr: &Arc<Enr>) {
        // By the other protocol only, say: it would take a place for nothing.
        if self.transport.contact(enr).is_none() {
            return;
        }
        self.meet(enr, None, Acquaintance::Mentioned);
    }

    /// A peer that there is a session with came up: its record is taken in for the address that it was seen at.
    pub(super) fn mention_contact(&self, contact: &Contact) {
        self.meet(contact.enr(), Some(contact.address()), Acquaintance::Mentioned);
    }

    /// A peer answered a request. One that is not fit for the table may still answer.
    pub(super) fn answered(&self, contact: &Contact) {
        self.meet(contact.enr(), Some(contact.address()), Acquaintance::Answered);
    }

    /// A request to a peer failed.
    pub(super) fn failed_to_answer(&self, peer: &NodeId) {
        self.table.lock().handle_failure(peer, Instant::now().into_std());
        // It is pinged sooner, or is gone.
        self.table_changed.notify_one();
    }

    fn meet(&self, enr: &Arc<Enr>, seen_at: Option<SocketAddr>, how: Acquaintance) {
        let (id, now) = (record::node_id(enr), Instant::now().into_std());
        let mut table = self.table.lock();
        // Under the table's lock: whoever is barred now is taken out of the table after this.
        let ip = seen_at
            .map(|address| address.ip())
            .or_else(|| enr.ip4().map(Into::into))
            .or_else(|| enr.ip6().map(Into::into));
        if self.config.book.barred_for(now, &id, ip).is_some() {
            return;
        }
        let is_live = |table: &RoutingTable| table.get(&id).is_some_and(Peer::is_live);
        let was_live = is_live(&table);
        let inserted = match seen_at {
            Some(address) => table.insert_seen(enr.clone(), address, how, now),
            None => table.insert(enr.clone(), how, now),
        };
        // Peers that are known come up all the time, and upkeep looks at the whole table.
        let is_news = matches!(inserted, Ok(Inserted::Added | Inserted::Updated | Inserted::Waiting));
        let changed = is_news || is_live(&table) != was_live;
        drop(table);
        if changed {
            self.table_changed.notify_one();
        }
    }

    /// A peer sent content that is not what its key stands for: it is dropped, and not spoken to for a while.
    pub(super) fn punish(&self, peer: NodeId) {
        // One that is gone by now counts for no subnet.
        let ip = self.address_of(&peer).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        self.config.book.charge(Instant::now().into_std(), &Who::new(peer, ip), Offence::Lie);
        self.table.lock().remove(&peer);
        self.table_changed.notify_one();
        self.observer.peer_lied(peer);
    }

    pub(super) fn is_barred(&self, peer: &NodeId) -> bool {
        self.config.book.barred_for(Instant::now().into_std(), peer, self.address_of(peer)).is_some()
    }

    /// Where a peer is that there is a session with.
    fn address_of(&self, peer: &NodeId) -> Option<IpAddr> {
        self.transport.known(peer).map(|contact| contact.address().ip())
    }
}
