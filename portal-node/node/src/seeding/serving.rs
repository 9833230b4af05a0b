//! Whether there is anybody to offer blocks to. Peers that serve the same archives would decline each piece of them, after all of it
//! was read, hashed and offered: four seeders of one era that have just met took a minute of two processors to tell one another so.
//! Over QUIC a peer says which runs it serves. Where all that could take blocks serve them, the blocks are not even read.
//!
//! Whoever says that it serves what it has not keeps that from being offered to itself, as it does by answering an offer that it has it.
//! To keep blocks from being offered at all it takes all that are known. Just after the start that is often one alone, so few of them
//! are not enough to settle it: then it is looked at again, and the blocks are offered once somebody turns up who lacks them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::routing::{AddressPolicy, Subnet};
use cairn_swarm::geometry::{Component, RUN_BLOCKS};
use cairn_swarm::quic::{Held, Swarm};
use content_types::{Distance, Key as _, NodeId, SubNetwork, history};
use futures::{StreamExt, stream};
use overlay::Enr;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::explorer::Explorer;
use super::offer::known_peers;
use crate::networks::Network;
use crate::parts::content_type_of;
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
/// So many peers that all serve it are enough, if they are of [`ENOUGH_SUBNETS`] and whoever is near was sought.
const ENOUGH_PEERS: usize = 4;
/// See [`ENOUGH_PEERS`].
const ENOUGH_SUBNETS: usize = 2;
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

/// Some blocks of an archive, which are asked about.
#[derive(Clone, Debug)]
pub(super) struct BlocksOfArchive {
    pub(super) blocks: Range<u64>,
    pub(super) parts: Vec<Component>,
    /// All of the archive.
    pub(super) archive: Range<u64>,
}

impl BlocksOfArchive {
    /// Whether a peer has all of these blocks that says it serves these runs. Of the first and the last run of those that follow each
    /// other it may have a part, since archives begin and end within runs: only where this one begins or ends there, too, it is the
    /// same archive.
    fn are_in(&self, held: &Held) -> bool {
        let runs = |blocks: &Range<u64>| blocks.start / RUN_BLOCKS..blocks.end.div_ceil(RUN_BLOCKS);
        let archive = runs(&self.archive);
        self.parts.iter().all(|part| {
            let has = |run| held[part.index()].contains(run);
            let is_begun_alike = |run: u64| run == archive.start || run.checked_sub(1).is_none_or(has);
            let is_ended_alike = |run: u64| run.saturating_add(1) == archive.end || has(run.saturating_add(1));
            runs(&self.blocks).all(|run| has(run) && is_begun_alike(run) && is_ended_alike(run))
        })
    }
}

