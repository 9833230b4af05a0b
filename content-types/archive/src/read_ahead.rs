//! Small reads in ascending order served from one larger read: records of early blocks take a hundred bytes, and a
//! system call for each would cost more than checking them.

use std::io;
use std::sync::{Mutex, PoisonError};

use crate::source::ReadAt;

/// A source of which the bytes behind the last small read are held.
pub(crate) struct ReadAhead<'a> {
    source: &'a dyn ReadAt,
    len: u64,
    window: usize,
    held: Mutex<HeldBytes>,
}

/// The bytes of the last larger read, and where they begin.
#[derive(Default)]
struct HeldBytes {
    offset: u64,
    bytes: Vec<u8>,
}

impl HeldBytes {
    fn get(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

impl<'a> ReadAhead<'a> {
    /// Holds up to `window` bytes of `source`, which is `len` bytes long.
    pub(crate) fn new(source: &'a dyn ReadAt, len: u64, window: usize) -> Self {
        Self { source, len, window, held: Mutex::default() }
    }
}

impl ReadAt for ReadAhead<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        if buf.len() > self.window / 2 || buf.len() > left {
            return self.source.read_exact_at(buf, offset);
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(offset, buf.len()).is_none() {
            let mut bytes = std::mem::take(&mut held.bytes);
            bytes.resize(self.window.min(left), 0);
            self.source.read_exact_at(&mut bytes, offset)?;
            *held = HeldBytes { offset, bytes };
        }
        buf.copy_from_slice(held.get(offset, buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_the_source_holds(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            reads in prop::collection::vec((0..320_u64, 0..80_usize), 0..30),
        ) {
            let source = bytes::Bytes::from(bytes);
            let ahead = ReadAhead::new(&source, source.len() as u64, 64);
            for (offset, length) in reads {
                let (mut expected, mut found) = (vec![0; length], vec![0; length]);
                let result = ReadAt::read_exact_at(&source, &mut expected, offset);
                prop_assert_eq!(ahead.read_exact_at(&mut found, offset).is_ok(), result.is_ok());
                prop_assert_eq!(found, expected);
            }
        }
    }
}
