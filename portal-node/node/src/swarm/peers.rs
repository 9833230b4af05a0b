//! Whom to dial: peers whose node records say that they speak QUIC, from the overlays and from what the user names.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::routing::AddressPolicy;
use cairn_swarm::quic::{PeerAddress, Swarm};
use cairn_tracker::Tracker;
use futures::future::join;
use futures::{StreamExt, stream};
use overlay::Enr;
use tokio_util::sync::CancellationToken;

use super::exchange::Heard;
use super::tracker::providers;
use crate::networks::Network;
use crate::not_found::NotFoundCause;
use crate::quic_address::address_of;

/// How often peers are sought while there is something to fetch.
const SEEK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the tracker is asked while there is something to fetch.
const ASK_TRACKER_INTERVAL: Duration = Duration::from_secs(3);
/// Peers that are dialled at once.
const DIALS: usize = 8;
/// Of those of whom only other peers told, so many are dialled in a round.
const DIALS_BY_HEARSAY: usize = 4;
/// After so many rounds, whoever could not be reached is tried again.
const FORGIVING_ROUNDS: u32 = 30;

/// How many peers are dialled, and how often.
pub(crate) struct DialPlan<F> {
    pub(crate) interval: Duration,
    /// How many may be dialled while so many are connected that were dialled. Who dials this node has no say in that.
    pub(crate) may_dial: F,
}

/// All of them, at once.
const EVERYBODY: DialPlan<fn(usize) -> usize> = DialPlan { interval: SEEK_INTERVAL, may_dial: |_| usize::MAX };

/// The peers that a node could dial.
#[derive(Clone)]
pub(crate) struct KnownPeers {
    pub(crate) swarm: Swarm,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) named: Vec<Enr>,
    pub(crate) tracker: Option<Arc<Tracker>>,
    pub(crate) addresses: AddressPolicy,
}

impl KnownPeers {
    /// Dials peers, those that are named first, until it is stopped: those that are known, and those of whom the tracker
    /// knows that they hold one of some eras. What each holds decides later who is asked.
    pub(crate) async fn keep_dialling(self, eras: RangeInclusive<u64>, stop: CancellationToken) {
        let dialling = join(self.dial_known(EVERYBODY), self.dial_providers(eras));
        let _ = stop.run_until_cancelled(dialling).await;
    }

    /// Dials peers until it is stopped: those alone that are known.
    pub(crate) async fn keep_dialling_known(self, stop: CancellationToken) {
        self.keep_dialling_by(EVERYBODY, stop).await;
    }

    /// Dials peers until it is stopped: as many of those that are known as a plan says, those first that are named, and then those
    /// whose IDs are nearest to this node's, who keep the same.
    pub(crate) async fn keep_dialling_by(self, plan: DialPlan<impl Fn(usize) -> usize>, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.dial_known(plan)).await;
    }

    /// Dials peers until it is stopped: those of whom the tracker knows that they hold one of some eras.
    pub(crate) async fn keep_dialling_providers(self, eras: RangeInclusive<u64>, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.dial_providers(eras)).await;
    }

    /// Asks the tracker again and again; the record of a peer that it names is sought over discv5.
    async fn dial_providers(&self, eras: RangeInclusive<u64>) {
        let Some(tracker) = &self.tracker else { return };
        let Some(network) = self.networks.first() else { return };
        loop {
            for era in eras.clone() {
                for id in providers(tracker, era).await {
                    if self.swarm.session(&id).is_some() {
                        continue;
                    }
                    let Some(enr) = network.overlay().lookup_enr(id).await else { continue };
                    let Some(peer) = address_of(&enr, self.addresses) else { continue };
                    if let Err(error) = self.swarm.connect(peer).await {
                        tracing::debug!(%era, address = %peer.address, %error, "no QUIC connection with a provider");
                    }
                }
            }
            tokio::time::sleep(ASK_TRACKER_INTERVAL).await;
        }
    }

    /// What it means that nobody serves something: it makes a difference whether any peer answers, over QUIC or not.
    pub(crate) fn why_unserved(&self) -> NotFoundCause {
        let mut tables = self.networks.iter().map(|network| network.overlay().routing_table());
        let has_answered = !self.swarm.sessions().is_empty()
            || tables.any(|table| table.buckets.iter().flatten().any(|entry| entry.live));
        NotFoundCause::among_peers(has_answered)
    }

    async fn dial_known(&self, plan: DialPlan<impl Fn(usize) -> usize>) {
        let (mut failed, mut connected, mut heard) = (HashSet::new(), HashSet::new(), Heard::default());
        for round in 0_u32.. {
            if round.is_multiple_of(FORGIVING_ROUNDS) {
                failed.clear();
            }
            connected.retain(|peer| self.is_connected(peer));
            let most = (plan.may_dial)(connected.len());
            let candidates = if most == 0 { Vec::new() } else { self.candidates() };
            // Whom others tell of comes last, a few at a time.
            let sessions = if most == 0 { Vec::new() } else { self.swarm.sessions() };
            let telling = sessions.iter().map(|session| (session.node_id(), session.view().peers));
            let told_of = heard.look(telling, self.addresses);
            let is_new = |peer: &PeerAddress| !failed.contains(peer) && !self.is_connected(peer);
            let known: HashSet<_> = candidates.iter().map(|peer| peer.key).collect();
            let told_of = told_of.into_iter().filter(|peer| !known.contains(&peer.key) && is_new(peer));
            let new = candidates.into_iter().filter(is_new).chain(told_of.take(DIALS_BY_HEARSAY));
            let dialled: Vec<_> = stream::iter(new.take(most).collect::<Vec<_>>())
                .map(|peer| {
                    let swarm = &self.swarm;
                    async move { (peer, swarm.connect(peer).await) }
                })
                .buffer_unordered(DIALS)
                .collect()
                .await;
            for (peer, outcome) in dialled {
                match outcome {
                    Ok(_) => {
                        connected.insert(peer);
                    }
                    Err(error) => {
                        tracing::debug!(address = %peer.address, %error, "no QUIC connection");
                        failed.insert(peer);
                    }
                }
            }
            tokio::time::sleep(plan.interval).await;
        }
    }

    fn is_connected(&self, peer: &PeerAddress) -> bool {
        cairn_swarm::quic::node_id_of(&peer.key).is_ok_and(|id| self.swarm.session(&id).is_some())
    }

    fn candidates(&self) -> Vec<PeerAddress> {
        let tables = self.networks.iter().map(|network| network.overlay().routing_table());
        let known = tables.flat_map(|table| table.buckets).flatten().map(|entry| Enr::clone(&entry.enr));
        let mut known: Vec<_> = known.collect();
        let own = self.swarm.node_id();
        known.sort_by_cached_key(|enr| own.distance_to_node(&enr.node_id().raw().into()));
        let mut seen = HashSet::new();
        let all = self.named.iter().cloned().chain(known);
        all.filter_map(|enr| address_of(&enr, self.addresses)).filter(|peer| seen.insert(peer.key)).collect()
    }
}
