//! Reads a content stream: items one after another, each after its length as a varint.
//!
//! A stream that answers FINDCONTENT holds one item, one that follows ACCEPT an item for each accepted key. Bytes come in
//! chunks of any size. Memory grows with the bytes that have arrived, never with a length that was only announced.
//!
//! Specification: `portal-wire-protocol.md`, "Length prefixing for uTP transfers" and "Content Encoding".

use bytes::{Bytes, BytesMut};

use super::varint::{VarintOverflow, VarintReader};

/// Room reserved for an item when its length becomes known, bytes; more follows as bytes arrive.
const INITIAL_RESERVE_BYTES: usize = 16 * 1024;

/// Incremental decoder of a content stream with a known number of items.
#[derive(Debug)]
pub struct ContentStream {
    /// Longest value allowed for each item, bytes.
    limits: Vec<usize>,
    /// Items already returned.
    done: usize,
    state: DecoderState,
}

/// What the next bytes belong to.
#[derive(Debug)]
enum DecoderState {
    Length(VarintReader),
    Item {
        len: usize,
        bytes: BytesMut,
    },
    /// A rule was broken: where the next item would begin is unknown.
    Broken(StreamError),
}

/// A content stream that breaks the format or a limit. Items are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// A length that is not a LEB128 number of at most 32 bits.
    #[error("item {item}: its length is not a varint of at most 32 bits")]
    Length {
        /// The item.
        item: usize,
    },
    /// An announced length above what its content type allows.
    #[error("item {item}: {len} bytes announced, at most {limit} allowed")]
    TooLong {
        /// The item.
        item: usize,
        /// Announced length, bytes.
        len: usize,
        /// Limit for this item's content type, bytes.
        limit: usize,
    },
    /// Bytes after the last item.
    #[error("bytes follow the last of {items} items")]
    TrailingBytes {
        /// Items that were expected.
        items: usize,
    },
    /// The stream ended inside or before an item.
    #[error("the stream ended in item {item} of {items}, {missing} of its bytes missing")]
    Truncated {
        /// The first item that is not complete.
        item: usize,
        /// Items that were expected.
        items: usize,
        /// Bytes of the item that did not come; 0 when not even its length came.
        missing: usize,
    },
}

impl ContentStream {
    /// A stream with one item for each of `limits`; a limit is the longest value, in bytes, that the item's content
    /// type allows.
    pub fn new(limits: Vec<usize>) -> Self {
        Self { limits, done: 0, state: DecoderState::Length(VarintReader::default()) }
    }

    /// A stream of one item, as FINDCONTENT gets.
    pub fn single(limit: usize) -> Self {
        Self::new(vec![limit])
    }

    /// Reads from the front of `chunk` up to the end of the next item and returns that item. `None`: the chunk is used
    /// up. Call it again with the same chunk until then.
    ///
    /// An item may be empty: other clients send that for one they accepted to deliver and lost.
    ///
    /// # Errors
    /// A broken length, a length above the limit, or bytes after the last item. The stream is lost from there on:
    /// every further call gives the same error.
    pub fn next_item(&mut self, chunk: &mut &[u8]) -> Result<Option<Bytes>, StreamError> {
        match self.advance(chunk) {
            Ok(item) => Ok(item),
            Err(error) => {
                self.state = DecoderState::Broken(error.clone());
                Err(error)
            }
        }
    }

    fn advance(&mut self, chunk: &mut &[u8]) -> Result<Option<Bytes>, StreamError> {
        loop {
            match &mut self.state {
                DecoderState::Broken(error) => return Err(error.clone()),
                DecoderState::Length(reader) => {
                    let Some((&byte, rest)) = chunk.split_first() else { return Ok(None) };
                    let Some(&limit) = self.limits.get(self.done) else {
                        return Err(StreamError::TrailingBytes { items: self.limits.len() });
                    };
                    *chunk = rest;
                    let item = self.done;
                    let Some(len) = reader.push(byte).map_err(|VarintOverflow| StreamError::Length { item })? else {
                        continue;
                    };
                    let len = usize::try_from(len).map_err(|_| StreamError::Length { item })?;
                    if len > limit {
                        return Err(StreamError::TooLong { item, len, limit });
                    }
                    let bytes = BytesMut::with_capacity(len.min(INITIAL_RESERVE_BYTES));
                    self.state = DecoderState::Item { len, bytes };
                }
                DecoderState::Item { len, bytes } => {
                    let (taken, rest) = chunk.split_at(chunk.len().min(*len - bytes.len()));
                    bytes.extend_from_slice(taken);
                    *chunk = rest;
                    if bytes.len() < *len {
                        return Ok(None);
                    }
                    let item = std::mem::take(bytes).freeze();
                    self.done += 1;
                    self.state = DecoderState::Length(VarintReader::default());
                    return Ok(Some(item));
                }
            }
        }
    }

    /// Items returned so far.
    pub fn items_done(&self) -> usize {
        self.done
    }

    /// Whether every item has been returned.
    pub fn is_complete(&self) -> bool {
        self.done == self.limits.len() && matches!(&self.state, DecoderState::Length(reader) if !reader.is_partial())
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    /// [`StreamError::Truncated`] when items are missing, or the error that broke the stream.
    pub fn finish(&self) -> Result<(), StreamError> {
        if self.is_complete() {
            return Ok(());
        }
        let missing = match &self.state {
            DecoderState::Broken(error) => return Err(error.clone()),
            DecoderState::Length(_) => 0,
            DecoderState::Item { len, bytes } => len - bytes.len(),
        };
        Err(StreamError::Truncated { item: self.done, items: self.limits.len(), missing })
    }
}
