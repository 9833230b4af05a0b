//! Whom to dial: peers whose node records say that they speak QUIC, from the overlays and from what the user names.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::routing::AddressPolicy;
use cairn_swarm::quic::{PeerAddress, Swarm};
use futures::{StreamExt, stream};
use overlay::Enr;
use tokio_util::sync::CancellationToken;

use crate::networks::Network;

/// The ports of QUIC in a node record, for IPv4 and IPv6.
pub(crate) const QUIC_KEY: &str = "quic";
pub(crate) const QUIC6_KEY: &str = "quic6";

/// How often peers are sought while there is something to fetch.
const SEEK_INTERVAL: Duration = Duration::from_secs(1);
/// Peers that are dialled at once.
const DIALS: usize = 8;

/// Where a node record says that its node speaks QUIC, if the address is one that is believed.
pub(crate) fn address_of(enr: &Enr, addresses: AddressPolicy) -> Option<PeerAddress> {
    let port = |key| enr.get_decodable::<u16>(key).and_then(Result::ok).filter(|port| *port > 0);
    let v4 = || Some(SocketAddr::from((enr.ip4()?, port(QUIC_KEY)?)));
    let v6 = || Some(SocketAddr::from((enr.ip6()?, port(QUIC6_KEY)?)));
    let address = v4().or_else(v6).filter(|address| addresses.believes(address.ip()))?;
    let enr::CombinedPublicKey::Secp256k1(key) = enr.public_key() else { return None };
    let key = key.to_sec1_bytes().as_ref().try_into().ok()?;
    Some(PeerAddress { key, address })
}

/// The peers that a node could dial.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) swarm: Swarm,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) named: Vec<Enr>,
    pub(crate) addresses: AddressPolicy,
}

impl Peers {
    /// Dials peers, those that are named first, until it is stopped. What each holds decides later who is asked.
    pub(crate) async fn keep_dialling(self, stop: CancellationToken) {
        let seek = async {
            let mut failed = HashSet::new();
            for round in 0_u32.. {
                // Who could not be reached is tried again now and then.
                if round.is_multiple_of(30) {
                    failed.clear();
                }
                let new =
                    self.candidates().into_iter().filter(|peer| !failed.contains(peer) && !self.is_connected(peer));
                let dialled: Vec<_> = stream::iter(new.collect::<Vec<_>>())
                    .map(|peer| {
                        let swarm = &self.swarm;
                        async move { (peer, swarm.connect(peer).await) }
                    })
                    .buffer_unordered(DIALS)
                    .collect()
                    .await;
                for (peer, outcome) in dialled {
                    if let Err(error) = outcome {
                        tracing::debug!(address = %peer.address, %error, "no QUIC connection");
                        failed.insert(peer);
                    }
                }
                tokio::time::sleep(SEEK_INTERVAL).await;
            }
        };
        let _ = stop.run_until_cancelled(seek).await;
    }

    fn is_connected(&self, peer: &PeerAddress) -> bool {
        cairn_swarm::quic::node_id_of(&peer.key).is_ok_and(|id| self.swarm.session(&id).is_some())
    }

    fn candidates(&self) -> Vec<PeerAddress> {
        let tables = self.networks.iter().map(|network| network.overlay().routing_table());
        let known = tables.flat_map(|table| table.buckets).flatten().map(|entry| Enr::clone(&entry.enr));
        let mut seen = HashSet::new();
        let all = self.named.iter().cloned().chain(known);
        all.filter_map(|enr| address_of(&enr, self.addresses)).filter(|peer| seen.insert(peer.key)).collect()
    }
}
