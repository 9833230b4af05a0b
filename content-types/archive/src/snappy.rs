//! Snappy's framing format around the contents of a record, decoded under a limit and encoded as the common writers do.
//!
//! Content is decoded chunk by chunk, and room is made for one chunk (64 KiB at most) at a time: a stream that claims
//! much and holds little costs little.

use snap::raw::{Decoder, max_compress_len};

/// The chunk that opens every stream: type 0xff, length 6, `sNaPpY`.
const STREAM_IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";
/// Bytes of a chunk's type and length.
const CHUNK_HEADER_LEN: usize = 4;
/// Bytes of the masked CRC-32C in front of a chunk's data.
const CHECKSUM_LEN: usize = 4;
/// Largest uncompressed content of one chunk, by the framing format's section 4.2.
const MAX_CHUNK_CONTENT: usize = 65_536;
/// Bytes at the start of a data chunk that are enough to tell the length of its content: header, checksum, varint.
pub(crate) const CHUNK_PREFIX_LEN: usize = CHUNK_HEADER_LEN + CHECKSUM_LEN + 5;

/// Chunk type of compressed data.
const COMPRESSED: u8 = 0x00;
/// Chunk type of uncompressed data.
const UNCOMPRESSED: u8 = 0x01;
/// First of the chunk types that a decoder skips: reserved 0x80 to 0xfd, padding 0xfe, a stream identifier again 0xff.
pub const FIRST_SKIPPABLE: u8 = 0x80;

/// Why a stream does not follow Snappy's framing format. Offsets count from the start of the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnappyError {
    /// The first chunk is not the stream identifier.
    #[error("the snappy stream does not start with its identifier")]
    NoStreamIdentifier,
    /// The stream ends within a chunk.
    #[error("the snappy stream ends within the chunk at {offset}")]
    CutChunk {
        /// Offset of the chunk.
        offset: usize,
    },
    /// Chunk types 0x02 to 0x7f must not be skipped and are not defined.
    #[error("the snappy chunk at {offset} has the reserved type 0x{kind:02x}")]
    ReservedChunk {
        /// Offset of the chunk.
        offset: usize,
        /// The chunk's type.
        kind: u8,
    },
    /// A data chunk holds more than 64 KiB, or less than a checksum.
    #[error("the snappy chunk at {offset} has an impossible length")]
    ChunkLength {
        /// Offset of the chunk.
        offset: usize,
    },
    /// The compressed data of a chunk cannot be decoded.
    #[error("the snappy chunk at {offset} cannot be decompressed: {reason}")]
    Chunk {
        /// Offset of the chunk.
        offset: usize,
        /// What the decompressor says.
        reason: snap::Error,
    },
    /// The content of a chunk does not match its CRC-32C.
    #[error("the content of the snappy chunk at {offset} does not match its checksum")]
    Checksum {
        /// Offset of the chunk.
        offset: usize,
    },
    /// The content is longer than this component may be.
    #[error("the content is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}

/// The largest stream that may hold content of `limit` bytes: room for a writer that uses small chunks.
pub const fn max_stream_len(limit: usize) -> u64 {
    1024 + limit as u64 + limit as u64 / 4
}

/// One chunk after the stream identifier.
struct Chunk<'a> {
    offset: usize,
    kind: u8,
    data: &'a [u8],
}

/// Walks the chunks of a stream behind its identifier.
struct Chunks<'a> {
    stream: &'a [u8],
    offset: usize,
}

impl<'a> Chunks<'a> {
    fn new(stream: &'a [u8]) -> Result<Self, SnappyError> {
        if !stream.starts_with(&STREAM_IDENTIFIER) {
            return Err(SnappyError::NoStreamIdentifier);
        }
        Ok(Self { stream, offset: STREAM_IDENTIFIER.len() })
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, SnappyError>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.stream.get(offset..).filter(|rest| !rest.is_empty())?;
        self.offset = self.stream.len();
        let chunk = rest.split_first_chunk::<CHUNK_HEADER_LEN>().and_then(|([kind, length @ ..], rest)| {
            let data = rest.get(..u24(*length))?;
            self.offset = offset + CHUNK_HEADER_LEN + data.len();
            Some(Chunk { offset, kind: *kind, data })
        });
        Some(chunk.ok_or(SnappyError::CutChunk { offset }))
    }
}

