//! Walks over the records of a volume, and over damage between them.

use std::{fs::File, io, os::unix::fs::FileExt};

use crate::record::{Kind, MAX_KEY_LEN, Marker, RECORD_HEADER_LEN, VolumeRecordHeader};

/// Bytes read at once when values are skipped: a few dozen small records, or the header of one large one.
const SKIPPING_WINDOW: usize = 16 << 10;
/// Bytes read at once when values are read too.
const READING_WINDOW: usize = 256 << 10;

/// Something that bytes are read from: a volume's file, or a slice in tests.
pub trait ByteSource {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// Those of the operating system, and [`io::ErrorKind::UnexpectedEof`] past the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ByteSource for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buf, offset)
    }
}

impl ByteSource for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset).ok().and_then(|start| self.get(start..)?.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The part of a volume to look at.
#[derive(Debug, Clone, Copy)]
pub struct VolumeExtent {
    /// Where the first record begins.
    pub from: u32,
    /// Where the file ends.
    pub until: u32,
    /// What the volume's records begin with.
    pub marker: Marker,
    /// Whether the values are checked too. Where dead records may have been punched out, they cannot be.
    pub check_values: bool,
}

/// What is found in a volume.
#[derive(Debug)]
pub enum Scanned<'a> {
    /// A record.
    Record {
        /// Where it begins.
        offset: u32,
        /// Its header.
        header: VolumeRecordHeader,
        /// Its key.
        key: &'a [u8],
        /// Its value; empty for a [`Kind::Value`].
        value: &'a [u8],
    },
    /// Bytes between two records that are none themselves.
    Damage {
        /// Where they begin.
        from: u32,
        /// Where the next record begins.
        until: u32,
    },
}

/// Calls `visit` with everything that is found, in order, and returns where the last record ends. What follows there is
/// no record, nor does one begin in it: a tail to be cut.
///
/// # Errors
///
/// Those of the source and of `visit`.
pub fn scan<S, E>(
    source: &S,
    extent: VolumeExtent,
    mut visit: impl FnMut(Scanned<'_>) -> Result<(), E>,
) -> Result<u32, E>
where
    S: ByteSource + ?Sized,
    E: From<io::Error>,
{
    let mut window = ScanWindow::new(source, &extent);
    let mut at = extent.from;
    let mut end = extent.from;
    while at < extent.until {
        let Some(header) = record_at(&mut window, at, &extent)? else {
            match next_marker(&mut window, at + 1, &extent)? {
                Some(next) => at = next,
                None => break,
            }
            continue;
        };
        if at > end {
            visit(Scanned::Damage { from: end, until: at })?;
        }
        let key_end = RECORD_HEADER_LEN + usize::from(header.key_len);
        let value_len = if header.kind == Kind::Value { 0 } else { header.value_len as usize };
        let bytes = window.bytes(at, key_end + value_len)?.unwrap_or_default();
        let (front, value) = bytes.split_at_checked(key_end).unwrap_or_default();
        let key = front.get(RECORD_HEADER_LEN..).unwrap_or_default();
        visit(Scanned::Record { offset: at, header, key, value })?;
        at += header.record_len();
        end = at;
    }
    Ok(end)
}

/// The record that begins at `at`, if a whole and intact one does.
fn record_at<S: ByteSource + ?Sized>(
    window: &mut ScanWindow<'_, S>,
    at: u32,
    extent: &VolumeExtent,
) -> io::Result<Option<VolumeRecordHeader>> {
    let left = (extent.until - at) as usize;
    let Some(bytes) = window.bytes(at, left.min(RECORD_HEADER_LEN + MAX_KEY_LEN))? else { return Ok(None) };
    let Ok((header, key)) = VolumeRecordHeader::decode(bytes, &extent.marker) else { return Ok(None) };
    let value_at = RECORD_HEADER_LEN + key.len();
    if header.record_len() as usize > left {
        return Ok(None);
    }
    if extent.check_values || header.kind != Kind::Value {
        let Some(bytes) = window.bytes(at, header.record_len() as usize)? else { return Ok(None) };
        if header.check_value(bytes.get(value_at..).unwrap_or_default()).is_err() {
            return Ok(None);
        }
    }
    Ok(Some(header))
}

/// Where the marker occurs next.
fn next_marker<S: ByteSource + ?Sized>(
    window: &mut ScanWindow<'_, S>,
    mut at: u32,
    extent: &VolumeExtent,
) -> io::Result<Option<u32>> {
    while at < extent.until {
        let len = ((extent.until - at) as usize).min(READING_WINDOW);
        let Some(bytes) = window.bytes(at, len)? else { return Ok(None) };
        if let Some(found) = bytes.windows(extent.marker.len()).position(|bytes| *bytes == extent.marker) {
            return Ok(Some(at + found as u32));
        }
        if len <= extent.marker.len() {
            return Ok(None);
        }
        // The marker may lie across the border of two windows.
        at += (len - extent.marker.len() + 1) as u32;
    }
    Ok(None)
}

/// The last bytes read, so that small records share one read.
struct ScanWindow<'a, S: ?Sized> {
    source: &'a S,
    until: u32,
    least: usize,
    start: u32,
    bytes: Vec<u8>,
}

