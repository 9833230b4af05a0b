//! What is wrong with malformed block data, and where.

use std::fmt;

/// A part of a block body or of a list of receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockPlace {
    /// The body as a whole.
    Body,
    /// The list of transactions.
    Transactions,
    /// One transaction, by index.
    Transaction(usize),
    /// The list of ommers.
    Ommers,
    /// One ommer, by index.
    Ommer(usize),
    /// The list of withdrawals.
    Withdrawals,
    /// One withdrawal, by index.
    Withdrawal(usize),
    /// The list of receipts.
    Receipts,
    /// One receipt, by index.
    Receipt(usize),
    /// One log of a receipt.
    Log {
        /// Index of the receipt in the block.
        receipt: usize,
        /// Index of the log in the receipt.
        log: usize,
    },
}

impl fmt::Display for BlockPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => f.write_str("block body"),
            Self::Transactions => f.write_str("list of transactions"),
            Self::Transaction(index) => write!(f, "transaction {index}"),
            Self::Ommers => f.write_str("list of ommers"),
            Self::Ommer(index) => write!(f, "ommer {index}"),
            Self::Withdrawals => f.write_str("list of withdrawals"),
            Self::Withdrawal(index) => write!(f, "withdrawal {index}"),
            Self::Receipts => f.write_str("list of receipts"),
            Self::Receipt(index) => write!(f, "receipt {index}"),
            Self::Log { receipt, log } => write!(f, "log {log} of receipt {receipt}"),
        }
    }
}

/// A rule of the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// RLP, SSZ: an item ends within what contains it.
    #[error("the item needs {needed} bytes and {available} are left")]
    Overrun {
        /// Bytes that the item claims.
        needed: usize,
        /// Bytes that are left in what contains it.
        available: usize,
    },
    /// RLP: a length is written in its shortest form.
    #[error("the length is not in its shortest form")]
    NotShortest,
    /// RLP: an integer has no leading zero and fits its type.
    #[error("the integer has a leading zero or is too large")]
    Integer,
    /// RLP: a list stands here.
    #[error("a list is expected, found a string")]
    ExpectedList,
    /// RLP: a string stands here.
    #[error("a string is expected, found a list")]
    ExpectedString,
    /// RLP, SSZ: nothing follows the last item.
    #[error("{count} bytes follow the last item")]
    Trailing {
        /// How many bytes follow.
        count: usize,
    },
    /// A string of fixed length has that length.
    #[error("{expected} bytes are expected, found {found}")]
    Length {
        /// The length that the specification gives.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// An item is no longer than its limit.
    #[error("{found} bytes are over the limit of {limit}")]
    TooLong {
        /// Largest length, bytes.
        limit: usize,
        /// The length found.
        found: usize,
    },
    /// A list has no more items than its limit.
    #[error("the list has more than {limit} items")]
    TooMany {
        /// Most items.
        limit: usize,
    },
    /// EIP-2718: a typed transaction or receipt starts with its type, `0x01..=0x7f`; a legacy one is an RLP list.
    #[error("an EIP-2718 type within 1..=127 or an RLP list is expected")]
    Eip2718,
    /// A receipt's first field is a status (empty or `0x01`) or, before Byzantium, a state root of 32 bytes.
    #[error("a status or a post-state root is expected")]
    Status,
    /// A receipt's bloom is that of its logs (it is dropped in the slim encoding and has to be recomputable).
    #[error("the bloom is not that of the logs")]
    Bloom,
    /// SSZ: the body has two fields before Shanghai and three from then on.
    #[error("the first SSZ offset stands for {found} fields, a body has 2 or 3")]
    FieldCount {
        /// The number of fields found.
        found: usize,
    },
    /// SSZ: the first offset points behind the offsets, each other one at or after the one before.
    #[error("the SSZ offset {offset} is out of order")]
    SszOffset {
        /// The offset found.
        offset: usize,
    },
}

/// Bytes that do not follow the encoding's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{place} at byte {offset}: {rule}")]
pub struct Malformed {
    /// The part that is malformed.
    pub place: BlockPlace,
    /// Where in the value the rule is broken, bytes from its start.
    pub offset: usize,
    /// The rule that is broken.
    pub rule: Rule,
}

/// A broken rule before it is known to which part of the block the bytes belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenRule {
    offset: usize,
    rule: Rule,
    /// The log of the receipt in hand.
    log: Option<usize>,
}

impl BrokenRule {
    pub(super) fn new(offset: usize, rule: Rule) -> Self {
        Self { offset, rule, log: None }
    }

    pub(super) fn in_log(self, log: usize) -> Self {
        Self { log: Some(log), ..self }
    }

    pub(super) fn at(self, place: BlockPlace) -> Malformed {
        let place = match (place, self.log) {
            (BlockPlace::Receipt(receipt), Some(log)) => BlockPlace::Log { receipt, log },
            _ => place,
        };
        Malformed { place, offset: self.offset, rule: self.rule }
    }
}
