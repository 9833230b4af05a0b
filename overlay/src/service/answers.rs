//! What the requests and lookups of a sub-network come back with.

use std::time::Duration;

use bytes::Bytes;
use cairn_proto::wire::{AcceptCode, ErrorCode, MessageType, PayloadError, PingPayload, StreamError, WireError};
use content_types::{ContentId, Distance, NodeId};
use thiserror::Error;

use crate::transfer::TransferError;
use crate::transport::{Enr, TalkError};

/// Why a request to one peer failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The base protocol brought no answer.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// The peer announces no version of the Portal wire protocol that is spoken here.
    #[error("no version of the Portal wire protocol in common")]
    NoCommonVersion,
    /// The peer is on another chain.
    #[error("the peer is on chain {0}")]
    OtherChain(u64),
    /// The answer is empty or malformed, or the request breaks a limit.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The answer is a message, but not the one that belongs to the request.
    #[error("{0} is no answer to the request")]
    UnexpectedAnswer(MessageType),
    /// The payload of a PONG could not be read, or that of the PING not be written.
    #[error(transparent)]
    PingPayload(#[from] PayloadError),
    /// The peer answered PING with an error.
    #[error("the peer refused the ping ({code:?}): {message}")]
    PingRefused {
        /// What kind of error it is.
        code: ErrorCode,
        /// The peer's text.
        message: String,
    },
    /// The stream that the peer announced failed.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The stream does not hold what it should.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The key is malformed or of no known type.
    #[error("the content key is malformed or of an unknown type")]
    Key,
    /// The peer sent ACCEPT with another number of codes than it was offered keys.
    #[error("{codes} codes for {keys} offered keys")]
    AcceptCount {
        /// Keys offered.
        keys: usize,
        /// Codes received.
        codes: usize,
    },
}

/// A PONG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// Sequence number of the peer's record.
    pub enr_seq: u64,
    /// What the peer says about itself.
    pub payload: PingPayload,
}

/// A peer's answer to FINDCONTENT, any stream already received. Nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindContentAnswer {
    /// The peer has it.
    Content {
        /// The value.
        value: Bytes,
        /// Whether it came over a uTP stream.
        utp: bool,
    },
    /// The peer does not have it; these lie closer.
    Enrs(Vec<Enr>),
}

/// Content that a lookup found and the handler admitted.
#[derive(Debug, Clone)]
pub struct FoundContent {
    /// The value, in its wire encoding.
    pub value: Bytes,
    /// Who sent it; this node itself when it was stored here.
    pub from: NodeId,
    /// Whether it came over a uTP stream.
    pub utp: bool,
    /// How it was found.
    pub trace: LookupTrace,
}

/// Nobody who was asked had the content.
#[derive(Debug, Clone, Error)]
#[error("content {} not found: {} peers asked", trace.target, trace.responses.len())]
pub struct NotFound {
    /// Who was asked and what each answered.
    pub trace: LookupTrace,
}

/// Why a content lookup gave no content.
#[derive(Debug, Clone, Error)]
pub enum LookupError {
    /// The key is malformed or of no known type.
    #[error("the content key is malformed or of an unknown type")]
    Key,
    /// Nobody had it.
    #[error(transparent)]
    NotFound(#[from] NotFound),
}

/// Who was asked in a lookup, and what came.
#[derive(Debug, Clone)]
pub struct LookupTrace {
    /// This node.
    pub origin: NodeId,
    /// The content looked for.
    pub target: ContentId,
    /// When it began, by the wall clock.
    pub started_at: std::time::SystemTime,
    /// Everybody who was asked, in the order of asking.
    pub responses: Vec<TracedResponse>,
    /// Peers that were asked and had not answered when the content was found elsewhere.
    pub cancelled: Vec<NodeId>,
    /// The records of all nodes mentioned.
    pub enrs: Vec<Enr>,
    /// From whom the content came.
    pub received_from: Option<NodeId>,
}

/// One peer's part in a lookup.
#[derive(Debug, Clone)]
pub struct TracedResponse {
    /// Who was asked.
    pub peer: NodeId,
    /// From the beginning of the lookup to the answer.
    pub after: Duration,
    /// What came.
    pub answer: TracedAnswer,
}

/// What a peer answered in a lookup.
#[derive(Debug, Clone)]
pub enum TracedAnswer {
    /// Records of these closer nodes.
    Nodes(Vec<NodeId>),
    /// The content, and it was admitted.
    Content,
    /// Content that was not admitted, and why.
    Rejected(String),
    /// No answer, or none that could be used.
    Failed(String),
}

/// To whom a value was offered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutReport {
    /// Peers that answered the offer.
    pub peer_count: usize,
    /// Whether this node stores the value itself.
    pub stored_locally: bool,
    /// The answers, one for each peer.
    pub codes: Vec<AcceptCode>,
}

/// A peer in a sub-network's routing table.
#[derive(Debug, Clone)]
pub struct TableEntry {
    /// The peer's record.
    pub enr: Enr,
    /// The radius it announced last, if it ever did.
    pub radius: Option<Distance>,
    /// Whether it answered lately.
    pub live: bool,
}

/// A sub-network's routing table.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// The node whose table it is.
    pub local: NodeId,
    /// 256 buckets, nearest first, each from the peer seen longest ago to the one seen last.
    pub buckets: Vec<Vec<TableEntry>>,
}
