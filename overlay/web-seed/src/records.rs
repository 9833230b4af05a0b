//! Cuts the bytes of an extent, which come in pieces of any size, into the records of its blocks. What is kept is one
//! record at most, and none of the components that nobody wants.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use cairn_archive::e2store::{RECORD_HEADER_LEN, RecordHeader};
use cairn_archive::{Component, Components, Extent, Format, snappy};

use crate::error::{Error, Reason};

/// A record as it lies in the file. Nothing vouches for it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The block, as far as the file's index tells.
    pub number: u64,
    /// Which part of the block it is.
    pub component: Component,
    /// The record's data: compressed, but for total difficulties.
    pub stored: Bytes,
    url: std::sync::Arc<str>,
}

impl Record {
    /// The content, decompressed: for receipts in the encoding of the file's format, for proofs the proof record's RLP.
    /// This takes processor time, some milliseconds for the largest.
    ///
    /// # Errors
    ///
    /// [`Reason::Record`] when the data is no Snappy stream or its content is longer than the component may be.
    pub fn content(&self) -> Result<Bytes, Error> {
        if self.component == Component::TotalDifficulty {
            return Ok(self.stored.clone());
        }
        let content = snappy::decode(&self.stored, self.component.limit());
        let content = content.map_err(|error| self.broken(format!("{}: {error}", self.component)))?;
        Ok(content.into())
    }

    /// The error of a record whose content is not the chain's: it names the mirror's file and the block.
    pub fn broken(&self, what: impl Into<String>) -> Error {
        Error::of_block(&self.url, self.number, Reason::Record(what.into()))
    }
}

/// The records of one extent.
#[derive(Debug)]
pub(crate) struct RecordParser {
    format: Format,
    extent: Extent,
    wanted: Components,
    url: std::sync::Arc<str>,
    /// Offset of the next byte in `held`.
    position: u64,
    held: BytesMut,
    /// Position of the block in the extent, and of the component in the block.
    nth: usize,
    component: usize,
    /// Bytes still to be passed over.
    skip: u64,
    ready: VecDeque<Record>,
}

impl RecordParser {
    pub(crate) fn new(format: Format, extent: Extent, wanted: Components, url: &std::sync::Arc<str>) -> Self {
        Self {
            format,
            position: extent.bytes().start,
            extent,
            wanted,
            url: url.clone(),
            held: BytesMut::new(),
            nth: 0,
            component: 0,
            skip: 0,
            ready: VecDeque::new(),
        }
    }

    /// Takes the bytes that follow those before.
    pub(crate) fn push(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        // What is passed over need not be kept first.
        if self.held.is_empty() {
            let skipped = self.skip.min(bytes.len() as u64);
            bytes.advance(usize::try_from(skipped).unwrap_or(bytes.len()));
            self.skip -= skipped;
            self.position += skipped;
        }
        self.held.extend_from_slice(&bytes);
        while let Some(()) = self.step()? {}
        Ok(())
    }

    /// The next record that is complete.
    pub(crate) fn pop(&mut self) -> Option<Record> {
        self.ready.pop_front()
    }

    /// Whether all records are complete. Bytes that follow belong to none.
    pub(crate) fn is_complete(&self) -> bool {
        self.nth >= self.extent.starts.len() && self.skip == 0
    }

    /// The block that the next byte belongs to.
    pub(crate) fn block(&self) -> u64 {
        let last = self.extent.starts.len().saturating_sub(1);
        self.extent.first + self.nth.min(last) as u64
    }

    /// One record or a part of what is to be passed over; `None` when more bytes are needed or none are expected.
    fn step(&mut self) -> Result<Option<()>, Error> {
        if self.skip > 0 {
            let skipped = self.skip.min(self.held.len() as u64);
            self.take(usize::try_from(skipped).unwrap_or(self.held.len()));
            self.skip -= skipped;
            return Ok((skipped > 0).then_some(()));
        }
        let Some(&start) = self.extent.starts.get(self.nth) else { return Ok(None) };
        let Some(&component) = self.extent.components.get(self.component) else { return Ok(None) };
        if self.component == 0 && self.position != start {
            return Err(self.broken(component, "does not lie where the index says"));
        }
        let Some(head) = self.held.first_chunk::<{ RECORD_HEADER_LEN as usize }>() else { return Ok(None) };
        let header = RecordHeader::decode(*head).map_err(|rule| self.broken(component, &rule.to_string()))?;
        if header.kind != component.record_type(self.format) {
            return Err(self.broken(component, &format!("is a {} by its record's type", header.kind)));
        }
        let next_block = self.extent.starts.get(self.nth + 1).copied().unwrap_or(self.extent.end);
        let length = u64::from(header.length);
        if length > component.stored_limit() || self.position + header.record_len() > next_block {
            return Err(self.broken(component, &format!("claims {length} bytes, more than it may have")));
        }
        if self.wanted.has(component) {
            let length = usize::try_from(header.record_len()).unwrap_or(usize::MAX);
            if self.held.len() < length {
                return Ok(None);
            }
            let mut stored = self.take(length);
            stored.advance(RECORD_HEADER_LEN as usize);
            let number = self.block();
            self.ready.push_back(Record { number, component, stored, url: self.url.clone() });
        } else {
            self.skip = header.record_len();
        }
        self.component += 1;
        if self.component == self.extent.components.len() {
            self.component = 0;
            self.nth += 1;
        }
        Ok(Some(()))
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.position += length as u64;
        self.held.split_to(length).freeze()
    }