/// Who serves some blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ServedBy {
    /// Not all that could take something of them, as far as that is known.
    #[default]
    NotAll,
    /// Nobody is known who could.
    Nobody,
    /// All that are known, but those are few.
    AFew,
    /// All.
    All,
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
    pub(super) async fn served_by(
        &self,
        networks: &[Arc<Network>],
        explorer: &Explorer,
        asked: &BlocksOfArchive,
    ) -> ServedBy {
        let Some(quic) = &self.quic else { return ServedBy::NotAll };
        let deadline = Instant::now() + ASKING;
        let answer = self.served_by_in_time(quic, networks, explorer, asked);
        tokio::time::timeout_at(deadline, answer).await.unwrap_or_default()
    }

    async fn served_by_in_time(
        &self,
        quic: &Quic,
        networks: &[Arc<Network>],
        explorer: &Explorer,
        asked: &BlocksOfArchive,
    ) -> ServedBy {
        let mut changes = quic.swarm.changes();
        let mut is_explored = None;
        loop {
            let takers = takers(networks, explorer);
            if takers.is_empty() {
                return ServedBy::Nobody;
            }
            if takers.len() > MAX_ASKED {
                return ServedBy::NotAll;
            }
            let now = Instant::now();
            let said: Vec<Said> =
                takers.iter().map(|(peer, (enr, _))| self.said(quic, (peer, enr), now, asked)).collect();
            if said.contains(&Said::Lacks) {
                return ServedBy::NotAll;
            }
            let strangers: Vec<&Enr> = takers
                .values()
                .zip(&said)
                .filter(|(_, said)| **said == Said::Stranger)
                .map(|((enr, _), _)| enr)
                .collect();
            if !strangers.is_empty() {
                self.dial(quic, strangers).await;
                continue;
            }
            let waits = said.iter().filter_map(|said| match said {
                Said::Nothing(until) => Some(*until),
                _ => None,
            });
            if let Some(until) = waits.min() {
                // Whichever comes first, it is looked at anew.
                let _ = tokio::time::timeout_at(until, changes.changed()).await;
                continue;
            }
            if !are_enough(takers.values().map(|(_, subnet)| *subnet)) {
                return ServedBy::AFew;
            }
            match is_explored {
                Some(true) => return ServedBy::All,
                Some(false) => return ServedBy::AFew,
                // Those that are found are asked, too.
                None => is_explored = Some(explore(networks, explorer, asked).await),
            }
        }
    }

    fn said(&self, quic: &Quic, (peer, enr): (&NodeId, &Enr), now: Instant, asked: &BlocksOfArchive) -> Said {
        let held = quic.swarm.session(peer).map(|session| session.view().held);
        if held.is_none() && address_of(enr, quic.addresses).is_none() {
            return Said::Lacks;
        }
        let mut met = self.met.lock();
        if met.len() >= MAX_MET {
            met.clear();
        }
        judge(held.as_deref(), met.entry(*peer), now, asked)
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
fn judge(held: Option<&Held>, met: Entry<'_, NodeId, Instant>, now: Instant, asked: &BlocksOfArchive) -> Said {
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
    let until = *met.or_insert(now) + FIRST_HAVE;
    match asked.are_in(held) {
        true => Said::Serves,
        false if now < until => Said::Nothing(until),
        false => Said::Lacks,
    }
}

/// The peers that have room for anything of the networks, with the subnets whose limits hold for them.
fn takers(networks: &[Arc<Network>], explorer: &Explorer) -> HashMap<NodeId, (Enr, Option<Subnet>)> {
    let known = networks.iter().flat_map(|network| known_peers(network.overlay()));
    let all = explorer.found(Instant::now()).into_iter().chain(known);
    let takers = all.filter(|(peer, _)| peer.radius != Distance::ZERO);
    takers.map(|(peer, enr)| (peer.node_id, (enr, peer.subnet))).collect()
}

/// Whether so many peers are enough to be all. Those of a local network are in as many places as they are.
fn are_enough(subnets: impl Iterator<Item = Option<Subnet>>) -> bool {
    let (mut peers, mut local, mut others) = (0, 0, Vec::new());
    for subnet in subnets {
        peers += 1;
        match subnet {
            None => local += 1,
            Some(subnet) if !others.contains(&subnet) => others.push(subnet),
            Some(_) => {}
        }
    }
    peers >= ENOUGH_PEERS && local + others.len() >= ENOUGH_SUBNETS
}

/// Looks around what the History network has of some blocks, whose runs lie near each other there. The keys of other networks lie
/// everywhere. Whether that says who is near.
async fn explore(networks: &[Arc<Network>], explorer: &Explorer, asked: &BlocksOfArchive) -> bool {
    let Some(network) = networks.iter().find(|network| network.sub_network() == SubNetwork::History) else {
        return true;
    };
    let parts = asked.parts.iter().copied().filter_map(content_type_of);
    let first = asked.blocks.start;
    let last = asked.blocks.end.saturating_sub(1).max(first);
    let ids = parts.flat_map(|of| [first, last].map(|number| history::ContentKey::new(of, number).content_id()));
    explorer.explore(network.overlay(), ids.collect()).await.into_iter().all(|is_explored| is_explored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_serves_blocks_if_it_has_all_their_runs_and_has_a_moment_to_say_so() {
        let (peer, start) = (NodeId::from([7; 32]), Instant::now());
        let mut met = HashMap::new();
        let mut said = |held: Option<&Held>, after: Duration, blocks: Range<u64>, parts: &[Component]| {
            let asked = BlocksOfArchive { archive: 0..512, blocks, parts: parts.to_vec() };
            judge(held, met.entry(peer), start + after, &asked)
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

    #[test]
    fn of_a_run_at_the_end_of_what_a_peer_serves_it_may_have_a_part() {
        let mut held = Held::default();
        assert!(held[Component::Bodies.index()].insert(8..12));
        let serves = |blocks: Range<u64>, archive: Range<u64>| {
            BlocksOfArchive { blocks, parts: vec![Component::Bodies], archive }.are_in(&held)
        };
        let runs = |runs: Range<u64>| runs.start * RUN_BLOCKS..runs.end * RUN_BLOCKS;
        assert!(serves(runs(9..11), runs(0..100)));
        assert!(!serves(runs(8..9), runs(0..100)) && !serves(runs(11..12), runs(0..100)));
        // The same archive begins and ends where this one does.
        let archive = 8 * RUN_BLOCKS + 7..11 * RUN_BLOCKS + 7;
        assert!(serves(archive.clone(), archive.clone()));
        // The one before ends where this one begins.
        assert!(!serves(archive.start..archive.start + 32, runs(0..8).start..archive.start + 32));
        assert!(!serves(runs(11..12), 11 * RUN_BLOCKS..20 * RUN_BLOCKS));
        assert!(!serves(runs(7..9), runs(7..12)), "a run more");
    }

    #[test]
    fn a_few_peers_or_those_of_one_subnet_are_not_all() {
        let of = |ip: [u8; 4]| cairn_limits::Subnet::of_stranger(std::net::IpAddr::from(ip));
        let (one, other) = (of([5, 6, 7, 8]), of([9, 6, 7, 8]));
        assert!(one.is_some() && other.is_some() && one != other);
        let enough = |subnets: &[Option<Subnet>]| are_enough(subnets.iter().copied());
        assert!(!enough(&[]) && !enough(&[one]) && !enough(&[one, other, None]));
        assert!(!enough(&[one; 16]));
        assert!(enough(&[one, one, one, other]) && enough(&[None; 4]));
    }
}
