//! The seam between the overlay and the base protocol: TALKREQ in, TALKRESP out.
//!
//! Everything above this module (uTP transfers, the sub-networks' services) knows peers by [`Contact`] and speaks through
//! [`Transport`]. [`Discovery`](crate::discovery::Discovery) implements it over discv5; [`SimulatedNetwork`] implements it
//! over channels, so that many peers run in one process on a paused clock.

mod dispatch;
mod simulated;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use cairn_limits::Holder;
use content_types::NodeId;
use enr::CombinedPublicKey;
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot};

pub use cairn_proto::record::{Enr, node_id};

pub(crate) use dispatch::Dispatcher;
pub use simulated::{SimulatedNetwork, SimulatedTransport};

/// Longest TALKREQ body of the `utp` protocol that fits a discv5 packet once a session exists, in bytes (measured). A
/// two-byte identifier leaves one more.
pub const MAX_TALK_BODY: usize = 1173;

/// The identifier of a sub-protocol inside TALKREQ.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProtocolId(Bytes);

impl ProtocolId {
    /// uTP packets (portal-network-specs, `utp/discv5-utp.md`).
    pub const UTP: Self = Self(Bytes::from_static(b"utp"));

    /// The identifier as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Longest body of a TALKREQ of this protocol that fits a packet: what the identifier has less than that of uTP is left for it.
    pub fn max_body(&self) -> usize {
        (MAX_TALK_BODY + Self::UTP.0.len()).saturating_sub(self.0.len())
    }
}

impl std::borrow::Borrow<[u8]> for ProtocolId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 2]> for ProtocolId {
    fn from(id: [u8; 2]) -> Self {
        Self(Bytes::copy_from_slice(&id))
    }
}

impl From<Bytes> for ProtocolId {
    fn from(id: Bytes) -> Self {
        Self(id)
    }
}

impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A peer and the address at which it is reached now. Cheap to clone.
///
/// The address is not always the one in the record: a peer behind NAT, or one that moved a moment ago, is reached where its
/// session came from.
#[derive(Clone)]
pub struct Contact(Arc<ContactParts>);

struct ContactParts {
    enr: Arc<Enr>,
    address: SocketAddr,
    // Decompressing it from the record for every packet would cost more than encrypting the packet.
    public_key: CombinedPublicKey,
}

impl Contact {
    /// The peer of `enr`, reached at `address`.
    pub fn new(enr: impl Into<Arc<Enr>>, address: SocketAddr) -> Self {
        let enr = enr.into();
        let public_key = enr.public_key();
        Self(Arc::new(ContactParts { enr, address, public_key }))
    }

    /// The newest record that is known of the peer.
    pub fn enr(&self) -> &Arc<Enr> {
        &self.0.enr
    }

    /// Where to send to.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The peer's node ID.
    pub fn node_id(&self) -> NodeId {
        node_id(&self.0.enr)
    }

    /// The identity under which discv5 keeps a session and uTP a stream.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { node_id: self.node_id(), address: self.0.address }
    }

    /// Whom limits hold for.
    pub fn holder(&self) -> Holder {
        self.endpoint().holder()
    }

    pub(crate) fn to_discv5(&self) -> discv5::NodeContact {
        discv5::NodeContact::new(self.0.public_key.clone(), self.0.address, Some(Enr::clone(&self.0.enr)))
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.endpoint(), f)
    }
}

/// Node ID and address: under this pair discv5 keeps a session and uTP its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The peer's node ID.
    pub node_id: NodeId,
    /// Where its packets come from.
    pub address: SocketAddr,
}

impl Endpoint {
    /// Whom limits hold for: the node ID, and the subnet of the address.
    pub fn holder(&self) -> Holder {
        Holder::peer(*self.node_id.as_bytes(), self.address.ip())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{}", self.node_id, self.address)
    }
}

/// Why a TALKREQ brought no TALKRESP.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TalkError {
    /// No answer within the base protocol's time-out and retries.
    #[error("no answer in time")]
    Timeout,
    /// The session was lost before the answer came.
    #[error("the session with the peer was lost")]
    SessionLost,
    /// The record has no UDP address of a family that this node listens on, and no session is known.
    #[error("the peer's record has no address that can be reached from here")]
    Unreachable,
    /// The body does not fit one packet.
    #[error("a request of {0} bytes does not fit a packet")]
    TooLong(usize),
    /// The transport was shut down.
    #[error("the transport is shut down")]
    Stopped,
    /// The base protocol refused or broke off the request.
    #[error("discv5: {0}")]
    Base(String),
}

