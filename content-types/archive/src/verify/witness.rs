//! What else than lists and proofs can say which blocks are the chain's: somebody whom the caller believes.

use std::ops::RangeInclusive;

use alloy_primitives::{B256, U256};

/// A block of the chain, as a witness knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownBlock {
    /// Its hash.
    pub hash: B256,
    /// The total difficulty up to and with it, where the witness tells that.
    pub total_difficulty: Option<U256>,
}

/// Somebody who is believed: an execution client of one's own, say. It is asked for what nothing else proves, and what rests on its
/// word is told apart ([`Verdict::Vouched`](super::Verdict::Vouched)).
pub trait Witness: Sync {
    /// The blocks of a range in order; `None` if it does not tell all of them. Called on the thread that verifies.
    fn blocks(&self, blocks: RangeInclusive<u64>) -> Option<Vec<KnownBlock>>;
}
