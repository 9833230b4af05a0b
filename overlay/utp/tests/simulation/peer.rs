//! One end: a connection and what its owner wants of it.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_utp::{CloseReason, Connection, Event, Output, Packet, PacketError, ReadError};

/// Every stream carries this over and over. Its length is a prime, so that no packet boundary repeats with it.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::repeat_with({
        let mut state = 7;
        move || next(&mut state).unwrap()
    })
    .take(1_000_003)
    .collect()
});

pub(crate) struct Peer {
    pub(crate) connection: Connection,
    /// When the connection wants to be called although nothing came.
    pub(crate) timeout: Option<Instant>,
    /// Bytes still to write.
    to_write: usize,
    written: usize,
    /// What to do when all is written.
    at_end: AtEnd,
    /// Bytes read and found right.
    pub(crate) read: usize,
    /// Reads `.0` bytes every `.1`, rather than all at once.
    pub(crate) slow_reader: Option<(usize, Duration)>,
    pub(crate) next_read: Option<Instant>,
    pub(crate) connected: bool,
    pub(crate) finished: bool,
    /// Times that a full send buffer was said to have room again.
    pub(crate) writable: usize,
    /// The end of the other's stream was read.
    pub(crate) read_end: bool,
    pub(crate) closed: Option<CloseReason>,
    /// Packets that the connection refused.
    pub(crate) refused: Vec<PacketError>,
    /// Packets that left, if they are to be kept.
    pub(crate) sent: Option<Vec<Packet>>,
    /// Whether what is read must be what was written: not when packets are damaged on the way.
    pub(crate) intact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtEnd {
    Wait,
    Finish,
    Close,
}

impl Peer {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            timeout: None,
            to_write: 0,
            written: 0,
            at_end: AtEnd::Wait,
            read: 0,
            slow_reader: None,
            next_read: None,
            connected: false,
            finished: false,
            writable: 0,
            read_end: false,
            closed: None,
            refused: Vec::new(),
            sent: None,
            intact: true,
        }
    }

    /// Writes `bytes` and leaves the stream open.
    pub(crate) fn write(&mut self, bytes: usize) {
        self.to_write += bytes;
    }

    /// Writes `bytes`, then finishes.
    pub(crate) fn write_all(&mut self, bytes: usize) {
        self.to_write += bytes;
        self.at_end = AtEnd::Finish;
    }

    /// Writes `bytes`, then closes.
    pub(crate) fn write_and_close(&mut self, bytes: usize) {
        self.to_write += bytes;
        self.at_end = AtEnd::Close;
    }

    /// Reads, writes, sends and takes note of events, as the owner of a connection does after each call into it.
    pub(crate) fn drive(&mut self, now: Instant, mut send: impl FnMut(&[u8])) {
        self.write_some(now);
        self.read_some(now);
        let mut packet = Vec::with_capacity(1_500);
        self.timeout = loop {
            match self.connection.poll_output(now, Some(&mut packet)) {
                Output::Transmit(_) => {
                    if let Some(sent) = &mut self.sent {
                        sent.push(Packet::decode(Bytes::copy_from_slice(&packet)).unwrap());
                    }
                    send(&packet);
                    packet.clear();
                }
                Output::Event(event) => self.note(event),
                Output::Timeout(at) => break at,
            }
        };
    }

    fn note(&mut self, event: Event) {
        assert_eq!(self.closed, None, "{event:?} after the end");
        match event {
            Event::Connected => self.connected = true,
            Event::Readable => {}
            Event::Writable => self.writable += 1,
            Event::Finished => self.finished = true,
            Event::Closed(reason) => self.closed = Some(reason),
        }
    }

    pub(crate) fn receive(&mut self, now: Instant, packet: Bytes) {
        if let Err(error) = self.connection.handle_packet(now, packet) {
            self.refused.push(error);
        }
    }

    fn write_some(&mut self, now: Instant) {
        while self.to_write > 0 {
            let place = self.written % PATTERN.len();
            let end = (place + self.to_write).min(PATTERN.len());
            let Ok(taken) = self.connection.write_chunk(&mut PATTERN.slice(place..end)) else { return };
            self.written += taken;
            self.to_write -= taken;
        }
        match std::mem::replace(&mut self.at_end, AtEnd::Wait) {
            AtEnd::Wait => {}
            AtEnd::Finish => self.connection.finish(),
            AtEnd::Close => self.connection.close(now),
        }
    }

    fn read_some(&mut self, now: Instant) {
        let mut budget = usize::MAX;
        if let Some((bytes, pause)) = self.slow_reader {
            if self.next_read.is_some_and(|at| at > now) {
                return;
            }
            budget = bytes;
            self.next_read = Some(now + pause);
        } else {
            self.next_read = None;
        }
        while budget > 0 {
            match self.connection.read_chunk(budget) {
                Ok(Some(chunk)) => {
                    budget -= chunk.len();
                    self.check(&chunk);
                }
                Ok(None) => {
                    self.read_end = true;
                    self.next_read = None;
                    return;
                }
                Err(ReadError::Blocked) => return,
                Err(ReadError::Closed(_)) => {
                    self.next_read = None;
                    return;
                }
            }
        }
    }

    fn check(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let expected = &PATTERN[self.read % PATTERN.len()..];
            let (now, later) = chunk.split_at(chunk.len().min(expected.len()));
            assert!(
                !self.intact || now == &expected[..now.len()],
                "wrong bytes at {} to {}",
                self.read,
                self.read + now.len()
            );
            self.read += now.len();
            chunk = later;
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("written", &self.written)
            .field("read", &self.read)
            .field("finished", &self.finished)
            .field("read_end", &self.read_end)
            .field("stats", &self.connection.stats())
            .finish_non_exhaustive()
    }
}
