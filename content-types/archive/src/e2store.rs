//! e2store, the record framing that era1 and ere share: type (2 bytes), length (4 bytes, little-endian), reserved
//! (2 bytes, zero), then the data. Records follow each other without gaps.

use crate::error::ArchiveRule;
use crate::read_ahead::ReadAhead;
pub use crate::record_type::RecordType;
use crate::source::ReadAt;

/// Bytes of a record's header.
pub const RECORD_HEADER_LEN: u64 = 8;

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// What the data is.
    pub kind: RecordType,
    /// Bytes of data that follow the header.
    pub length: u32,
}

impl RecordHeader {
    /// The header of a record with `length` bytes of data.
    pub const fn new(kind: RecordType, length: u32) -> Self {
        Self { kind, length }
    }

    /// Decodes a header.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::Reserved`] unless the reserved bytes are zero.
    pub fn decode(bytes: [u8; RECORD_HEADER_LEN as usize]) -> Result<Self, ArchiveRule> {
        match Self::parse(bytes) {
            (header, [0, 0]) => Ok(header),
            (_, found) => Err(ArchiveRule::Reserved { found }),
        }
    }

    /// A header, and its reserved bytes.
    pub(crate) const fn parse([k0, k1, l0, l1, l2, l3, r0, r1]: [u8; RECORD_HEADER_LEN as usize]) -> (Self, [u8; 2]) {
        (Self { kind: RecordType([k0, k1]), length: u32::from_le_bytes([l0, l1, l2, l3]) }, [r0, r1])
    }

    /// The header's bytes.
    pub const fn encode(self) -> [u8; RECORD_HEADER_LEN as usize] {
        let [k0, k1] = self.kind.0;
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        [k0, k1, l0, l1, l2, l3, 0, 0]
    }

    /// Bytes of the whole record.
    pub const fn record_len(self) -> u64 {
        RECORD_HEADER_LEN + self.length as u64
    }
}

/// Splits the first record off `bytes`: its header, its data, and what follows.
///
/// # Errors
///
/// [`ArchiveRule::Reserved`], or [`ArchiveRule::PastEnd`] when the bytes end inside the record.
pub fn split_record(bytes: &[u8]) -> Result<(RecordHeader, &[u8], &[u8]), ArchiveRule> {
    let has = bytes.len() as u64;
    let Some((head, rest)) = bytes.split_first_chunk() else {
        return Err(ArchiveRule::PastEnd { needs: RECORD_HEADER_LEN, has });
    };
    let header = RecordHeader::decode(*head)?;
    let data = usize::try_from(header.length).ok().and_then(|length| rest.split_at_checked(length));
    let (data, rest) = data.ok_or(ArchiveRule::PastEnd { needs: header.record_len(), has })?;
    Ok((header, data, rest))
}

/// The records of one source, whose length was read once.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    source: &'a dyn ReadAt,
    len: u64,
}

impl<'a> Records<'a> {
    pub(crate) fn new(source: &'a dyn ReadAt, len: u64) -> Self {
        Self { source, len }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The same records, read through a window of so many bytes.
    pub(crate) fn read_ahead(&self, window: usize) -> ReadAhead<'a> {
        ReadAhead::new(self.source, self.len, window)
    }

    /// The bytes at `offset`; the array's length is a constant of the format.
    pub(crate) fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], ArchiveRule> {
        self.check_room(offset, N as u64)?;
        let mut bytes = [0; N];
        self.source.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// The header of the record at `offset`, whose data is known to lie within the source. Its reserved bytes keep
    /// nobody from reading the record; only verification minds them.
    pub(crate) fn header(&self, offset: u64) -> Result<RecordHeader, ArchiveRule> {
        self.header_and_reserved(offset).map(|(header, _)| header)
    }

    /// The header of the record at `offset` and its reserved bytes.
    pub(crate) fn header_and_reserved(&self, offset: u64) -> Result<(RecordHeader, [u8; 2]), ArchiveRule> {
        let (header, reserved) = RecordHeader::parse(self.array(offset)?);
        self.check_room(offset, header.record_len())?;
        Ok((header, reserved))
    }

    /// The header of the record at `offset`, which has to be of type `expected`.
    pub(crate) fn header_of(&self, offset: u64, expected: RecordType) -> Result<RecordHeader, ArchiveRule> {
        let header = self.header(offset)?;
        if header.kind != expected {
            return Err(ArchiveRule::WrongType { expected, found: header.kind });
        }
        Ok(header)
    }

    /// `length` bytes at `offset`. The bytes are known to be there before room is made for them.
    pub(crate) fn bytes(&self, offset: u64, length: u64, limit: u64) -> Result<Vec<u8>, ArchiveRule> {
        self.check_room(offset, length)?;
        if length > limit {
            return Err(ArchiveRule::TooLong { length, limit });
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| ArchiveRule::TooLong { length, limit })?];
        self.source.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn check_room(&self, offset: u64, needs: u64) -> Result<(), ArchiveRule> {
        let has = self.len.saturating_sub(offset);
        if needs > has {
            return Err(ArchiveRule::PastEnd { needs, has });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_version_record_is_the_specifications_eight_bytes() {
        assert_eq!(RecordHeader::new(RecordType::VERSION, 0).encode(), [0x65, 0x32, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        for at in [6, 7] {
            let mut bytes = RecordHeader::new(RecordType::HEADER, 7).encode();
            bytes[at] = 1;
            assert!(matches!(RecordHeader::decode(bytes), Err(ArchiveRule::Reserved { .. })));
        }
    }

    proptest! {
        #[test]
        fn record_headers_round_trip(kind: [u8; 2], length: u32) {
            let header = RecordHeader::new(RecordType(kind), length);
            prop_assert_eq!(RecordHeader::decode(header.encode()).unwrap(), header);
        }

        #[test]
        fn arbitrary_bytes_split_within_bounds(bytes: Vec<u8>) {
            if let Ok((header, data, rest)) = split_record(&bytes) {
                prop_assert_eq!(header.length as usize, data.len());
                prop_assert_eq!(header.record_len() as usize + rest.len(), bytes.len());
            }
        }

        #[test]
        fn lengths_are_checked_before_room_is_made(offset: u64, length: u64) {
            let bytes = bytes::Bytes::from_static(&[7; 64]);
            let records = Records::new(&bytes, 64);
            let fits = offset.checked_add(length).is_some_and(|end| end <= 64);
            prop_assert_eq!(records.bytes(offset, length, 64).is_ok(), fits);
        }
    }
}
