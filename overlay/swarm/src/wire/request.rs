//! What a stream of a connection asks for: a part of a run, one item by its content key, or nodes on the way down a trie.

use bytes::Bytes;
use cairn_archive::snappy::{self, SnappyError};
use content_types::limits::{MAX_BODY_LENGTH, MAX_HEADER_WITH_PROOF_LENGTH, MAX_RECEIPTS_LENGTH};
use content_types::state::Way;
use content_types::{ContentKey, SubNetwork};
use ssz_derive::{Decode, Encode};

use crate::geometry::{Component, Part};

/// Bytes of a request for a part.
const PART_BYTES: usize = 13;

/// How the items of an answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// In the framing format of snappy, as in an ere file.
    Snappy,
}

impl Encoding {
    /// Its code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Snappy => 1,
        }
    }

    /// The encoding with a code.
    pub const fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Plain),
            1 => Some(Self::Snappy),
            _ => None,
        }
    }

    /// The longest item of a component, in bytes.
    pub const fn max_item_len(self, component: Component) -> usize {
        self.max_len(plain_limit(component))
    }

    /// The most bytes that an item of so many is written in.
    pub const fn max_len(self, plain: usize) -> usize {
        match self {
            Self::Plain => plain,
            Self::Snappy => snappy::max_stream_len(plain) as usize,
        }
    }

    /// The item itself, of bytes as they came: at most as long as an item of the component may be.
    ///
    /// # Errors
    ///
    /// [`SnappyError`] for bytes that are none in this encoding.
    pub fn decode(self, component: Component, bytes: &Bytes) -> Result<Bytes, SnappyError> {
        match self {
            Self::Plain => Ok(bytes.clone()),
            Self::Snappy => snappy::decode(bytes, plain_limit(component)).map(Bytes::from),
        }
    }
}

const fn plain_limit(component: Component) -> usize {
    match component {
        Component::Headers => MAX_HEADER_WITH_PROOF_LENGTH,
        Component::Bodies => MAX_BODY_LENGTH,
        Component::Receipts => MAX_RECEIPTS_LENGTH,
    }
}

/// Encodings that somebody takes: bit n stands for the one with code n. Plain is always taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[ssz(struct_behaviour = "transparent")]
pub struct Encodings {
    bits: u8,
}

impl Encodings {
    /// Plain alone.
    pub const PLAIN: Self = Self { bits: 1 };
    /// All of this version.
    pub const ALL: Self = Self { bits: 3 };

    /// The set in a byte; bits of encodings that are not known mean nothing.
    pub const fn from_bits(bits: u8) -> Self {
        Self { bits }
    }

    /// Whether an encoding is taken.
    pub const fn has(self, encoding: Encoding) -> bool {
        encoding.code() == 0 || self.bits >> encoding.code() & 1 == 1
    }
}

/// A content key and its sub-network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemKey(pub ContentKey);

/// What a peer is asked for on a stream of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwarmRequest {
    /// Consecutive items of a run, in any of these encodings.
    Part(Part, Encodings),
    /// One item by its content key, what FINDCONTENT and a uTP stream bring in the Portal wire protocol.
    Item(ItemKey),
    /// The nodes of a trie from one on, as far as the asked peer holds them without a gap.
    Way(Way),
}

/// A request that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SwarmRequestError {
    /// Of no type that is known.
    #[error("a request of an unknown type")]
    Type,
    /// Of another length than its type's.
    #[error("a request of the wrong length")]
    Length,
    /// For no component, for nothing, or for more than a run.
    #[error("a request for what is no part of a run")]
    Part,
    /// For no way down a trie.
    #[error("a request for no way down a trie")]
    Way,
    /// For no content of a sub-network that is known.
    #[error("a request with a malformed content key")]
    Key,
}

