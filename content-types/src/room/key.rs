//! What the content key of any sub-network can be asked.

use bytes::Bytes;

use crate::block::{BodyEncoding, ReceiptsEncoding};
use crate::verify::{Examined, Unverified};
use crate::{BlockId, ContentId};

/// A content key that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no selector.
    #[error("the content key is empty")]
    Empty,
    /// The first byte stands for no content type of the sub-network.
    #[error("the {network} network has no content type {selector:#04x}")]
    UnknownSelector {
        /// The name of the sub-network whose key it was taken for.
        network: &'static str,
        /// The key's first byte.
        selector: u8,
    },
    /// A part of the key is not where, or not what, its type says.
    #[error("a {network} content key of type {selector:#04x}: {rule}")]
    Layout {
        /// The name of the sub-network whose key it was taken for.
        network: &'static str,
        /// The key's first byte.
        selector: u8,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The key is longer or shorter than its type says.
    #[error("a {network} content key of type {selector:#04x} is {expected} bytes long, not {actual}")]
    Length {
        /// The name of the sub-network whose key it was taken for.
        network: &'static str,
        /// The key's first byte.
        selector: u8,
        /// Bytes that a key of this type has.
        expected: usize,
        /// Bytes that there are.
        actual: usize,
    },
}

/// The two forms in which a value travels. In most sub-networks they are the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// As it is offered: with whatever it takes to prove it, since who takes it has asked for nothing.
    Offered,
    /// As it is stored, and as FINDCONTENT gives it: who asks for a key may know already what proves the value.
    Stored,
}

/// What a content key stands for, in terms that all sub-networks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A part of one block.
    Part {
        /// Which block.
        block: BlockId,
        /// Which part of it.
        part: BlockPart,
    },
    /// Something that the header of a block judges, and that is no part of the block.
    About(BlockId),
    /// Something that only who knows the head of the chain can judge.
    NearHead,
    /// Something else: the key does not say which block, if any, its value belongs to.
    Other,
}

/// A part of a block, in the encoding that a value under the key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockPart {
    /// The header with its proof.
    Header,
    /// The body.
    Body(BodyEncoding),
    /// The receipts.
    Receipts(ReceiptsEncoding),
}

/// What it takes to judge a value, beside the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing: the key itself commits to it.
    Key,
    /// The trust lists: it is the header of this block, with a proof of its own.
    Lists(BlockId),
    /// The proved header of this block.
    Header(BlockId),
    /// The head of the chain, from a source outside the network.
    Head,
}

/// A content key of one sub-network.
pub trait Key: Copy {
    /// Decodes a key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says which rule the bytes break.
    fn decode(key: &[u8]) -> Result<Self, KeyError>;

    /// The key as it goes over the wire: selector, then the SSZ container.
    fn encode(&self) -> Bytes;

    /// Where the content lies in the key space: SHA-256 of the encoded key, where the sub-network has no derivation of its own.
    fn content_id(&self) -> ContentId {
        ContentId::sha256(&self.encode())
    }

    /// Bytes that a value has at most.
    fn max_value_len(&self, form: Form) -> usize;

    /// What the key stands for.
    fn subject(&self) -> Subject;

    /// The content type's name in metrics.
    fn label(&self) -> &'static str;

    /// What it takes to judge a value. Cheap: it is asked before anything is hashed. As it stands for parts of blocks; a
    /// sub-network of something [`Other`](Subject::Other) says it here, where it may read it from the value.
    ///
    /// # Errors
    ///
    /// [`Unverified`] when the value is so malformed that it does not say what it takes.
    fn evidence(&self, _form: Form, _value: &[u8]) -> Result<Evidence, Unverified> {
        Ok(match self.subject() {
            Subject::Part { block, part: BlockPart::Header } => Evidence::Lists(block),
            Subject::Part { block, .. } | Subject::About(block) => Evidence::Header(block),
            Subject::NearHead | Subject::Other => Evidence::Head,
        })
    }

    /// Looks at a value by itself: what is malformed is refused before anybody is asked for the header that proves it. Hashes.
    /// As it stands for bodies and receipts; see [`evidence`](Self::evidence).
    ///
    /// # Errors
    ///
    /// [`Unverified`] says which rule it breaks.
    fn examine(&self, _form: Form, value: Bytes) -> Result<Examined, Unverified> {
        match self.subject() {
            Subject::Part { part: BlockPart::Body(encoding), .. } => Examined::body(encoding, value),
            Subject::Part { part: BlockPart::Receipts(encoding), .. } => Examined::receipts(encoding, value),
            _ => Err(Unverified::NotExamined),
        }
    }
}
