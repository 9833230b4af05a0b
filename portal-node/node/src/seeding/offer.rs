//! Offers checked content to the peers that should hold it, and tells what became of it.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::wire::AcceptCode;
use content_types::{ContentId, Distance, NodeId};
use futures::{StreamExt, stream};
use overlay::service::{RequestError, TransferFailure};
use overlay::{Enr, Overlay};
use tokio::time::Instant;

use super::explorer::Explorer;
use super::fate::{Course, Fate};
use super::plan::{self, PlannedOffer, PlannedPiece, Taker};
use super::slow::SlowPeers;
use super::terms::SeedOptions;
use crate::verified::VerifiedContent;

/// Waits between looks at a routing table in which nobody is.
const NO_PEERS_WAIT: Duration = Duration::from_secs(1);
/// How often pieces are offered until a peer says that it has them, each time to the peers that there are by then.
const ROUNDS: u32 = 5;
/// How often an offer that a busy peer declined is repeated.
const MAX_RETRIES: u32 = 5;
/// First wait before such an offer is repeated; doubled each time.
const RETRY_WAIT: Duration = Duration::from_millis(100);
/// How long an offer may take beside its transfer. A batch waits for all its offers.
const OFFER_TIME: Duration = Duration::from_secs(30);
/// Bytes a second that a peer has to take at least.
const MIN_RATE: u64 = 64_000;

/// A checked piece of content on its way.
#[derive(Clone, Debug)]
pub(super) struct CheckedPiece {
    id: ContentId,
    key: Bytes,
    value: Bytes,
}

impl CheckedPiece {
    /// A piece of content; `None` if it is not known in the form in which it is offered.
    pub(super) fn new(content: &VerifiedContent) -> Option<Self> {
        let key = content.key();
        Some(Self { id: key.content_id(), key: key.encode(), value: content.offer()?.clone() })
    }

    /// What the store has of a sub-network that stores what is offered: it was checked on its way in.
    pub(super) const fn stored(id: ContentId, key: Bytes, value: Bytes) -> Self {
        Self { id, key, value }
    }

    /// Where it lies in the key space.
    pub(super) const fn id(&self) -> ContentId {
        self.id
    }
}

/// What became of some pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// The places of those that have no end yet: a peer covers them and was too busy, or did not answer, or has not said that
    /// it has them; or there was nobody to offer them to.
    pub(super) open: Vec<usize>,
    /// The places of those that nobody wants now, and some do not because nothing proves it to them yet.
    pub(super) unproved: Vec<usize>,
    /// The places of those that some peer says it has.
    pub(super) placed: Vec<usize>,
    /// Pieces that peers took, each peer counted.
    pub(super) accepted: u64,
    /// Bytes of what peers took.
    pub(super) bytes: u64,
}

/// What one offer tells of peers, for the next one to know.
pub(super) struct PeerNotes {
    slow: SlowPeers,
    explorer: Explorer,
}

impl PeerNotes {
    pub(super) fn new() -> Self {
        Self { slow: SlowPeers::new(), explorer: Explorer::new() }
    }

    /// Who was found beside those that are known.
    pub(super) const fn explorer(&self) -> &Explorer {
        &self.explorer
    }
}

