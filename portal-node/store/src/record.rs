//! The bytes of a volume: its header and its records.
//!
//! ```text
//! volume header  "CAIRNVOL", format u32, number u32, marker [8], number and length of the volume before, checksum u32
//! record header  marker [8], checksum u32, kind u8, sub-network u8, key length u16, value length u32,
//!                data checksum u32, content ID [32]
//! record         record header, key, value
//! ```
//!
//! A volume is as long as the next one's header says: what a write that failed may have left behind that is void.
//! Integers are little-endian, checksums CRC-32C. The marker is drawn at random for each volume and begins each of its
//! records, so that the scan can find its way again behind a damaged place, and so that nobody can put bytes into a
//! value that would pass for a record. The header's checksum covers header and key, the data checksum the value.

use bytes::Bytes;
use content_types::{ContentId, ContentKey, Distance, NodeId, SubNetwork};

/// The version of the format described here.
pub const FORMAT: u32 = 1;
/// Bytes of a volume's header.
pub const VOLUME_HEADER_LEN: usize = 36;
/// Bytes of a record's header, before key and value.
pub const RECORD_HEADER_LEN: usize = 56;
/// Bytes of a key at most. The longest content keys, of the state network, have less than 150.
pub const MAX_KEY_LEN: usize = 512;
/// Bytes of a value at most: twice what the largest content type allows.
pub const MAX_VALUE_LEN: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"CAIRNVOL";
/// Bytes of a place in a list of dead records.
pub(crate) const PLACE_LEN: usize = 8;

/// What every record of one volume begins with.
pub type Marker = [u8; 8];

/// Bytes that are no volume header or no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There are fewer bytes than the structure has.
    #[error("the record is cut short")]
    Short,
    /// The bytes do not begin as they should.
    #[error("no record of this volume begins here")]
    Marker,
    /// The volume was written by a later version.
    #[error("volume format {0} is newer than {FORMAT}")]
    NewerFormat(u32),
    /// The header or the key is damaged.
    #[error("the checksum of the header does not match")]
    HeaderChecksum,
    /// The value is damaged.
    #[error("the checksum of the value does not match")]
    ValueChecksum,
    /// A field has a value that is never written.
    #[error("the header's {0} is out of range")]
    Field(&'static str),
}

/// The header of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeHeader {
    /// The volume's number, the same as in its file name.
    pub number: u32,
    /// What its records begin with.
    pub marker: Marker,
    /// Where the volume before ends; volume 0, which there is not, when that is unknown.
    pub previous_end: Place,
}

impl VolumeHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; VOLUME_HEADER_LEN] {
        let mut bytes = [0; VOLUME_HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.marker);
        bytes[24..28].copy_from_slice(&self.previous_end.volume.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.previous_end.offset.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..32]);
        bytes[32..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    ///
    /// [`RecordError`] says which rule the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let bytes = bytes.first_chunk::<VOLUME_HEADER_LEN>().ok_or(RecordError::Short)?;
        if bytes[..8] != MAGIC {
            return Err(RecordError::Marker);
        }
        if crc32c::crc32c(&bytes[..32]) != u32_at(bytes, 32) {
            return Err(RecordError::HeaderChecksum);
        }
        match u32_at(bytes, 8) {
            FORMAT => Ok(Self {
                number: u32_at(bytes, 12),
                marker: array_at(bytes, 16),
                previous_end: Place { volume: u32_at(bytes, 24), offset: u32_at(bytes, 28) },
            }),
            newer => Err(RecordError::NewerFormat(newer)),
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Here is a value.
    Value = 1,
    /// These records are dead: evicted, removed, replaced or rewritten elsewhere.
    Dead = 2,
    /// This is a sub-network's radius from here on.
    Radius = 3,
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeRecordHeader {
    /// What the record says.
    pub kind: Kind,
    /// The sub-network that it belongs to.
    pub network: SubNetwork,
    /// Bytes of the key.
    pub key_len: u16,
    /// Bytes of the value.
    pub value_len: u32,
    /// CRC-32C of the value.
    pub value_checksum: u32,
    /// The content's ID; zero where the record is not a value.
    pub id: ContentId,
}

impl VolumeRecordHeader {
    /// Reads the header and the key at the start of `bytes`, and checks both.
    ///
    /// # Errors
    ///
    /// [`RecordError`] says which rule the bytes break; [`RecordError::Short`] when the key is cut off.
    pub fn decode<'a>(bytes: &'a [u8], marker: &Marker) -> Result<(Self, &'a [u8]), RecordError> {
        let fixed = bytes.first_chunk::<RECORD_HEADER_LEN>().ok_or(RecordError::Short)?;
        if fixed[..8] != *marker {
            return Err(RecordError::Marker);
        }
        Self::decode_unmarked(bytes)
    }

    /// Like [`decode`](Self::decode), for a record that is known to begin here, whatever its volume's marker is.
    ///
    /// # Errors
    ///
    /// [`RecordError`] says which rule the bytes break.
    pub fn decode_unmarked(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        let fixed = bytes.first_chunk::<RECORD_HEADER_LEN>().ok_or(RecordError::Short)?;
        let key_len = u16::from_le_bytes(array_at(fixed, 14));
        if usize::from(key_len) > MAX_KEY_LEN {
            return Err(RecordError::Field("key length"));
        }
        let key = bytes.get(RECORD_HEADER_LEN..RECORD_HEADER_LEN + usize::from(key_len)).ok_or(RecordError::Short)?;
        if header_checksum(fixed, key) != u32_at(fixed, 8) {
            return Err(RecordError::HeaderChecksum);
        }
        let kind = match fixed[12] {
            1 => Kind::Value,
            2 => Kind::Dead,
            3 => Kind::Radius,
            _ => return Err(RecordError::Field("kind")),
        };
        let network = SubNetwork::from_store_code(fixed[13]).ok_or(RecordError::Field("sub-network"))?;
        let value_len = u32_at(fixed, 16);
        if value_len as usize > MAX_VALUE_LEN {
            return Err(RecordError::Field("value length"));
        }
        let id = array_at::<32>(fixed, 24).into();
        Ok((Self { kind, network, key_len, value_len, value_checksum: u32_at(fixed, 20), id }, key))
    }

    /// Bytes of the whole record.
    pub fn record_len(&self) -> u32 {
        RECORD_HEADER_LEN as u32 + u32::from(self.key_len) + self.value_len
    }

    /// Whether `value` is the one that the header was written for.
    ///
    /// # Errors
    ///
    /// [`RecordError::Short`] or [`RecordError::ValueChecksum`].
    pub fn check_value(&self, value: &[u8]) -> Result<(), RecordError> {
        if value.len() != self.value_len as usize {
            return Err(RecordError::Short);
        }
        if crc32c::crc32c(value) != self.value_checksum {
            return Err(RecordError::ValueChecksum);
        }
        Ok(())
    }
}

/// A value and what it is stored under: the content of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The sub-network that it belongs to.
    pub network: SubNetwork,
    /// The content's ID.
    pub id: ContentId,
    /// The encoded content key.
    pub key: Bytes,
    /// The value, in the sub-network's encoding.
    pub value: Bytes,
}

