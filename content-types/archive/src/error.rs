//! What can be wrong with an archive: one error type for reading, writing and verifying. It names the file, the
//! record, the block, the offset and the rule that is broken.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use alloy_primitives::{B256, U256};
use content_types::HeaderError;
use content_types::block::Malformed;
use content_types::verify::{Fault, Unverified};

use crate::component::Component;
use crate::record_type::RecordType;
use crate::snappy::SnappyError;
use crate::source::Vanished;

/// A broken rule and where it is broken.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {}{rule}", .place.archive, .place)]
pub struct ArchiveError {
    /// Where the rule is broken.
    pub place: ArchivePlace,
    /// The rule that is broken.
    #[source]
    pub rule: ArchiveRule,
}

impl ArchiveError {
    /// Whether the file was removed or replaced since it was opened, so that nothing in it can be served any more.
    pub fn is_vanished(&self) -> bool {
        matches!(self.rule, ArchiveRule::Vanished)
    }

    /// Whether there is no room left on the disk, or in the user's share of it.
    pub fn is_storage_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(&self.rule, ArchiveRule::Io(error) if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}

/// A place in an archive, as exactly as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePlace {
    /// The archive's name, in general its path.
    pub archive: Arc<str>,
    /// The record.
    pub record: Option<RecordType>,
    /// The number of the block that the record belongs to.
    pub block: Option<u64>,
    /// Offset of the record in the file, in bytes.
    pub offset: Option<u64>,
}

impl ArchivePlace {
    /// The archive as a whole.
    pub(crate) fn archive(archive: &Arc<str>) -> Self {
        Self { archive: archive.clone(), record: None, block: None, offset: None }
    }

    pub(crate) fn record(self, record: RecordType) -> Self {
        Self { record: Some(record), ..self }
    }

    pub(crate) fn block(self, block: u64) -> Self {
        Self { block: Some(block), ..self }
    }

    pub(crate) fn offset(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    pub(crate) fn broken(self, rule: impl Into<ArchiveRule>) -> ArchiveError {
        ArchiveError { place: self, rule: rule.into() }
    }
}

impl fmt::Display for ArchivePlace {
    /// Everything but the archive's name, with a colon behind it, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(record) = self.record {
            write!(f, "{record}")?;
            separator = " ";
        }
        if let Some(block) = self.block {
            write!(f, "{separator}of block {block}")?;
            separator = " ";
        }
        if let Some(offset) = self.offset {
            write!(f, "{separator}at offset {offset}")?;
            separator = " ";
        }
        if separator.is_empty() { Ok(()) } else { f.write_str(": ") }
    }
}

/// Two values that should be equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch<T> {
    /// What it has to be.
    pub expected: T,
    /// What it is.
    pub found: T,
}

impl<T> Mismatch<T> {
    pub(crate) fn new(expected: T, found: T) -> Box<Self> {
        Box::new(Self { expected, found })
    }
}