/// A TALKREQ from a peer. Dropping it answers with an empty TALKRESP, which is what an unsupported or undecodable request
/// is to receive (portal-wire-protocol.md, "Protocol identifiers").
#[derive(Debug)]
pub struct TalkRequest {
    /// Who asks.
    pub node_id: NodeId,
    /// Record and address of the asking peer; `None` in the rare case that neither a session nor a table entry is known.
    pub contact: Option<Contact>,
    /// The request.
    pub body: Bytes,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Discv5(discv5::TalkRequest),
    Channel(ChannelReply),
}

/// Answers empty on drop, as discv5's own request does.
#[derive(Debug)]
struct ChannelReply(Option<oneshot::Sender<Bytes>>);

impl ChannelReply {
    fn send(&mut self, response: Bytes) {
        if let Some(sender) = self.0.take() {
            // The asking future may have been dropped meanwhile.
            let _ = sender.send(response);
        }
    }
}

impl Drop for ChannelReply {
    fn drop(&mut self) {
        self.send(Bytes::new());
    }
}

impl TalkRequest {
    pub(crate) fn from_discv5(request: discv5::TalkRequest, contact: Option<Contact>) -> Self {
        let node_id = NodeId::from(request.node_id().raw());
        let body = Bytes::copy_from_slice(request.body());
        Self { node_id, contact, body, reply: Reply::Discv5(request) }
    }

    fn from_channel(contact: Contact, body: Bytes, reply: oneshot::Sender<Bytes>) -> Self {
        Self {
            node_id: contact.node_id(),
            contact: Some(contact),
            body,
            reply: Reply::Channel(ChannelReply(Some(reply))),
        }
    }

    /// Who asks and from where; an unspecified address where that is not known.
    pub fn endpoint(&self) -> Endpoint {
        let unknown = || Endpoint { node_id: self.node_id, address: (Ipv4Addr::UNSPECIFIED, 0).into() };
        self.contact.as_ref().map_or_else(unknown, Contact::endpoint)
    }

    /// Sends the TALKRESP. A peer that is gone by now is no error: it would have asked again.
    pub fn respond(self, response: Bytes) {
        match self.reply {
            Reply::Discv5(request) => {
                if let Err(error) = request.respond(response.into()) {
                    tracing::debug!(?error, "TALKRESP not sent");
                }
            }
            Reply::Channel(mut reply) => reply.send(response),
        }
    }
}

/// What the base protocol learns about peers on its own.
#[derive(Debug, Clone)]
pub enum PeerEvent {
    /// A session was made: the peer is alive at this address.
    Session(Contact),
    /// A record was seen in somebody's answer. Nothing says that the peer is alive.
    Discovered(Enr),
}

/// A protocol identifier was registered twice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("protocol {0} is registered already")]
pub struct AlreadyRegistered(pub ProtocolId);

/// TALKREQ to peers and from peers.
pub trait Transport: Send + Sync + 'static {
    /// This node's own record.
    fn local_enr(&self) -> Enr;

    /// The contact to use for a record: its address, or the one that a newer session was seen from. `None` when there is
    /// neither.
    fn contact(&self, enr: &Enr) -> Option<Contact>;

    /// The newest contact known for a node ID.
    fn known(&self, node_id: &NodeId) -> Option<Contact>;

    /// Receives the requests of one protocol through a queue of `capacity`; what does not fit is answered empty.
    ///
    /// # Errors
    /// When the protocol is registered already.
    fn register(&self, protocol: ProtocolId, capacity: usize)
    -> Result<mpsc::Receiver<TalkRequest>, AlreadyRegistered>;

    /// Sends a TALKREQ and waits for its TALKRESP. Requests are put on the wire in the order in which the returned futures
    /// are polled first.
    fn talk(&self, to: &Contact, protocol: &ProtocolId, body: Bytes) -> BoxFuture<'static, Result<Bytes, TalkError>>;

    /// Like [`talk`](Self::talk) for packets of a protocol that repeats what is lost by itself (uTP): one attempt, the
    /// answer is of no interest. The future ends when the packet is no longer in flight.
    fn send(&self, to: &Contact, protocol: &ProtocolId, body: Bytes) -> BoxFuture<'static, ()>;

    /// Sessions and discovered records from now on. A receiver that lags misses the oldest.
    fn peer_events(&self) -> broadcast::Receiver<PeerEvent>;
}
