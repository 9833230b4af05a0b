//! The end of a file that grows: what is added is collected and written in large pieces.
//!
//! All writes go to places that are told by what was written before, never to wherever the last one stopped. So one
//! that failed, on a disk that is full, is made again later and loses nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes collected before they are written.
const BUFFER_LEN: usize = 1 << 18;

/// A file and what is to be added to it.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: File,
    /// Bytes of the file that count; what lies behind them is overwritten.
    written: u64,
    pending: Vec<u8>,
}

impl Tail {
    /// Goes on behind the first `written` bytes of a file.
    pub(crate) fn new(file: File, written: u64) -> Self {
        Self { file, written, pending: Vec::new() }
    }

    /// Goes on behind the first `length` bytes of the file, and cuts off the rest. Nothing may be pending.
    pub(crate) fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.written = length;
        Ok(())
    }

    /// Bytes so far: where the next ones will lie.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Bytes that the operating system was not given yet.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Adds bytes that come in parts and returns their offset. If it fails, nothing was added, and nothing that was before
    /// is lost.
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> io::Result<u64> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.pending.len() + length > BUFFER_LEN {
            self.flush()?;
        }
        let offset = self.position();
        if length > BUFFER_LEN {
            let mut at = offset;
            for part in parts {
                self.file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            self.written = at;
        } else {
            parts.iter().for_each(|part| self.pending.extend_from_slice(part));
        }
        Ok(offset)
    }

    /// Hands everything to the operating system. What fails may be tried again.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Fills `buf` from `offset` on with what was added there in one piece.
    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(start) = offset.checked_sub(self.written) else { return self.file.read_exact_at(buf, offset) };
        let start = usize::try_from(start).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let held = self.pending.get(start..).and_then(|held| held.get(..buf.len()));
        buf.copy_from_slice(held.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_added_is_read_whether_written_or_not(
            pieces in prop::collection::vec((0..3 * BUFFER_LEN / 2, any::<u8>(), any::<bool>()), 1..8),
        ) {
            let mut tail = Tail::new(tempfile::tempfile().unwrap(), 0);
            let mut added = Vec::new();
            for (length, value, flush) in pieces {
                let piece = vec![value; length];
                added.push((tail.append(&[&piece[..length / 3], &piece[length / 3..]]).unwrap(), piece));
                if flush {
                    tail.flush().unwrap();
                }
                for (offset, piece) in &added {
                    let mut found = vec![0; piece.len()];
                    tail.read(&mut found, *offset).unwrap();
                    prop_assert!(found == *piece);
                }
            }
        }
    }

    #[test]
    fn a_full_disk_loses_nothing() {
        let mut tail = Tail::new(tempfile::tempfile().unwrap(), 0);
        tail.append(&[b"before"]).unwrap();
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut tail.file, full);
        assert_eq!(tail.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(tail.append(&[&vec![1; BUFFER_LEN]]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        tail.file = file;
        assert_eq!(tail.append(&[b"after"]).unwrap(), 6);
        tail.flush().unwrap();
        let mut found = [0; 11];
        tail.read(&mut found, 0).unwrap();
        assert_eq!(&found, b"beforeafter");
    }
}
