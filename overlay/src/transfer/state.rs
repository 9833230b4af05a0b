//! All streams of a node behind one lock: what the driver and the stream handles share.
//!
//! The lock is held for microseconds and never across an `await`. Whoever changes a stream puts it into the ready queue and
//! wakes the driver; the driver alone sends.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_limits::Permit;
use cairn_limits::quota::MIN_PROGRESS;
use cairn_utp::{CloseReason, Config, Connection, Event, Header, Output};

use super::TransferError;
use super::pace::{PacketPace, PacketTicket};
use crate::transport::{Contact, Endpoint, MAX_TALK_BODY};

mod handles;
mod resets;
mod waiting;

use resets::Resets;
use waiting::Waiting;

/// Bytes of payload in one uTP packet: what a TALKREQ has room for less the uTP header.
const MAX_PAYLOAD: usize = MAX_TALK_BODY - cairn_utp::HEADER_LEN;

/// Bytes that a stream buffers in each direction. More than the packets under way to a peer carry, so that the buffer is
/// not what limits a transfer.
const STREAM_BUFFER: usize = 256 << 10;

/// Packets that one stream may send before the next one has its turn.
const QUANTUM: usize = 8;

/// Streams that are only there to acknowledge what a peer repeats at the end. The oldest goes when there are more.
const MAX_LINGERING: usize = 256;

/// Time for a peer to open a stream that was announced to it, or to answer a SYN.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a peer to open the stream for what it offered. It has a slot, which nobody is to keep by only offering.
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream is given up when the peer sends nothing at all for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a stream is found by: the peer's identity and address, and the connection ID in the packets it sends.
pub(super) type StreamKey = (Endpoint, u16);

/// A packet that is to leave now.
pub(super) struct Outgoing {
    pub(super) to: Contact,
    pub(super) packet: Bytes,
    pub(super) ticket: PacketTicket,
}

/// All streams, and when each of them needs the driver.
#[derive(Default)]
pub(super) struct StreamTable {
    streams: HashMap<StreamKey, StreamEntry>,
    /// Streams that may have something to send, each once.
    ready: VecDeque<StreamKey>,
    waiting: Waiting,
    deadlines: BTreeSet<(Instant, StreamKey)>,
    lingering: VecDeque<StreamKey>,
    resets: Resets,
    pace: PacketPace,
    driver: Option<Waker>,
    /// Tasks to wake when the lock is released.
    wakers: Vec<Waker>,
    stopped: bool,
}

/// A stream, and who waits for what of it.
struct StreamEntry {
    connection: Connection,
    peer: Contact,
    deadline: Option<Instant>,
    queued: bool,
    /// Waits for packets to be answered.
    waiting: bool,
    /// Announced to the peer, which has not opened it.
    unopened: bool,
    /// Its place among those that are announced, until it has a slot.
    announced: Option<Permit>,
    /// What the bytes that move are reported to.
    held: StreamPermits,
    finished: bool,
    closed: Option<CloseReason>,
    /// The handle was dropped after its work was done.
    lingering: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Slot and room of a stream. Who moves nothing is the first to lose them, so they are told what moves.
#[derive(Default)]
struct StreamPermits {
    permits: Vec<Arc<Permit>>,
    /// Whether what the peer acknowledges counts, rather than what it sends: nobody keeps a slot by sending what is not read.
    is_sent: bool,
    /// Bytes that were reported.
    reported: u64,
}

/// How a stream comes about.
pub(super) enum Role {
    /// The peer announced this connection ID.
    Opener(u16),
    /// The peer offered what it will send on it, and a slot is taken.
    Offered,
    /// The peer may fetch something on it.
    Announced(Permit),
}

impl StreamEntry {
    /// Payload bytes that count: those that the peer acknowledged, or those that came.
    fn moved(&self) -> u64 {
        let stats = self.connection.stats();
        if self.held.is_sent { stats.bytes_acked } else { stats.bytes_received }
    }

    /// Takes note of what happened on the connection; `wakers` gets those who wait for it.
    fn handle_event(&mut self, event: Event, wakers: &mut Vec<Waker>) {
        match event {
            Event::Connected => {
                self.unopened = false;
                wakers.extend(self.reader.take());
            }
            Event::Readable => wakers.extend(self.reader.take()),
            Event::Writable => wakers.extend(self.writer.take()),
            Event::Finished => {
                self.finished = true;
                wakers.extend(self.writer.take());
            }
            Event::Closed(reason) => {
                self.closed = Some(reason);
                wakers.extend(self.reader.take());
                wakers.extend(self.writer.take());
            }
        }
    }

