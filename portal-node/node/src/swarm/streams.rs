//! What of a record that is stored compressed is written: the stream as it came, or one that is made here.
//!
//! What comes from an archive of another peer is compressed already, nearly always by an encoder that writes what this one would. To
//! compress it anew takes a sixth of what a fetch takes, for the same bytes. But snappy has many streams for one content, and no hash of
//! the chain covers which: a peer could send long ones. So some are compressed here all the same and compared, drawn so that no
//! sender knows which. As soon as one differs, all that comes after it is compressed here; what was written until then holds what the
//! chain proves, and is a little longer at most.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use cairn_archive::Component as Record;
use cairn_archive::snappy::{Encoder, is_regular};
use cairn_swarm::quic::PutError;
use parking_lot::Mutex;

/// So many are compared in any case, the first ones.
const FIRST: u64 = 8;
/// Of the others one in so many.
const ONE_IN: u64 = 16;

/// The streams of one archive.
#[derive(Default)]
pub(super) struct Streams {
    /// Draws those that are compared.
    draw: RandomState,
    came: AtomicU64,
    is_foreign: AtomicBool,
    encoders: Mutex<Vec<Encoder>>,
}

impl Streams {
    /// The stream of this content to write. `came` is one that holds it.
    ///
    /// # Errors
    ///
    /// None for what an encoder can be given here; its own are passed on as a failure of this node's.
    pub(super) fn of<'a>(
        &self,
        number: u64,
        record: Record,
        content: &[u8],
        came: Option<&'a Bytes>,
    ) -> Result<Cow<'a, [u8]>, PutError> {
        let Some(came) = came.filter(|came| !self.is_foreign.load(Ordering::Relaxed) && is_regular(came)) else {
            return self.encode(content).map(Cow::Owned);
        };
        let is_compared = self.came.fetch_add(1, Ordering::Relaxed) < FIRST
            || self.draw.hash_one((number, record as u8)).is_multiple_of(ONE_IN);
        if is_compared {
            let stream = self.encode(content)?;
            if stream != *came {
                self.is_foreign.store(true, Ordering::Relaxed);
                return Ok(Cow::Owned(stream));
            }
        }
        Ok(Cow::Borrowed(came))
    }

    fn encode(&self, content: &[u8]) -> Result<Vec<u8>, PutError> {
        let mut encoder = self.encoders.lock().pop().unwrap_or_default();
        let mut stream = Vec::with_capacity(content.len() / 2);
        let encoded = encoder.encode(content, &mut stream);
        self.encoders.lock().push(encoder);
        encoded.map(|()| stream).map_err(|error| PutError::Failed(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use cairn_archive::snappy;

    use super::*;

    /// As no encoder would leave it: in one chunk that is not compressed.
    fn stored(content: &[u8]) -> Bytes {
        let usual = usual(content);
        let [l0, l1, l2, _] = (4 + content.len() as u32).to_le_bytes();
        // The checksum is that of the content, however it is compressed.
        [&usual[..10], &[1, l0, l1, l2], &usual[14..18], content].concat().into()
    }

    fn usual(content: &[u8]) -> Bytes {
        let mut stream = Vec::new();
        Encoder::new().encode(content, &mut stream).unwrap();
        stream.into()
    }

    #[test]
    fn what_came_is_written_until_one_differs() {
        let streams = Streams::default();
        let content = [7; 1000];
        let (usual, odd) = (usual(&content), stored(&content));
        assert_eq!(snappy::decode(&odd, 1000).unwrap(), content);
        assert!(odd.len() > usual.len() && is_regular(&odd));
        let of = |number, came: Option<&Bytes>| streams.of(number, Record::Body, &content, came).unwrap().into_owned();
        for number in 0..100 {
            assert_eq!(of(number, Some(&usual)), usual);
            assert_eq!(of(number, None), usual);
        }
        // Sooner or later one is drawn, and then none is written any more, and none before the first.
        let first = (0..10_000).find(|number| of(*number, Some(&odd)) == usual);
        assert!(first.is_some_and(|first| first < 1000), "{first:?}");
        assert!((0..1000).all(|number| of(number, Some(&odd)) == usual));
        // What is not even regular is never written, and says nothing of the others.
        let streams = Streams::default();
        let padded = Bytes::from([&usual[..], &[0xfe, 1, 0, 0, 0]].concat());
        assert_eq!(streams.of(0, Record::Body, &content, Some(&padded)).unwrap(), &usual[..]);
        assert!(matches!(streams.of(1, Record::Body, &content, Some(&usual)).unwrap(), Cow::Borrowed(_)));
    }

    #[test]
    fn the_first_one_that_differs_is_found() {
        let (content, streams) = ([7; 1000], Streams::default());
        assert_eq!(streams.of(0, Record::Body, &content, Some(&stored(&content))).unwrap(), &usual(&content)[..]);
    }
}
