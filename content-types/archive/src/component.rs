//! The components of a block that an archive holds, and the limits of each.

use std::fmt;

use content_types::limits::{MAX_BODY_LENGTH, MAX_HEADER_LENGTH, MAX_HEADER_PROOF_LENGTH, MAX_RECEIPTS_LENGTH};
use content_types::room::BlockPart;

use crate::record_type::RecordType;
use crate::snappy;

/// Blocks of an era, and the most that one archive holds: the limit of the accumulator's list (era1, ere).
pub const MAX_BLOCKS: u64 = 8192;

/// Bytes of a total difficulty: a 256-bit integer, little-endian, not compressed.
pub(crate) const TOTAL_DIFFICULTY_LEN: u32 = 32;
/// Bytes of the accumulator's root.
pub(crate) const ACCUMULATOR_LEN: u32 = 32;
/// Bytes of a proof record's RLP around the SSZ: list header, kind, string header.
const PROOF_RECORD_OVERHEAD: usize = 8;

/// The two formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Blocks before the merge, one block after the other.
    Era1,
    /// All blocks, one component after the other.
    Ere,
}

/// A part of a block, each in a record of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// The header.
    Header,
    /// Transactions, ommers and withdrawals.
    Body,
    /// The receipts.
    Receipts,
    /// The total difficulty up to and including the block.
    TotalDifficulty,
    /// The header's proof.
    Proof,
}

impl From<BlockPart> for Component {
    fn from(part: BlockPart) -> Self {
        match part {
            BlockPart::Header => Self::Header,
            BlockPart::Body(_) => Self::Body,
            BlockPart::Receipts(_) => Self::Receipts,
        }
    }
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Header, Self::Body, Self::Receipts, Self::TotalDifficulty, Self::Proof];
    pub(crate) const COUNT: usize = Self::ALL.len();

    pub(crate) const fn slot(self) -> usize {
        self as usize
    }

    /// The type of this component's records in a file of `format`.
    pub const fn record_type(self, format: Format) -> RecordType {
        match (self, format) {
            (Self::Header, _) => RecordType::HEADER,
            (Self::Body, _) => RecordType::BODY,
            (Self::Receipts, Format::Era1) => RecordType::RECEIPTS,
            (Self::Receipts, Format::Ere) => RecordType::SLIM_RECEIPTS,
            (Self::TotalDifficulty, _) => RecordType::TOTAL_DIFFICULTY,
            (Self::Proof, _) => RecordType::PROOF,
        }
    }

    /// The component whose records are of type `kind` in a file of `format`.
    pub(crate) fn of_record(kind: RecordType, format: Format) -> Option<Self> {
        let in_format = |component: &Self| !(format == Format::Era1 && *component == Self::Proof);
        Self::ALL.into_iter().filter(in_format).find(|component| component.record_type(format) == kind)
    }

    /// The longest content, in bytes.
    pub const fn limit(self) -> usize {
        match self {
            Self::Header => MAX_HEADER_LENGTH,
            Self::Body => MAX_BODY_LENGTH,
            Self::Receipts => MAX_RECEIPTS_LENGTH,
            Self::TotalDifficulty => TOTAL_DIFFICULTY_LEN as usize,
            Self::Proof => MAX_HEADER_PROOF_LENGTH + PROOF_RECORD_OVERHEAD,
        }
    }

    /// The longest data of a record, in bytes: of content that is as long as it may be, compressed as badly as any
    /// writer would.
    pub const fn stored_limit(self) -> u64 {
        match self {
            Self::TotalDifficulty => TOTAL_DIFFICULTY_LEN as u64,
            _ => snappy::max_stream_len(self.limit()),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Body => "body",
            Self::Receipts => "receipts",
            Self::TotalDifficulty => "total difficulty",
            Self::Proof => "proof",
        })
    }
}

/// A set of components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Components([bool; Component::COUNT]);

impl Components {
    /// Whether `component` is in the set.
    pub const fn has(self, component: Component) -> bool {
        self.0[component.slot()]
    }

    /// The set with `component`.
    #[must_use]
    pub const fn with(mut self, component: Component) -> Self {
        self.0[component.slot()] = true;
        self
    }

    /// The set without `component`.
    #[must_use]
    pub const fn without(mut self, component: Component) -> Self {
        self.0[component.slot()] = false;
        self
    }

    /// The components in the set, in the order of the ere specification's records.
    pub fn iter(self) -> impl Iterator<Item = Component> {
        Component::ALL.into_iter().filter(move |component| self.has(*component))
    }
}

impl FromIterator<Component> for Components {
    fn from_iter<I: IntoIterator<Item = Component>>(components: I) -> Self {
        components.into_iter().fold(Self::default(), Self::with)
    }
}
