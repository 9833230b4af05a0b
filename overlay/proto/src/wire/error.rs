//! Which rule of the wire format a message broke.

use super::MessageType;

/// A message that may not be sent, or that was received and breaks the specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// An empty response: the peer does not know the protocol or the message, or could not read the request.
    #[error("empty message: the other side does not support the protocol or the message")]
    Empty,
    /// A selector outside the message union.
    #[error("unknown message selector {0:#04x}")]
    UnknownMessage(u8),
    /// A response where a request belongs.
    #[error("{0} is not a request")]
    NotARequest(MessageType),
    /// A request where a response belongs.
    #[error("{0} is not a response")]
    NotAResponse(MessageType),
    /// The bytes do not have the layout of the SSZ container.
    #[error("{message}: not the SSZ of its container: {reason}")]
    Layout {
        /// The message being read.
        message: MessageType,
        /// What the SSZ decoder found.
        reason: String,
    },
    /// A list has more items than the specification allows.
    #[error("{field}: {got} items, at most {limit} allowed")]
    TooMany {
        /// The field, as the specification names it.
        field: &'static str,
        /// Most items allowed.
        limit: usize,
        /// Items found.
        got: usize,
    },
    /// A byte string is longer than the specification allows.
    #[error("{field}: {got} bytes, at most {limit} allowed")]
    TooLong {
        /// The field, as the specification names it.
        field: &'static str,
        /// Most bytes allowed.
        limit: usize,
        /// Bytes found.
        got: usize,
    },
    /// A logarithmic distance above 256.
    #[error("distance {0} is outside 0 to 256")]
    DistanceOutOfRange(u16),
    /// The same distance twice in one FINDNODES.
    #[error("distance {0} is listed twice")]
    DuplicateDistance(u16),
    /// A selector outside the union in CONTENT.
    #[error("unknown content selector {0:#04x}")]
    UnknownContent(u8),
    /// A message of the right layout that does not fit one discv5 packet.
    #[error("{message} takes {got} bytes, a packet has room for {limit}")]
    TooLarge {
        /// The message being sent.
        message: MessageType,
        /// Room in the packet, bytes.
        limit: usize,
        /// Encoded length, bytes.
        got: usize,
    },
}

impl WireError {
    pub(super) fn layout(message: MessageType, reason: &ssz::DecodeError) -> Self {
        WireError::Layout { message, reason: format!("{reason:?}") }
    }
}

/// `Ok` when a list of `got` items keeps to `limit`.
pub(super) fn check_count(field: &'static str, got: usize, limit: usize) -> Result<(), WireError> {
    if got > limit { Err(WireError::TooMany { field, limit, got }) } else { Ok(()) }
}

/// `Ok` when a byte string of `got` bytes keeps to `limit`.
pub(super) fn check_len(field: &'static str, got: usize, limit: usize) -> Result<(), WireError> {
    if got > limit { Err(WireError::TooLong { field, limit, got }) } else { Ok(()) }
}
