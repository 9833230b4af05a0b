//! What can be wrong with a header, a proof, or a run of headers.

use alloy_primitives::B256;

use super::ProofKind;
use crate::{
    limits::{MAX_HEADER_LENGTH, MAX_HEADER_WITH_PROOF_LENGTH},
    trust::TrustListKind,
};

/// The rule that a header or its proof breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The header's encoding is too long to be looked at.
    #[error("the header is {length} bytes long, more than {MAX_HEADER_LENGTH}")]
    HeaderTooLong {
        /// Bytes that there are.
        length: usize,
    },
    /// The header is not canonical RLP of a header.
    #[error("malformed header: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// Bytes follow the header.
    #[error("{count} bytes follow the header")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The encoding of a header with its proof is too long to be looked at.
    #[error("the header with its proof is {length} bytes long, more than {MAX_HEADER_WITH_PROOF_LENGTH}")]
    HeaderWithProofTooLong {
        /// Bytes that there are.
        length: usize,
    },
    /// Header and proof don't form an SSZ container.
    #[error("malformed container of header and proof: {0}")]
    Ssz(String),
    /// The proof does not have the length of the kind that the header needs.
    #[error("a {kind} proof is {expected} bytes long, not {actual}")]
    ProofLength {
        /// The kind of proof that the header needs.
        kind: ProofKind,
        /// Bytes of such a proof.
        expected: usize,
        /// Bytes that there are.
        actual: usize,
    },
    /// A number stands for no kind of proof.
    #[error("unknown kind of header proof: {0}")]
    UnknownProofKind(u64),
    /// No kind of proof is defined for headers this young.
    #[error(
        "block {number} of time {timestamp} lies after the fork at {fork_time}, for which no kind of proof is known"
    )]
    NoProofKind {
        /// Block number.
        number: u64,
        /// The header's timestamp.
        timestamp: u64,
        /// Time of the fork that changed what a proof would have to look like.
        fork_time: u64,
    },
    /// The proof is not of the kind that the header's number and timestamp call for.
    #[error("block {number} needs a {expected} proof, not a {actual} proof")]
    WrongProofKind {
        /// Block number.
        number: u64,
        /// The kind that is needed.
        expected: ProofKind,
        /// The kind that came.
        actual: ProofKind,
    },
    /// A block after the merge has a timestamp at which no slot begins.
    #[error("no slot begins at the time {timestamp} of block {number}")]
    NoSlot {
        /// Block number.
        number: u64,
        /// The header's timestamp.
        timestamp: u64,
    },
    /// The proof names another slot than the header's timestamp.
    #[error("block {number} belongs to slot {expected}, not {actual}")]
    WrongSlot {
        /// Block number.
        number: u64,
        /// The slot that begins at the header's timestamp.
        expected: u64,
        /// The slot in the proof.
        actual: u64,
    },
    /// The slot lies before the first historical summary.
    #[error("slot {slot} of block {number} lies before Capella: historical summaries don't reach it")]
    NoSummary {
        /// Block number.
        number: u64,
        /// The slot in the proof.
        slot: u64,
    },
    /// The list that the proof leads to has not been loaded.
    #[error("block {number} can't be proved without the {list}: import it")]
    ListMissing {
        /// Block number.
        number: u64,
        /// The list.
        list: TrustListKind,
    },
    /// The list that the proof leads to ends before the header.
    #[error("block {number} needs entry {index} of the {list}, of which {length} are trusted")]
    BeyondList {
        /// Block number.
        number: u64,
        /// The list.
        list: TrustListKind,
        /// The entry that is needed, counted from 0.
        index: u64,
        /// Entries that there are.
        length: usize,
    },
    /// The header's hash does not lead to the epoch root.
    #[error("block {number} with the hash {hash} is not in epoch {epoch} of the pre-merge accumulator")]
    NotInEpoch {
        /// Block number.
        number: u64,
        /// The header's hash.
        hash: B256,
        /// The epoch.
        epoch: u64,
    },
    /// The header's hash does not lead to the beacon block root.
    #[error("block {number} with the hash {hash} is not in the beacon block {beacon_block_root} of slot {slot}")]
    NotInBeaconBlock {
        /// Block number.
        number: u64,
        /// The header's hash.
        hash: B256,
        /// The beacon block root in the proof.
        beacon_block_root: B256,
        /// The slot.
        slot: u64,
    },
    /// The beacon block root does not lead to the entry of the list.
    #[error("the beacon block {beacon_block_root} of slot {slot} is not under entry {index} of the {list}")]
    BeaconBlockNotInList {
        /// The beacon block root in the proof.
        beacon_block_root: B256,
        /// The slot.
        slot: u64,
        /// The list.
        list: TrustListKind,
        /// The entry, counted from 0.
        index: u64,
    },
    /// The header is not the one that the block after it names as its parent.
    #[error("block {number} has the hash {actual}, but its child names {expected} as its parent")]
    NotParent {
        /// Block number in the header.
        number: u64,
        /// The parent hash in the child.
        expected: B256,
        /// The header's hash.
        actual: B256,
    },
}

/// A run of headers breaks: everything after the header at `position` was proved before it was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {position} of the run{}: {source}", self.number.map(|number| format!(", block {number}")).unwrap_or_default())]
pub struct RunError {
    /// Place of the bad header in the run, counted from 0.
    pub position: usize,
    /// The number that the block at that place must have, or claims to have where nothing after it is proved; `None`
    /// when neither can be told.
    pub number: Option<u64>,
    /// What is wrong with it.
    pub source: HeaderError,
}
