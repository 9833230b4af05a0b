//! Ranges of blocks as archives: over QUIC from every peer at once that serves them, and item by item where nobody does.
//!
//! | module | what |
//! |---|---|
//! | `plan` | what an archive of a range or an era holds |
//! | `range` | one range as one archive, whichever way it comes |
//! | `eras` | eras one after the other, each as an archive of its own |
//! | `lookups` | an archive out of lookups |
//! | `in_order` | blocks that are fetched several at once and handed on in order |
//! | `progress` | how far it is |

mod eras;
mod in_order;
mod lookups;
mod plan;
mod progress;
mod range;

use std::sync::Arc;

use cairn_archive::ArchiveError;
use content_types::HeaderVerifier;
use content_types::header::HeaderError;
use overlay::service::LookupError;

use crate::fetch::{FetchError, Fetcher};
use crate::networks::Network;
use crate::not_found::NotFoundCause;
use crate::swarm::{FetchArchiveError, KnownPeers, MirrorTrouble};
use crate::workers::Stopping;

pub use eras::{EraFetches, EraMade, WantedEras};
pub use in_order::{MAX_PARALLEL, Pace, TookTooLong, in_order};
pub use plan::{PlanError, Profile, plan_of_era, plan_of_range};
pub use progress::RangeProgress;
pub use range::{Made, RangeFetch, Ways};

/// Why no archive was made of a range.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// It did not come over QUIC, or could not be written.
    #[error(transparent)]
    Served(#[from] FetchArchiveError),
    /// There is no such archive.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A piece was not found.
    #[error(transparent)]
    Piece(#[from] FetchError),
    /// A block took too long.
    #[error(transparent)]
    TookTooLong(#[from] TookTooLong),
    /// Proofs, and what they tell, lie on the Legacy History network alone.
    #[error("the peer does not speak the legacy history network")]
    NoLegacyHistory,
    /// The archive needs a proof that was not found.
    #[error("the proof of block {block}'s header, which only the legacy history network has: {source}")]
    NoProof {
        /// Of which block.
        block: u64,
        /// Whether the archive takes the proof itself; else its total difficulties begin with what that tells.
        is_kept: bool,
        /// What is behind it.
        cause: NotFoundCause,
        /// Who was asked, and what each answered.
        source: Box<LookupError>,
    },
    /// A proof that was found and is none.
    #[error("block {block}: {source}")]
    Proof {
        /// Of which block.
        block: u64,
        /// The rule it breaks.
        source: HeaderError,
    },
    /// The proof is that of another header.
    #[error("block {block}: the proof that was found is another header's")]
    OtherProof {
        /// Of which block.
        block: u64,
    },
    /// Nothing to begin with.
    #[error("block {block}: its proof tells no total difficulty")]
    NoTotalDifficulty {
        /// Of which block.
        block: u64,
    },
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The mirrors that were named gave nothing, and it did not come item by item either.
    #[error("{}; {instead}", .mirrors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mirrors {
        /// Why not.
        mirrors: Vec<MirrorTrouble>,
        /// Why it did not come from peers.
        instead: Box<RangeError>,
    },
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

impl RangeError {
    /// What is behind it, if it is that something was not found.
    pub fn cause(&self) -> Option<NotFoundCause> {
        match self {
            Self::Served(FetchArchiveError::Unserved(unserved)) => Some(unserved.cause),
            Self::Piece(error) => error.cause(),
            Self::NoProof { cause, .. } => Some(*cause),
            Self::Mirrors { instead, .. } => instead.cause(),
            _ => None,
        }
    }

    /// The same, if there were mirrors that gave nothing before.
    fn after(self, mirrors: Vec<MirrorTrouble>) -> Self {
        if mirrors.is_empty() { self } else { Self::Mirrors { mirrors, instead: Box::new(self) } }
    }
}

/// What fetches: the parts of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RangeSource {
    pub(crate) peers: Option<KnownPeers>,
    pub(crate) verifier: HeaderVerifier,
    pub(crate) fetcher: Fetcher,
    pub(crate) header_network: Option<Arc<Network>>,
}