impl<T: fmt::Display> fmt::Display for Mismatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// The rules of the formats, of the chain, and of the operating system.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveRule {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// The file is not the one that was opened.
    #[error("{}", Vanished)]
    Vanished,
    /// One writer assembles a file.
    #[error("another program, or another part of this one, is assembling this file")]
    InUse,
    /// Neither index nor records can be read.
    #[error("neither an era1 nor an ere file: no index at its end, no block at its start")]
    NotAnArchive,
    /// A file starts with a version record.
    #[error("the file does not start with a version record")]
    NoVersion,
    /// The reserved bytes of a record are zero.
    #[error("the reserved bytes of the record are {found:02x?} instead of zero")]
    Reserved {
        /// What they are.
        found: [u8; 2],
    },
    /// A record ends within the file.
    #[error("{needs} bytes are needed, and {has} are left in the file")]
    PastEnd {
        /// Bytes that the record claims.
        needs: u64,
        /// Bytes that there are.
        has: u64,
    },
    /// A record of one type lies where one of another type has to.
    #[error("there is a {found} where a {expected} has to be")]
    WrongType {
        /// The type that belongs there.
        expected: RecordType,
        /// The type that is there.
        found: RecordType,
    },
    /// A record that belongs to no block and no format this program knows. It may be an extension, or what is left of
    /// a record that was damaged; nothing vouches for its bytes.
    #[error("{length} bytes that nothing vouches for: not a record that belongs there")]
    Unexpected {
        /// Bytes of its data.
        length: u64,
    },
    /// A record is longer than its component may be.
    #[error("{length} bytes are over the limit of {limit}")]
    TooLong {
        /// Bytes that the record claims.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// A record of fixed length has that length.
    #[error("the record's length: {0}")]
    Length(Box<Mismatch<u64>>),
    /// The content is framed by Snappy's framing format.
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    /// The stream holds chunks that no checksum covers.
    #[error("the snappy stream holds padding or skippable chunks, which nothing vouches for")]
    SkippableChunk,
    /// The index is of an impossible length, or points nowhere.
    #[error("the index cannot be used: {0}")]
    Index(&'static str),
    /// A slot of the index points at its record.
    #[error("the index slot of the {component} points to offset {found}")]
    IndexSlot {
        /// The component.
        component: Component,
        /// Where the slot points.
        found: u64,
    },
    /// The archive holds the block.
    #[error("the archive holds blocks {} to {}", .0.start(), .0.end())]
    OutOfRange(RangeInclusive<u64>),
    /// The archive holds the component.
    #[error("the archive holds no {0} of this block")]
    Missing(Component),
    /// The archive holds the component of each of its blocks.
    #[error("the archive holds no {component} of blocks {} to {}", .blocks.start(), .blocks.end())]
    MissingRange {
        /// The component.
        component: Component,
        /// The blocks that lack it.
        blocks: RangeInclusive<u64>,
    },
    /// An era1 file has an accumulator record.
    #[error("there is no accumulator record in front of the index")]
    NoAccumulator,
    /// A header is a header's RLP, and nothing else.
    #[error("{0}")]
    Header(#[source] Box<HeaderError>),
    /// A header is that of the block at this place.
    #[error("the header's number: {0}")]
    Number(Box<Mismatch<u64>>),
    /// A header names the hash of the one before.
    #[error("the next header's parent hash: {0}")]
    ParentHash(Box<Mismatch<B256>>),
    /// A header is proved by the trust roots.
    #[error("the header is not proved: {0}")]
    Proof(#[source] Box<HeaderError>),
    /// A header is that of the block which a witness knows at this place.
    #[error("the header is another block's than the one that is vouched for: {0}")]
    OtherBlock(Box<Mismatch<B256>>),
    /// What is in an archive can be proved.
    #[error("{0}")]
    Unproved(&'static str),
    /// The headers and total difficulties of an epoch have the root that is trusted.
    #[error("the root over headers and total difficulties before the merge: {0}")]
    EpochRoot(Box<Mismatch<B256>>),
    /// A proof record is `rlp([proof-type, ssz(proof)])`.
    #[error("the proof record is malformed: {0}")]
    ProofRecord(alloy_rlp::Error),
    /// A proof is of a kind this program knows.
    #[error("proofs of kind {0} are unknown to this version")]
    ProofKind(u64),
    /// A body, or receipts, are those their header commits to.
    #[error("{0}")]
    Unverified(#[source] Box<Unverified>),
    /// Block data can be written in another encoding.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// Total difficulty grows by the header's difficulty.
    #[error("the total difficulty: {0}")]
    TotalDifficulty(Box<Mismatch<U256>>),
    /// The accumulator record is the root over the file's headers.
    #[error("the accumulator: {0}")]
    Accumulator(Box<Mismatch<B256>>),
    /// A file's name says what is in it.
    #[error("the file is named {found}; by its content it is {expected}")]
    Name {
        /// The name by the content.
        expected: Box<str>,
        /// The name it has.
        found: Box<str>,
    },
    /// The format has no place for blocks after the merge.
    #[error("an era1 file holds blocks before the merge only")]
    AfterMerge,
    /// The name that the file would get is one that the caller keeps.
    #[error("it would be called {0}, which is taken")]
    NameTaken(String),
    /// A file of one format cannot be written from what is there.
    #[error("the file cannot be written: {0}")]
    Unwritable(&'static str),
}

impl ArchiveRule {
    /// Whether nothing is known to be wrong, and what is missing is a proof or a list to prove against.
    pub fn is_unproved(&self) -> bool {
        match self {
            Self::Unproved(_) => true,
            Self::Proof(error) => error.fault() == Fault::Lists,
            _ => false,
        }
    }
}

impl From<io::Error> for ArchiveRule {
    fn from(error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Vanished>()) {
            Self::Vanished
        } else {
            Self::Io(error.into())
        }
    }
}