/// Offers each piece to the known peers nearest to it that cover it, and a few times again until one has it: to others where those
/// decline it, and to more of them where they let it wait. Where nobody covers it, peers around it are sought. Peers that keep it
/// waiting are noted. What is open after that, or when `until` has come, is told: it is to be offered another time.
pub(super) async fn place(
    overlay: &Overlay,
    pieces: Vec<CheckedPiece>,
    options: SeedOptions,
    notes: &PeerNotes,
    until: Option<Instant>,
) -> Placed {
    let mut result = Placed::default();
    let mut courses = vec![Course::new(); pieces.len()];
    for round in 0..ROUNDS {
        let is_open = |place: &usize| courses.get(*place).is_some_and(|course| !course.has_ended());
        let places: Vec<usize> = (0..pieces.len()).filter(is_open).collect();
        if places.is_empty() || until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        // The first time what was sent is stored by now, as a rule.
        if round > 1 {
            tokio::time::sleep(RETRY_WAIT * 2u32.pow(round - 2)).await;
        }
        let mut peers = known_peers(overlay);
        add_found(&mut peers, notes.explorer.found(Instant::now()));
        if peers.is_empty() {
            break;
        }
        let known: HashSet<NodeId> = peers.iter().map(|(peer, _)| peer.node_id).collect();
        for (peer, _) in &mut peers {
            peer.is_slow = notes.slow.contains(&peer.node_id, Instant::now());
        }
        // They have had their chance in this batch. What only they cover is as open as it was.
        let mut passed_over = Vec::new();
        if round > 0 && peers.iter().any(|(peer, _)| !peer.is_slow) {
            passed_over = peers.extract_if(.., |(peer, _)| peer.is_slow).map(|(peer, _)| peer).collect();
        }
        let planned = places.iter().filter_map(|place| {
            let (piece, course) = (pieces.get(*place)?, courses.get(*place)?);
            Some((piece, course.wanted(options.replicas, round), course.refused()))
        });
        let open: Vec<(&CheckedPiece, usize, &[NodeId])> = planned.collect();
        let mut answers: Vec<Vec<(NodeId, Option<AcceptCode>)>> = vec![Vec::new(); open.len()];
        for (index, peer, code) in offer_round(overlay, &open, &peers, options.parallel_offers, &notes.slow).await {
            let (Some(of_piece), Some((piece, ..))) = (answers.get_mut(index), open.get(index)) else { continue };
            of_piece.push((peer, code));
            if code.is_none() {
                notes.explorer.forget(&peer);
            }
            if code == Some(AcceptCode::Accepted) {
                result.accepted += 1;
                result.bytes += piece.value.len() as u64;
            }
        }
        let mut unexplored = Vec::new();
        for (place, answers) in places.into_iter().zip(answers) {
            let (Some(course), Some(piece)) = (courses.get_mut(place), pieces.get(place)) else { continue };
            if answers.is_empty() && passed_over.iter().any(|peer| peer.may_want(&piece.id, course.refused())) {
                continue;
            }
            course.offered(&answers, |peer| known.contains(peer));
            if course.is_to_be_explored() {
                unexplored.push((place, piece.id));
            }
        }
        if unexplored.is_empty() {
            continue;
        }
        let ids = unexplored.iter().map(|(_, id)| *id).collect();
        let explored = notes.explorer.explore(overlay, ids).await;
        // The table may have got to know others meanwhile, too.
        let mut peers = known_peers(overlay);
        add_found(&mut peers, notes.explorer.found(Instant::now()));
        for ((place, _), is_explored) in unexplored.into_iter().zip(explored) {
            let (Some(course), Some(piece)) = (courses.get_mut(place), pieces.get(place)) else { continue };
            match is_explored {
                true => course.explored(peers.iter().any(|(peer, _)| peer.may_want(&piece.id, course.refused()))),
                false => course.not_explored(),
            }
        }
    }
    for (place, course) in courses.iter().enumerate() {
        match course.fate() {
            Fate::Placed => result.placed.push(place),
            _ if course.has_ended() && course.is_unproved() => result.unproved.push(place),
            _ if course.has_ended() => {}
            _ => result.open.push(place),
        }
    }
    result
}

/// Peers that are found elsewhere beside those that are in the table.
fn add_found(peers: &mut Vec<(Taker, Enr)>, found: Vec<(Taker, Enr)>) {
    let known: HashSet<NodeId> = peers.iter().map(|(peer, _)| peer.node_id).collect();
    peers.extend(found.into_iter().filter(|(peer, _)| !known.contains(&peer.node_id)));
}

/// One offer after another to each peer that the plan names, `at_once` peers at a time; gives every answer with the place of its piece
/// and the peer. `None`: no answer.
async fn offer_round(
    overlay: &Overlay,
    pieces: &[(&CheckedPiece, usize, &[NodeId])],
    peers: &[(Taker, Enr)],
    at_once: usize,
    slow: &SlowPeers,
) -> Vec<(usize, NodeId, Option<AcceptCode>)> {
    let candidates: Vec<Taker> = peers.iter().map(|(peer, _)| *peer).collect();
    let planned = pieces.iter().map(|(piece, replicas, refused)| PlannedPiece {
        id: piece.id,
        len: piece.value.len(),
        replicas: *replicas,
        refused,
    });
    let offers: Vec<_> = plan::plan(&planned.collect::<Vec<_>>(), &candidates)
        .into_iter()
        .filter_map(|PlannedOffer { peer, pieces: places }| {
            let (taker, enr) = peers.get(peer)?;
            let offered = places.iter().filter_map(|place| Some(pieces.get(*place)?.0.clone())).collect();
            let peer = taker.node_id;
            let answers = answers(overlay.clone(), enr.clone(), places, offered);
            Some(async move { (peer, answers.await) })
        })
        .collect();
    let mut answers = stream::iter(offers).buffer_unordered(at_once.max(1));
    let mut all = Vec::new();
    while let Some((peer, (of_peer, too_slow))) = answers.next().await {
        all.extend(of_peer.into_iter().map(|(place, code)| (place, peer, code)));
        if let Some(peer) = too_slow {
            slow.note(peer, Instant::now());
        }
    }
    all
}

