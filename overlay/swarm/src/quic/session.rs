//! One connection: hello, control messages both ways, and requests.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_limits::{Holder, Permit};
use cairn_peer_book::{Offence, Who};
use content_types::{ContentKey, Form, NodeId};
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Held,
    serve::serve,
    swarm::{Direction, Inner},
};
use crate::{
    geometry::{Component, RunSet},
    wire::{
        AnswerHead, Control, ControlError, Encodings, FrameError, FrameReader, Have, Hello, ItemKey, MAX_CONTROL_BYTES,
        Predict, Request, Status, frame_head,
    },
};

/// What a control message costs beside its bytes, in bytes: it wakes whoever looks at sessions.
const MESSAGE_COST: u64 = 256;

/// What a prediction costs, in bytes: the walk over a chain's blocks takes a millisecond.
const PREDICT_COST: u64 = 64 << 10;

/// How often it is looked at how much a session has moved.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What is held is told anew this often at most.
const HAVE_INTERVAL: Duration = Duration::from_secs(1);

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
    Refused(Status),
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

/// One connection with a peer whose key is proved.
pub struct Session {
    number: u64,
    node_id: NodeId,
    direction: Direction,
    connection: Connection,
    hello: Hello,
    view: Mutex<SessionView>,
}

/// What is moved on a connection in both directions, in bytes.
fn moved(connection: &Connection) -> u64 {
    let stats = connection.stats();
    stats.udp_tx.bytes.saturating_add(stats.udp_rx.bytes)
}

/// The control streams, handed from the start to the run of a session.
pub(super) struct ControlStreams {
    send: SendStream,
    reader: ControlReader,
}

impl Session {
    /// Exchanges hellos.
    pub(super) async fn begin(
        inner: &Inner,
        connection: Connection,
        node_id: NodeId,
        number: u64,
        direction: Direction,
    ) -> Result<(Arc<Self>, ControlStreams), SessionError> {
        let mut send = connection.open_uni().await?;
        let own = Hello {
            chain_id: inner.config.chain_id,
            genesis: inner.config.genesis,
            max_requests: inner.config.max_requests,
            encodings: Encodings::ALL,
            enr: inner.record.borrow().clone(),
            client: inner.config.client.clone().into_bytes(),
        };
        write(&mut send, &Control::Hello(own)).await?;
        let mut reader = ControlReader::new(connection.accept_uni().await?);
        let sender = Holder::peer(node_id, connection.remote_address().ip());
        let Some(Control::Hello(hello)) = reader.next(inner, &sender, &node_id).await? else {
            return Err(SessionError::Hello);
        };
        if (hello.chain_id, hello.genesis) != (inner.config.chain_id, inner.config.genesis) {
            return Err(SessionError::OtherChain(hello.chain_id));
        }
        // The round trip is known now, and may be long.
        connection.set_receive_window(super::Config::receive_window(connection.rtt()));
        let session = Self { number, node_id, direction, connection, hello, view: Mutex::default() };
        Ok((Arc::new(session), ControlStreams { send, reader }))
    }

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

    /// What the peer said of itself.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The round trip's time.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
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

    pub(super) const fn direction(&self) -> Direction {
        self.direction
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
        let failed = |error: &dyn std::fmt::Display| ItemError::Stream(error.to_string());
        let fetch = async {
            let (mut send, mut receive) = self.connection.open_bi().await.map_err(|error| failed(&error))?;
            let request = Request::Item(ItemKey(*key)).encode();
            send.write_all(&request).await.map_err(|error| failed(&error))?;
            send.finish().map_err(|error| failed(&error))?;
            let mut head = [0; 2];
            receive.read_exact(&mut head).await.map_err(|error| match error {
                ReadExactError::FinishedEarly(_) => ItemError::Malformed,
                ReadExactError::ReadError(error) => failed(&error),
            })?;
            match AnswerHead::decode(head).ok_or(ItemError::Malformed)?.status {
                Status::Ok => {}
                refused => return Err(ItemError::Refused(refused)),
            }
            let mut frames = FrameReader::new(key.max_value_len(Form::Stored));
            while let Some(chunk) = receive.read_chunk(usize::MAX, true).await.map_err(|error| failed(&error))? {
                let mut bytes = chunk.bytes;
                if let Some(item) = frames.push(&mut bytes).map_err(|_| ItemError::Malformed)? {
                    return Ok(item);
                }
            }
            Err(ItemError::Malformed)
        };
        tokio::time::timeout(ITEM_TIME, fetch).await.unwrap_or(Err(ItemError::TimedOut))
    }

