//! All streams of a node behind one lock: what the driver and the stream handles share.
//!
//! The lock is held for microseconds and never across an `await`. Whoever changes a stream puts it into the ready queue and
//! wakes the driver; the driver alone sends.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_proto::limits::SUBNET_SHARE;
use cairn_utp::{CloseReason, Config, Connection, Event, Header, PacketType};

use super::TransferError;
use super::pace::{MAX_IN_FLIGHT, Pace, Ticket};
use crate::shares::Shares;
use crate::transport::{Contact, Endpoint, MAX_TALK_BODY};

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

/// Streams announced to one peer that it has not opened. It asks several peers at once and takes one stream, so some are
/// left; a Cairn peer declines them, others let them time out.
const MAX_UNOPENED_BY_PEER: usize = 64;

/// Streams announced to all peers that are not open; the peers of one subnet may have a [`SUBNET_SHARE`]th.
const MAX_UNOPENED: usize = 1024;

/// Unanswered packets to a peer above which streams nobody knows are not refused any more: a RESET is a courtesy, and must
/// not take the place of a stream's packets.
const MAX_IN_FLIGHT_FOR_RESET: usize = 4;

/// Refusals and declined streams that wait for the driver, which sends them before anything else. A lookup may leave as
/// many announced streams as it has asked peers at a time, and several end at once.
const MAX_WAITING_RESETS: usize = 64;

/// A stream is given up when the peer sends nothing at all for this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What a stream is found by: the peer's identity and address, and the connection ID in the packets it sends.
pub(super) type StreamKey = (Endpoint, u16);

/// A packet that is to leave now.
pub(super) struct Outgoing {
    pub(super) to: Contact,
    pub(super) packet: Bytes,
    pub(super) ticket: Ticket,
}

#[derive(Default)]
pub(super) struct State {
    streams: HashMap<StreamKey, Entry>,
    /// Streams that may have something to send, each once.
    ready: VecDeque<StreamKey>,
    /// Streams that wait for their peer to answer packets, each once.
    blocked: HashMap<Endpoint, Vec<StreamKey>>,
    /// Streams that wait for any peer to answer, or any of a subnet, each once.
    crowded: Vec<StreamKey>,
    deadlines: BTreeSet<(Instant, StreamKey)>,
    lingering: VecDeque<StreamKey>,
    resets: VecDeque<(Contact, Bytes)>,
    /// Streams that were announced and not opened, by peer.
    unopened: Shares,
    pace: Pace,
    driver: Option<Waker>,
    /// Tasks to wake when the lock is released.
    wakers: Vec<Waker>,
    stopped: bool,
}