    /// Reports what has moved to whoever counts it, not for every packet.
    fn report(&mut self) {
        if self.held.permits.is_empty() {
            return;
        }
        let news = self.moved().saturating_sub(self.held.reported);
        if news >= MIN_PROGRESS {
            self.held.permits.iter().for_each(|permit| permit.progress(news));
            self.held.reported += news;
        }
    }
}

impl StreamTable {
    /// Adds a stream. The acceptor's connection ID is drawn here, so that it collides with no other stream of the peer.
    pub(super) fn open(&mut self, peer: Contact, role: Role, now: Instant) -> Result<(StreamKey, u16), TransferError> {
        if self.stopped {
            return Err(TransferError::Stopped);
        }
        let endpoint = peer.endpoint();
        let connect_timeout = if matches!(role, Role::Offered) { OFFER_TIMEOUT } else { CONNECT_TIMEOUT };
        let config = Config {
            max_payload: MAX_PAYLOAD,
            receive_buffer: STREAM_BUFFER,
            send_buffer: STREAM_BUFFER,
            connect_timeout,
            idle_timeout: IDLE_TIMEOUT,
            ..Config::default()
        };
        let initial_seq_nr = rand::random();
        let (connection, id) = match role {
            Role::Opener(id) => (Connection::connect(config, id, now, initial_seq_nr), id),
            Role::Offered | Role::Announced(_) => {
                let id = self.draw_id(endpoint);
                (Connection::accept(config, id, now, initial_seq_nr), id)
            }
        };
        let announced = match role {
            Role::Announced(permit) => Some(permit),
            Role::Opener(_) | Role::Offered => None,
        };
        let key = (endpoint, connection.receive_id());
        match self.streams.get(&key) {
            Some(old) if !old.lingering => return Err(TransferError::IdInUse(id)),
            // The peer has done with the old stream, or it would not have drawn its number again.
            Some(_) => self.remove(key),
            None => {}
        }
        let entry = StreamEntry {
            connection,
            peer,
            deadline: None,
            queued: false,
            waiting: false,
            unopened: announced.is_some(),
            announced,
            held: StreamPermits::default(),
            finished: false,
            closed: None,
            lingering: false,
            reader: None,
            writer: None,
        };
        self.streams.insert(key, entry);
        self.touch(key);
        Ok((key, id))
    }

    /// A connection ID whose both numbers are free with this peer. Never 0, which in ACCEPT says that nothing is wanted.
    fn draw_id(&self, endpoint: Endpoint) -> u16 {
        loop {
            let id: u16 = rand::random();
            let free = |id: u16| !self.streams.contains_key(&(endpoint, id));
            if id != 0 && free(id) && free(id.wrapping_add(1)) {
                return id;
            }
        }
    }

    /// Takes a uTP packet from a peer.
    pub(super) fn receive(&mut self, from: Contact, packet: Bytes, now: Instant) {
        let header = match Header::decode(&packet) {
            Ok(header) => header,
            Err(error) => {
                tracing::debug!(peer = ?from, %error, "no uTP packet");
                return;
            }
        };
        let endpoint = from.endpoint();
        let key = header.receive_ids().map(|id| (endpoint, id)).find(|key| self.streams.contains_key(key));
        match key.and_then(|key| Some((key, self.streams.get_mut(&key)?))) {
            Some((key, entry)) => {
                if let Err(error) = entry.connection.handle_packet(now, packet) {
                    tracing::debug!(peer = ?from, %error, "uTP packet ignored");
                }
                self.touch(key);
                self.after(key, now);
            }
            // After a restart, say: the peer is to give the stream up.
            None => {
                if let Some(reset) = header.refusal() {
                    self.resets.refuse(from, reset, &self.pace);
                }
            }
        }
    }

    /// Tells a peer that a stream that it announced will not be opened.
    pub(super) fn decline(&mut self, peer: Contact, connection_id: u16) {
        self.resets.decline(peer, connection_id);
        self.wakers.extend(self.driver.take());
    }