impl Item {
    /// The item under a content key, with its value in the wire's encoding.
    pub fn new(key: &ContentKey, value: Bytes) -> Self {
        Self { network: key.sub_network(), id: key.content_id(), key: key.encode(), value }
    }

    /// Reads a whole record of a value: exactly `bytes`.
    ///
    /// # Errors
    ///
    /// [`RecordError`] says which rule the bytes break.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let (header, key) = VolumeRecordHeader::decode_unmarked(bytes)?;
        if header.kind != Kind::Value {
            return Err(RecordError::Field("kind"));
        }
        let value = bytes.slice(RECORD_HEADER_LEN + key.len()..);
        header.check_value(&value)?;
        Ok(Self { network: header.network, id: header.id, key: bytes.slice_ref(key), value })
    }

    /// Bytes of its record.
    pub fn record_len(&self) -> u64 {
        (RECORD_HEADER_LEN + self.key.len() + self.value.len()) as u64
    }

    /// Appends the record to `out`.
    pub fn encode(&self, marker: &Marker, out: &mut Vec<u8>) {
        encode(marker, Kind::Value, self.network, &self.id, &self.key, &self.value, out);
    }
}

/// Where a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The volume's number.
    pub volume: u32,
    /// Bytes from the start of its file.
    pub offset: u32,
}

impl Place {
    /// No place: volumes are numbered from 1.
    pub const NOWHERE: Self = Self { volume: 0, offset: 0 };
}

/// Appends a record that declares the records at `places` dead.
pub fn encode_dead(marker: &Marker, places: &[Place], out: &mut Vec<u8>) {
    let mut value = Vec::with_capacity(places.len() * PLACE_LEN);
    for place in places {
        value.extend_from_slice(&place.volume.to_le_bytes());
        value.extend_from_slice(&place.offset.to_le_bytes());
    }
    encode(marker, Kind::Dead, SubNetwork::History, &NO_ID.into(), &[], &value, out);
}

/// The places that the value of a [`Kind::Dead`] record lists.
///
/// # Errors
///
/// [`RecordError::Short`] when the last one is cut off.
pub fn decode_dead(value: &[u8]) -> Result<impl Iterator<Item = Place> + '_, RecordError> {
    let (places, rest) = value.as_chunks::<PLACE_LEN>();
    if !rest.is_empty() {
        return Err(RecordError::Short);
    }
    Ok(places.iter().map(|place| Place { volume: u32_at(place, 0), offset: u32_at(place, 4) }))
}

/// Appends a record that says how far `node_id` keeps the content of `network`.
pub fn encode_radius(marker: &Marker, network: SubNetwork, node_id: &NodeId, radius: Distance, out: &mut Vec<u8>) {
    let mut value = [0; 64];
    value[..32].copy_from_slice(node_id.as_bytes());
    value[32..].copy_from_slice(&radius.to_be_bytes());
    encode(marker, Kind::Radius, network, &NO_ID.into(), &[], &value, out);
}

