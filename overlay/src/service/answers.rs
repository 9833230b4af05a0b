//! What the requests and lookups of a sub-network come back with.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cairn_proto::lookup::{Answer, Trace};
use cairn_proto::record::Incompatible;
use cairn_proto::routing::Subnet;
use cairn_proto::wire::{AcceptCode, ErrorCode, MessageType, PayloadError, PingPayload, StreamError, WireError};
use content_types::{ContentId, Distance, NodeId};
use thiserror::Error;

use super::{Cause, Rejection};
use crate::transfer::TransferError;
use crate::transport::{Enr, TalkError};

/// Why a request to one peer failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The base protocol brought no answer.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// The peer speaks no version of the Portal wire protocol that is spoken here, or is on another chain.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
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

/// A peer's answer to PING: its PONG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingAnswer {
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
    /// Those on the way who lack it.
    pub lacking: Vec<Arc<Enr>>,
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

/// Content came, and this node cannot tell whether it is true; no other peer's copy would change that.
#[derive(Debug, Clone, Error)]
#[error("content {} cannot be verified here: {reason}", trace.target)]
pub struct Unverifiable {
    /// What is missing to judge it.
    #[source]
    pub reason: Cause,
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
    /// Somebody had it, and this node cannot verify it now.
    #[error(transparent)]
    Unverifiable(#[from] Unverifiable),
}

impl LookupError {
    /// Who was asked, unless the key was malformed.
    pub fn trace(&self) -> Option<&LookupTrace> {
        match self {
            Self::Key => None,
            Self::NotFound(error) => Some(&error.trace),
            Self::Unverifiable(error) => Some(&error.trace),
        }
    }
}

/// Who was asked in a lookup, and what came.
#[derive(Debug, Clone)]
pub struct LookupTrace {
    /// This node.
    pub origin: NodeId,
    /// The content looked for.
    pub target: ContentId,
    /// When it began, by the wall clock.
    pub started_at: SystemTime,
    /// Everybody who was asked, in the order of asking.
    pub responses: Vec<TracedResponse>,
    /// Peers that were asked and had not answered when the content was found elsewhere.
    pub cancelled: Vec<NodeId>,
    /// The records of all nodes mentioned.
    pub enrs: Vec<Arc<Enr>>,
    /// From whom the content came.
    pub received_from: Option<NodeId>,
    /// Nodes on the way from this node's table to the one that sent the content: 1 for a peer from the table, 0 when it
    /// was not found or was here already.
    pub hops: u32,
}

impl LookupTrace {
    /// `rejections` are the reasons why content that came was not admitted.
    pub(super) fn new(trace: Trace, started_at: SystemTime, rejections: &[(NodeId, Rejection)]) -> Self {
        let responses = trace.asked().filter_map(|peer| {
            let answer = match peer.answer.clone()? {
                Answer::Nodes(nodes) => TracedAnswer::Nodes(nodes),
                Answer::Content => TracedAnswer::Content,
                Answer::Stream => return None,
                Answer::RejectedContent => {
                    let reason = rejections.iter().find(|(id, _)| *id == peer.node_id);
                    TracedAnswer::Rejected(reason.map(|(_, rejection)| rejection.to_string()).unwrap_or_default())
                }
                Answer::Failed(failure) => TracedAnswer::Failed(failure.to_string()),
            };
            Some(TracedResponse { peer: peer.node_id, after: peer.answered.unwrap_or_default(), answer })
        });
        Self {
            origin: trace.origin,
            target: ContentId::from(<[u8; 32]>::from(trace.target)),
            started_at,
            responses: responses.collect(),
            cancelled: trace.cancelled().map(|peer| peer.node_id).collect(),
            enrs: trace.peers.iter().map(|peer| peer.enr.clone()).collect(),
            received_from: trace.received_from,
            hops: trace.source().map_or(0, |source| source.hops),
        }
    }

    /// Whether most of those who were asked said something of use. If not, another lookup may bring what this one did not.
    pub fn most_answered(&self) -> bool {
        let failed =
            self.responses.iter().filter(|response| matches!(response.answer, TracedAnswer::Failed(_))).count();
        self.responses.len() > 2 * failed
    }

    /// One line for each peer that was asked: who, and what came.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.responses.iter().map(|response| format!("{}: {}", response.peer, response.answer))
    }

    /// The trace of content that was here already.
    pub(super) fn local(origin: NodeId, target: ContentId, started_at: SystemTime) -> Self {
        let (responses, cancelled, enrs) = (Vec::new(), Vec::new(), Vec::new());
        Self { origin, target, started_at, responses, cancelled, enrs, received_from: Some(origin), hops: 0 }
    }
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

impl fmt::Display for TracedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(nodes) => write!(f, "does not have it, named {} closer nodes", nodes.len()),
            Self::Content => f.write_str("sent it"),
            Self::Rejected(reason) => write!(f, "sent what was refused: {reason}"),
            Self::Failed(reason) => write!(f, "no usable answer: {reason}"),
        }
    }
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
    pub enr: Arc<Enr>,
    /// The radius it announced last, if it ever did.
    pub radius: Option<Distance>,
    /// Whether it answered lately.
    pub live: bool,
    /// The subnet whose limits hold for it, if any do.
    pub subnet: Option<Subnet>,
}

/// A sub-network's routing table.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    /// The node whose table it is.
    pub local: NodeId,
    /// 256 buckets, nearest first, in each the peers in no order.
    pub buckets: Vec<Vec<TableEntry>>,
}
