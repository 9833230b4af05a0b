//! Headers from the legacy history network: of a block that a peer offers, from that peer first, then by a lookup.
//!
//! Whoever offers a block mostly has its header. Asking for it costs one request, and takes no place from the lookups that
//! all peers share: those are left to peers that have none.

use std::time::Duration;

use bytes::Bytes;
use cairn_limits::{Holder, Limiter, Quota};
use content_types::{Key as _, NodeId, ProvedHeader, legacy_history};
use overlay::service::{FoundContent, LookupError, LookupTrace};
use tokio::sync::{mpsc, oneshot};

use super::asker::{Asker, SearchPlaces};
use super::{BlockId, HeaderSource, NoHeader};
use crate::workers::Stopping;

/// Lookups at once for users; more wait.
const SEARCHES: u64 = 16;
/// Lookups at once for what peers offered; one for each peer.
const PEER_SEARCHES: u64 = 4;
/// Headers that all who offer are asked for at once.
const ASKED: u64 = 256;
/// Headers that one peer is asked for at once.
const ASKED_OF_PEER: u64 = 8;
/// How long a peer may take to give the header of what it offers, before others are asked.
const OFFERER_PATIENCE: Duration = Duration::from_secs(2);

/// Queries that wait to be taken up.
const QUERIES: usize = 64;

/// What is asked of the network. Whoever runs it answers; see `networks/header_lookups.rs`.
#[derive(Debug)]
pub(crate) enum HeaderQuery {
    /// What one peer has under a key.
    OfPeer {
        /// Whom to ask.
        peer: NodeId,
        /// The header's content key, encoded.
        key: Bytes,
        /// Where the value goes; nothing if the peer has none.
        answer: oneshot::Sender<Option<Bytes>>,
    },
    /// A lookup of a key.
    Search {
        /// The header's content key, encoded.
        key: Bytes,
        /// Where the outcome goes.
        answer: oneshot::Sender<Result<FoundContent, LookupError>>,
    },
}

/// The network as the header source has it: somewhere to put queries, which are answered while there is somebody who does.
#[derive(Clone, Debug)]
pub(crate) struct HeaderNetwork(mpsc::Sender<HeaderQuery>);

impl HeaderNetwork {
    /// The network, and the queries that whoever runs it has to answer.
    pub(crate) fn new() -> (Self, mpsc::Receiver<HeaderQuery>) {
        let (sender, queries) = mpsc::channel(QUERIES);
        (Self(sender), queries)
    }

    /// `None` when nobody answers any more.
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> HeaderQuery) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.0.send(query(answer)).await.ok()?;
        answered.await.ok()
    }
}

/// Who may ask the network how much at a time.
pub(super) struct NetworkTurns {
    searches: SearchPlaces,
    asked_of_peer: Limiter,
}

impl Default for NetworkTurns {
    fn default() -> Self {
        let asked_of_peer = Limiter::new(Quota::new(ASKED).of_peer(ASKED_OF_PEER));
        Self { searches: SearchPlaces::new(SEARCHES, PEER_SEARCHES), asked_of_peer }
    }
}

impl HeaderSource {
    /// The proved header that the peer which offers a block has of it.
    async fn ask_offerer(
        &self,
        peer: NodeId,
        holder: Holder,
        network: &HeaderNetwork,
        id: BlockId,
    ) -> Option<ProvedHeader> {
        let asking = async {
            let _turn = self.network_turns.asked_of_peer.take(holder, 1).await.ok()?;
            let key = legacy_history::ContentKey::header(id).encode();
            network.ask(|answer| HeaderQuery::OfPeer { peer, key, answer }).await?
        };
        let value: Bytes = tokio::time::timeout(OFFERER_PATIENCE, asking).await.ok()??;
        let proved = self.prove(id, value).await;
        proved.inspect_err(|why| tracing::debug!(%peer, %id, %why, "useless header from who offers the block")).ok()
    }

    pub(super) async fn search_network(
        &self,
        asker: Asker,
        network: &HeaderNetwork,
        id: BlockId,
    ) -> Result<ProvedHeader, (NoHeader, Option<LookupTrace>)> {
        if let Asker::Peer { id: peer, .. } = asker
            && let Some(header) = self.ask_offerer(peer, asker.holder(), network, id).await
        {
            return Ok(header);
        }
        let Ok(_place) = self.network_turns.searches.take(asker).await else {
            return Err((Stopping.into(), None));
        };
        // Found for somebody else while this waited.
        if let Some(header) = self.cached(&id) {
            return Ok(header);
        }
        let key = legacy_history::ContentKey::header(id).encode();
        let Some(found) = network.ask(|answer| HeaderQuery::Search { key, answer }).await else {
            return Err((Stopping.into(), None));
        };
        match found {
            // The sub-network's handler proved it on the way in, and so it is in the cache, unless it was pushed out.
            Ok(found) => match self.cached(&id) {
                Some(header) => Ok(header),
                None => self.prove(id, found.value).await.map_err(|why| (why, Some(found.trace))),
            },
            Err(LookupError::NotFound(missing)) => {
                Err((NoHeader::NotFound { asked: missing.trace.responses.len() }, Some(missing.trace)))
            }
            Err(LookupError::Unverifiable(unverifiable)) => {
                Err((NoHeader::Unverifiable(unverifiable.reason), Some(unverifiable.trace)))
            }
            Err(LookupError::Key) => Err((NoHeader::NotFound { asked: 0 }, None)),
        }
    }
}
