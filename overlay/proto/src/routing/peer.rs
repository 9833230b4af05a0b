//! What a table knows about one peer.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use content_types::{Distance, NodeId};

use super::{Fit, Subnet, rules::Standing};
use crate::{
    record::{self, Enr, Version},
    wire::{ErrorCode, Extensions, PingPayload},
};

/// Requests in a row that a peer may leave unanswered before it counts as dead (β of the specification's routing table).
pub const MAX_FAILURES: u8 = 3;

/// Requests in a row that a peer which has never answered anything may leave unanswered.
pub const MAX_FAILURES_UNCONFIRMED: u8 = 2;

/// First pause before a peer that did not answer is asked again; it doubles with each failure.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// Longest such pause.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30 * 60);

/// A peer in a routing table.
#[derive(Debug, Clone)]
pub struct Peer {
    node_id: NodeId,
    enr: Arc<Enr>,
    version: Version,
    seen_at: Option<SocketAddr>,
    pub(super) radius: Option<Distance>,
    extensions: Extensions,
    client_info: Option<Box<str>>,
    pub(super) subnet: Option<Subnet>,
    pub(super) liveness: Liveness,
}

#[derive(Debug, Clone)]
pub(super) struct Liveness {
    /// When it last answered; `None`: never.
    pub(super) last_seen: Option<Instant>,
    /// Requests left unanswered since.
    pub(super) failures: u8,
    pub(super) next_ping: Instant,
    /// When a PING that is under way counts as forgotten by the driver.
    pub(super) ping_expires: Option<Instant>,
}

impl Peer {
    pub(super) fn new(enr: Arc<Enr>, fit: Fit, now: Instant) -> Self {
        Self {
            node_id: record::node_id(&enr),
            enr,
            version: fit.version,
            seen_at: fit.seen_at,
            radius: None,
            extensions: Extensions::STANDARD,
            client_info: None,
            subnet: fit.subnet,
            liveness: Liveness { last_seen: None, failures: 0, next_ping: now, ping_expires: None },
        }
    }

    /// Its place in the key space.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Its newest record known here.
    pub fn enr(&self) -> &Arc<Enr> {
        &self.enr
    }

    /// The highest version of the wire protocol that both sides speak.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it was seen last; `None`: it is only known by its record.
    pub fn seen_at(&self) -> Option<SocketAddr> {
        self.seen_at
    }

    /// The subnet that it counts for; `None`: for none.
    pub fn subnet(&self) -> Option<Subnet> {
        self.subnet
    }

    /// The subnet that it counts for, and how it stands there.
    pub(super) fn counted(&self) -> Option<(Subnet, Standing)> {
        self.subnet.map(|subnet| (subnet, Standing::of(self.seen_at)))
    }

    /// The radius it last announced. `None` is unknown, which is not maximal.
    pub fn radius(&self) -> Option<Distance> {
        self.radius
    }

    /// The ping extensions it listed; the standard ones as long as it listed none.
    pub fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// Its description of itself, where it gave one.
    pub fn client_info(&self) -> Option<&str> {
        self.client_info.as_deref()
    }

    /// When it last answered a request; `None`: never.
    pub fn last_seen(&self) -> Option<Instant> {
        self.liveness.last_seen
    }

    /// Requests it left unanswered since it was last seen.
    pub fn failures(&self) -> u8 {
        self.liveness.failures
    }

    /// Whether it ever answered.
    pub fn is_confirmed(&self) -> bool {
        self.liveness.last_seen.is_some()
    }

    /// Whether it left so many requests unanswered that it counts as gone.
    pub fn is_dead(&self) -> bool {
        self.liveness.failures >= if self.is_confirmed() { MAX_FAILURES } else { MAX_FAILURES_UNCONFIRMED }
    }

    /// Whether it has answered, and has left nothing unanswered since.
    pub fn is_live(&self) -> bool {
        self.is_confirmed() && self.liveness.failures == 0
    }

    /// Whether it may be named to others: it is live at the address that its record announces. At another one, others would
    /// not reach it, and whoever lives at the announced address would hear from them all.
    pub fn is_presentable(&self) -> bool {
        self.is_live() && self.seen_at.is_some_and(|address| record::announces(&self.enr, address))
    }

    pub(super) fn replace_record(&mut self, enr: Arc<Enr>, fit: Fit) {
        self.enr = enr;
        self.version = fit.version;
        self.seen_at = fit.seen_at;
        self.subnet = fit.subnet;
    }

    pub(super) fn answered(&mut self, now: Instant) {
        self.liveness.last_seen = Some(now);
        self.liveness.failures = 0;
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.liveness.failures = self.liveness.failures.saturating_add(1);
        self.liveness.ping_expires = None;
        let doublings = u32::from(self.liveness.failures - 1).min(16);
        self.liveness.next_ping = now + (RETRY_PAUSE * 2u32.pow(doublings)).min(MAX_RETRY_PAUSE);
    }

    pub(super) fn announced(&mut self, payload: &PingPayload) {
        match payload {
            PingPayload::ClientInfo(info) => {
                self.extensions = Extensions::from_capabilities(&info.capabilities);
                self.client_info = (!info.client_info.is_empty()).then(|| info.text().into());
            }
            // Its list of extensions is not to be relied upon any more: start again from type 0.
            PingPayload::Error(error) if error.error_code == ErrorCode::ExtensionNotSupported => {
                self.extensions = Extensions::STANDARD;
            }
            PingPayload::BasicRadius(_) | PingPayload::HistoryRadius(_) | PingPayload::Error(_) => {}
        }
        self.radius = payload.data_radius().or(self.radius);
    }
}
