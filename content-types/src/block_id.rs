//! Which block is meant.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::B256;

/// A block by its number on the canonical chain or by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockId {
    /// The canonical block with this number.
    Number(u64),
    /// The block with this hash.
    Hash(B256),
}

impl BlockId {
    /// Checks that a header with this number and hash is the block that is meant.
    ///
    /// # Errors
    /// [`OtherBlock`] if it is not.
    pub fn check(&self, number: u64, hash: B256) -> Result<(), OtherBlock> {
        let matches = match self {
            Self::Number(expected) => number == *expected,
            Self::Hash(expected) => hash == *expected,
        };
        if matches { Ok(()) } else { Err(OtherBlock { expected: *self, number, hash }) }
    }
}

/// A good header, but of another block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} is meant, this is block {number} with the hash {hash}")]
pub struct OtherBlock {
    /// What is meant.
    pub expected: BlockId,
    /// The header's number.
    pub number: u64,
    /// The header's hash.
    pub hash: B256,
}

impl From<u64> for BlockId {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<B256> for BlockId {
    fn from(hash: B256) -> Self {
        Self::Hash(hash)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "block {number}"),
            Self::Hash(hash) => write!(f, "block {hash}"),
        }
    }
}

/// Text that names no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a block number nor a block hash (0x and 64 hex digits)")]
pub struct ParseBlockIdError(String);

impl FromStr for BlockId {
    type Err = ParseBlockIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseBlockIdError(text.to_owned());
        if text.starts_with("0x") {
            text.parse().map(Self::Hash).map_err(|_| wrong())
        } else {
            text.parse().map(Self::Number).map_err(|_| wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_hashes_are_told_apart() {
        assert_eq!("15537394".parse(), Ok(BlockId::Number(15_537_394)));
        let hash = format!("0x{}", "ab".repeat(32));
        assert_eq!(hash.parse(), Ok(BlockId::Hash(B256::repeat_byte(0xab))));
        for text in ["", "-1", "0x12", "latest", "18446744073709551616"] {
            assert!(text.parse::<BlockId>().is_err(), "{text}");
        }
    }
}
