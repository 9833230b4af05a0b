//! Single items over QUIC, in one round trip, for lookups: from peers that there is a connection with. One that there is none
//! with yet is dialled for the next time, and asked by the Portal wire protocol meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::record;
use cairn_proto::routing::AddressPolicy;
use cairn_swarm::quic::{PeerAddress, Swarm};
use content_types::ContentKey;
use futures::FutureExt;
use futures::future::BoxFuture;
use overlay::Enr;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

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
}

impl Express {
    pub(crate) fn new(swarm: Swarm, addresses: AddressPolicy) -> Self {
        Self { swarm, addresses, items: Arc::new(Semaphore::new(ITEMS)), dialling: Arc::default() }
    }

    /// The item from this peer, if there is a connection with it now.
    pub(crate) fn fetch(&self, from: &Enr, key: ContentKey) -> Option<BoxFuture<'static, Option<Bytes>>> {
        let Some(session) = self.swarm.session(&record::node_id(from)) else {
            self.dial(from);
            return None;
        };
        let place = Arc::clone(&self.items).try_acquire_owned().ok()?;
        let fetch = async move {
            let item = tokio::time::timeout(PATIENCE, session.item(&key)).await;
            drop(place);
            item.ok()?.ok()
        };
        Some(fetch.boxed())
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
