//! Total difficulties: each is the one before plus the header's difficulty, and after the merge the final one.

use std::collections::HashMap;

use alloy_primitives::U256;

use super::blocks::BlockFacts;

/// The total difficulty of each block as most of the file agrees on it; empty where the file records none.
///
/// Total difficulty less the sum of the difficulties up to a block is the same for all blocks. Where it differs for a
/// few, these are wrong.
pub(super) fn agreed(facts: &[BlockFacts]) -> Vec<U256> {
    let mut sum = U256::ZERO;
    let mut sums = Vec::with_capacity(facts.len());
    let mut votes: HashMap<U256, usize> = HashMap::new();
    let mut previous = None;
    for block in facts {
        let difficulty = block.header.map(|header| header.difficulty);
        // A header that cannot be read does not tell its difficulty, but what is recorded on both sides does.
        let recorded = || Some(block.total_difficulty?.wrapping_sub(previous?));
        sum = sum.wrapping_add(difficulty.or_else(recorded).unwrap_or_default());
        sums.push(sum);
        previous = block.total_difficulty;
        if let Some(total) = block.total_difficulty {
            *votes.entry(total.wrapping_sub(sum)).or_default() += 1;
        }
    }
    let base = votes.into_iter().max_by_key(|(base, count)| (*count, *base)).map(|(base, _)| base);
    base.map_or_else(Vec::new, |base| sums.into_iter().map(|sum| base.wrapping_add(sum)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::blocks::HeaderFacts;
    use super::*;

    fn facts(blocks: &[(Option<u64>, Option<u64>)]) -> Vec<BlockFacts> {
        let header = |difficulty| HeaderFacts {
            hash: Default::default(),
            parent_hash: Default::default(),
            difficulty: U256::from(difficulty),
        };
        let block = |(difficulty, total): &(Option<u64>, Option<u64>)| BlockFacts {
            header: difficulty.map(header),
            total_difficulty: total.map(U256::from),
            ..BlockFacts::default()
        };
        blocks.iter().map(block).collect()
    }

    #[test]
    fn a_wrong_one_is_outvoted() {
        let expected: Vec<U256> = [110, 130, 160, 160].map(U256::from).into();
        for wrong in 0..4 {
            let mut facts =
                facts(&[(Some(10), Some(110)), (Some(20), Some(130)), (Some(30), Some(160)), (Some(0), Some(160))]);
            facts[wrong].total_difficulty = Some(U256::from(7));
            assert_eq!(agreed(&facts), expected);
            facts[wrong].total_difficulty = None;
            assert_eq!(agreed(&facts), expected);
        }
    }

    #[test]
    fn a_lost_header_does_not_matter() {
        let facts = facts(&[(Some(10), Some(110)), (None, Some(130)), (Some(30), Some(160))]);
        assert_eq!(agreed(&facts), [110, 130, 160].map(U256::from));
    }

    #[test]
    fn without_any_there_is_nothing_to_agree_on() {
        assert!(agreed(&facts(&[(Some(1), None)])).is_empty());
    }
}
