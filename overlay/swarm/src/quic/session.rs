//! One connection: what is known of the peer at its other end, and single items out of it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_limits::Holder;
use cairn_peer_book::Who;
use content_types::{
    ContentKey, Form, NodeId,
    limits::{MAX_TRIE_NODE_LENGTH, MAX_TRIE_PROOF_NODES},
    state::Way,
};
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, ReadError, ReadExactError, VarInt, WriteError};

use super::{Config, Held, round_trips::RoundTrips};
use crate::{
    geometry::{Component, RunSet},
    wire::{
        AnswerHead, AnswerStatus, Control, ControlError, FrameError, FrameReader, Have, Hello, ItemKey, Predict,
        SwarmRequest,
    },
};

/// How long one item may take.
const ITEM_TIME: Duration = Duration::from_secs(20);

/// Why a connection is closed, as its code on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    Stopping,
    Protocol,
    OtherChain,
    Identity,
    Full,
    Duplicate,
    Barred,
}

impl Close {
    pub(super) fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Stopping => 0,
            Self::Protocol => 1,
            Self::OtherChain => 2,
            Self::Identity => 3,
            Self::Full => 4,
            Self::Duplicate => 5,
            Self::Barred => 6,
        })
    }
}

/// Why a connection does not become a session, or ends.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(#[from] ConnectionError),
    /// A control stream could not be read.
    #[error("the control stream failed: {0}")]
    Read(#[from] ReadError),
    /// A control stream could not be written.
    #[error("the control stream failed: {0}")]
    Write(#[from] WriteError),
    /// A control stream is not made of frames.
    #[error("the control stream: {0}")]
    Frame(#[from] FrameError),
    /// A control message.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The first message is no hello, or there is a second one.
    #[error("a hello where none belongs, or none where one does")]
    Hello,
    /// The control stream has ended.
    #[error("the control stream ended")]
    Ended,
    /// The other side is on another chain.
    #[error("the peer is on chain {0}, or one with another genesis")]
    OtherChain(u64),
    /// More control messages than anybody has use for.
    #[error("too many control messages")]
    Flood,
    /// The session moved next to nothing and another wanted its place, or the peers of its subnet send too many control
    /// messages between them.
    #[error("there is no room for this connection beside the others")]
    Crowded,
}

impl SessionError {
    pub(super) fn close(&self) -> Close {
        match self {
            Self::OtherChain(_) => Close::OtherChain,
            Self::Crowded => Close::Full,
            _ => Close::Protocol,
        }
    }
}

/// Why an item was not had.
#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    /// The peer refused.
    #[error("the peer answers {0:?}")]
    Refused(AnswerStatus),
    /// What came is no answer.
    #[error("the peer's answer is malformed")]
    Malformed,
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Stream(String),
    /// It took too long.
    #[error("the answer took too long")]
    TimedOut,
}

/// What is known of a session's peer.
#[derive(Debug, Clone, Default)]
pub struct SessionView {
    /// What it says it holds.
    pub held: Arc<Held>,
    /// Whether it answers requests for ranges.
    pub serves_us: bool,
    /// Grows with every change of this view.
    pub revision: u64,
    /// Records of peers that it told of, RLP; nothing in them is checked.
    pub peers: Arc<Vec<Vec<u8>>>,
}

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialDirection {
    Out,
    In,
}

/// One connection with a peer whose key is proved.
pub struct Session {
    pub(super) number: u64,
    pub(super) node_id: NodeId,
    pub(super) direction: DialDirection,
    pub(super) begun: Instant,
    pub(super) connection: Connection,
    pub(super) hello: Hello,
    pub(super) view: Mutex<SessionView>,
    pub(super) round_trips: Mutex<RoundTrips>,
}

impl Session {
    /// A number of its own among the sessions of an endpoint.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The peer's proved node ID.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// The peer's address.
    pub fn address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Whether it was this node that dialled, so that the peer is one that others reach.
    pub const fn was_dialled(&self) -> bool {
        matches!(self.direction, DialDirection::Out)
    }

    /// What the peer said of itself.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The round trip's time.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Lets as much be on its way to this node as the path takes.
    pub(super) fn follow_path(&self) {
        if let Some(shortest) = self.round_trips.lock().look(self.connection.rtt()) {
            self.connection.set_receive_window(Config::receive_window(shortest));
        }
    }

    /// What is known of what the peer holds.
    pub fn view(&self) -> SessionView {
        self.view.lock().clone()
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// The peer, and where it is.
    pub fn who(&self) -> Who {
        Who::new(self.node_id, self.address().ip())
    }

    /// The peer as one that has a part of what all share.
    pub(super) fn holder(&self) -> Holder {
        Holder::peer(self.node_id, self.address().ip())
    }

    pub(super) const fn direction(&self) -> DialDirection {
        self.direction
    }

    /// For how long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn close(&self, why: Close) {
        self.connection.close(why.code(), b"");
    }

    /// Fetches one item by its key, in one round trip. Nothing of it is checked.
    ///
    /// # Errors
    ///
    /// [`ItemError`].
    pub async fn item(&self, key: &ContentKey) -> Result<Bytes, ItemError> {
        let (request, max_len) = (SwarmRequest::Item(ItemKey(*key)), key.max_value_len(Form::Stored));
        self.items(request, max_len, 1).await?.into_iter().next().ok_or(ItemError::Malformed)
    }

    /// Fetches nodes on the way down a trie, bare, in one round trip: those that the peer holds from the first one on without a gap.
    /// Nothing of them is checked.
    ///
    /// # Errors
    ///
    /// [`ItemError`].
    pub async fn way(&self, way: &Way) -> Result<Vec<Bytes>, ItemError> {
        self.items(SwarmRequest::Way(*way), MAX_TRIE_NODE_LENGTH, MAX_TRIE_PROOF_NODES).await
    }

    /// The items of an answer, `most` at most; the rest of it is not waited for.
    async fn items(&self, request: SwarmRequest, max_len: usize, most: usize) -> Result<Vec<Bytes>, ItemError> {
        let failed = |error: &dyn std::fmt::Display| ItemError::Stream(error.to_string());
        let fetch = async {
            let (mut send, mut receive) = self.connection.open_bi().await.map_err(|error| failed(&error))?;
            send.write_all(&request.encode()).await.map_err(|error| failed(&error))?;
            send.finish().map_err(|error| failed(&error))?;
            let mut head = [0; 2];
            receive.read_exact(&mut head).await.map_err(|error| match error {
                ReadExactError::FinishedEarly(_) => ItemError::Malformed,
                ReadExactError::ReadError(error) => failed(&error),
            })?;
            match AnswerHead::decode(head).ok_or(ItemError::Malformed)?.status {
                AnswerStatus::Ok => {}
                refused => return Err(ItemError::Refused(refused)),
            }
            let (mut frames, mut items) = (FrameReader::new(max_len), Vec::new());
            while let Some(chunk) = receive.read_chunk(usize::MAX, true).await.map_err(|error| failed(&error))? {
                let mut bytes = chunk.bytes;
                while let Some(item) = frames.push(&mut bytes).map_err(|_| ItemError::Malformed)? {
                    items.push(item);
                    if items.len() == most {
                        return Ok(items);
                    }
                }
            }
            frames.finish().map_err(|_| ItemError::Malformed)?;
            Ok(items)
        };
        tokio::time::timeout(ITEM_TIME, fetch).await.unwrap_or(Err(ItemError::TimedOut))
    }

    /// Takes note of a message. What takes long is done before the lock is taken: nobody else changes what a peer holds.
    pub(super) fn apply(&self, message: Control) -> Result<(), SessionError> {
        let held = match &message {
            Control::Hello(_) => return Err(SessionError::Hello),
            Control::Have(have) => Some(self.with_have(have)),
            Control::Predict(predict) => Some(self.with_prediction(predict)),
            _ => None,
        };
        let mut view = self.view.lock();
        view.revision += 1;
        if let Some(held) = held {
            view.held = Arc::new(held);
        }
        match message {
            Control::Choke => view.serves_us = false,
            Control::Unchoke => view.serves_us = true,
            Control::Peers(peers) => view.peers = Arc::new(peers.enrs),
            _ => {}
        }
        Ok(())
    }

    /// What the peer holds, with what it says of a window.
    fn with_have(&self, have: &Have) -> Held {
        let mut held = Held::clone(&self.view().held);
        let component = Component::of_code(have.component);
        if component.and_then(|of| held.get_mut(of.index())).is_some_and(|held| !have.apply(held)) {
            tracing::debug!(peer = %self.node_id, "a peer's runs are too scattered to be noted all");
        }
        held
    }

    /// What the peer holds, with what follows from its radius.
    fn with_prediction(&self, predict: &Predict) -> Held {
        let mut held = Held::clone(&self.view().held);
        for component in Component::ALL {
            let runs = RunSet::predicted(component, &self.node_id, &predict.radius(), predict.last_block);
            held[component.index()].union(&runs);
        }
        held
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("node_id", &self.node_id)
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
