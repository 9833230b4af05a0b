//! What goes over the streams of a connection, as `PROTOCOL.md` says.

mod answer;
mod claim;
mod control;
mod frames;
mod request;

pub use answer::{AnswerHead, AnswerStatus};
pub use claim::Claim;
pub use control::{Control, ControlError, Have, Hello, MAX_PEERS, Peers, Predict};
pub use frames::{FrameError, FrameReader, frame_head};
pub use request::{Encoding, Encodings, ItemKey, SwarmRequest, SwarmRequestError};

/// The protocol's name in the TLS handshake (ALPN).
pub const ALPN: &[u8] = b"cairn/1";

/// The longest control message, in bytes: a window of a bitmap of 4 million blocks' runs, or peers' records.
pub const MAX_CONTROL_BYTES: usize = 1 << 14;

/// The longest request, in bytes: a type, a sub-network and a content key.
pub const MAX_REQUEST_BYTES: usize = 128;
