//! A network of channels for simulations: the same seam as discv5, without sockets and cryptography.
//!
//! Delays are tokio timers, so that a runtime with a paused clock runs hours of network time in moments; losses come from a
//! seeded generator.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use content_types::NodeId;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    AlreadyRegistered, Contact, Dispatcher, Endpoint, Enr, PeerEvent, ProtocolId, TalkError, TalkRequest, Transport,
};

/// How long a request waits for its answer: discv5's time-out of 1 s, with one repetition.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Peer events kept for a receiver that lags.
const PEER_EVENTS: usize = 256;

/// Peers joined by channels, with one delay and one loss rate for all.
pub struct SimulatedNetwork {
    peers: RwLock<HashMap<Endpoint, Weak<SimulatedPeer>>>,
    one_way_delay: Duration,
    loss: f64,
    random: Mutex<StdRng>,
}

impl SimulatedNetwork {
    /// A network whose messages take `one_way_delay` and are lost with probability `loss` (0 to 1), the same ones for the
    /// same `seed`.
    pub fn new(one_way_delay: Duration, loss: f64, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            peers: RwLock::default(),
            one_way_delay,
            loss,
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        })
    }

    /// Adds a peer under the IPv4 address of its record. It leaves the network when the transport is dropped.
    ///
    /// # Errors
    /// [`TalkError::Unreachable`] when the record has no IPv4 address.
    pub fn join(self: &Arc<Self>, enr: Enr) -> Result<SimulatedTransport, TalkError> {
        let address = enr.udp4_socket().map(SocketAddr::V4).ok_or(TalkError::Unreachable)?;
        let peer = Arc::new(SimulatedPeer {
            contact: Contact::new(enr, address),
            dispatcher: Dispatcher::default(),
            known: RwLock::default(),
            events: broadcast::channel(PEER_EVENTS).0,
        });
        self.peers.write().insert(peer.contact.endpoint(), Arc::downgrade(&peer));
        Ok(SimulatedTransport { network: self.clone(), peer })
    }

    fn loses(&self) -> bool {
        self.loss > 0.0 && self.random.lock().random_bool(self.loss)
    }

    fn find(&self, endpoint: &Endpoint) -> Option<Arc<SimulatedPeer>> {
        self.peers.read().get(endpoint).and_then(Weak::upgrade)
    }

    async fn talk(
        self: Arc<Self>,
        from: Contact,
        to: Endpoint,
        protocol: ProtocolId,
        body: Bytes,
    ) -> Result<Bytes, TalkError> {
        if body.len() > protocol.max_body() {
            return Err(TalkError::TooLong(body.len()));
        }
        tokio::time::sleep(self.one_way_delay).await;
        let Some(peer) = self.find(&to).filter(|_| !self.loses()) else {
            tokio::time::sleep(REQUEST_TIMEOUT).await;
            return Err(TalkError::Timeout);
        };
        peer.meet(from.clone());
        let (reply, answer) = oneshot::channel();
        // What the dispatcher cannot deliver it drops, and a dropped request is answered empty.
        let _ = peer.dispatcher.deliver(protocol.as_bytes(), TalkRequest::from_channel(from, body, reply));
        drop(peer);
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, answer).await;
        if self.loses() {
            tokio::time::sleep(REQUEST_TIMEOUT).await;
            return Err(TalkError::Timeout);
        }
        tokio::time::sleep(self.one_way_delay).await;
        answer.map_err(|_| TalkError::Timeout)?.map_err(|_| TalkError::Timeout)
    }
}

/// A peer as the network knows it.
struct SimulatedPeer {
    contact: Contact,
    dispatcher: Dispatcher,
    known: RwLock<HashMap<NodeId, Contact>>,
    events: broadcast::Sender<PeerEvent>,
}

impl SimulatedPeer {
    fn meet(&self, contact: Contact) {
        let before = self.known.write().insert(contact.node_id(), contact.clone());
        if before.is_none_or(|before| before.address() != contact.address()) {
            // Nobody listens: nobody misses it.
            let _ = self.events.send(PeerEvent::Session(contact));
        }
    }
}

/// One peer's place in a [`SimulatedNetwork`].
pub struct SimulatedTransport {
    network: Arc<SimulatedNetwork>,
    peer: Arc<SimulatedPeer>,
}

impl Drop for SimulatedTransport {
    fn drop(&mut self) {
        self.peer.dispatcher.close();
        self.network.peers.write().remove(&self.peer.contact.endpoint());
    }
}

impl Transport for SimulatedTransport {
    fn local_enr(&self) -> Enr {
        Enr::clone(self.peer.contact.enr())
    }

    fn contact(&self, enr: &Enr) -> Option<Contact> {
        enr.udp4_socket().map(|address| Contact::new(enr.clone(), address.into()))
    }

    fn known(&self, node_id: &NodeId) -> Option<Contact> {
        self.peer.known.read().get(node_id).cloned()
    }

    fn register(
        &self,
        protocol: ProtocolId,
        capacity: usize,
    ) -> Result<mpsc::Receiver<TalkRequest>, AlreadyRegistered> {
        self.peer.dispatcher.register(protocol, capacity)
    }

    fn talk(&self, to: &Contact, protocol: &ProtocolId, body: Bytes) -> BoxFuture<'static, Result<Bytes, TalkError>> {
        let network = self.network.clone();
        network.talk(self.peer.contact.clone(), to.endpoint(), protocol.clone(), body).boxed()
    }

    fn send(&self, to: &Contact, protocol: &ProtocolId, body: Bytes) -> BoxFuture<'static, ()> {
        self.talk(to, protocol, body).map(drop).boxed()
    }

    fn peer_events(&self) -> broadcast::Receiver<PeerEvent> {
        self.peer.events.subscribe()
    }
}
