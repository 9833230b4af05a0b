//! The bytes of the Portal wire protocol: requests and responses, ping extensions, accept codes and content streams.
//!
//! Versions 1 and 2 share every message: version 1 brought the decline codes of ACCEPT and the length before each item
//! of a stream, version 2 only moved the announcement into the ENR field `p` (see [`crate::record`]). So nothing here
//! takes a version. Version 0, which lacks both, is not spoken.
//!
//! Specification: `portal-wire-protocol.md`, "Request - Response Messages"; `ping-extensions/`.

mod accept;
mod error;
mod layout;
mod limits;
mod message;
mod message_type;
mod ping;
mod stream;
mod varint;

pub use accept::AcceptCode;
pub use error::WireError;
pub use limits::*;
pub use message::{Accept, Content, FindContent, FindNodes, Nodes, Offer, Ping, Pong, Request, Response};
pub use message_type::MessageType;
pub use ping::{
    BasicRadius, ClientInfo, ErrorCode, ErrorPayload, Extensions, HistoryRadius, PayloadError, PingPayload,
    payload_type,
};
pub use stream::{ContentStream, StreamError};
pub use varint::{MAX_VARINT_BYTES, Varint, VarintOverflow, VarintReader};
