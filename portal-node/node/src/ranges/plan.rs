//! What an archive of a range or an era holds.

use std::ops::RangeInclusive;

use cairn_archive::write::Plan;
use cairn_archive::{Component, Components, Format, MAX_BLOCKS};
use content_types::ChainSpec;

/// What of its blocks an ere file has beside what every one has. An era1 file has receipts and no proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The proof of each header.
    pub proofs: bool,
    /// Receipts.
    pub receipts: bool,
}

impl Profile {
    /// Everything that the format has.
    pub const WHOLE: Self = Self { proofs: true, receipts: true };
}

/// What no archive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Blocks after the merge in an era1 file.
    #[error("an era1 file holds blocks before the merge only")]
    AfterMerge,
    /// An era1 file without parts.
    #[error("an era1 file always has receipts and never proofs")]
    Era1Profile,
    /// Too long.
    #[error("an archive holds {MAX_BLOCKS} blocks at most, the range has {count}")]
    TooLong {
        /// Blocks of the range.
        count: u64,
    },
}

/// The archive of a range.
///
/// # Errors
/// [`PlanError`] when the format does not take these blocks or this profile.
pub fn plan_of_range(
    chain: &ChainSpec,
    format: Format,
    blocks: RangeInclusive<u64>,
    profile: Profile,
) -> Result<Plan, PlanError> {
    let (first, last) = (*blocks.start(), *blocks.end());
    let count = last.saturating_sub(first).saturating_add(1);
    if count > MAX_BLOCKS {
        return Err(PlanError::TooLong { count });
    }
    match format {
        Format::Era1 if !chain.is_pre_merge(last) => Err(PlanError::AfterMerge),
        Format::Era1 if profile != Profile::WHOLE => Err(PlanError::Era1Profile),
        Format::Era1 => Ok(Plan::era1(chain.name(), blocks)),
        Format::Ere => {
            let parts = [
                (Component::Proof, profile.proofs),
                (Component::Receipts, profile.receipts),
                (Component::TotalDifficulty, chain.is_pre_merge(first)),
            ];
            let components: Components = parts.into_iter().filter(|(_, is_in)| *is_in).map(|(part, _)| part).collect();
            Ok(Plan::ere(chain.name(), blocks, components))
        }
    }
}

/// The archive of an era. As era1 the one in which the merge lies ends with it.
///
/// # Errors
/// As [`plan_of_range`].
pub fn plan_of_era(chain: &ChainSpec, format: Format, era: u64, profile: Profile) -> Result<Plan, PlanError> {
    let first = era.saturating_mul(MAX_BLOCKS);
    let last = first.saturating_add(MAX_BLOCKS - 1);
    let last_mined = chain.merge_block().map_or(u64::MAX, |merge| merge.saturating_sub(1));
    let is_cut = format == Format::Era1 && chain.is_pre_merge(first);
    let last = if is_cut { last.min(last_mined) } else { last };
    plan_of_range(chain, format, first..=last, profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_era_of_the_merge_ends_with_it_as_era1() {
        let chain = ChainSpec::mainnet();
        let blocks = |format, era| plan_of_era(&chain, format, era, Profile::WHOLE).map(|plan| plan.blocks());
        assert_eq!(blocks(Format::Era1, 2), Ok(16_384..=24_575));
        assert_eq!(blocks(Format::Era1, 1896), Ok(15_532_032..=15_537_393));
        assert_eq!(blocks(Format::Era1, 1897), Err(PlanError::AfterMerge));
        assert_eq!(blocks(Format::Ere, 1896), Ok(15_532_032..=15_540_223));
    }

    #[test]
    fn what_no_archive_is_has_no_plan() {
        let chain = ChainSpec::mainnet();
        let bare = Profile { proofs: false, ..Profile::WHOLE };
        assert_eq!(plan_of_range(&chain, Format::Era1, 0..=9, bare).err(), Some(PlanError::Era1Profile));
        let long = plan_of_range(&chain, Format::Ere, 0..=MAX_BLOCKS, Profile::WHOLE);
        assert_eq!(long.err(), Some(PlanError::TooLong { count: MAX_BLOCKS + 1 }));
        let components = plan_of_range(&chain, Format::Ere, 15_537_394..=15_537_400, bare).unwrap().components();
        assert!(components.has(Component::Receipts) && !components.has(Component::Proof));
        assert!(!components.has(Component::TotalDifficulty), "there is none after the merge");
    }
}
