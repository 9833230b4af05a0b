//! The bloom filters of receipts' logs (Yellow Paper, section 4.3.1), which the slim encoding leaves out.
//!
//! The same few contracts and event signatures fill a block's logs. So the walk over the logs only notes what goes into
//! which bloom, each distinct address or topic (nearly: see [`SLOTS`]) is hashed once, all of them together, and then
//! the blooms are filled.

use alloy_primitives::Bloom;

use super::keccak::{Message, keccak256_each};

/// Slots of the table that finds what was seen before; a power of two. Inputs that fall on one slot push each other
/// out and are hashed again: the table stays at 4 kB whatever the block.
const SLOTS: usize = 512;
/// Bits of a bloom.
const BLOOM_BITS: usize = 8 * Bloom::len_bytes();
/// Empty slot.
const NONE: u32 = u32::MAX;

/// What goes into the blooms of a list of receipts.
#[derive(Debug)]
pub(super) struct BloomInputs<'a> {
    inputs: Vec<&'a [u8]>,
    /// By a hash of the input, the last one with it: an index into `inputs`.
    slots: Box<[u32]>,
    /// Which input goes into which bloom.
    uses: Vec<(u32, u32)>,
    bloom: u32,
}

impl<'a> BloomInputs<'a> {
    pub(super) fn new() -> Self {
        Self { inputs: Vec::new(), slots: vec![NONE; SLOTS].into(), uses: Vec::new(), bloom: 0 }
    }

    /// Adds an address or a topic to the bloom in hand.
    #[inline]
    pub(super) fn add<const N: usize>(&mut self, input: &'a [u8; N]) {
        let slot = &mut self.slots[slot_of(input)];
        if self.inputs.get(*slot as usize) != Some(&input.as_slice()) {
            *slot = self.inputs.len() as u32;
            self.inputs.push(input);
        }
        self.uses.push((self.bloom, *slot));
    }

    /// Goes on to the bloom of the next receipt.
    pub(super) fn next_bloom(&mut self) {
        self.bloom += 1;
    }

    /// The blooms.
    pub(super) fn finish(self) -> Vec<Bloom> {
        let messages: Vec<_> = self.inputs.iter().map(|input| Message { head: &[], tail: input }).collect();
        let hashes = keccak256_each(&messages);
        let mut blooms = vec![Bloom::ZERO; self.bloom as usize];
        for (bloom, input) in self.uses {
            let hash = &hashes[input as usize];
            // The low 11 bits of each of the first three pairs of bytes.
            for pair in [[hash[0], hash[1]], [hash[2], hash[3]], [hash[4], hash[5]]] {
                let bit = usize::from(u16::from_be_bytes(pair)) % BLOOM_BITS;
                blooms[bloom as usize].0[Bloom::len_bytes() - 1 - bit / 8] |= 1 << (bit % 8);
            }
        }
        blooms
    }
}

/// Spreads inputs over the slots by their last bytes: addresses and numbers in topics are padded on the left.
fn slot_of<const N: usize>(input: &[u8; N]) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio
    let low = input.last_chunk().map_or(0, |low| u64::from_le_bytes(*low));
    (low.wrapping_mul(SPREAD) >> (u64::BITS - SLOTS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, BloomInput};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_alloy(
            // Few distinct values, so that slots are both hit and fought over.
            receipts in prop::collection::vec(prop::collection::vec((0_u16..2000, any::<bool>()), 0..60), 0..30),
        ) {
            let receipts: Vec<Vec<(B256, bool)>> = receipts
                .iter()
                .map(|inputs| inputs.iter().map(|(seed, is_topic)| (B256::left_padding_from(&seed.to_be_bytes()), *is_topic)).collect())
                .collect();
            let mut inputs = BloomInputs::new();
            let mut expected = Vec::new();
            for receipt in &receipts {
                let mut bloom = Bloom::ZERO;
                for (word, is_topic) in receipt {
                    if *is_topic {
                        inputs.add(&word.0);
                        bloom.accrue(BloomInput::Raw(word.as_slice()));
                    } else {
                        inputs.add(word.0.last_chunk::<20>().unwrap());
                        bloom.accrue(BloomInput::Raw(&word[12..]));
                    }
                }
                inputs.next_bloom();
                expected.push(bloom);
            }
            prop_assert_eq!(inputs.finish(), expected);
        }
    }
}
