//! How far a fetch is, and how each of its peers does.

use std::{collections::BTreeMap, net::SocketAddr};

use cairn_peer_book::Offence;
use content_types::NodeId;

use crate::download::DownloadProgress;

/// Peers whose offences a fetch remembers; far more than take part in it at a time.
const MAX_BLAMED: usize = 1024;

/// What a peer was charged with in a fetch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blame {
    /// How often it was charged with something.
    pub offences: u32,
    /// With what the last time.
    pub last: Option<Offence>,
}

/// What came from one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedFrom {
    /// The peer's node ID.
    pub peer: NodeId,
    /// Where it is.
    pub address: SocketAddr,
    /// Bytes a second now.
    pub rate: u64,
    /// Bytes received.
    pub received: u64,
    /// Requests under way.
    pub requests: usize,
    /// Whether it does not serve us now.
    pub is_choked: bool,
    /// What it was charged with, on earlier connections too.
    pub blame: Blame,
}

/// How far a fetch is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchProgress {
    /// How far the download as a whole is.
    pub total: DownloadProgress,
    /// Bytes of items that were checked and kept, as they came over the wire.
    pub kept: u64,
    /// Bytes of answers received.
    pub received: u64,
    /// Items that were wrong.
    pub invalid: u64,
    /// The peers that are asked.
    pub peers: Vec<FetchedFrom>,
}

/// What the peers of a fetch were charged with. A connection that a bar ends takes nothing of that with it.
#[derive(Debug, Default)]
pub(super) struct Blames(BTreeMap<NodeId, Blame>);

impl Blames {
    pub(super) fn note(&mut self, peer: NodeId, offence: Offence) {
        if self.0.len() >= MAX_BLAMED && !self.0.contains_key(&peer) {
            return;
        }
        let blame = self.0.entry(peer).or_default();
        *blame = Blame { offences: blame.offences.saturating_add(1), last: Some(offence) };
    }

    pub(super) fn of(&self, peer: &NodeId) -> Blame {
        self.0.get(peer).copied().unwrap_or_default()
    }
}