struct Entry {
    connection: Connection,
    peer: Contact,
    deadline: Option<Instant>,
    queued: bool,
    /// Waits for packets to be answered, in one of the two lists.
    blocked: bool,
    /// Announced to the peer, which has not opened it.
    unopened: bool,
    finished: bool,
    closed: Option<CloseReason>,
    /// The handle was dropped after its work was done.
    lingering: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub(super) enum Role {
    Opener(u16),
    /// With a slot taken for what the peer offered, or without one for what it may fetch.
    Acceptor {
        has_slot: bool,
    },
}

impl State {
    /// Adds a stream. The acceptor's connection ID is drawn here, so that it collides with no other stream of the peer.
    pub(super) fn open(&mut self, peer: Contact, role: Role, now: Instant) -> Result<(StreamKey, u16), TransferError> {
        if self.stopped {
            return Err(TransferError::Stopped);
        }
        let endpoint = peer.endpoint();
        let connect_timeout =
            if matches!(role, Role::Acceptor { has_slot: true }) { OFFER_TIMEOUT } else { CONNECT_TIMEOUT };
        let config = Config {
            max_payload: MAX_PAYLOAD,
            receive_buffer: STREAM_BUFFER,
            send_buffer: STREAM_BUFFER,
            connect_timeout,
            idle_timeout: IDLE_TIMEOUT,
            ..Config::default()
        };
        // What was offered has a slot, which bounds it.
        let unopened = matches!(role, Role::Acceptor { has_slot: false });
        if unopened
            && (self.unopened.total() >= MAX_UNOPENED
                || self.unopened.of_peer(&endpoint) >= MAX_UNOPENED_BY_PEER
                || self.unopened.of_subnet(&endpoint) >= MAX_UNOPENED / SUBNET_SHARE)
        {
            return Err(TransferError::TooManyUnopened);
        }
        let initial_seq_nr = rand::random();
        let (connection, id) = match role {
            Role::Opener(id) => (Connection::connect(config, id, now, initial_seq_nr), id),
            Role::Acceptor { .. } => {
                let id = self.draw_id(endpoint);
                (Connection::accept(config, id, now, initial_seq_nr), id)
            }
        };
        let key = (endpoint, connection.receive_id());
        match self.streams.get(&key) {
            Some(old) if !old.lingering => return Err(TransferError::IdInUse(id)),
            // The peer has done with the old stream, or it would not have drawn its number again.
            Some(_) => self.remove(key),
            None => {}
        }
        let entry = Entry {
            connection,
            peer,
            deadline: None,
            queued: false,
            blocked: false,
            unopened,
            finished: false,
            closed: None,
            lingering: false,
            reader: None,
            writer: None,
        };
        self.streams.insert(key, entry);
        if unopened {
            self.unopened.add(endpoint);
        }
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
                self.after(key);
            }
            None => self.refuse(from, header),
        }
    }

    /// Tells a peer that speaks of a stream nobody knows here (after a restart, say) to give it up.
    fn refuse(&mut self, from: Contact, header: Header) {
        if let Some(reset) = header.refusal() {
            self.send_reset(from, reset);
        }
    }

    /// Tells a peer that a stream that it announced will not be opened.
    pub(super) fn decline(&mut self, peer: Contact, connection_id: u16) {
        let reset = Header {
            packet_type: PacketType::Reset,
            // What the acceptor receives on.
            connection_id: connection_id.wrapping_add(1),
            timestamp_microseconds: 0,
            timestamp_difference_microseconds: 0,
            wnd_size: 0,
            seq_nr: 0,
            ack_nr: 0,
        };
        self.send_reset(peer, reset);
        self.wakers.extend(self.driver.take());
    }

    fn send_reset(&mut self, to: Contact, reset: Header) {
        let to_peer = self.resets.iter().filter(|(waiting, _)| waiting.endpoint() == to.endpoint()).count();
        if self.resets.len() >= MAX_WAITING_RESETS
            || self.pace.in_flight_to(&to.endpoint()) + to_peer >= MAX_IN_FLIGHT_FOR_RESET
            || self.pace.in_flight() >= MAX_IN_FLIGHT / 2
        {
            return;
        }
        let mut packet = Vec::with_capacity(cairn_utp::HEADER_LEN);
        reset.encode(None, &[], &mut packet);
        self.resets.push_back((to, packet.into()));
    }

    /// A packet was answered, or given up.
    pub(super) fn answered(&mut self, ticket: Ticket) {
        if !self.pace.finish(ticket) {
            return;
        }
        let mut freed = self.blocked.remove(&ticket.to).unwrap_or_default();
        let crowded = std::mem::take(&mut self.crowded);
        let (with_room, without): (Vec<_>, Vec<_>) = crowded.into_iter().partition(|key| self.pace.room_to(&key.0) > 0);
        self.crowded = without;
        freed.extend(with_room);
        for key in freed {
            if let Some(entry) = self.streams.get_mut(&key) {
                entry.blocked = false;
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
                self.after(key);
            }
        }
    }

    /// When the driver has something to do although nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let timeout = self.deadlines.first().map(|(deadline, _)| *deadline);
        let waiting = !self.ready.is_empty() || !self.resets.is_empty();
        timeout.into_iter().chain(self.pace.next_burst().filter(|_| waiting)).min()
    }

    /// Collects the packets to send now, the streams taking turns.
    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut VecDeque<Outgoing>) {
        let mut burst = self.pace.burst_room(now);
        while burst > 0
            && let Some((to, packet)) = self.resets.pop_front()
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
            let mut sent = 0;
            while sent < turn {
                let mut packet = Vec::with_capacity(MAX_TALK_BODY);
                if entry.connection.poll_transmit(now, &mut packet).is_none() {
                    break;
                }
                sent += 1;
                let ticket = self.pace.start(key.0, now);
                out.push_back(Outgoing { to: entry.peer.clone(), packet: packet.into(), ticket });
            }
            burst -= sent;
            // Cut short by its turn or the burst, it goes on; by its peer, when that answers.
            if self.pace.room_to(&key.0) == 0 {
                self.block(key);
            } else if sent == turn {
                self.touch(key);
            }
            self.after(key);
        }
    }

    /// Has a stream wait until there is room for its packets.
    fn block(&mut self, key: StreamKey) {
        let Some(entry) = self.streams.get_mut(&key).filter(|entry| !entry.blocked) else { return };
        entry.blocked = true;
        if self.pace.is_full_of(&key.0) {
            self.blocked.entry(key.0).or_default().push(key);
        } else {
            self.crowded.push(key);
        }
    }

    /// Passes events on and arms the timer of a stream that was worked on.
    fn after(&mut self, key: StreamKey) {
        let Some(entry) = self.streams.get_mut(&key) else { return };
        while let Some(event) = entry.connection.poll_event() {
            match event {
                Event::Connected => {
                    let was_unopened = std::mem::take(&mut entry.unopened);
                    self.wakers.extend(entry.reader.take());
                    if was_unopened {
                        self.unopened.remove(&key.0);
                    }
                }
                Event::Readable => self.wakers.extend(entry.reader.take()),
                Event::Writable => self.wakers.extend(entry.writer.take()),
                Event::Finished => {
                    entry.finished = true;
                    self.wakers.extend(entry.writer.take());
                }
                Event::Closed(reason) => {
                    entry.closed = Some(reason);
                    self.wakers.extend(entry.reader.take());
                    self.wakers.extend(entry.writer.take());
                }
            }
        }
        // What waits to be sent may be the RESET.
        if entry.closed.is_some() && entry.lingering && !entry.blocked && !entry.queued {
            self.remove(key);
            return;
        }
        let deadline = if entry.closed.is_some() { None } else { entry.connection.poll_timeout() };
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
        if entry.unopened {
            self.unopened.remove(&key.0);
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, key));
        }
        if entry.blocked {
            self.crowded.retain(|other| *other != key);
            if let Some(blocked) = self.blocked.get_mut(&key.0) {
                blocked.retain(|other| *other != key);
                if blocked.is_empty() {
                    self.blocked.remove(&key.0);
                }
            }
        }
    }

    /// Whether the peer has opened the stream that was announced to it, or the waker left.
    pub(super) fn opened(&mut self, key: StreamKey, waker: &Waker) -> Option<Result<(), TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.closed {
            Some(reason) => Some(Err(TransferError::Closed(reason))),
            None if entry.unopened => {
                entry.reader = Some(waker.clone());
                None
            }
            None => Some(Ok(())),
        }
    }

    /// Reads the next chunk of at most `max` bytes, or leaves the waker.
    pub(super) fn read(
        &mut self,
        key: StreamKey,
        max: usize,
        waker: &Waker,
    ) -> Option<Result<Option<Bytes>, TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.connection.read_chunk(max) {
            Ok(chunk) => {
                // The window may have opened: the driver tells the peer.
                self.touch(key);
                Some(Ok(chunk))
            }
            Err(cairn_utp::ReadError::Blocked) => {
                entry.reader = Some(waker.clone());
                None
            }
            Err(cairn_utp::ReadError::Closed(reason)) => Some(Err(TransferError::Closed(reason))),
        }
    }

    /// Writes from the front of `data`. `None`, with the waker left, when there is no room.
    pub(super) fn write(
        &mut self,
        key: StreamKey,
        data: &mut Bytes,
        waker: &Waker,
    ) -> Option<Result<(), TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.connection.write_chunk(data) {
            Ok(_) => {
                self.touch(key);
                Some(Ok(()))
            }
            Err(cairn_utp::WriteError::Blocked) => {
                entry.writer = Some(waker.clone());
                None
            }
            Err(cairn_utp::WriteError::Closed(reason)) => Some(Err(TransferError::Closed(reason))),
            Err(cairn_utp::WriteError::Finished) => Some(Err(TransferError::Closed(CloseReason::Finished))),
        }
    }

    /// Ends this side's stream and gives up on the peer's.
    pub(super) fn close(&mut self, key: StreamKey, now: Instant) {
        if let Some(entry) = self.streams.get_mut(&key) {
            entry.connection.close(now);
            self.touch(key);
        }
    }

    /// Whether everything up to our FIN was acknowledged, or the waker left.
    pub(super) fn finished(&mut self, key: StreamKey, waker: &Waker) -> Option<Result<(), TransferError>> {
        let Some(entry) = self.streams.get_mut(&key) else { return Some(Err(TransferError::Stopped)) };
        match entry.closed {
            _ if entry.finished => Some(Ok(())),
            Some(CloseReason::Finished) => Some(Ok(())),
            Some(reason) => Some(Err(TransferError::Closed(reason))),
            None => {
                entry.writer = Some(waker.clone());
                None
            }
        }
    }

    /// Payload bytes moved so far, in both directions.
    pub(super) fn moved(&self, key: StreamKey) -> u64 {
        self.streams.get(&key).map_or(0, |entry| {
            let stats = entry.connection.stats();
            stats.bytes_acked + stats.bytes_received
        })
    }

    /// The handle is gone: what was closed in order may linger until the peer knows, anything else is reset.
    pub(super) fn release(&mut self, key: StreamKey, in_order: bool) {
        let Some(entry) = self.streams.get_mut(&key) else { return };
        entry.lingering = true;
        entry.reader = None;
        entry.writer = None;
        if entry.closed.is_some() && !entry.queued && !entry.blocked {
            self.remove(key);
            return;
        }
        if !in_order {
            entry.connection.reset();
        }
        self.touch(key);
        self.lingering.retain(|key| self.streams.contains_key(key));
        self.lingering.push_back(key);
        if self.lingering.len() > MAX_LINGERING
            && let Some(oldest) = self.lingering.pop_front()
            // The key may have been taken anew by a stream that is in use.
            && self.streams.get(&oldest).is_some_and(|entry| entry.lingering)
        {
            self.remove(oldest);
        }
    }

    /// Resets every stream and wakes whoever waits for one; nothing can be opened from now on.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        let keys: Vec<_> = self.streams.keys().copied().collect();
        for key in keys {
            if let Some(entry) = self.streams.get_mut(&key) {
                entry.connection.reset();
            }
            self.touch(key);
            self.after(key);
        }
    }

    /// Whether something waits for its turn or for room.
    pub(super) fn has_unsent(&self) -> bool {
        !(self.resets.is_empty() && self.ready.is_empty() && self.blocked.is_empty() && self.crowded.is_empty())
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