const fn u24([a, b, c]: [u8; 3]) -> usize {
    u32::from_le_bytes([a, b, c, 0]) as usize
}

/// Decodes a stream whose content may be `limit` bytes long.
///
/// # Errors
///
/// Any [`SnappyError`].
pub fn decode(stream: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    let mut decoder = Decoder::new();
    let mut content = Vec::with_capacity(stream.len().min(limit));
    for chunk in Chunks::new(stream)? {
        let Chunk { offset, kind, data } = chunk?;
        if kind >= FIRST_SKIPPABLE {
            continue;
        }
        if kind > UNCOMPRESSED {
            return Err(SnappyError::ReservedChunk { offset, kind });
        }
        let (checksum, data) = data.split_first_chunk().ok_or(SnappyError::ChunkLength { offset })?;
        let length = content_len(kind, data, offset)?;
        let start = content.len();
        if length > limit - start {
            return Err(SnappyError::TooLong { limit });
        }
        if kind == COMPRESSED {
            content.resize(start + length, 0);
            decoder.decompress(data, &mut content[start..]).map_err(|reason| SnappyError::Chunk { offset, reason })?;
        } else {
            content.extend_from_slice(data);
        }
        if masked_crc32c(&content[start..]) != u32::from_le_bytes(*checksum) {
            return Err(SnappyError::Checksum { offset });
        }
    }
    Ok(content)
}

/// The first bytes of a stream's content, `wanted` of them or as many as stand in it as they are: nothing is decompressed. A
/// compressed chunk begins with a literal, since there is nothing yet that it could repeat. `None` while too little has come.
///
/// # Errors
///
/// Any [`SnappyError`], with as few of the first bytes as show it. A first chunk that has no content, as padding, is one of a type
/// that is not read.
pub fn first_bytes(begun: &[u8], wanted: usize) -> Result<Option<&[u8]>, SnappyError> {
    let identified = begun.len().min(STREAM_IDENTIFIER.len());
    if begun[..identified] != STREAM_IDENTIFIER[..identified] {
        return Err(SnappyError::NoStreamIdentifier);
    }
    let offset = STREAM_IDENTIFIER.len();
    let chunk = begun.get(offset..).and_then(<[u8]>::split_first_chunk::<CHUNK_HEADER_LEN>);
    let Some(([kind, length @ ..], rest)) = chunk else { return Ok(None) };
    if *kind > UNCOMPRESSED {
        return Err(SnappyError::ReservedChunk { offset, kind: *kind });
    }
    let length = u24(*length);
    if !(CHECKSUM_LEN..=CHECKSUM_LEN + max_compress_len(MAX_CHUNK_CONTENT)).contains(&length) {
        return Err(SnappyError::ChunkLength { offset });
    }
    // Whoever has less than the whole chunk may be waiting for more of it.
    let is_whole = rest.len() >= length;
    let Some(data) = rest.get(CHECKSUM_LEN..length.min(rest.len())) else { return Ok(None) };
    let (literal, len) = if *kind == UNCOMPRESSED {
        (data, length - CHECKSUM_LEN)
    } else {
        match first_literal(data) {
            Some(found) => found.map_err(|reason| SnappyError::Chunk { offset, reason })?,
            None if is_whole => return Err(SnappyError::ChunkLength { offset }),
            None => return Ok(None),
        }
    };
    let wanted = wanted.min(len);
    Ok(literal.get(..wanted).or_else(|| is_whole.then_some(literal)))
}