/// The node and the radius that the value of a [`Kind::Radius`] record gives.
///
/// # Errors
///
/// [`RecordError::Short`] when it has not the length of both.
pub fn decode_radius(value: &[u8]) -> Result<(NodeId, Distance), RecordError> {
    let value: &[u8; 64] = value.try_into().map_err(|_| RecordError::Short)?;
    Ok((array_at::<32>(value, 0).into(), Distance::from_be_bytes(array_at(value, 32))))
}

const NO_ID: [u8; 32] = [0; 32];

fn encode(
    marker: &Marker,
    kind: Kind,
    network: SubNetwork,
    id: &ContentId,
    key: &[u8],
    value: &[u8],
    out: &mut Vec<u8>,
) {
    let mut fixed = [0; RECORD_HEADER_LEN];
    fixed[..8].copy_from_slice(marker);
    fixed[12] = kind as u8;
    fixed[13] = network.spec().store_code;
    fixed[14..16].copy_from_slice(&(key.len() as u16).to_le_bytes());
    fixed[16..20].copy_from_slice(&(value.len() as u32).to_le_bytes());
    fixed[20..24].copy_from_slice(&crc32c::crc32c(value).to_le_bytes());
    fixed[24..].copy_from_slice(id.as_bytes());
    let checksum = header_checksum(&fixed, key);
    fixed[8..12].copy_from_slice(&checksum.to_le_bytes());
    out.reserve(RECORD_HEADER_LEN + key.len() + value.len());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Covers everything of the header but the checksum itself, and the key.
fn header_checksum(fixed: &[u8; RECORD_HEADER_LEN], key: &[u8]) -> u32 {
    let checksum = crc32c::crc32c(&fixed[..8]);
    crc32c::crc32c_append(crc32c::crc32c_append(checksum, &fixed[12..]), key)
}

/// `N` bytes at a constant place of a structure that has them.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn record() -> impl Strategy<Value = Item> {
        (select(&SubNetwork::ALL), any::<[u8; 32]>(), vec(any::<u8>(), 0..=MAX_KEY_LEN), vec(any::<u8>(), 0..2000))
            .prop_map(|(network, id, key, value)| Item { network, id: id.into(), key: key.into(), value: value.into() })
    }

    proptest! {
        #[test]
        fn records_round_trip_and_one_flipped_bit_is_found(
            record in record(),
            marker: Marker,
            place: prop::sample::Index,
            bit in 0..8_u32,
        ) {
            let mut bytes = Vec::new();
            record.encode(&marker, &mut bytes);
            prop_assert_eq!(bytes.len() as u64, record.record_len());
            prop_assert_eq!(Item::decode(&bytes.clone().into()), Ok(record));

            let place = place.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            prop_assert!(Item::decode(&bytes.into()).is_err());
        }

        #[test]
        fn volume_headers_round_trip_and_one_flipped_bit_is_found(
            number: u32,
            marker: Marker,
            previous: (u32, u32),
            place in 0..VOLUME_HEADER_LEN,
            bit in 0..8_u32,
        ) {
            let previous_end = Place { volume: previous.0, offset: previous.1 };
            let header = VolumeHeader { number, marker, previous_end };
            let mut bytes = header.encode();
            prop_assert_eq!(VolumeHeader::decode(&bytes), Ok(header));
            bytes[place] ^= 1_u8 << bit;
            prop_assert!(VolumeHeader::decode(&bytes).is_err());
        }

        #[test]
        fn lists_of_the_dead_and_radii_round_trip(
            places in vec((any::<u32>(), any::<u32>()), 0..50),
            marker: Marker,
            node: [u8; 32],
            radius: [u8; 32],
        ) {
            let places: Vec<_> = places.into_iter().map(|(volume, offset)| Place { volume, offset }).collect();
            let mut bytes = Vec::new();
            encode_dead(&marker, &places, &mut bytes);
            let (header, _) = VolumeRecordHeader::decode(&bytes, &marker).unwrap();
            prop_assert_eq!(header.kind, Kind::Dead);
            prop_assert_eq!(decode_dead(&bytes[RECORD_HEADER_LEN..]).unwrap().collect::<Vec<_>>(), places);

            bytes.clear();
            let radius = Distance::from_be_bytes(radius);
            encode_radius(&marker, SubNetwork::LegacyHistory, &node.into(), radius, &mut bytes);
            let (header, _) = VolumeRecordHeader::decode(&bytes, &marker).unwrap();
            prop_assert_eq!((header.kind, header.network), (Kind::Radius, SubNetwork::LegacyHistory));
            prop_assert_eq!(decode_radius(&bytes[RECORD_HEADER_LEN..]), Ok((node.into(), radius)));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
            let _ = VolumeHeader::decode(&bytes);
            let _ = VolumeRecordHeader::decode_unmarked(&bytes);
            let _ = decode_dead(&bytes).map(Iterator::count);
            let _ = decode_radius(&bytes);
            let _ = Item::decode(&bytes.into());
        }
    }
}