/// What a peer answers, with the pieces' places; and the peer, if it kept the offer waiting.
async fn answers(
    overlay: Overlay,
    to: Enr,
    places: Vec<usize>,
    pieces: Vec<CheckedPiece>,
) -> (Vec<(usize, Option<AcceptCode>)>, Option<NodeId>) {
    let bytes: u64 = pieces.iter().map(|piece| piece.value.len() as u64).sum();
    let peer = NodeId::from(to.node_id().raw());
    let pieces = pieces.into_iter().map(|piece| (piece.key, piece.value)).collect();
    let patience = OFFER_TIME + Duration::from_secs(bytes / MIN_RATE);
    match tokio::time::timeout(patience, offer(&overlay, to, pieces)).await {
        Ok((codes, waited)) => (places.into_iter().zip(codes).collect(), waited.then_some(peer)),
        Err(_) => {
            tracing::debug!(%peer, ?patience, "an offer took too long");
            (places.into_iter().map(|place| (place, None)).collect(), Some(peer))
        }
    }
}

/// The peers whose radius is known.
pub(super) fn known_peers(overlay: &Overlay) -> Vec<(Taker, Enr)> {
    let entries = overlay.routing_table().buckets.into_iter().flatten().filter(|entry| entry.live);
    let known = entries.filter_map(|entry| {
        let node_id = NodeId::from(entry.enr.node_id().raw());
        let peer = Taker { node_id, radius: entry.radius?, subnet: entry.subnet, is_slow: false };
        Some((peer, Enr::clone(&entry.enr)))
    });
    known.collect()
}

/// Waits until there is a peer whose radius is known.
pub(super) async fn wait_for_peers(overlay: &Overlay) {
    while known_peers(overlay).is_empty() {
        tokio::time::sleep(NO_PEERS_WAIT).await;
    }
}

/// Whether there is a peer that stores anything: one that only fetches has a radius, too, of nothing.
pub(super) fn is_there_storage(overlay: &Overlay) -> bool {
    known_peers(overlay).iter().any(|(peer, _)| peer.radius != Distance::ZERO)
}

/// Waits until there is a peer that stores anything.
pub(super) async fn wait_for_storage(overlay: &Overlay) {
    while !is_there_storage(overlay) {
        tokio::time::sleep(NO_PEERS_WAIT).await;
    }
}

/// Offers items to one peer, again while it is too busy to take them. One answer for each item, `None` where none came; and
/// whether the peer accepted and then kept the stream waiting until that failed.
async fn offer(overlay: &Overlay, enr: Enr, items: Vec<(Bytes, Bytes)>) -> (Vec<Option<AcceptCode>>, bool) {
    let mut waited = false;
    let mut codes: Vec<Option<AcceptCode>> = vec![Some(AcceptCode::RateLimited); items.len()];
    let mut wait = RETRY_WAIT;
    for _ in 0..=MAX_RETRIES {
        let busy: Vec<usize> =
            (0..items.len()).filter(|at| codes.get(*at) == Some(&Some(AcceptCode::RateLimited))).collect();
        if busy.is_empty() {
            break;
        }
        if busy.len() < items.len() || wait > RETRY_WAIT {
            tokio::time::sleep(wait).await;
        }
        wait *= 2;
        let batch = busy.iter().filter_map(|at| items.get(*at).cloned()).collect();
        let answers = match overlay.offer(enr.clone(), batch).await {
            Ok(answers) => answers.into_iter().map(Some).collect(),
            Err(error) => {
                tracing::debug!(peer = %enr.node_id(), %error, "offer failed");
                waited |= is_wait(&error);
                vec![None; busy.len()]
            }
        };
        for (at, answer) in busy.into_iter().zip(answers) {
            if let Some(code) = codes.get_mut(at) {
                *code = answer;
            }
        }
    }
    (codes, waited)
}

/// Whether an offer failed because nothing came from a peer that had accepted it. A stream that the peer resets costs no
/// time, and one that does not answer at all is soon no peer any more.
fn is_wait(error: &RequestError) -> bool {
    let RequestError::Transfer(error) = error else { return false };
    matches!(TransferFailure::from(*error), TransferFailure::NotConnected | TransferFailure::Stalled)
}

#[cfg(test)]
mod tests {
    use cairn_utp::CloseReason;
    use overlay::transfer::TransferError;

    use super::*;

    #[test]
    fn only_a_stream_that_stood_still_makes_a_peer_slow() {
        let failed = |error| is_wait(&RequestError::Transfer(error));
        assert!(failed(TransferError::Closed(CloseReason::ConnectTimeout)), "never opened");
        assert!(failed(TransferError::Closed(CloseReason::IdleTimeout)) && failed(TransferError::Stalled));
        assert!(!failed(TransferError::Closed(CloseReason::PeerReset)) && !failed(TransferError::NoSlot));
        assert!(!is_wait(&RequestError::Key));
    }
}
