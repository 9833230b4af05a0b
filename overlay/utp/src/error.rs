//! What can go wrong, by whom it is met: the decoder, the carrier's side, the reader, the writer.

use thiserror::Error;

/// Why bytes are not a uTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Fewer bytes than the header takes.
    #[error("a uTP packet has at least 20 bytes, this has {0}")]
    TooShort(usize),
    /// A version other than 1, the only one that BEP 29 defines.
    #[error("uTP version {0}, expected 1")]
    Version(u8),
    /// A type that BEP 29 does not define.
    #[error("uTP packet type {0}, expected 0 to 4")]
    Type(u8),
    /// The chain of extensions runs beyond the packet.
    #[error("extension {extension} at byte {offset} runs beyond the packet's end at {len}")]
    Extension {
        /// The extension's number.
        extension: u8,
        /// Where in the packet the extension starts.
        offset: usize,
        /// The packet's length.
        len: usize,
    },
    /// A selective acknowledgement that is empty or whose length is no multiple of 4.
    #[error("a selective acknowledgement has a multiple of 4 bytes, at least 4; this has {0}")]
    SelectiveAckLen(usize),
    /// A second selective acknowledgement in one packet.
    #[error("two selective acknowledgements in one packet")]
    RepeatedSelectiveAck,
}

/// Why a packet was not taken by a connection. The connection is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// It is no uTP packet.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It belongs to another connection.
    #[error("connection id {0} is not of this connection")]
    ConnectionId(u16),
    /// It acknowledges what was never sent.
    #[error("acknowledges {ack_nr}, but the last packet sent was {last_sent}")]
    AckNr {
        /// What the packet acknowledges.
        ack_nr: u16,
        /// The last sequence number sent.
        last_sent: u16,
    },
    /// Its sequence number lies beyond what may be in flight.
    #[error("sequence number {seq_nr} lies too far beyond {ack_nr}, the last that arrived in order")]
    SeqNr {
        /// The packet's sequence number.
        seq_nr: u16,
        /// The last sequence number that arrived in order.
        ack_nr: u16,
    },
    /// It makes no sense in the present state: data before the SYN, a SYN to the side that opened, data after the FIN.
    #[error("packet does not fit the connection's state")]
    State,
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum CloseReason {
    /// All was sent, acknowledged and, unless [`close`](crate::Connection::close) gave up reading, received.
    #[error("finished")]
    Finished,
    /// The peer sent a RESET.
    #[error("reset by the peer")]
    PeerReset,
    /// This side called [`reset`](crate::Connection::reset).
    #[error("reset by this side")]
    LocalReset,
    /// The connection did not open in time.
    #[error("did not open in time")]
    ConnectTimeout,
    /// Nothing came from the peer for too long.
    #[error("nothing came from the peer for too long")]
    IdleTimeout,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Nothing has arrived yet; wait for [`Event::Readable`](crate::Event::Readable).
    #[error("nothing to read yet")]
    Blocked,
    /// The connection ended before the peer's stream did.
    #[error("the connection ended: {0}")]
    Closed(CloseReason),
}

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The send buffer is full; wait for [`Event::Writable`](crate::Event::Writable).
    #[error("the send buffer is full")]
    Blocked,
    /// [`finish`](crate::Connection::finish) was called before.
    #[error("this side has finished its stream")]
    Finished,
    /// The connection ended.
    #[error("the connection ended: {0}")]
    Closed(CloseReason),
}
