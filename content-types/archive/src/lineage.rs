//! What an epoch's tree is made of, as far as it can be found out in spite of damage: a header that cannot be read has the
//! hash that its child names as its parent's, and one of several total difficulties that disagree with their neighbours
//! is the wrong one. Nothing here is proved; the tree's root tells whether it is right.

use alloy_primitives::{B256, U256};
use content_types::header::HeaderRecord;

/// What the records of one block say.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// `None`: the header cannot be read.
    pub(crate) header: Option<LinkedHeader>,
    /// `None`: there is no record of it, or it cannot be read.
    pub(crate) total_difficulty: Option<U256>,
}

/// What counts of a header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkedHeader {
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    pub(crate) difficulty: U256,
}

/// The records of the blocks before the merge, the first of which comes after blocks that have `before` together where
/// that is known. `None` when too much is damaged.
pub(crate) fn records(links: &[Link], before: Option<U256>) -> Option<Vec<HeaderRecord>> {
    let mut records = Vec::with_capacity(links.len());
    let mut sum = before;
    for (at, link) in links.iter().enumerate() {
        let next = links.get(at + 1);
        let difficulty = link.header.map(|header| header.difficulty);
        if difficulty.is_some_and(|difficulty| difficulty.is_zero()) {
            break;
        }
        let block_hash = match link.header {
            Some(header) => header.hash,
            None => next?.header?.parent_hash,
        };
        let by_sum = sum.zip(difficulty).and_then(|(sum, difficulty)| sum.checked_add(difficulty));
        let by_next = next.and_then(|next| next.total_difficulty?.checked_sub(next.header?.difficulty));
        let total_difficulty = agreed([link.total_difficulty, by_sum, by_next])?;
        records.push(HeaderRecord { block_hash, total_difficulty });
        sum = Some(total_difficulty);
    }
    Some(records)
}

/// What two of three say, or else the first who says anything.
fn agreed(claims: [Option<U256>; 3]) -> Option<U256> {
    let [own, by_sum, by_next] = claims;
    let outvoted = by_sum.is_some() && by_sum == by_next;
    if outvoted { by_sum } else { own.or(by_sum).or(by_next) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chain(difficulties: &[u64]) -> (Vec<Link>, Vec<HeaderRecord>) {
        let mut sum = U256::from(1_000);
        let mut parent_hash = B256::ZERO;
        difficulties
            .iter()
            .map(|difficulty| {
                let difficulty = U256::from(*difficulty);
                sum += difficulty;
                let hash = B256::from(sum);
                let header = LinkedHeader { hash, parent_hash, difficulty };
                parent_hash = hash;
                let link = Link { header: Some(header), total_difficulty: Some(sum) };
                (link, HeaderRecord { block_hash: hash, total_difficulty: sum })
            })
            .unzip()
    }

    proptest! {
        /// One header or one total difficulty may be lost, or a total difficulty wrong, anywhere but in the last block.
        #[test]
        fn one_damage_is_made_good(difficulties in prop::collection::vec(1..u64::MAX, 3..20), at: prop::sample::Index, kind in 0..3) {
            let (mut links, records) = chain(&difficulties);
            let at = at.index(links.len() - 1);
            match kind {
                0 => links[at].header = None,
                1 => links[at].total_difficulty = None,
                _ => links[at].total_difficulty = Some(U256::from(7)),
            }
            for before in [Some(U256::from(1_000)), None] {
                // Of the first block nobody but itself and the second tells.
                if before.is_none() && at == 0 && kind == 2 {
                    continue;
                }
                prop_assert_eq!(super::records(&links, before), Some(records.clone()));
            }
        }
    }

    #[test]
    fn the_merge_ends_it() {
        let (links, records) = chain(&[5, 5, 0, 0]);
        assert_eq!(super::records(&links, None).unwrap(), records[..2]);
    }

    #[test]
    fn two_headers_in_a_row_are_too_many() {
        let (mut links, _) = chain(&[5, 5, 5, 5]);
        (links[1].header, links[2].header) = (None, None);
        assert_eq!(super::records(&links, None), None);
    }
}
