//! What a lookup did, peer by peer: who named whom, what each answered, and when.
//!
//! It has all that the trace of the JSON-RPC specification (`jsonrpc/src/schemas/trace.json`) needs except the wall-clock
//! time of the start, which the driver knows.

use std::{fmt, sync::Arc, time::Duration};

use content_types::{Distance, NodeId};

use crate::record::Enr;

/// The course of a lookup.
#[derive(Debug, Clone)]
pub struct Trace {
    /// This node.
    pub origin: NodeId,
    /// The node ID or content ID looked up.
    pub target: NodeId,
    /// Who sent the content that was found valid.
    pub received_from: Option<NodeId>,
    /// Every node that came up, nearest to the target first.
    pub peers: Vec<PeerTrace>,
}

/// One node's part in a lookup. Times count from the start of the lookup.
#[derive(Debug, Clone)]
pub struct PeerTrace {
    /// The node.
    pub node_id: NodeId,
    /// Its record.
    pub enr: Arc<Enr>,
    /// From the target.
    pub distance: Distance,
    /// Who named it; `None`: it stood in this node's table.
    pub learned_from: Option<NodeId>,
    /// Nodes on the way to it from this node's table: 1 for a node from the table.
    pub hops: u32,
    /// When it was first asked; `None`: never.
    pub asked: Option<Duration>,
    /// When its last answer came, or was given up.
    pub answered: Option<Duration>,
    /// What it answered; `None`: it was not asked, or the lookup ended first.
    pub answer: Option<Answer>,
}

/// What a peer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Other nodes; from a content lookup, that it lacks the content.
    Nodes(Vec<NodeId>),
    /// A connection ID for a stream that had not ended when the lookup did.
    Stream,
    /// The content.
    Content,
    /// Content that the driver did not let in.
    RejectedContent,
    /// Nothing of use.
    Failed(PeerFailure),
}

/// Why a peer's part came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerFailure {
    /// It did not answer in time.
    Timeout,
    /// The request could not be sent.
    Unreachable,
    /// It answered with an empty message: it does not speak the sub-network or refuses.
    Refused,
    /// It was too busy to look whenever it was asked.
    Busy,
    /// Its answer breaks the protocol.
    Malformed,
    /// The stream broke, stood still or ended too early.
    Stream,
    /// Its stream was slow and made room for another peer's.
    StreamSlow,
    /// Its connection ID grew too old before it was used.
    StreamExpired,
}

impl fmt::Display for PeerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerFailure::Timeout => "no answer in time",
            PeerFailure::Unreachable => "could not be reached",
            PeerFailure::Refused => "answered with an empty message",
            PeerFailure::Busy => "too busy whenever it was asked",
            PeerFailure::Malformed => "answer breaks the protocol",
            PeerFailure::Stream => "the stream failed",
            PeerFailure::StreamSlow => "the stream was slow and another had its place",
            PeerFailure::StreamExpired => "its connection ID was not used in time",
        })
    }
}

impl Trace {
    /// The peers that were asked, in the order of asking.
    pub fn asked(&self) -> impl Iterator<Item = &PeerTrace> {
        let mut asked: Vec<_> = self.peers.iter().filter(|peer| peer.asked.is_some()).collect();
        asked.sort_by_key(|peer| peer.asked);
        asked.into_iter()
    }

    /// The peers whose answer, or whose stream, was not waited for.
    pub fn cancelled(&self) -> impl Iterator<Item = &PeerTrace> {
        self.peers.iter().filter(|peer| peer.asked.is_some() && matches!(peer.answer, None | Some(Answer::Stream)))
    }

    /// The part of the peer that sent the content.
    pub fn source(&self) -> Option<&PeerTrace> {
        let from = self.received_from?;
        self.peers.iter().find(|peer| peer.node_id == from)
    }
}
