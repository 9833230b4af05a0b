//! Writes the records of a file one after the other and remembers where they lie.

use std::io::{self, Write};

use crate::e2store::{RecordHeader, RecordType};

/// Writes records to a sink, front to back.
pub(crate) struct RecordWriter<W> {
    out: W,
    position: u64,
}

impl<W: Write> RecordWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, position: 0 }
    }

    /// Bytes written so far: the offset of the next record.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Writes a record and returns its offset.
    pub(crate) fn write(&mut self, kind: RecordType, data: &[u8]) -> io::Result<u64> {
        let length = u32::try_from(data.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let offset = self.position;
        self.out.write_all(&RecordHeader::new(kind, length).encode())?;
        self.out.write_all(data)?;
        self.position += RecordHeader::new(kind, length).record_len();
        Ok(offset)
    }

    pub(crate) fn into_inner(self) -> W {
        self.out
    }
}