    fn broken(&self, component: Component, what: &str) -> Error {
        Error::of_block(&self.url, self.block(), Reason::Record(format!("its {component} {what}")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Records of two components for each of `blocks` blocks, as an extent.
    fn file(blocks: &[(Vec<u8>, Vec<u8>)]) -> (Extent, Vec<u8>) {
        let components = vec![Component::Header, Component::Body];
        let mut bytes = vec![0; 100];
        let mut starts = Vec::new();
        for (header, body) in blocks {
            starts.push(bytes.len() as u64);
            for (component, data) in components.iter().zip([header, body]) {
                let length = u32::try_from(data.len()).unwrap();
                bytes.extend(RecordHeader::new(component.record_type(Format::Era1), length).encode());
                bytes.extend(data);
            }
        }
        let end = bytes.len() as u64;
        (Extent { components, first: 7, starts, end }, bytes)
    }

    fn parse(extent: &Extent, bytes: &[u8], wanted: Components, piece: usize) -> Result<Vec<Record>, Error> {
        let mut parser = RecordParser::new(Format::Era1, extent.clone(), wanted, &"url".into());
        let mut records = Vec::new();
        let span = extent.bytes();
        for piece in bytes[span.start as usize..span.end as usize].chunks(piece) {
            parser.push(Bytes::copy_from_slice(piece))?;
            records.extend(std::iter::from_fn(|| parser.pop()));
            assert!(parser.held.len() <= 2 * (piece.len() + 8 + 40));
        }
        Ok(records)
    }

    fn both() -> Components {
        Components::default().with(Component::Header).with(Component::Body)
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_same_records(
            blocks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..40)), 1..12),
            piece in 1..200_usize,
            headers: bool,
            bodies: bool,
        ) {
            let (extent, bytes) = file(&blocks);
            let wanted = [(headers, Component::Header), (bodies, Component::Body)];
            let wanted: Components = wanted.into_iter().filter_map(|(want, each)| want.then_some(each)).collect();
            let found = parse(&extent, &bytes, wanted, piece).unwrap();
            let found: Vec<_> = found.into_iter().map(|each| (each.number, each.component, each.stored.to_vec())).collect();
            let mut expected = Vec::new();
            for ((header, body), number) in blocks.into_iter().zip(7..) {
                expected.extend(headers.then_some((number, Component::Header, header)));
                expected.extend(bodies.then_some((number, Component::Body, body)));
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_refused_or_cut_within_bounds(bytes: Vec<u8>, at in 0..400_usize, value: u8) {
            let blocks: Vec<_> = (0..4).map(|n| (vec![n; 20], vec![n; 30])).collect();
            let (extent, mut good) = file(&blocks);
            for piece in bytes.chunks(5) {
                let mut parser = RecordParser::new(Format::Era1, extent.clone(), both(), &"url".into());
                let _ = parser.push(Bytes::copy_from_slice(piece));
            }
            if let Some(byte) = good.get_mut(at) {
                *byte = value;
            }
            let _ = parse(&extent, &good, both(), 16);
        }
    }

    #[test]
    fn a_record_that_is_not_what_the_index_says_names_its_block() {
        let blocks: Vec<_> = (0..3).map(|n| (vec![n; 10], vec![n; 10])).collect();
        let (extent, good) = file(&blocks);
        let second = extent.starts[1] as usize;
        for (at, value) in [(second, 0x04), (second + 2, 200), (second + 5, 0x7f), (second + 6, 1)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let error = parse(&extent, &bytes, both(), 7).unwrap_err();
            assert_eq!(error.block, Some(8), "{error}");
        }
        let mut gap = extent.clone();
        gap.starts[1] += 1;
        let error = parse(&gap, &good, both(), 7).unwrap_err();
        assert!(matches!(error.reason, Reason::Record(_)), "{error}");
    }
}
