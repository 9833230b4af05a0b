//! What is said on a connection for as long as it lasts: hello, control messages both ways, answers to requests.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cairn_limits::{Holder, Permit};
use cairn_peer_book::Offence;
use content_types::NodeId;
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Held,
    inner::SwarmEndpoint,
    serve::serve,
    session::{Close, DialDirection, Session, SessionError},
};
use crate::{
    geometry::Component,
    wire::{Control, Encodings, FrameReader, Have, Hello, MAX_CONTROL_BYTES, Peers, frame_head},
};

/// The priority of control messages among the streams of a connection.
const CONTROL_PRIORITY: i32 = 2;

/// What a control message costs beside its bytes, in bytes: it wakes whoever looks at sessions.
const MESSAGE_COST: u64 = 256;

/// What a prediction costs, in bytes: the walk over a chain's blocks takes a millisecond.
const PREDICT_COST: u64 = 64 << 10;

/// What a record of another peer costs, in bytes: its signature may be checked.
const RECORD_COST: u64 = 2 << 10;

/// Peers are told of others this often at most.
const PEERS_INTERVAL: Duration = Duration::from_secs(60);

/// How often it is looked at how much a session has moved.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What is held is told anew this often at most.
const HAVE_INTERVAL: Duration = Duration::from_secs(1);

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
        inner: &SwarmEndpoint,
        connection: Connection,
        node_id: NodeId,
        number: u64,
        direction: DialDirection,
    ) -> Result<(Arc<Self>, ControlStreams), SessionError> {
        let mut send = connection.open_uni().await?;
        // It goes before all answers, or a choke would come after what it ends.
        let _ = send.set_priority(CONTROL_PRIORITY);
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
        let session = Self {
            number,
            node_id,
            direction,
            begun: std::time::Instant::now(),
            connection,
            hello,
            view: Mutex::default(),
            round_trips: Mutex::default(),
        };
        // The round trip is known now, and may be long.
        session.follow_path();
        Ok((Arc::new(session), ControlStreams { send, reader }))
    }

    /// Until the connection ends, or loses its place to another: tells what is held, hears what the peer holds, answers its
    /// requests.
    pub(super) async fn run(self: &Arc<Self>, inner: &Arc<SwarmEndpoint>, control: ControlStreams, place: &Permit) {
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

    async fn tell(&self, inner: &SwarmEndpoint, mut send: SendStream) -> Result<(), SessionError> {
        let mut held = inner.library.held();
        let mut told = Held::default();
        let mut fetches = inner.fetches.subscribe();
        let (mut is_served, mut is_interested) = (false, false);
        let mut next_have = Instant::now();
        let mut others = inner.told_peers.subscribe();
        let (mut are_others_new, mut next_others) = (true, Instant::now());
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
            if are_others_new && Instant::now() >= next_others {
                are_others_new = false;
                let records = Arc::clone(&others.borrow_and_update());
                let enrs: Vec<_> = records.iter().filter(|enr| **enr != self.hello.enr).cloned().collect();
                if !enrs.is_empty() {
                    write(&mut send, &Control::Peers(Peers { enrs })).await?;
                    next_others = Instant::now() + PEERS_INTERVAL;
                }
            }
            tokio::select! {
                () = decided => {}
                Ok(()) = fetches.changed() => {}
                Ok(()) = held.changed() => {}
                Ok(()) = others.changed() => are_others_new = true,
                () = tokio::time::sleep_until(next_others), if are_others_new => {}
            }
        }
    }

    async fn hear(&self, inner: &SwarmEndpoint, mut reader: ControlReader) -> Result<(), SessionError> {
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

    async fn answer(self: &Arc<Self>, inner: &Arc<SwarmEndpoint>) -> Result<(), SessionError> {
        let places = Arc::new(Semaphore::new(usize::from(inner.config.max_requests)));
        loop {
            let (send, receive) = self.connection.accept_bi().await?;
            // QUIC lets no more streams in than there are places, but for some that are closing.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let (inner, session) = (Arc::clone(inner), Arc::clone(self));
            inner.tasks.clone().spawn(async move {
                // What waits for room does so no longer than there is somebody to answer.
                tokio::select! {
                    () = serve(&inner, &session, send, receive) => {}
                    _ = session.connection.closed() => {}
                }
                drop(place);
            });
        }
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
        inner: &SwarmEndpoint,
        sender: &Holder,
        node_id: &NodeId,
    ) -> Result<Option<Control>, SessionError> {
        loop {
            if let Some(frame) = self.frames.push(&mut self.chunk)? {
                let message = Control::decode(&frame)?;
                let more = match &message {
                    Some(Control::Have(have)) => have.cost(),
                    Some(Control::Predict(_)) => PREDICT_COST,
                    Some(Control::Peers(peers)) => RECORD_COST * peers.enrs.len() as u64,
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