    /// A packet was answered, or given up.
    pub(super) fn answered(&mut self, ticket: PacketTicket) {
        if !self.pace.finish(ticket) {
            return;
        }
        for key in self.waiting.take_freed(&ticket.to, &self.pace) {
            if let Some(entry) = self.streams.get_mut(&key) {
                entry.waiting = false;
            }
            self.touch(key);
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeouts(&mut self, now: Instant) {
        while let Some(&(deadline, key)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(entry) = self.streams.get_mut(&key) {
                entry.deadline = None;
                entry.connection.handle_timeout(now);
                self.touch(key);
                self.after(key, now);
            }
        }
    }

    /// When the driver has something to do although nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let timeout = self.deadlines.first().map(|(deadline, _)| *deadline);
        let waiting = !self.ready.is_empty() || self.resets.is_ready(&self.pace);
        timeout.into_iter().chain(self.pace.next_burst().filter(|_| waiting)).min()
    }

    /// Collects the packets to send now, the streams taking turns.
    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut VecDeque<Outgoing>) {
        let mut burst = self.pace.burst_room(now);
        while burst > 0
            && let Some((to, packet)) = self.resets.pop(&self.pace)
        {
            burst -= 1;
            let ticket = self.pace.start(to.endpoint(), now);
            out.push_back(Outgoing { to, packet, ticket });
        }
        while burst > 0
            && let Some(key) = self.ready.pop_front()
        {
            let Some(entry) = self.streams.get_mut(&key) else { continue };
            entry.queued = false;
            let turn = self.pace.room_to(&key.0).min(burst).min(QUANTUM);
            let (mut sent, mut packet) = (0, Vec::new());
            while sent < turn {
                packet.reserve(MAX_TALK_BODY);
                match entry.connection.poll_output(now, Some(&mut packet)) {
                    Output::Transmit(_) => {
                        sent += 1;
                        let ticket = self.pace.start(key.0, now);
                        let packet = std::mem::take(&mut packet).into();
                        out.push_back(Outgoing { to: entry.peer.clone(), packet, ticket });
                    }
                    Output::Event(event) => entry.handle_event(event, &mut self.wakers),
                    Output::Timeout(_) => break,
                }
            }
            burst -= sent;
            // Cut short by its turn or the burst, it goes on; by its peer, when that answers.
            if self.pace.room_to(&key.0) == 0 {
                if !std::mem::replace(&mut entry.waiting, true) {
                    self.waiting.add(key, &self.pace);
                }
            } else if sent == turn {
                self.touch(key);
            }
            self.after(key, now);
        }
    }

    /// Passes events on and arms the timer of a stream that was worked on. Its packets wait for their turn.
    fn after(&mut self, key: StreamKey, now: Instant) {
        let Some(entry) = self.streams.get_mut(&key) else { return };
        let deadline = loop {
            match entry.connection.poll_output(now, None) {
                // There is none without a buffer.
                Output::Transmit(_) => {}
                Output::Event(event) => entry.handle_event(event, &mut self.wakers),
                Output::Timeout(at) => break at,
            }
        };
        entry.report();
        // What waits to be sent may be the RESET.
        if entry.closed.is_some() && entry.lingering && !entry.waiting && !entry.queued {
            self.remove(key);
            return;
        }
        if deadline != entry.deadline {
            if let Some(old) = entry.deadline {
                self.deadlines.remove(&(old, key));
            }
            entry.deadline = deadline;
            self.deadlines.extend(deadline.map(|deadline| (deadline, key)));
        }
    }

    /// Queues a stream for the driver.
    fn touch(&mut self, key: StreamKey) {
        if let Some(entry) = self.streams.get_mut(&key)
            && !entry.queued
        {
            entry.queued = true;
            self.ready.push_back(key);
        }
        self.wakers.extend(self.driver.take());
    }

    fn remove(&mut self, key: StreamKey) {
        let Some(entry) = self.streams.remove(&key) else { return };
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        if entry.waiting {
            self.waiting.remove(&key);
        }
    }

    /// Resets every stream and wakes whoever waits for one; nothing can be opened from now on.
    pub(super) fn stop(&mut self, now: Instant) {
        self.stopped = true;
        let keys: Vec<_> = self.streams.keys().copied().collect();
        for key in keys {
            if let Some(entry) = self.streams.get_mut(&key) {
                entry.connection.reset();
            }
            self.touch(key);
            self.after(key, now);
        }
    }

    /// Whether something waits for its turn or for room.
    pub(super) fn has_unsent(&self) -> bool {
        !(self.resets.is_empty() && self.ready.is_empty() && self.waiting.is_empty())
    }

    /// The driver sleeps: whoever gives it work wakes it.
    pub(super) fn set_driver(&mut self, waker: &Waker) {
        self.driver = Some(waker.clone());
    }

    /// The driver is at work and looks at everything before it sleeps.
    pub(super) fn clear_driver(&mut self) {
        self.driver = None;
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}

#[cfg(test)]
mod tests;
