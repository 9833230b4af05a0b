//! Frames: a length in unsigned LEB128, then so many bytes. Control messages and the items of an answer are frames.

use bytes::{Buf, Bytes, BytesMut};
use cairn_proto::wire::{Varint, VarintReader};

/// Room that is made before the bytes for it have come: a length is only a claim.
const FIRST_ROOM: usize = 1 << 16;

/// A stream that is not made of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A length does not end within five bytes, or passes 2³² - 1.
    #[error("a length is no unsigned LEB128 of 32 bits")]
    Length,
    /// A frame is longer than what it may hold.
    #[error("a frame of {length} bytes, of which there may be {limit}")]
    TooLong {
        /// What it claims, bytes.
        length: u32,
        /// Bytes.
        limit: usize,
    },
    /// The stream ended in the middle of one.
    #[error("the stream ends in the middle of a frame")]
    CutOff,
}

/// The length that goes before a frame.
pub fn frame_head(length: u32) -> Varint {
    Varint::new(length)
}

/// Cuts a stream into frames, whatever the chunks are that it arrives in. Memory grows with what has arrived.
#[derive(Debug)]
pub struct FrameReader {
    limit: usize,
    length: VarintReader,
    /// Bytes still missing of the frame that has begun.
    missing: Option<usize>,
    frame: BytesMut,
}

impl FrameReader {
    /// Frames of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, length: VarintReader::default(), missing: None, frame: BytesMut::new() }
    }

    /// Takes what it needs of a chunk; a frame, if one became whole.
    ///
    /// # Errors
    ///
    /// [`FrameError`]; the stream cannot be read on after it.
    pub fn push(&mut self, chunk: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(missing) = self.missing {
                let taken = chunk.split_to(missing.min(chunk.len()));
                if self.frame.is_empty() && taken.len() == missing {
                    self.missing = None;
                    return Ok(Some(taken));
                }
                if self.frame.is_empty() {
                    self.frame.reserve(missing.min(FIRST_ROOM));
                }
                self.frame.extend_from_slice(&taken);
                let missing = missing - taken.len();
                self.missing = Some(missing).filter(|missing| *missing > 0);
                return Ok((missing == 0).then(|| self.frame.split().freeze()));
            }
            if !chunk.has_remaining() {
                return Ok(None);
            }
            if let Some(length) = self.length.push(chunk.get_u8()).map_err(|_| FrameError::Length)? {
                let bytes = usize::try_from(length).unwrap_or(usize::MAX);
                if bytes > self.limit {
                    return Err(FrameError::TooLong { length, limit: self.limit });
                }
                self.missing = Some(bytes);
            }
        }
    }

    /// Bytes that have come of a frame that is not whole.
    pub fn pending(&self) -> usize {
        self.frame.len()
    }

    /// The frame that has begun and is not whole: how long it says that it is, and what has come of it.
    pub fn begun(&self) -> Option<(usize, &[u8])> {
        self.missing.map(|missing| (self.frame.len() + missing, &self.frame[..]))
    }

    /// The stream has ended.
    ///
    /// # Errors
    ///
    /// [`FrameError::CutOff`] in the middle of a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.missing.is_some() || self.length.is_partial() { Err(FrameError::CutOff) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let with_head = |frame: &Vec<u8>| [frame_head(frame.len() as u32).as_bytes(), frame].concat();
        frames.iter().flat_map(with_head).collect()
    }

    fn read(reader: &mut FrameReader, bytes: &[u8], chunk: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        for chunk in bytes.chunks(chunk) {
            let mut chunk = Bytes::copy_from_slice(chunk);
            while let Some(frame) = reader.push(&mut chunk)? {
                frames.push(frame.to_vec());
            }
        }
        reader.finish().map(|()| frames)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            frames in vec(vec(any::<u8>(), 0..400), 0..20), chunk in 1..500_usize, cut in 0..100_usize,
        ) {
            let bytes = stream(&frames);
            prop_assert_eq!(read(&mut FrameReader::new(400), &bytes, chunk), Ok(frames));
            let cut = cut.min(bytes.len());
            let part = read(&mut FrameReader::new(400), &bytes[..cut], chunk);
            prop_assert!(part.is_err() || stream(&part.unwrap()).len() == cut);
        }

        #[test]
        fn nonsense_takes_no_more_room_than_it_has(bytes in vec(any::<u8>(), 0..2000), chunk in 1..500_usize) {
            let mut reader = FrameReader::new(1 << 30);
            let _ = read(&mut reader, &bytes, chunk);
            prop_assert!(reader.frame.capacity() <= FIRST_ROOM + 4 * bytes.len());
        }
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_by_its_length_alone() {
        let mut head = Bytes::copy_from_slice(frame_head(401).as_bytes());
        let refused = FrameReader::new(400).push(&mut head);
        assert_eq!(refused, Err(FrameError::TooLong { length: 401, limit: 400 }));
    }
}
