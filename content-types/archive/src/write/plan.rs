//! What file is to be written.

use std::ops::RangeInclusive;

use crate::component::{Component, Components, Format, MAX_BLOCKS};
use crate::error::ArchiveRule;

/// The file that a writer makes: its format, its components, its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(crate) network: String,
    pub(crate) format: Format,
    pub(crate) components: Components,
    pub(crate) blocks: RangeInclusive<u64>,
}

impl Plan {
    /// An era1 file of blocks before the merge.
    pub fn era1(network: &str, blocks: RangeInclusive<u64>) -> Self {
        let components = Component::ALL.into_iter().collect::<Components>().without(Component::Proof);
        Self { network: network.to_owned(), format: Format::Era1, components, blocks }
    }

    /// An ere file: headers, bodies, and those of receipts, total difficulty and proofs that are in `components`.
    /// Total difficulty belongs into files whose first block lies before the merge; the default profile has receipts
    /// and proofs.
    pub fn ere(network: &str, blocks: RangeInclusive<u64>, components: Components) -> Self {
        let components = components.with(Component::Header).with(Component::Body);
        Self { network: network.to_owned(), format: Format::Ere, components, blocks }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The components that each block needs.
    pub fn components(&self) -> Components {
        self.components
    }

    /// The blocks of the file, which lie in one era.
    pub fn blocks(&self) -> RangeInclusive<u64> {
        self.blocks.clone()
    }

    /// The era that its blocks lie in.
    pub fn era(&self) -> u64 {
        self.blocks.start() / MAX_BLOCKS
    }

    /// How many blocks the file holds.
    pub(crate) fn count(&self) -> Result<usize, ArchiveRule> {
        let (start, end) = (*self.blocks.start(), *self.blocks.end());
        if start > end || start / MAX_BLOCKS != end / MAX_BLOCKS {
            return Err(ArchiveRule::Unwritable("its blocks have to lie within one era of 8192 blocks"));
        }
        Ok((end - start + 1) as usize)
    }

    /// The position of a block in the file, if it belongs there.
    pub(crate) fn nth(&self, number: u64) -> Option<usize> {
        // An era's blocks are few.
        self.blocks.contains(&number).then(|| (number - self.blocks.start()) as usize)
    }

    /// A record of a file of `count` blocks by its position among those of blocks: the position of its block, and its
    /// component.
    pub(crate) fn record(&self, count: usize, position: usize) -> Option<(usize, Component)> {
        use Component::{Body, Header, Proof, Receipts, TotalDifficulty};
        // The order of the records of an ere file, which is not that of the slots in its index.
        let order = [Header, Body, Receipts, Proof, TotalDifficulty];
        let mut components = order.into_iter().filter(|component| self.components.has(*component));
        let (nth, which) = match self.format {
            Format::Era1 => {
                let each = components.clone().count();
                (position.checked_div(each)?, position.checked_rem(each)?)
            }
            Format::Ere => (position.checked_rem(count)?, position.checked_div(count)?),
        };
        components.nth(which).filter(|_| nth < count).map(|component| (nth, component))
    }

    /// The records of blocks in the order of the file.
    pub(crate) fn records(&self, count: usize) -> impl Iterator<Item = (usize, Component)> + use<'_> {
        (0..).map_while(move |position| self.record(count, position))
    }
}
