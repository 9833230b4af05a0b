//! Records as bytes, to survive a restart.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `CAIRNTRK` |
//! | 1 | version: 1 |
//! | 8, 32 | chain ID, genesis hash |
//! | 4 | number of records |
//! | for each: 32, 33, 8 | era key, public key, Unix seconds of the last renewal |
//! | 1, then for each 1, 4 or 16, 2 | number of addresses; 4 or 6, IP, port |
//! | 4 | CRC-32C of all before |
//!
//! Numbers are big-endian.

use std::net::{IpAddr, SocketAddr};

use super::{EraRecord, MAX_ADDRESSES};
use crate::{EraKey, TrackedChain};

const MAGIC: [u8; 8] = *b"CAIRNTRK";
const VERSION: u8 = 1;

/// The longest file that is read: half a million records with one address.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

/// Why a file's content is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    /// The checksum is wrong, as after a torn write.
    #[error("the checksum is wrong")]
    Checksum,
    /// It begins with something else.
    #[error("this is no tracker's state")]
    Magic,
    /// It is of another version.
    #[error("version {0} is not known")]
    Version(u8),
    /// It belongs to another chain.
    #[error("it belongs to another chain")]
    Chain,
    /// It ends too early or too late, or has an impossible value.
    #[error("the layout is wrong")]
    Layout,
    /// It is longer than any state can be.
    #[error("it is too long")]
    TooLong,
}

/// The file's content.
pub(crate) fn encode<'a>(chain: &TrackedChain, records: impl Iterator<Item = (&'a EraKey, &'a EraRecord)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.push(VERSION);
    bytes.extend(chain.id.to_be_bytes());
    bytes.extend(chain.genesis_hash);
    let count_at = bytes.len();
    let mut count = 0_u32;
    bytes.extend(count.to_be_bytes());
    for (key, record) in records {
        count += 1;
        bytes.extend(key);
        bytes.extend(record.provider);
        bytes.extend(record.renewed.to_be_bytes());
        let addresses = record.addresses.iter().take(MAX_ADDRESSES);
        bytes.push(addresses.len() as u8);
        for address in addresses {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend(ip.octets());
                }
            }
            bytes.extend(address.port().to_be_bytes());
        }
    }
    if let Some(place) = bytes.get_mut(count_at..count_at + size_of::<u32>()) {
        place.copy_from_slice(&count.to_be_bytes());
    }
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

/// The records in a file's content.
///
/// # Errors
///
/// The first rule that the content breaks.
pub(crate) fn decode(chain: &TrackedChain, bytes: &[u8]) -> Result<Vec<(EraKey, EraRecord)>, Damage> {
    if bytes.first_chunk() != Some(&MAGIC) {
        return Err(Damage::Magic);
    }
    let (body, checksum) = bytes.split_last_chunk().ok_or(Damage::Layout)?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*checksum) {
        return Err(Damage::Checksum);
    }
    let mut reader = StateReader(body);
    let _magic: [u8; 8] = reader.take()?;
    let [version] = reader.take()?;
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let found = TrackedChain { id: u64::from_be_bytes(reader.take()?), genesis_hash: reader.take()? };
    if found != *chain {
        return Err(Damage::Chain);
    }
    let count = u32::from_be_bytes(reader.take()?);
    let mut records = Vec::new();
    for _ in 0..count {
        let key = reader.take()?;
        let provider = reader.take()?;
        let renewed = u64::from_be_bytes(reader.take()?);
        let [count] = reader.take()?;
        if usize::from(count) > MAX_ADDRESSES {
            return Err(Damage::Layout);
        }
        let addresses = (0..count).map(|_| reader.address()).collect::<Result<_, _>>()?;
        records.push((key, EraRecord { provider, addresses, renewed }));
    }
    if reader.0.is_empty() { Ok(records) } else { Err(Damage::Layout) }
}

/// What is left to read of a state file.
struct StateReader<'a>(&'a [u8]);

impl StateReader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Damage::Layout)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn address(&mut self) -> Result<SocketAddr, Damage> {
        let ip = match self.take()? {
            [4] => IpAddr::from(self.take::<4>()?),
            [6] => IpAddr::from(self.take::<16>()?),
            _ => return Err(Damage::Layout),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHAIN: TrackedChain = TrackedChain { id: 1, genesis_hash: [9; 32] };

    fn record() -> impl Strategy<Value = (EraKey, EraRecord)> {
        let address = (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
        let addresses = prop::collection::vec(address, 0..=MAX_ADDRESSES);
        let key = prop::array::uniform32(any::<u8>());
        let provider = (key, any::<u8>()).prop_map(|(bytes, last)| {
            let mut key = [last; 33];
            key[..32].copy_from_slice(&bytes);
            key
        });
        (key, provider, addresses, any::<u64>())
            .prop_map(|(key, provider, addresses, renewed)| (key, EraRecord { provider, addresses, renewed }))
    }

    fn encoded(records: &[(EraKey, EraRecord)]) -> Vec<u8> {
        encode(&CHAIN, records.iter().map(|(key, record)| (key, record)))
    }

    #[test]
    fn another_chains_state_is_refused() {
        let bytes = encoded(&[]);
        assert_eq!(decode(&TrackedChain { id: 2, ..CHAIN }, &bytes), Err(Damage::Chain));
        assert_eq!(decode(&TrackedChain { genesis_hash: [8; 32], ..CHAIN }, &bytes), Err(Damage::Chain));
        assert_eq!(decode(&CHAIN, b"something"), Err(Damage::Magic));
    }

    #[test]
    fn what_follows_the_last_record_is_an_error() {
        let mut bytes = encoded(&[]);
        bytes.truncate(bytes.len() - 4);
        bytes.push(0);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_be_bytes());
        assert_eq!(decode(&CHAIN, &bytes), Err(Damage::Layout));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in prop::collection::vec(record(), 0..20)) {
            prop_assert_eq!(decode(&CHAIN, &encoded(&records)), Ok(records));
        }

        #[test]
        fn every_changed_byte_is_noticed(
            records in prop::collection::vec(record(), 0..4), at: prop::sample::Index, change in 1_u8..,
        ) {
            let mut bytes = encoded(&records);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(decode(&CHAIN, &bytes).is_err());
        }

        #[test]
        fn every_cut_is_noticed(records in prop::collection::vec(record(), 0..4), at: prop::sample::Index) {
            let bytes = encoded(&records);
            prop_assert!(decode(&CHAIN, &bytes[..at.index(bytes.len())]).is_err());
        }

        /// With a correct checksum too, so that the layout itself is read.
        #[test]
        fn arbitrary_bytes_are_read_without_panic(mut body: Vec<u8>, count: u32) {
            let mut bytes = encoded(&[]);
            bytes.truncate(bytes.len() - 8);
            bytes.extend(count.to_be_bytes());
            bytes.append(&mut body);
            let checksum = crc32c::crc32c(&bytes);
            bytes.extend(checksum.to_be_bytes());
            let _ = decode(&CHAIN, &bytes);
        }
    }
}
