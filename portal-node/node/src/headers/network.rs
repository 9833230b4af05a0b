//! Headers from the legacy history network: of a block that a peer offers, from that peer first, then by a lookup.
//!
//! Whoever offers a block mostly has its header. Asking for it costs one request, and takes no place from the lookups that
//! all peers share: those are left to peers that have none.

use std::time::Duration;

use bytes::Bytes;
use cairn_limits::{Holder, Limiter, Quota};
use content_types::{NodeId, ProvedHeader};
use overlay::Overlay;
use overlay::service::{LookupError, LookupTrace};

use super::asker::{Asker, Places};
use super::{BlockId, HeaderSource, NoHeader};
use crate::workers::Stopping;

/// Lookups at once for users; more wait.
const SEARCHES: u64 = 16;
/// The same for what peers offered; one for each peer.
const PEER_SEARCHES: u64 = 4;
/// Headers that one peer is asked for at once.
const ASKED_OF_PEER: u64 = 8;
/// How long a peer may take to give the header of what it offers, before others are asked.
const OFFERER_PATIENCE: Duration = Duration::from_secs(2);

/// Who may ask the network how much at a time.
pub(super) struct NetworkTurns {
    searches: Places,
    asked_of_peer: Limiter,
}

impl Default for NetworkTurns {
    fn default() -> Self {
        let asked_of_peer = Limiter::new(Quota::new(u64::MAX).of_peer(ASKED_OF_PEER));
        Self { searches: Places::new(SEARCHES, PEER_SEARCHES), asked_of_peer }
    }
}

impl HeaderSource {
    /// The proved header that the peer which offers a block has of it.
    async fn ask_offerer(&self, peer: NodeId, network: &Overlay, id: BlockId) -> Option<ProvedHeader> {
        let asking = async {
            let _turn = self.network_turns.asked_of_peer.take(Holder::id(*peer.as_bytes()), 1).await.ok()?;
            let given = network.content_of(&peer, id.header_key().encode()).await;
            given
                .inspect_err(|error| tracing::debug!(%peer, %id, %error, "no header from who offers the block"))
                .ok()?
        };
        let value: Bytes = tokio::time::timeout(OFFERER_PATIENCE, asking).await.ok()??;
        let proved = self.prove(id, value).await;
        proved.inspect_err(|why| tracing::debug!(%peer, %id, %why, "useless header from who offers the block")).ok()
    }

    pub(super) async fn search_network(
        &self,
        asker: Asker,
        network: &Overlay,
        id: BlockId,
    ) -> Result<ProvedHeader, (NoHeader, Option<LookupTrace>)> {
        if let Asker::Peer(peer) = asker
            && let Some(header) = self.ask_offerer(peer, network, id).await
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
        // Not `lookup_content`: this node was asked within the share of `asker`, and is not to be asked again as if for a
        // user. When peers read too many archives, others have the header too.
        match network.search_content(id.header_key().encode()).await {
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
