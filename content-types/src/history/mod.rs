//! The history network, `0x5000`: block bodies and receipts by block number.
//!
//! Content IDs keep consecutive blocks close together, so that a peer's radius comes down to ranges of blocks
//! ("Content id Derivation Function" of the specification). [`key`] derives an ID and takes it apart again; [`ranges`]
//! lists the blocks within a radius.

pub mod key;
pub mod ranges;

pub use key::{BLOCKS_PER_CYCLE, BLOCKS_PER_RUN, ContentKey, ContentType};
pub use ranges::blocks_within;