/// What there is of the literal that compressed data begins with, and how long it is; `None` if its head is not whole.
fn first_literal(data: &[u8]) -> Option<Result<(&[u8], usize), snap::Error>> {
    // The tag of a literal: its length less one above two bits that are 0, or how many bytes after it say that.
    const IN_TAG: u8 = 60;
    let content_len = data.iter().position(|byte| byte & 0x80 == 0)?;
    let (tag, rest) = data.get(content_len + 1..)?.split_first()?;
    if tag & 0b11 != 0 {
        return Some(Err(snap::Error::Offset { offset: 0, dst_pos: 0 }));
    }
    let less_one = tag >> 2;
    if less_one < IN_TAG {
        return Some(Ok((rest, usize::from(less_one) + 1)));
    }
    let (length, rest) = rest.split_at_checked(usize::from(less_one - IN_TAG) + 1)?;
    let less_one = length.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    Some(Ok((rest, less_one.saturating_add(1))))
}

/// Length of a data chunk's content; `data` is what follows the checksum, or at least its first bytes.
fn content_len(kind: u8, data: &[u8], offset: usize) -> Result<usize, SnappyError> {
    let length = if kind == COMPRESSED {
        snap::raw::decompress_len(data).map_err(|reason| SnappyError::Chunk { offset, reason })?
    } else {
        data.len()
    };
    if length > MAX_CHUNK_CONTENT {
        return Err(SnappyError::ChunkLength { offset });
    }
    Ok(length)
}

/// Length of the content of a stream of `stream_len` bytes, of which `prefix_at` reads the first bytes of each chunk
/// (up to [`CHUNK_PREFIX_LEN`], fewer at the end). Nothing is decompressed or checked: it is the length that the
/// stream claims.
pub(crate) fn claimed_len<E: From<SnappyError>>(
    stream_len: u64,
    mut prefix_at: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
) -> Result<u64, E> {
    let mut total = 0;
    let mut at = STREAM_IDENTIFIER.len() as u64;
    while at < stream_len {
        let offset = usize::try_from(at).unwrap_or(usize::MAX);
        let cut = SnappyError::CutChunk { offset };
        let prefix = prefix_at(at, CHUNK_PREFIX_LEN.min(usize::try_from(stream_len - at).unwrap_or(usize::MAX)))?;
        let ([kind, length @ ..], rest) = prefix.split_first_chunk::<CHUNK_HEADER_LEN>().ok_or(cut)?;
        let length = u24(*length);
        if *kind == COMPRESSED {
            let data = rest.get(CHECKSUM_LEN..).ok_or(SnappyError::ChunkLength { offset })?;
            total += content_len(COMPRESSED, data, offset)? as u64;
        } else if *kind == UNCOMPRESSED {
            total += length.checked_sub(CHECKSUM_LEN).ok_or(SnappyError::ChunkLength { offset })? as u64;
        }
        at += (CHUNK_HEADER_LEN + length) as u64;
    }
    Ok(total)
}

/// Whether a stream that decodes consists of nothing but its identifier and data chunks. Anything else (padding,
/// skippable chunks, the identifier again) is covered by no checksum.
pub(crate) fn is_plain(stream: &[u8]) -> bool {
    Chunks::new(stream).is_ok_and(|mut chunks| chunks.all(|chunk| chunk.is_ok_and(|chunk| chunk.kind <= UNCOMPRESSED)))
}

/// Whether a stream that decodes is cut as [`Encoder`] cuts: data chunks only, each but the last with 64 KiB of content. So it is longer
/// than its content by little at most.
pub fn is_regular(stream: &[u8]) -> bool {
    let Ok(chunks) = Chunks::new(stream) else { return false };
    let mut is_last = false;
    for chunk in chunks {
        let Ok(Chunk { offset, kind, data }) = chunk else { return false };
        let content = data.get(CHECKSUM_LEN..).map(|data| content_len(kind, data, offset));
        let (Some(Ok(content)), false) = (content, is_last || kind > UNCOMPRESSED) else { return false };
        is_last = content < MAX_CHUNK_CONTENT;
    }
    true
}

/// Encodes streams as the reference encoders of Go and Rust do: chunks of 64 KiB, left uncompressed unless that saves
/// an eighth.
pub struct Encoder {
    encoder: snap::raw::Encoder,
    compressed: Vec<u8>,
}

