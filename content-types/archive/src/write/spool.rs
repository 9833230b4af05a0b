//! Records in the order in which they came, until they are written in the order of the file.
//!
//! The records lie in a file without a name; in memory is where each of them lies, half a megabyte for a whole era.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::file;
use crate::component::Component;
use crate::source::ReadAt;

/// Bytes collected before they are written.
const BUFFER_LEN: usize = 1 << 18;

/// Where a record's data lies in the spool.
#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u64,
    length: u32,
}

/// The spool of one archive.
#[derive(Debug)]
pub(crate) struct Spool {
    file: BufWriter<File>,
    position: u64,
    spans: Vec<[Option<Span>; Component::COUNT]>,
}

impl Spool {
    /// A spool for `blocks` blocks on the disk of `dir`.
    pub(crate) fn create(dir: &Path, blocks: usize) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_LEN, file::unnamed(dir)?);
        Ok(Self { file, position: 0, spans: vec![[None; Component::COUNT]; blocks] })
    }

    pub(crate) fn holds(&self, nth: usize, component: Component) -> bool {
        self.span(nth, component).is_some()
    }

    /// Bytes that the spool holds.
    pub(crate) fn len(&self) -> u64 {
        self.position
    }

    /// Keeps the data of a record of the `nth` block.
    pub(crate) fn put(&mut self, nth: usize, component: Component, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let slot = self.spans.get_mut(nth).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.write_all(data)?;
        slot[component.slot()] = Some(Span { offset: self.position, length });
        self.position += u64::from(length);
        Ok(())
    }

    /// Replaces what `data` holds by a record's data.
    pub(crate) fn get(&mut self, nth: usize, component: Component, data: &mut Vec<u8>) -> io::Result<()> {
        let span = self.span(nth, component).ok_or(io::ErrorKind::NotFound)?;
        self.file.flush()?;
        data.resize(span.length as usize, 0);
        ReadAt::read_exact_at(self.file.get_ref(), data, span.offset)
    }

    fn span(&self, nth: usize, component: Component) -> Option<Span> {
        self.spans.get(nth).and_then(|spans| spans[component.slot()])
    }
}
