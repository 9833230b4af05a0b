//! Ommers: headers of blocks that lost against one of the last few.

use alloy_consensus::Header;
use alloy_primitives::U256;
use alloy_rlp::Encodable;

use crate::clock;
use crate::random::Random;

/// One block in so many has ommers, about as often as in mainnet's first years.
const ONE_IN: u64 = 8;
/// Most ommers of a block (Yellow Paper, section 11.1).
const MAX_OMMERS: u64 = 2;

/// Appends the RLP of each of the ommers of block `number`, a block before the merge.
pub(crate) fn write(random: &mut Random, number: u64, out: &mut Vec<u8>) {
    if number < 2 || !random.one_in(ONE_IN) {
        return;
    }
    for _ in 0..=random.below(MAX_OMMERS) {
        let header = Header {
            parent_hash: random.hash(),
            beneficiary: random.address(),
            state_root: random.hash(),
            difficulty: U256::from(random.below(1 << 40)),
            number: number - 1,
            gas_limit: 5_000_000,
            timestamp: clock::pre_merge_time(number - 1) + 1,
            mix_hash: random.hash(),
            ..Header::default()
        };
        header.encode(out);
    }
}
