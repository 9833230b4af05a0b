//! Whether there is anybody to offer blocks to. Peers that serve the same archives would decline each piece of them, after all of it
//! was read, hashed and offered: four seeders of one era that have just met took a minute of two processors to tell one another so.
//! Over QUIC a peer says which runs it serves. Where all that could take blocks serve them, the blocks are not even read.
//!
//! Whoever says that it serves what it has not keeps that from being offered to itself, as it does by answering an offer that it has it.
//! To keep blocks from being offered at all it takes all that are known, as it does there: where there is one peer alone, that one
//! is believed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::routing::AddressPolicy;
use cairn_swarm::geometry::{Component, RUN_BLOCKS};
use cairn_swarm::quic::{Held, Swarm};
use content_types::{Distance, NodeId};
use futures::{StreamExt, stream};
use overlay::Enr;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::offer::known_peers;
use crate::networks::Network;
use crate::quic_address::address_of;

/// Peers at once that it is found out of what they serve. Where there are more, some do not serve it.
const MAX_ASKED: usize = 16;
/// Peers that are dialled at once.
const DIALS: usize = 4;
/// How long a peer that there is a connection with has to say what it serves.
const FIRST_HAVE: Duration = Duration::from_secs(3);
/// How long it is found out of a batch at most, however many peers turn up meanwhile.
const ASKING: Duration = Duration::from_secs(15);
/// When a peer is dialled again that there is no connection with.
const DIAL_AGAIN: Duration = Duration::from_secs(120);
/// Peers of which it is remembered when they were met.
const MAX_MET: usize = 1024;

/// QUIC, by which peers say what they serve.
#[derive(Clone)]
pub(crate) struct Quic {
    pub(crate) swarm: Swarm,
    pub(crate) addresses: AddressPolicy,
}

/// What peers serve that could be offered something.
pub(super) struct Serving {
    /// Without it nobody says.
    quic: Option<Quic>,
    /// When each was dialled, or seen to be connected.
    met: Mutex<HashMap<NodeId, Instant>>,
}

/// What one peer says of some blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Serves,
    Lacks,
    /// It may say so until then.
    Nothing(Instant),
    /// It has not been dialled.
    Stranger,
}

impl Serving {
    pub(super) fn new(quic: Option<Quic>) -> Self {
        Self { quic, met: Mutex::default() }
    }

    /// Whether all peers that could take something of these blocks serve them, and there are some.
    pub(super) async fn is_with_all(
        &self,
        networks: &[Arc<Network>],
        blocks: &Range<u64>,
        parts: &[Component],
    ) -> bool {
        let Some(quic) = &self.quic else { return false };
        let mut changes = quic.swarm.changes();
        let deadline = Instant::now() + ASKING;
        while Instant::now() < deadline {
            let takers = takers(networks);
            if takers.is_empty() || takers.len() > MAX_ASKED {
                return false;
            }
            let now = Instant::now();
            let said: Vec<Said> = takers.iter().map(|taker| self.said(quic, taker, now, blocks, parts)).collect();
            if said.contains(&Said::Lacks) {
                return false;
            }
            let strangers: Vec<&Enr> =
                takers.values().zip(&said).filter(|(_, said)| **said == Said::Stranger).map(|(enr, _)| enr).collect();
            if !strangers.is_empty() {
                self.dial(quic, strangers).await;
                continue;
            }
            let waits = said.iter().filter_map(|said| match said {
                Said::Nothing(until) => Some(*until),
                _ => None,
            });
            let Some(until) = waits.min() else { return true };
            // Whichever comes first, it is looked at anew.
            let _ = tokio::time::timeout_at(until.min(deadline), changes.changed()).await;
        }
        false
    }

    fn said(
        &self,
        quic: &Quic,
        (peer, enr): (&NodeId, &Enr),
        now: Instant,
        blocks: &Range<u64>,
        parts: &[Component],
    ) -> Said {
        let held = quic.swarm.session(peer).map(|session| session.view().held);
        if held.is_none() && address_of(enr, quic.addresses).is_none() {
            return Said::Lacks;
        }
        let mut met = self.met.lock();
        if met.len() >= MAX_MET {
            met.clear();
        }
        judge(held.as_deref(), met.entry(*peer), now, blocks, parts)
    }

