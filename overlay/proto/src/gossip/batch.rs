//! Keys for one peer, in OFFERs that fit a packet.

use crate::wire::MAX_OFFERED_KEYS;

/// Selector and offset of the list.
const OFFER_BYTES: usize = 1 + 4;

/// Offset of a key in the list.
const KEY_OFFSET_BYTES: usize = 4;

/// Splits `items`, in their order, into OFFERs of at most 64 keys and `max_bytes`, which is
/// [`MAX_REQUEST_BYTES`](crate::wire::MAX_REQUEST_BYTES) for a peer with which there is a session. `key_len` gives the
/// length of an item's key in bytes. A key too long for any OFFER gets one of its own, which cannot be sent.
pub fn batch_offers<T>(
    items: impl IntoIterator<Item = T>,
    key_len: impl Fn(&T) -> usize,
    max_bytes: usize,
) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let added = KEY_OFFSET_BYTES.saturating_add(key_len(&item));
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_OFFERED_KEYS && added <= max_bytes.saturating_sub(bytes) => {
                bytes += added;
                batch.push(item);
            }
            _ => {
                bytes = OFFER_BYTES.saturating_add(added);
                batches.push(vec![item]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{MAX_REQUEST_BYTES, Offer, Request};
    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*};

    #[test]
    fn keys_of_both_history_networks() {
        let count =
            |len: usize| batch_offers(vec![Bytes::from(vec![0; len]); 200], Bytes::len, MAX_REQUEST_BYTES)[0].len();
        assert_eq!(count(9), MAX_OFFERED_KEYS);
        assert_eq!(count(33), (MAX_REQUEST_BYTES - 5) / 37);
    }

    proptest! {
        #[test]
        fn every_batch_fits_and_could_take_no_more(lens in vec(0usize..400, 0..200)) {
            let keys: Vec<Bytes> = lens.iter().map(|len| vec![0; *len].into()).collect();
            let batches = batch_offers(keys.clone(), Bytes::len, MAX_REQUEST_BYTES);
            prop_assert_eq!(batches.concat(), keys);
            let size = |keys: &[Bytes]| {
                Request::Offer(Offer { content_keys: keys.to_vec() }).encode().map(|bytes| bytes.len())
            };
            for pair in batches.windows(2) {
                let more = [&pair[0][..], &pair[1][..1]].concat();
                prop_assert!(size(&more).map_or(true, |size| size > MAX_REQUEST_BYTES));
            }
            for batch in &batches {
                prop_assert!(size(batch).unwrap() <= MAX_REQUEST_BYTES);
            }
        }
    }
}
