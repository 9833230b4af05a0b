//! Single items over QUIC, in one round trip, for lookups: from peers that there is a connection with. One that there is none
//! with yet is dialled for the next time, and asked by the Portal wire protocol meanwhile. Of a trie a peer gives what it has of the
//! whole way down.

mod trie_ways;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_peer_book::Offence;
use cairn_proto::record;
use cairn_proto::routing::AddressPolicy;
use cairn_swarm::quic::{PeerAddress, Session, Swarm};
use content_types::ContentKey;
use content_types::state::{Bare, Way};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::Enr;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

pub(crate) use self::trie_ways::TrieWays;
use crate::quic_address::address_of;

/// How long an item may take before its peer is asked the other way.
const PATIENCE: Duration = Duration::from_secs(3);
/// Items under way at once. Each may be as long as its key allows.
const ITEMS: usize = 32;
/// Peers that are dialled at once.
const DIALS: usize = 4;

/// Fetches items. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Express {
    swarm: Swarm,
    addresses: AddressPolicy,
    items: Arc<Semaphore>,
    dialling: Arc<Mutex<HashSet<PeerAddress>>>,
    ways: TrieWays,
}

impl Express {
    pub(crate) fn new(swarm: Swarm, addresses: AddressPolicy) -> Self {
        Self {
            swarm,
            addresses,
            items: Arc::new(Semaphore::new(ITEMS)),
            dialling: Arc::default(),
            ways: TrieWays::default(),
        }
    }

    /// The item from this peer, if there is a connection with it now.
    pub(crate) fn fetch(&self, from: &Enr, key: ContentKey) -> Option<BoxFuture<'static, Option<Bytes>>> {
        let Some(session) = self.swarm.session(&record::node_id(from)) else {
            self.dial(from);
            return None;
        };
        let place = Arc::clone(&self.items).try_acquire_owned().ok()?;
        let way = match &key {
            ContentKey::State(key) => self.ways.of(key),
            _ => None,
        };
        let express = self.clone();
        let fetch = async move {
            let fetched = async {
                match way {
                    Some(way) => express.fetch_way(&session, way).await,
                    None => session.item(&key).await.ok(),
                }
            };
            let item = tokio::time::timeout(PATIENCE, fetched).await;
            drop(place);
            item.ok()?
        };
        Some(fetch.boxed())
    }

    /// Nodes of a way, of which the first is the item that was asked for. The others are kept for who noted the way.
    async fn fetch_way(&self, session: &Session, way: Way) -> Option<Bytes> {
        let nodes = session.way(&way).await.ok()?;
        let (first, is_right) = self.ways.handle_nodes(way, session.node_id(), nodes);
        if !is_right {
            tracing::warn!(peer = %session.node_id(), "a peer sent nodes that lie on no way down the trie");
            self.swarm.charge(&session.who(), Offence::Lie);
        }
        Some(Bare(first?).encode())
    }

    /// The ways that reads of the state are on.
    pub(crate) fn ways(&self) -> &TrieWays {
        &self.ways
    }

    fn dial(&self, peer: &Enr) {
        let Some(address) = address_of(peer, self.addresses) else { return };
        {
            let mut dialling = self.dialling.lock();
            if dialling.len() >= DIALS || !dialling.insert(address) {
                return;
            }
        }
        let (swarm, dialling) = (self.swarm.clone(), Arc::clone(&self.dialling));
        tokio::spawn(async move {
            if let Err(error) = swarm.connect(address).await {
                tracing::debug!(address = %address.address, %error, "no QUIC connection");
            }
            dialling.lock().remove(&address);
        });
    }
}
