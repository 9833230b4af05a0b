//! What an endpoint's sessions share, and whom they charge.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cairn_limits::{Holder, Limiter, Meter};
use cairn_peer_book::{Offence, Who};
use content_types::NodeId;
use parking_lot::Mutex;
use quinn::{Endpoint, TransportConfig};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Config, Identity, Library,
    dialling::Dialling,
    session::{Close, Session, SessionError},
    uploads::Uploads,
};

/// An endpoint, as its sessions see it.
pub(super) struct SwarmEndpoint {
    pub(super) config: Config,
    /// Of all connections.
    pub(super) transport: Arc<TransportConfig>,
    pub(super) library: Arc<dyn Library>,
    /// Bytes of answers in memory.
    pub(super) room: Limiter,
    /// What control messages cost, by sender.
    pub(super) control: Mutex<Meter>,
    /// What control messages cost, by node ID.
    pub(super) control_of_peer: Mutex<Meter>,
    /// Handshakes of proved addresses.
    pub(super) dials: Mutex<Meter>,
    /// Single items to peers that are not served.
    pub(super) items_to_choked: Mutex<Meter>,
    pub(super) uploads: Uploads,
    /// Bars that were put on peers since the start.
    pub(super) bars: AtomicU64,
    /// Downloads under way.
    pub(super) fetches: watch::Sender<usize>,
    /// The own record as bytes, told in the hello.
    pub(super) record: watch::Receiver<Vec<u8>>,
    /// Records of others that are told to peers, RLP.
    pub(super) told_peers: watch::Sender<Arc<Vec<Vec<u8>>>>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) identity: Identity,
    pub(super) endpoint: Endpoint,
    pub(super) sessions: Mutex<BTreeMap<NodeId, Arc<Session>>>,
    pub(super) dialling: Dialling,
    /// Counts everything that changes about sessions.
    pub(super) changes: watch::Sender<u64>,
    /// Places for sessions, and for handshakes of those who dialled us.
    pub(super) places: Limiter,
    pub(super) handshakes: Limiter,
    pub(super) next_session: AtomicU64,
}

impl SwarmEndpoint {
    /// Something about sessions has changed.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn charge(&self, who: &Who, offence: Offence) {
        let Some(bar) = self.config.book.charge(Instant::now(), who, offence) else { return };
        self.bars.fetch_add(1, Ordering::Relaxed);
        tracing::info!(peer = %who.node_id, ?offence, seconds = bar.as_secs(), "a peer is barred");
        if let Some(session) = self.sessions.lock().get(&who.node_id).cloned() {
            session.close(Close::Barred);
        }
    }

    /// Charges the sender of control messages, and its subnet.
    ///
    /// # Errors
    ///
    /// [`SessionError::Flood`] if it was itself that sent too much; [`SessionError::Crowded`] if it was its subnet, which is no
    /// fault of its own.
    pub(super) fn charge_control(&self, sender: &Holder, node_id: &NodeId, cost: u64) -> Result<(), SessionError> {
        let now = Instant::now();
        let own = Holder::id(*node_id.as_bytes());
        if !self.control_of_peer.lock().charge(now, &own, cost) {
            return Err(SessionError::Flood);
        }
        if self.control.lock().charge(now, sender, cost) { Ok(()) } else { Err(SessionError::Crowded) }
    }
}
