//! Bytes that were written and not yet put into a packet.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    chunks: VecDeque<Bytes>,
    /// Small writes, copied behind one another; they follow the chunks.
    tail: BytesMut,
    len: usize,
}

impl SendBuffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn copy_in(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(data);
        self.len += data.len();
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.len += chunk.len();
        self.chunks.push_back(chunk);
    }

    /// The next `max` bytes, or all if there are fewer. Copies only where a packet spans two chunks.
    pub(crate) fn take(&mut self, max: usize) -> Bytes {
        let wanted = max.min(self.len);
        self.len -= wanted;
        match self.chunks.front_mut() {
            None => self.tail.split_to(wanted).freeze(),
            Some(front) if front.len() > wanted => front.split_to(wanted),
            Some(front) if front.len() == wanted => self.chunks.pop_front().unwrap_or_default(),
            Some(_) => self.gather(wanted),
        }
    }

    fn gather(&mut self, wanted: usize) -> Bytes {
        let mut packet = BytesMut::with_capacity(wanted);
        while packet.len() < wanted {
            let missing = wanted - packet.len();
            let Some(front) = self.chunks.front_mut() else {
                packet.extend_from_slice(&self.tail.split_to(missing));
                break;
            };
            let part = missing.min(front.len());
            packet.extend_from_slice(&front[..part]);
            front.advance(part);
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
        packet.freeze()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            writes in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..40),
            takes in proptest::collection::vec(1..60_usize, 0..40),
        ) {
            let mut buffer = SendBuffer::default();
            let (mut expected, mut actual) = (Vec::new(), Vec::new());
            let mut takes = takes.into_iter();
            for (copied, data) in writes {
                expected.extend_from_slice(&data);
                if copied { buffer.copy_in(&data) } else { buffer.push(data.into()) }
                if let Some(max) = takes.next() {
                    actual.extend_from_slice(&buffer.take(max));
                }
            }
            while buffer.len() > 0 {
                actual.extend_from_slice(&buffer.take(7));
            }
            prop_assert_eq!(actual, expected);
        }
    }
}
