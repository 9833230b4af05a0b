//! Single items over QUIC, in one round trip, for lookups: from peers that there is a connection with. One that there is none
//! with yet is dialled for the next time, and asked by the Portal wire protocol meanwhile. Of a trie a peer gives what it has of the
//! whole way down, over discv5 too.

mod talk;
mod trie_ways;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_peer_book::{Offence, PeerBook};
use cairn_proto::record;
use cairn_proto::routing::AddressPolicy;
use cairn_swarm::quic::{PeerAddress, Session, Swarm};
use content_types::ContentKey;
use content_types::state::{Bare, Way};
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::transport::Contact;
use overlay::{Enr, Transport};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use self::talk::TalkWays;
pub(crate) use self::trie_ways::TrieWays;
use crate::quic_address::address_of;

/// How long an item may take before its peer is asked the other way.
const PATIENCE: Duration = Duration::from_secs(3);
/// Items under way at once. Each may be as long as its key allows.
const ITEMS: usize = 32;
/// Peers that are dialled at once.
const DIALS: usize = 4;

/// Whom an item is asked of, and how.
enum Source {
    Quic(Arc<Session>, Option<Way>),
    Talk(Contact, Way),
}

/// Fetches items. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Express {
    /// Without QUIC there is none.
    swarm: Option<Swarm>,
    talk: TalkWays,
    addresses: AddressPolicy,
    items: Arc<Semaphore>,
    dialling: Arc<Mutex<HashSet<PeerAddress>>>,
    ways: TrieWays,
}

impl Express {
    pub(crate) fn new(
        swarm: Option<Swarm>,
        transport: Arc<dyn Transport>,
        book: PeerBook,
        addresses: AddressPolicy,
    ) -> Self {
        Self {
            swarm,
            talk: TalkWays::new(transport, book),
            addresses,
            items: Arc::new(Semaphore::new(ITEMS)),
            dialling: Arc::default(),
            ways: TrieWays::default(),
        }
    }

    /// The item from this peer, if there is a connection with it now, or if it is a node of a way.
    pub(crate) fn fetch(&self, from: &Enr, key: ContentKey) -> Option<BoxFuture<'static, Option<Bytes>>> {
        let way = match &key {
            ContentKey::State(key) => self.ways.of(key),
            _ => None,
        };
        let source = match (self.session(from), way) {
            (Some(session), way) => Source::Quic(session, way),
            (None, Some(way)) => Source::Talk(self.talk.contact(from)?, way),
            (None, None) => return None,
        };
        let place = Arc::clone(&self.items).try_acquire_owned().ok()?;
        let express = self.clone();
        let fetch = async move {
            let fetched = async {
                match source {
                    Source::Quic(session, Some(way)) => express.fetch_way(&session, way).await,
                    Source::Quic(session, None) => session.item(&key).await.ok(),
                    Source::Talk(contact, way) => express.talk_way(&contact, way).await,
                }
            };
            let item = tokio::time::timeout(PATIENCE, fetched).await;
            drop(place);
            item.ok()?
        };
        Some(fetch.boxed())
    }

    /// The connection with a peer. If there is none, it is dialled for the next time.
    fn session(&self, peer: &Enr) -> Option<Arc<Session>> {
        let swarm = self.swarm.as_ref()?;
        let session = swarm.session(&record::node_id(peer));
        if session.is_none() {
            self.dial(swarm, peer);
        }
        session
    }

    /// Nodes of a way, of which the first is the item that was asked for. The others are kept for who noted the way.
    async fn fetch_way(&self, session: &Session, way: Way) -> Option<Bytes> {
        let nodes = session.way(&way).await.ok()?;
        let (first, is_right) = self.ways.handle_nodes(way, session.node_id(), nodes);
        if !is_right {
            tracing::warn!(peer = %session.node_id(), "a peer sent nodes that lie on no way down the trie");
            if let Some(swarm) = &self.swarm {
                swarm.charge(&session.who(), Offence::Lie);
            }
        }
        Some(Bare(first?).encode())
    }

    /// The same over discv5.
    async fn talk_way(&self, from: &Contact, way: Way) -> Option<Bytes> {
        let nodes = self.talk.fetch(from, way).await;
        Some(Bare(self.ways.keep(way, from.node_id(), nodes)?).encode())
    }

    /// The ways that reads of the state are on.
    pub(crate) fn ways(&self) -> &TrieWays {
        &self.ways
    }

    fn dial(&self, swarm: &Swarm, peer: &Enr) {
        let Some(address) = address_of(peer, self.addresses) else { return };
        {
            let mut dialling = self.dialling.lock();
            if dialling.len() >= DIALS || !dialling.insert(address) {
                return;
            }
        }
        let (swarm, dialling) = (swarm.clone(), Arc::clone(&self.dialling));
        tokio::spawn(async move {
            if let Err(error) = swarm.connect(address).await {
                tracing::debug!(address = %address.address, %error, "no QUIC connection");
            }
            dialling.lock().remove(&address);
        });
    }
}
