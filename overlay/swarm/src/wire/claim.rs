//! Whether what has come of an item can be the beginning of one that is as long as its frame says.
//!
//! An item is checked when it is whole, and one may be 32 MiB long. A peer that claims such items and sends anything at all
//! would have so much of a line, and of the memory, for each of them before it is found out. But a body and a receipt list
//! are RLP lists, and the first bytes of a list say how long it is: that has to be the length of the frame (in the encoding
//! of the answer). So most of what is no item shows in its first bytes.

use cairn_archive::snappy::{self, FIRST_SKIPPABLE, SnappyError};

use super::Encoding;
use crate::geometry::Component;

/// What the beginning of an item shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nothing yet: too little has come.
    Open,
    /// An item may begin so.
    Possible,
    /// No item of this length begins so: its sender lies.
    Impossible,
}

impl Claim {
    /// What the first bytes of an item show that says that it has `length` bytes in this encoding.
    pub fn of(component: Component, encoding: Encoding, length: usize, begun: &[u8]) -> Self {
        if component == Component::Headers {
            // The longest takes less than three packets, and is no list.
            return Self::Possible;
        }
        match encoding {
            Encoding::Plain => match list_len(begun) {
                Ok(Some(plain)) if plain == length => Self::Possible,
                Ok(None) => Self::Open,
                Ok(Some(_)) | Err(NoList) => Self::Impossible,
            },
            // The list's head stands in the stream as it is. Streams of one list differ by how well their writers compress, and by
            // their chunks, so there is a longest and no shortest.
            Encoding::Snappy => match snappy::first_bytes(begun, MAX_HEAD).map(|first| first.map(list_len)) {
                Ok(Some(Ok(Some(plain)))) if length <= encoding.max_len(plain) => Self::Possible,
                Ok(None) => Self::Open,
                // Padding before the content, or a first literal that ends within the list's head, is unusual, and no lie. It is
                // found out when the item is whole.
                Ok(Some(Ok(None))) => Self::Possible,
                Err(SnappyError::ReservedChunk { kind: FIRST_SKIPPABLE.., .. }) => Self::Possible,
                Ok(Some(Ok(Some(_)) | Err(NoList))) | Err(_) => Self::Impossible,
            },
        }
    }
}

/// Bytes of the head of the longest list that an item may be.
const MAX_HEAD: usize = 5;

/// Bytes that begin no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NoList;

/// How long the RLP list is that begins so, all of it, in bytes. `None` if its head is not whole.
fn list_len(begun: &[u8]) -> Result<Option<usize>, NoList> {
    let Some((&head, rest)) = begun.split_first() else { return Ok(None) };
    match head {
        0xc0..=0xf7 => Ok(Some(1 + usize::from(head - 0xc0))),
        // As many bytes of length as a `u32` has: no item is longer.
        0xf8..=0xfb => {
            let of_length = usize::from(head - 0xf7);
            let Some(length) = rest.get(..of_length) else { return Ok(None) };
            let payload = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            payload.checked_add(1 + of_length).map(Some).ok_or(NoList)
        }
        _ => Err(NoList),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn list(bytes: &[u8]) -> Vec<u8> {
        let mut list = Vec::new();
        alloy_rlp::Header { list: true, payload_length: bytes.len() }.encode(&mut list);
        [&list, bytes].concat()
    }

    fn written(encoding: Encoding, plain: &[u8]) -> Vec<u8> {
        let mut stream = plain.to_vec();
        if encoding == Encoding::Snappy {
            snappy::Encoder::new().encode(plain, &mut stream).unwrap();
        }
        stream
    }

    proptest! {
        #[test]
        fn no_item_is_refused_wherever_it_is_cut(
            seed in vec(any::<u8>(), 1..300), times in 1..600_usize, cut: prop::sample::Index, snappy: bool,
        ) {
            let encoding = if snappy { Encoding::Snappy } else { Encoding::Plain };
            let item = written(encoding, &list(&seed.repeat(times)));
            for component in Component::ALL {
                let claim = Claim::of(component, encoding, item.len(), &item[..cut.index(item.len())]);
                prop_assert_ne!(claim, Claim::Impossible);
                prop_assert_eq!(Claim::of(component, encoding, item.len(), &item), Claim::Possible);
            }
        }

        #[test]
        fn a_list_of_another_length_is_found_out(payload in vec(any::<u8>(), 0..2000), more in 1..100_000_usize) {
            let item = list(&payload);
            let claim = |length| Claim::of(Component::Bodies, Encoding::Plain, length, &item);
            prop_assert_eq!(claim(item.len() + more), Claim::Impossible);
            prop_assert_eq!(claim(item.len() - 1), Claim::Impossible);
        }
    }

    #[test]
    fn what_is_no_list_is_found_out_by_its_first_bytes() {
        let claim = |encoding, begun: &[u8]| Claim::of(Component::Receipts, encoding, 32 << 20, begun);
        assert_eq!(claim(Encoding::Plain, &[]), Claim::Open);
        assert_eq!(claim(Encoding::Plain, &[0xfb, 1]), Claim::Open);
        assert_eq!(claim(Encoding::Plain, &[0]), Claim::Impossible);
        assert_eq!(claim(Encoding::Plain, &[0xff; 9]), Claim::Impossible);
        assert_eq!(claim(Encoding::Snappy, &[0; 16]), Claim::Impossible);
        // A stream that begins as it should, with the list of a small block.
        let small = written(Encoding::Snappy, &list(&[7; 900]));
        assert_eq!(Claim::of(Component::Receipts, Encoding::Snappy, small.len(), &small), Claim::Possible);
        assert_eq!(claim(Encoding::Snappy, &small), Claim::Impossible);
        assert_eq!(claim(Encoding::Snappy, &written(Encoding::Snappy, &[0; 900])), Claim::Impossible);
        // Unusual, but a stream may be so: padding first, or the identifier again.
        for chunk in [&[0xfe, 4, 0, 0, 1, 2, 3, 4][..], b"\xff\x06\x00\x00sNaPpY"] {
            assert_eq!(claim(Encoding::Snappy, &[b"\xff\x06\x00\x00sNaPpY", chunk].concat()), Claim::Possible);
        }
    }
}