impl SwarmRequest {
    /// The request as it goes over a stream of its own.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Part(part, encodings) => {
                let mut bytes = vec![0, part.component.code(), encodings.bits];
                bytes.extend_from_slice(&part.first.to_le_bytes());
                bytes.extend_from_slice(&part.count.to_le_bytes());
                bytes
            }
            Self::Item(ItemKey(key)) => {
                let network = key.sub_network().protocol_id();
                [&[1], network.as_slice(), key.encode().as_ref()].concat()
            }
            Self::Way(way) => [&[2][..], &way.encode()].concat(),
        }
    }

    /// A request out of the bytes of a stream.
    ///
    /// # Errors
    ///
    /// [`SwarmRequestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SwarmRequestError> {
        match bytes {
            [0, ..] if bytes.len() != PART_BYTES => Err(SwarmRequestError::Length),
            [0, component, encodings, number @ .., low, high] => {
                let number = number.try_into().map_err(|_| SwarmRequestError::Length)?;
                let (first, count) = (u64::from_le_bytes(number), u16::from_le_bytes([*low, *high]));
                let component = Component::of_code(*component).ok_or(SwarmRequestError::Part)?;
                let end = first.checked_add(u64::from(count)).ok_or(SwarmRequestError::Part)?;
                let part = Part::new(component, first..end).ok_or(SwarmRequestError::Part)?;
                Ok(Self::Part(part, Encodings::from_bits(*encodings)))
            }
            [1, high, low, key @ ..] => {
                let network = SubNetwork::from_protocol_id(&[*high, *low]).ok_or(SwarmRequestError::Key)?;
                let key = ContentKey::decode(network, key).map_err(|_| SwarmRequestError::Key)?;
                Ok(Self::Item(ItemKey(key)))
            }
            [1, ..] => Err(SwarmRequestError::Length),
            [2, way @ ..] => Way::decode(way).map(Self::Way).ok_or(SwarmRequestError::Way),
            _ => Err(SwarmRequestError::Type),
        }
    }
}

#[cfg(test)]
mod tests {
    use content_types::history;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..40), kind in 0..4_u8) {
            let bytes = [&[kind], &bytes[..]].concat();
            if let Ok(request) = SwarmRequest::decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
        }

        #[test]
        fn parts_survive_the_wire(first: u64, count in 1..=256_u16, component in 0..3_usize) {
            let blocks = first..first.saturating_add(count.into());
            let Some(part) = Part::new(Component::ALL[component], blocks) else { return Ok(()) };
            let request = SwarmRequest::Part(part, Encodings::ALL);
            prop_assert_eq!(SwarmRequest::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn items_survive_the_wire() {
        let request = SwarmRequest::Item(ItemKey(history::ContentKey::BlockBody { number: 7 }.into()));
        assert_eq!(SwarmRequest::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn what_is_no_part_of_a_run_is_refused() {
        let request = |component, first: u64, count: u16| {
            [&[0, component, 1], &first.to_le_bytes()[..], &count.to_le_bytes()].concat()
        };
        for bytes in [request(3, 0, 1), request(0, 0, 0), request(0, 255, 2), request(0, u64::MAX, 1)] {
            assert_eq!(SwarmRequest::decode(&bytes), Err(SwarmRequestError::Part));
        }
        assert_eq!(SwarmRequest::decode(&[0; 12]), Err(SwarmRequestError::Length));
        assert_eq!(SwarmRequest::decode(&[9]), Err(SwarmRequestError::Type));
        assert_eq!(SwarmRequest::decode(&[]), Err(SwarmRequestError::Type));
        assert_eq!(SwarmRequest::decode(&[1, 0x50, 0x00, 0xff]), Err(SwarmRequestError::Key));
        assert_eq!(SwarmRequest::decode(&[2; 66]), Ok(SwarmRequest::Way(Way::decode(&[2; 65]).unwrap())));
        assert_eq!(SwarmRequest::decode(&[2; 67]), Err(SwarmRequestError::Way));
    }
}