    async fn dial(&self, quic: &Quic, strangers: Vec<&Enr>) {
        let dials = strangers.into_iter().filter_map(|enr| {
            self.met.lock().insert(NodeId::from(enr.node_id().raw()), Instant::now());
            address_of(enr, quic.addresses)
        });
        stream::iter(dials)
            .for_each_concurrent(DIALS, async |address| {
                match tokio::time::timeout(FIRST_HAVE, quic.swarm.connect(address)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::debug!(address = %address.address, %error, "no QUIC connection"),
                    Err(_) => tracing::debug!(address = %address.address, "no QUIC connection in time"),
                }
            })
            .await;
    }
}

/// What a peer says that serves `held`; `None`: there is no connection with it.
fn judge(
    held: Option<&Held>,
    met: Entry<'_, NodeId, Instant>,
    now: Instant,
    blocks: &Range<u64>,
    parts: &[Component],
) -> Said {
    let Some(held) = held else {
        return match met {
            // Another batch may be dialling it.
            Entry::Occupied(met) if now < *met.get() + FIRST_HAVE => Said::Nothing(*met.get() + FIRST_HAVE),
            Entry::Occupied(met) if now < *met.get() + DIAL_AGAIN => Said::Lacks,
            Entry::Occupied(met) => {
                met.remove();
                Said::Stranger
            }
            Entry::Vacant(_) => Said::Stranger,
        };
    };
    let runs = blocks.start / RUN_BLOCKS..blocks.end.div_ceil(RUN_BLOCKS);
    let serves = |part: &Component| runs.clone().all(|run| held[part.index()].contains(run));
    let until = *met.or_insert(now) + FIRST_HAVE;
    match parts.iter().all(serves) {
        true => Said::Serves,
        false if now < until => Said::Nothing(until),
        false => Said::Lacks,
    }
}

/// The peers that have room for anything of the networks.
fn takers(networks: &[Arc<Network>]) -> HashMap<NodeId, Enr> {
    let known = networks.iter().flat_map(|network| known_peers(network.overlay()));
    known.filter(|(peer, _)| peer.radius != Distance::ZERO).map(|(peer, enr)| (peer.node_id, enr)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_serves_blocks_if_it_has_all_their_runs_and_has_a_moment_to_say_so() {
        let (peer, start) = (NodeId::from([7; 32]), Instant::now());
        let mut met = HashMap::new();
        let mut said = |held: Option<&Held>, after: Duration, blocks: Range<u64>, parts: &[Component]| {
            judge(held, met.entry(peer), start + after, &blocks, parts)
        };
        let (mut held, all) = (Held::default(), Component::ALL);
        let soon = Duration::from_secs(1);
        assert_eq!(said(None, Duration::ZERO, 0..32, &all), Said::Stranger);
        assert_eq!(said(Some(&held), Duration::ZERO, 0..32, &all), Said::Nothing(start + FIRST_HAVE));
        for part in [Component::Headers, Component::Bodies] {
            assert!(held[part.index()].insert(0..2));
        }
        assert_eq!(said(Some(&held), soon, 250..260, &[Component::Headers, Component::Bodies]), Said::Serves);
        assert_eq!(said(Some(&held), soon, 250..260, &all), Said::Nothing(start + FIRST_HAVE));
        assert!(held[Component::Receipts.index()].insert(0..2));
        assert_eq!(said(Some(&held), soon, 250..260, &all), Said::Serves);
        assert_eq!(said(Some(&held), FIRST_HAVE, 500..520, &all), Said::Lacks, "a run more");
        // One that is being dialled is waited for, and one that is gone is not dialled at once.
        assert_eq!(said(None, soon, 0..32, &all), Said::Nothing(start + FIRST_HAVE));
        assert_eq!(said(None, FIRST_HAVE, 0..32, &all), Said::Lacks);
        assert_eq!(said(None, DIAL_AGAIN, 0..32, &all), Said::Stranger);
        assert_eq!(said(None, DIAL_AGAIN, 0..32, &all), Said::Stranger, "until it is noted that it was");
    }
}