impl<'a, S: ByteSource + ?Sized> ScanWindow<'a, S> {
    fn new(source: &'a S, extent: &VolumeExtent) -> Self {
        let least = if extent.check_values { READING_WINDOW } else { SKIPPING_WINDOW };
        Self { source, until: extent.until, least, start: extent.from, bytes: Vec::new() }
    }

    /// `len` bytes from `at` on; `None` when the volume ends before.
    fn bytes(&mut self, at: u32, len: usize) -> io::Result<Option<&[u8]>> {
        let left = self.until.saturating_sub(at) as usize;
        if len > left {
            return Ok(None);
        }
        let held = at.checked_sub(self.start).map(|skip| skip as usize);
        let in_window = held.is_some_and(|skip| skip + len <= self.bytes.len());
        if !in_window {
            self.bytes.resize(len.max(self.least).min(left), 0);
            self.start = at;
            if let Err(error) = self.source.read_at(&mut self.bytes, u64::from(at)) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let skip = (at - self.start) as usize;
        Ok(self.bytes.get(skip..skip + len))
    }
}

#[cfg(test)]
mod tests {
    use content_types::SubNetwork;
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;
    use crate::record::Item;

    const MARKER: Marker = *b"\x01marker\x02";

    fn volume(values: &[Vec<u8>]) -> (Vec<u8>, Vec<u32>) {
        let mut bytes = Vec::new();
        let starts = values
            .iter()
            .enumerate()
            .map(|(i, value)| {
                let start = bytes.len() as u32;
                let id = [i as u8; 32].into();
                let value = value.clone().into();
                Item { network: SubNetwork::History, id, key: vec![i as u8].into(), value }.encode(&MARKER, &mut bytes);
                start
            })
            .collect();
        (bytes, starts)
    }

    fn offsets(bytes: &[u8]) -> (Vec<u32>, Vec<(u32, u32)>, u32) {
        let extent = VolumeExtent { from: 0, until: bytes.len() as u32, marker: MARKER, check_values: true };
        let (mut records, mut damage) = (Vec::new(), Vec::new());
        let end = scan(bytes, extent, |found| -> io::Result<()> {
            match found {
                Scanned::Record { offset, key, header, .. } => {
                    assert_eq!(header.id, [key[0]; 32].into());
                    records.push(offset);
                }
                Scanned::Damage { from, until } => damage.push((from, until)),
            }
            Ok(())
        });
        (records, damage, end.unwrap())
    }

    proptest! {
        #[test]
        fn all_records_are_found(values in vec(vec(any::<u8>(), 0..3000), 0..20)) {
            let (bytes, starts) = volume(&values);
            prop_assert_eq!(offsets(&bytes), (starts, vec![], bytes.len() as u32));
        }

        #[test]
        fn a_flipped_byte_costs_one_record(
            values in vec(vec(any::<u8>(), 0..3000), 1..20),
            place: Index,
            flip in 1..=255_u8,
        ) {
            let (mut bytes, mut starts) = volume(&values);
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            let hit = starts.partition_point(|start| *start as usize <= place) - 1;
            let from = starts.remove(hit);
            let (records, damage, end) = offsets(&bytes);
            prop_assert_eq!(&records, &starts);
            match starts.get(hit) {
                Some(next) => prop_assert_eq!(damage, vec![(from, *next)]),
                None => prop_assert_eq!((damage, end), (vec![], from)),
            }
        }

        #[test]
        fn a_torn_tail_costs_what_is_torn(
            values in vec(vec(any::<u8>(), 0..3000), 1..20),
            cut: Index,
            junk in vec(any::<u8>(), 0..100),
        ) {
            let (mut bytes, mut starts) = volume(&values);
            bytes.truncate(cut.index(bytes.len()));
            let len = bytes.len() as u32;
            bytes.extend(junk);
            let torn = starts.partition_point(|start| *start <= len) - 1;
            let end = starts[torn];
            starts.truncate(torn);
            prop_assert_eq!(offsets(&bytes), (starts, vec![], end));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..500), marker: Marker, check_values: bool) {
            let extent = VolumeExtent { from: 0, until: bytes.len() as u32, marker, check_values };
            let _ = scan(&bytes[..], extent, |_| Ok::<_, io::Error>(()));
        }
    }
}
