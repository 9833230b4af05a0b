//! Content that somebody else has made and gives to this node to be handed out, as a replay does with what each block brings to the
//! state: checked, kept here if it is this node's to keep, and offered like what comes from archives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use content_types::{ContentKey, Form, SubNetwork};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::offer::{self, CheckedPiece, PeerNotes, Placed};
use super::terms::SeedOptions;
use crate::holdings::{HoldingsError, is_held};
use crate::networks::Network;
use crate::pipeline::Refusal;

/// Items that are checked and put into the store at once.
const CHECKS_AT_ONCE: usize = 16;

/// How long peers are asked again for what they let wait. Whoever gives it waits for the answer, and for what is under way by then.
const ROUNDS_TIME: Duration = Duration::from_secs(60);

/// What became of content that a node was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GivenOutcome {
    /// The places of the items that have no end yet: a peer that should have one was too busy, did not answer, or has not said that
    /// it has it; or it could not be checked, or nobody is known to offer it to. They are to be given again.
    pub open: Vec<usize>,
    /// Items that some peer has, this node among them.
    pub placed: u64,
    /// Items that peers took, each peer counted.
    pub accepted: u64,
    /// Bytes of what peers took.
    pub bytes: u64,
    /// Why one of the open items could not be checked, such as that nobody has the header of its block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproved: Option<String>,
}

/// Why nothing of what was given was offered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenError {
    /// This node does not speak the sub-network.
    #[error("this node does not speak the sub-network {}", .0.spec().name)]
    NotSpoken(SubNetwork),
    /// One item is not what its key stands for.
    #[error("item {place}: {refusal}")]
    Invalid {
        /// Its place.
        place: usize,
        /// What is wrong.
        refusal: Refusal,
    },
    /// The store failed.
    #[error(transparent)]
    Holdings(#[from] HoldingsError),
}

/// Hands out what it is given.
pub(crate) struct GivenContent {
    networks: Vec<Arc<Network>>,
    /// What one offer tells of peers, for the next one to know.
    notes: PeerNotes,
}

impl GivenContent {
    pub(crate) fn new(networks: Vec<Arc<Network>>) -> Self {
        Self { networks, notes: PeerNotes::new() }
    }

    /// Checks the items, keeps those that are this node's to keep, and offers all of them to the peers that should have them. Waits
    /// until what can have an end now has it.
    ///
    /// # Errors
    /// [`GivenError`]: nothing was offered then, and what came before an item that is wrong may be in the store.
    pub(crate) async fn hand_out(
        &self,
        network: SubNetwork,
        items: Vec<(ContentKey, Bytes)>,
    ) -> Result<GivenOutcome, GivenError> {
        let running = self.networks.iter().find(|running| running.sub_network() == network);
        let running = running.ok_or(GivenError::NotSpoken(network))?;
        let mut outcome = GivenOutcome::default();
        let (mut pieces, mut places, mut kept) = (Vec::new(), Vec::new(), BTreeSet::new());
        let checks = items.into_iter().enumerate().map(|(place, item)| take_in(running, place, item));
        let mut checks = stream::iter(checks).buffered(CHECKS_AT_ONCE);
        while let Some(taken) = checks.next().await {
            match taken? {
                Taken::Right { place, piece, is_kept } => {
                    pieces.push(piece);
                    places.push(place);
                    if is_kept {
                        kept.insert(place);
                    }
                }
                Taken::Unproved { place, refusal } => {
                    outcome.open.push(place);
                    outcome.unproved.get_or_insert_with(|| refusal.to_string());
                }
            }
        }
        if !offer::is_there_storage(running.overlay()) {
            // Whoever gives it decides how long to wait for others.
            outcome.open.extend(places.into_iter().filter(|place| !kept.contains(place)));
            outcome.placed = kept.len() as u64;
            return Ok(outcome);
        }
        let (options, until) = (SeedOptions::default(), Instant::now() + ROUNDS_TIME);
        let offered = offer::place(running.overlay(), pieces, options, &self.notes, Some(until)).await;
        let Placed { mut open, unproved, placed, accepted, bytes } = offered;
        // Whoever gives it waits for those that can prove it in a while.
        open.extend(unproved);
        let given = |of: Vec<usize>| of.into_iter().filter_map(|piece| places.get(piece).copied()).collect::<Vec<_>>();
        let (open, placed) = (given(open), given(placed));
        kept.extend(placed);
        kept.retain(|place| !open.contains(place));
        outcome.open.extend(open);
        (outcome.placed, outcome.accepted, outcome.bytes) = (kept.len() as u64, accepted, bytes);
        Ok(outcome)
    }
}

/// What the check of an item comes to.
enum Taken {
    /// It is right, and in this node's store or not.
    Right { place: usize, piece: CheckedPiece, is_kept: bool },
    /// Nothing here proves it now.
    Unproved { place: usize, refusal: Refusal },
}

async fn take_in(network: &Network, place: usize, (key, value): (ContentKey, Bytes)) -> Result<Taken, GivenError> {
    let content = match network.pipeline().validate(key, Form::Offered, value).await {
        Ok(content) => content,
        Err(refusal) if refusal.is_invalid() => return Err(GivenError::Invalid { place, refusal }),
        Err(refusal) => return Ok(Taken::Unproved { place, refusal }),
    };
    // It came as it is offered, so that is known.
    let piece = CheckedPiece::new(&content).ok_or(GivenError::NotSpoken(network.sub_network()))?;
    let is_kept = match network.holdings().put(content).await {
        Ok(outcome) => is_held(outcome),
        Err(error @ HoldingsError::Stopping(_)) => return Err(error.into()),
        // What this node has no room for can be with others.
        Err(error) => {
            tracing::warn!(%error, "what was given to be handed out cannot be kept here");
            false
        }
    };
    Ok(Taken::Right { place, piece, is_kept })
}
