//! Trust lists from peers: whoever is known is asked until every missing list is there.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::trust::TrustListKind;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use overlay::Enr;
use overlay::service::{ContentSource, FindContentAnswer, RequestError};

use crate::networks::{Network, TrustNetwork, trust_key};
use crate::not_found::NotFoundCause;
use crate::trust::TrustStore;
use crate::trust::order::ask_order;

/// Peers asked for one list at once.
const PARALLEL_REQUESTS: usize = 3;
/// Peers asked for one list until it is waited again.
const MAX_ASKED: usize = 64;
/// How long one peer may take. The lists of mainnet are some ten kilobytes each, and who trickles one takes a place.
const PATIENCE: Duration = Duration::from_secs(30);
/// First wait before peers are asked again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// How the search for one list among peers went.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerFetch {
    /// Which list.
    pub kind: TrustListKind,
    /// Whether it was found and is in use.
    pub found: bool,
    /// Peers asked.
    pub asked: usize,
    /// Why it was not found.
    pub cause: Option<NotFoundCause>,
    /// What each peer that did not help answered.
    pub failures: Vec<(Enr, String)>,
}

/// Asks peers for trust lists. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TrustFetcher {
    trust: Arc<TrustStore>,
    network: TrustNetwork,
    networks: Vec<Arc<Network>>,
    bootnodes: Vec<Enr>,
}

impl TrustFetcher {
    pub(crate) fn new(
        trust: Arc<TrustStore>,
        network: TrustNetwork,
        networks: Vec<Arc<Network>>,
        bootnodes: Vec<Enr>,
    ) -> Self {
        Self { trust, network, networks, bootnodes }
    }

    /// Asks for each list that is missing. What comes is checked against the chain's root, saved and in use on return.
    pub(crate) async fn fetch_missing(&self) -> Vec<PeerFetch> {
        let mut results = Vec::new();
        for (kind, root) in self.trust.missing() {
            results.push(self.fetch(kind, &root).await);
        }
        results
    }

    /// Asks until nothing is missing, less and less often.
    pub(crate) async fn keep_fetching(self) {
        let mut wait = FIRST_RETRY;
        while !self.trust.missing().is_empty() {
            for fetch in self.fetch_missing().await.iter().filter(|fetch| fetch.found) {
                tracing::info!(list = %fetch.kind, "trust list fetched from a peer");
            }
            tokio::time::sleep(wait).await;
            wait = wait.saturating_mul(2).min(LAST_RETRY);
        }
    }

    async fn fetch(&self, kind: TrustListKind, root: &B256) -> PeerFetch {
        let key = trust_key(root);
        let mut result = PeerFetch { kind, found: false, asked: 0, cause: None, failures: Vec::new() };
        let mut is_anybody_there = false;
        let mut waiting = self.known_peers().into_iter().take(MAX_ASKED);
        let mut requests = FuturesUnordered::new();
        loop {
            while requests.len() < PARALLEL_REQUESTS
                && let Some(peer) = waiting.next()
            {
                result.asked += 1;
                let answer = self.network.overlay.find_content(peer.clone(), key.clone());
                requests.push(async move { (value_of(answer).await, peer) });
            }
            let Some((answer, peer)) = requests.next().await else {
                result.cause = Some(NotFoundCause::among_peers(is_anybody_there));
                return result;
            };
            let failure = match answer {
                Ok(None) => {
                    is_anybody_there = true;
                    "does not have it".to_owned()
                }
                Ok(Some(value)) => {
                    is_anybody_there = true;
                    let from = ContentSource::Lookup(peer.node_id().raw().into());
                    match self.network.handler.admit(key.clone(), value, from).await {
                        Ok(_) => {
                            result.found = true;
                            return result;
                        }
                        Err(rejection) => rejection.to_string(),
                    }
                }
                Err(failure) => failure,
            };
            tracing::debug!(peer = %peer.node_id(), list = %kind, failure, "trust list not had from this peer");
            result.failures.push((peer, failure));
        }
    }

    /// Everybody who may have a list: who answers in the routing tables of all sub-networks, and the bootnodes.
    fn known_peers(&self) -> Vec<Enr> {
        let tables = self.networks.iter().map(|network| network.overlay().routing_table());
        let listed = tables.flat_map(|table| table.buckets.into_iter().flatten()).filter(|entry| entry.live);
        ask_order(&self.bootnodes, listed.map(|entry| Arc::unwrap_or_clone(entry.enr)), &mut rand::rng())
    }
}

/// The list in a peer's answer, if it has one and that comes within [`PATIENCE`]; or why there is no answer.
async fn value_of(
    answer: impl Future<Output = Result<FindContentAnswer, RequestError>>,
) -> Result<Option<Bytes>, String> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(FindContentAnswer::Content { value, .. })) => Ok(Some(value)),
        Ok(Ok(FindContentAnswer::Enrs(_))) => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("took longer than {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_finishes_gives_its_place_back() {
        let asked = tokio::time::timeout(PATIENCE * 2, value_of(std::future::pending()));
        let failure = asked.await.expect("somebody else has a turn by then").unwrap_err();
        assert!(failure.contains("30 s"), "{failure}");
    }
}