impl Encoder {
    /// An encoder; keep it, its tables and buffers serve again.
    pub fn new() -> Self {
        Self { encoder: snap::raw::Encoder::new(), compressed: vec![0; max_compress_len(MAX_CHUNK_CONTENT)] }
    }

    /// Replaces what `stream` holds by the stream of `content`.
    ///
    /// # Errors
    ///
    /// None for the chunk sizes used here; the compressor's own are passed on.
    pub fn encode(&mut self, content: &[u8], stream: &mut Vec<u8>) -> Result<(), snap::Error> {
        stream.clear();
        stream.extend_from_slice(&STREAM_IDENTIFIER);
        for chunk in content.chunks(MAX_CHUNK_CONTENT) {
            let length = self.encoder.compress(chunk, &mut self.compressed)?;
            let (kind, data) = if length >= chunk.len() - chunk.len() / 8 {
                (UNCOMPRESSED, chunk)
            } else {
                (COMPRESSED, &self.compressed[..length])
            };
            let [l0, l1, l2, _] = ((CHECKSUM_LEN + data.len()) as u32).to_le_bytes();
            stream.extend_from_slice(&[kind, l0, l1, l2]);
            stream.extend_from_slice(&masked_crc32c(chunk).to_le_bytes());
            stream.extend_from_slice(data);
        }
        Ok(())
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The checksum of section 3 of the framing format.
fn masked_crc32c(content: &[u8]) -> u32 {
    const MASK_DELTA: u32 = 0xa282_ead8;
    crc32c::crc32c(content).rotate_right(15).wrapping_add(MASK_DELTA)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use proptest::prelude::*;

    use super::*;

    fn encode(content: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        Encoder::new().encode(content, &mut stream).unwrap();
        stream
    }

    fn claimed(stream: &[u8]) -> Result<u64, SnappyError> {
        claimed_len(stream.len() as u64, |at, length| Ok(stream[at as usize..][..length].to_vec()))
    }

    /// Content that is partly compressible, up to three chunks long.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        (proptest::collection::vec(any::<u8>(), 0..200), 1usize..1000).prop_map(|(seed, times)| seed.repeat(times))
    }

    proptest! {
        #[test]
        fn streams_are_those_of_the_reference_encoder(content in content()) {
            let mut reference = snap::write::FrameEncoder::new(Vec::new());
            reference.write_all(&content).unwrap();
            let reference = reference.into_inner().unwrap();
            let stream = encode(&content);
            if content.is_empty() {
                prop_assert_eq!(&stream[..], &STREAM_IDENTIFIER[..]);
            } else {
                prop_assert_eq!(&stream, &reference);
            }
            prop_assert!(is_plain(&stream) && is_regular(&stream));
            prop_assert_eq!(claimed(&stream).unwrap(), content.len() as u64);
            prop_assert_eq!(decode(&stream, content.len()).unwrap(), content);
        }

        #[test]
        fn the_first_bytes_are_the_contents(content in content(), cut: proptest::sample::Index, wanted in 0..9_usize) {
            let stream = encode(&content);
            let whole = first_bytes(&stream, wanted).unwrap();
            prop_assert_eq!(whole.is_none(), content.is_empty());
            for begun in [whole, first_bytes(&stream[..cut.index(stream.len())], wanted).unwrap()].into_iter().flatten() {
                prop_assert!(content.starts_with(begun) && begun.len() <= wanted);
                prop_assert!(begun.len() == wanted.min(content.len()) || begun.len() < wanted);
            }
        }

        #[test]
        fn arbitrary_bytes_have_first_bytes_or_are_refused(bytes: Vec<u8>, wanted in 0..9_usize, kind in 0..2_u8) {
            let length = ((4 + bytes.len()) as u32).to_le_bytes();
            let stream = [&STREAM_IDENTIFIER[..], &[kind, length[0], length[1], length[2], 0, 0, 0, 0], &bytes].concat();
            let first = first_bytes(&stream, wanted);
            if let Ok(Some(first)) = first && kind == COMPRESSED && let Ok(content) = Decoder::new().decompress_vec(&bytes) {
                prop_assert!(content.starts_with(first));
            }
        }

        #[test]
        fn arbitrary_bytes_decode_as_in_the_reference_or_not_at_all(mut bytes: Vec<u8>, identified: bool) {
            if identified {
                bytes.splice(0..0, STREAM_IDENTIFIER);
            }
            let _ = claimed(&bytes);
            if let Ok(content) = decode(&bytes, 1 << 20) {
                let mut reference = Vec::new();
                if snap::read::FrameDecoder::new(&bytes[..]).read_to_end(&mut reference).is_ok() {
                    prop_assert_eq!(content, reference);
                }
            }
        }

        #[test]
        fn damaged_streams_never_yield_other_content(content in content(), at: proptest::sample::Index, flip in 1u8..) {
            let mut stream = encode(&content);
            let at = at.index(stream.len());
            stream[at] ^= flip;
            let _ = claimed(&stream);
            if let Ok(decoded) = decode(&stream, content.len()) {
                // A skipped chunk shortens the content, and an offset into a repetition may decode to the same.
                prop_assert!(decoded == content || decoded.len() < content.len());
                prop_assert!(decoded == content || !is_plain(&stream));
            }
        }
    }

    #[test]
    fn the_limit_holds_to_the_byte() {
        let stream = encode(&[7; 70_000]);
        assert_eq!(decode(&stream, 70_000).unwrap().len(), 70_000);
        assert_eq!(decode(&stream, 69_999), Err(SnappyError::TooLong { limit: 69_999 }));
    }

    #[test]
    fn padding_is_read_over_but_not_plain() {
        let mut stream = encode(b"content");
        stream.extend_from_slice(&[0xfe, 2, 0, 0, 9, 9]);
        assert_eq!(decode(&stream, 100).unwrap(), b"content");
        assert!(!is_plain(&stream));
    }

    #[test]
    fn a_stream_that_is_cut_otherwise_is_not_regular() {
        let [whole, short] = [encode(&[7; MAX_CHUNK_CONTENT]), encode(b"content")].map(|stream| stream[10..].to_vec());
        let joined = |chunks: &[&[u8]]| [&STREAM_IDENTIFIER[..], &chunks.concat()].concat();
        assert!(is_regular(&joined(&[])) && is_regular(&joined(&[&whole, &whole, &short])));
        for irregular in [&[&short[..], &short][..], &[&short, &whole], &[&whole, &[0xfe, 0, 0, 0]], &[&whole, &[0]]] {
            assert!(!is_regular(&joined(irregular)));
        }
        assert!(!is_regular(&whole));
    }

    #[test]
    fn a_stream_that_begins_with_anything_but_content_is_refused_by_as_much_as_shows_it() {
        let begun =
            |rest: &[u8]| first_bytes(&[&STREAM_IDENTIFIER, rest].concat(), 4).map(|first| first.map(<[u8]>::to_vec));
        assert_eq!(first_bytes(b"\xff\x07", 4), Err(SnappyError::NoStreamIdentifier));
        assert_eq!(begun(&[0xfe, 0, 0]), Ok(None));
        assert_eq!(begun(&[0xfe, 0, 0, 1]), Err(SnappyError::ReservedChunk { offset: 10, kind: 0xfe }));
        assert_eq!(begun(&[UNCOMPRESSED, 0, 0, 2]), Err(SnappyError::ChunkLength { offset: 10 }));
        assert_eq!(begun(&[UNCOMPRESSED, 3, 0, 0]), Err(SnappyError::ChunkLength { offset: 10 }));
        // A copy of what there is not, before anything else.
        assert!(matches!(
            begun(&[COMPRESSED, 9, 0, 0, 1, 2, 3, 4, 5, 0b01]),
            Err(SnappyError::Chunk { offset: 10, .. })
        ));
    }

    #[test]
    fn reserved_chunks_are_refused() {
        let mut stream = encode(b"content");
        let offset = stream.len();
        stream.extend_from_slice(&[0x02, 0, 0, 0]);
        assert_eq!(decode(&stream, 100), Err(SnappyError::ReservedChunk { offset, kind: 2 }));
    }
}
