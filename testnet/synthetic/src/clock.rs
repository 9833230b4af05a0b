//! Which slot a block has, and when it was made.

use content_types::header::period::SLOTS_PER_HISTORICAL_ROOT;

use crate::config::SyntheticConfig;

/// Seconds from 1970 to the genesis block, mainnet's.
const GENESIS_TIME: u64 = 1_438_269_988;
/// Seconds between blocks before the merge.
const BLOCK_TIME: u64 = 13;
/// Seconds of a slot, mainnet's.
pub(crate) const SECONDS_PER_SLOT: u64 = 12;
/// One slot in so many stays without a block.
const MISSED_SLOT: u64 = 32;

/// When a block before the merge was made, in seconds since 1970.
pub(crate) fn pre_merge_time(number: u64) -> u64 {
    GENESIS_TIME + BLOCK_TIME * number
}

/// When slot 0 began: with the first block after the merge.
pub(crate) fn beacon_genesis_time(config: &SyntheticConfig) -> u64 {
    pre_merge_time(config.pre_merge_blocks)
}

/// When a slot begins, in seconds since 1970.
pub(crate) fn slot_time(config: &SyntheticConfig, slot: u64) -> u64 {
    beacon_genesis_time(config) + slot * SECONDS_PER_SLOT
}

/// The slot of a block after the merge. Capella begins with the first slot of a period.
pub(crate) fn slot(config: &SyntheticConfig, number: u64) -> u64 {
    let since_merge = number - config.pre_merge_blocks;
    match since_merge.checked_sub(config.bellatrix_blocks) {
        None => with_missed(since_merge),
        Some(since_capella) => capella_slot(config) + with_missed(since_capella),
    }
}

/// The first slot of Capella.
pub(crate) fn capella_slot(config: &SyntheticConfig) -> u64 {
    with_missed(config.bellatrix_blocks).next_multiple_of(SLOTS_PER_HISTORICAL_ROOT)
}

fn with_missed(blocks: u64) -> u64 {
    blocks + blocks / (MISSED_SLOT - 1)
}
