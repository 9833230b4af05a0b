//! What a record of an archive holds.

use std::fmt;

/// The type tag of a record, as in `types/README.md` of the e2store specifications.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordType(pub [u8; 2]);

impl RecordType {
    /// `CompressedHeader`: `snappyFramed(rlp(header))`.
    pub const HEADER: Self = Self([0x03, 0x00]);
    /// `CompressedBody`: `snappyFramed(rlp(body))`.
    pub const BODY: Self = Self([0x04, 0x00]);
    /// `CompressedReceipts`: `snappyFramed(rlp(receipts))`, consensus encoding with blooms; era1 only.
    pub const RECEIPTS: Self = Self([0x05, 0x00]);
    /// `TotalDifficulty`: 32 bytes, little-endian, not compressed.
    pub const TOTAL_DIFFICULTY: Self = Self([0x06, 0x00]);
    /// `Accumulator`: the 32-byte root of the epoch's header records.
    pub const ACCUMULATOR: Self = Self([0x07, 0x00]);
    /// `CompressedSlimReceipts`: receipts without blooms; ere only.
    pub const SLIM_RECEIPTS: Self = Self([0x0a, 0x00]);
    /// `Proof`: `snappyFramed(rlp([proof-type, ssz(proof)]))`; ere only.
    pub const PROOF: Self = Self([0x0b, 0x00]);
    /// `Version`: the first record of every file, without data. Its first two bytes read `e2`.
    pub const VERSION: Self = Self([0x65, 0x32]);
    /// `BlockIndex` of an era1 file.
    pub const BLOCK_INDEX: Self = Self([0x66, 0x32]);
    /// `DynamicBlockIndex` of an ere file.
    pub const DYNAMIC_BLOCK_INDEX: Self = Self([0x67, 0x32]);

    /// The specification's name of a type that era1 and ere use.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::HEADER => "CompressedHeader",
            Self::BODY => "CompressedBody",
            Self::RECEIPTS => "CompressedReceipts",
            Self::TOTAL_DIFFICULTY => "TotalDifficulty",
            Self::ACCUMULATOR => "Accumulator",
            Self::SLIM_RECEIPTS => "CompressedSlimReceipts",
            Self::PROOF => "Proof",
            Self::VERSION => "Version",
            Self::BLOCK_INDEX => "BlockIndex",
            Self::DYNAMIC_BLOCK_INDEX => "DynamicBlockIndex",
            _ => return None,
        })
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "record of type 0x{:02x}{:02x}", self.0[0], self.0[1]),
        }
    }
}

impl fmt::Debug for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