    /// Until the connection ends, or loses its place to another: tells what is held, hears what the peer holds, answers its
    /// requests.
    pub(super) async fn run(self: &Arc<Self>, inner: &Arc<Inner>, control: ControlStreams, place: &Permit) {
        let ControlStreams { send, reader } = control;
        let outcome = tokio::select! {
            outcome = self.tell(inner, send) => outcome,
            outcome = self.hear(inner, reader) => outcome,
            outcome = self.answer(inner) => outcome,
            () = self.show_progress(place) => Err(SessionError::Crowded),
            () = inner.stop.cancelled() => Ok(()),
        };
        let why = outcome.as_ref().map_or_else(SessionError::close, |()| Close::Stopping);
        if let Err(error) = outcome {
            tracing::debug!(peer = %self.node_id, %error, "a connection ended");
            if matches!(error, SessionError::Flood) {
                inner.charge(&self.who(), Offence::Flood);
            }
        }
        self.close(why);
    }

    /// Tells how much is moved, for as long as the session has its place.
    async fn show_progress(&self, place: &Permit) {
        let mut before = moved(&self.connection);
        loop {
            tokio::select! {
                () = place.revoked() => return,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {}
            }
            let now = moved(&self.connection);
            place.progress(now.saturating_sub(before));
            before = now;
        }
    }

    async fn tell(&self, inner: &Inner, mut send: SendStream) -> Result<(), SessionError> {
        let mut held = inner.library.held();
        let mut told = Held::default();
        let mut fetches = inner.fetches.subscribe();
        let (mut is_served, mut is_interested) = (false, false);
        let mut next_have = Instant::now();
        loop {
            let decided = inner.uploads.decided.notified();
            if is_served != inner.uploads.is_served(self.number) {
                is_served = !is_served;
                write(&mut send, if is_served { &Control::Unchoke } else { &Control::Choke }).await?;
            }
            if is_interested != (*fetches.borrow_and_update() > 0) {
                is_interested = !is_interested;
                write(&mut send, if is_interested { &Control::Interested } else { &Control::NotInterested }).await?;
            }
            if Instant::now() < next_have {
                tokio::select! {
                    () = decided => {}
                    Ok(()) = fetches.changed() => {}
                    () = tokio::time::sleep_until(next_have) => {}
                }
                continue;
            }
            let now_held = Arc::clone(&held.borrow_and_update());
            for component in Component::ALL {
                let (before, after) = (&told[component.index()], &now_held[component.index()]);
                for have in Have::changes(component, before, after) {
                    write(&mut send, &Control::Have(have)).await?;
                }
            }
            told.clone_from(&now_held);
            next_have = Instant::now() + HAVE_INTERVAL;
            tokio::select! {
                () = decided => {}
                Ok(()) = fetches.changed() => {}
                Ok(()) = held.changed() => {}
            }
        }
    }

    async fn hear(&self, inner: &Inner, mut reader: ControlReader) -> Result<(), SessionError> {
        loop {
            let Some(message) = reader.next(inner, &self.holder(), &self.node_id).await? else { continue };
            match message {
                Control::Interested | Control::NotInterested => {
                    let is_interested = matches!(message, Control::Interested);
                    inner.uploads.update(|choker| choker.handle_interest(&self.number, is_interested));
                }
                message => self.apply(message)?,
            }
            inner.changed();
        }
    }

    /// Takes note of a message. What takes long is done before the lock is taken: nobody else changes what a peer holds.
    fn apply(&self, message: Control) -> Result<(), SessionError> {
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

    async fn answer(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), SessionError> {
        let places = Arc::new(Semaphore::new(usize::from(inner.config.max_requests)));
        loop {
            let (send, receive) = self.connection.accept_bi().await?;
            // QUIC lets no more streams in than there are places, but for some that are closing.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let (inner, session) = (Arc::clone(inner), Arc::clone(self));
            inner.tasks.clone().spawn(async move {
                serve(&inner, &session, send, receive).await;
                drop(place);
            });
        }
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

async fn write(send: &mut SendStream, message: &Control) -> Result<(), SessionError> {
    let message = message.encode();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    send.write_all(frame_head(length).as_bytes()).await?;
    Ok(send.write_all(&message).await?)
}

/// Reads control messages, no more than anybody has use for.
struct ControlReader {
    stream: RecvStream,
    frames: FrameReader,
    chunk: Bytes,
}

impl ControlReader {
    fn new(stream: RecvStream) -> Self {
        let frames = FrameReader::new(MAX_CONTROL_BYTES);
        Self { stream, frames, chunk: Bytes::new() }
    }

    /// The next message; `None` for one of a type that is not known. Its sender is charged with what it costs.
    async fn next(
        &mut self,
        inner: &Inner,
        sender: &Holder,
        node_id: &NodeId,
    ) -> Result<Option<Control>, SessionError> {
        loop {
            if let Some(frame) = self.frames.push(&mut self.chunk)? {
                let message = Control::decode(&frame)?;
                let more = match &message {
                    Some(Control::Have(have)) => have.cost(),
                    Some(Control::Predict(_)) => PREDICT_COST,
                    _ => 0,
                };
                inner.charge_control(sender, node_id, MESSAGE_COST + frame.len() as u64 + more)?;
                return Ok(message);
            }
            let chunk = self.stream.read_chunk(MAX_CONTROL_BYTES, true).await?.ok_or(SessionError::Ended)?;
            self.chunk = chunk.bytes;
        }
    }
}
