//! Tickets: which eras of which chain, and peers that have them, in one word that can be passed on by mail or chat.
//!
//! ```text
//! cairn1<base64url of an SSZ container and the first four bytes of its Keccak-256 hash>
//! ```
//!
//! The container is `network: List[byte, 32], genesis: Bytes32, first: uint64, last: uint64, records: List[List[byte, 300], 8]`: the
//! chain's name and the hash of its block 0, the first and the last era (of 8,192 blocks), and records of peers (EIP-778). Who takes a ticket
//! believes nothing of it: what is fetched is proved as always, and the records are signed by their nodes.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{B256, keccak256};
use cairn_archive::MAX_BLOCKS;
use cairn_proto::record;
use content_types::ChainSpec;
use data_encoding::BASE64URL_NOPAD;
use overlay::Enr;
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};

/// What each ticket begins with; the digit is its version.
pub const PREFIX: &str = "cairn1";

/// Records in a ticket, at most.
pub const MAX_RECORDS: usize = 8;

/// Bytes of a chain's name.
const MAX_NAME: usize = 32;
/// Bytes of a node record (EIP-778).
const MAX_RECORD: usize = 300;
/// Bytes of the hash that show a slip in copying.
const CHECK: usize = 4;
/// Characters of a ticket: what is longer is none.
const MAX_TEXT: usize = 4_096;
/// The last era that there can be.
const LAST_ERA: u64 = u64::MAX / MAX_BLOCKS;

/// Why text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It begins otherwise.
    #[error("a ticket begins with {PREFIX}")]
    Prefix,
    /// It is cut, or something in it was changed.
    #[error("the ticket was not copied whole: copy it again")]
    Copied,
    /// What is in it is not what a ticket holds.
    #[error("the ticket holds what no ticket does: {0}")]
    Content(&'static str),
}

/// What somebody shares.
#[derive(Debug, Clone, PartialEq)]
pub struct Ticket {
    network: String,
    genesis: B256,
    eras: (u64, u64),
    records: Vec<Enr>,
}

#[derive(Debug, Encode, Decode)]
struct Packed {
    network: Vec<u8>,
    genesis: B256,
    first: u64,
    last: u64,
    records: Vec<Vec<u8>>,
}

impl Ticket {
    /// A ticket for the eras from `first` to `last` of a chain, with the first [`MAX_RECORDS`] of these records.
    ///
    /// # Errors
    /// [`TicketError::Content`] for eras that there cannot be, and for a chain whose name is too long.
    pub fn new(
        chain: &ChainSpec,
        (first, last): (u64, u64),
        records: impl IntoIterator<Item = Enr>,
    ) -> Result<Self, TicketError> {
        let records = records.into_iter().take(MAX_RECORDS).collect();
        let ticket =
            Self { network: chain.name().to_owned(), genesis: chain.genesis_hash(), eras: (first, last), records };
        ticket.check().map(|()| ticket)
    }

    fn check(&self) -> Result<(), TicketError> {
        let (first, last) = self.eras;
        let is_name =
            (1..=MAX_NAME).contains(&self.network.len()) && self.network.chars().all(|c| c.is_ascii_graphic());
        match () {
            () if !is_name => Err(TicketError::Content("the chain's name")),
            () if first > last || last > LAST_ERA => Err(TicketError::Content("the eras")),
            () => Ok(()),
        }
    }

    /// The chain's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Whether it is for this chain.
    pub fn is_for(&self, chain: &ChainSpec) -> bool {
        self.genesis == chain.genesis_hash()
    }

    /// The first and the last era.
    pub const fn eras(&self) -> (u64, u64) {
        self.eras
    }

    /// Peers that have them, or had.
    pub fn records(&self) -> &[Enr] {
        &self.records
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.records.iter().map(|enr| record::encode(enr).to_vec()).collect();
        let network = self.network.clone().into_bytes();
        let packed = Packed { network, genesis: self.genesis, first: self.eras.0, last: self.eras.1, records };
        let mut bytes = packed.as_ssz_bytes();
        let check = keccak256(&bytes);
        bytes.extend_from_slice(&check[..CHECK]);
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode_display(&bytes))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        let bytes = Some(text).filter(|text| text.len() <= MAX_TEXT).and_then(|text| {
            let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
            let (packed, check) = bytes.split_last_chunk::<CHECK>()?;
            (keccak256(packed)[..CHECK] == *check).then(|| packed.to_vec())
        });
        let packed = Packed::from_ssz_bytes(&bytes.ok_or(TicketError::Copied)?)
            .map_err(|_| TicketError::Content("another kind of content"))?;
        if packed.records.len() > MAX_RECORDS || packed.records.iter().any(|enr| enr.len() > MAX_RECORD) {
            return Err(TicketError::Content("too many records, or too long ones"));
        }
        let records = packed.records.iter().map(|enr| record::decode(enr));
        let ticket = Self {
            network: String::from_utf8(packed.network).map_err(|_| TicketError::Content("the chain's name"))?,
            genesis: packed.genesis,
            eras: (packed.first, packed.last),
            records: records.collect::<Result<_, _>>().map_err(|_| TicketError::Content("a record that is none"))?,
        };
        ticket.check().map(|()| ticket)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(number: u8) -> Enr {
        let key = enr::CombinedKey::secp256k1_from_bytes(&mut [number; 32]).unwrap();
        Enr::builder().ip4([10, 0, 0, number].into()).udp4(9009).build(&key).unwrap()
    }

    fn ticket(records: u8) -> Ticket {
        Ticket::new(&ChainSpec::mainnet(), (12, 15), (1..=records).map(record)).unwrap()
    }

    #[test]
    fn a_ticket_says_what_is_shared_and_survives_being_copied() {
        for records in [0, 1, 8] {
            let ticket = ticket(records);
            let text = ticket.to_string();
            assert!(text.len() <= MAX_TEXT && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)));
            assert_eq!(format!("  {text}\n").parse::<Ticket>().as_ref(), Ok(&ticket));
            assert_eq!((ticket.network(), ticket.eras()), ("mainnet", (12, 15)));
            assert!(ticket.is_for(&ChainSpec::mainnet()));
        }
        assert_eq!(ticket(9).records().len(), MAX_RECORDS);
    }

    #[test]
    fn what_was_not_copied_whole_is_no_ticket() {
        let text = ticket(2).to_string();
        for cut in PREFIX.len()..text.len() {
            assert_eq!(text[..cut].parse::<Ticket>(), Err(TicketError::Copied), "cut after {cut}");
        }
        assert_eq!("enr:-abc".parse::<Ticket>(), Err(TicketError::Prefix));
        assert_eq!(Ticket::new(&ChainSpec::mainnet(), (5, 4), []), Err(TicketError::Content("the eras")));
        assert_eq!(Ticket::new(&ChainSpec::mainnet(), (0, u64::MAX), []), Err(TicketError::Content("the eras")));
    }

    proptest! {
        /// Whatever is in it, sealed as a ticket is: it is refused, or it is one.
        #[test]
        fn sealed_nonsense_is_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let check = keccak256(&bytes);
            bytes.extend_from_slice(&check[..CHECK]);
            let text = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes));
            if let Ok(ticket) = text.parse::<Ticket>() {
                prop_assert_eq!(ticket.to_string(), text);
            }
        }
    }
}
