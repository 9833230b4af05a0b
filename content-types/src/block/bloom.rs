//! The bloom filter of a receipt's logs (Yellow Paper, section 4.3.1), which the slim encoding leaves out.

use alloy_primitives::{Bloom, keccak256};

/// Slots of the cache; a power of two. 10 kB: small against a block, and enough for the contracts of one.
const SLOTS: usize = 256;
/// Bits that each address or topic sets.
const BITS: usize = 3;
/// Longest cached input, bytes: a topic.
const INPUT_MAX: usize = 32;

/// Adds addresses and topics to blooms. The same few contracts and event signatures fill a block's logs, so their
/// hashes are kept: a direct-mapped cache, dropped with the block.
#[derive(Debug)]
pub(super) struct BloomBuilder {
    slots: Box<[Slot]>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    input: [u8; INPUT_MAX],
    len: u8,
    bits: [u16; BITS],
}

impl BloomBuilder {
    pub(super) fn new() -> Self {
        // No input is empty, so an empty slot matches none.
        Self { slots: vec![Slot { input: [0; INPUT_MAX], len: 0, bits: [0; BITS] }; SLOTS].into() }
    }

    /// Adds an address or a topic.
    #[inline]
    pub(super) fn accrue<const N: usize>(&mut self, input: &[u8; N], bloom: &mut Bloom) {
        const { assert!(0 < N && N <= INPUT_MAX) }
        let slot = &mut self.slots[slot_of(input)];
        if usize::from(slot.len) != N || slot.input[..N] != input[..] {
            slot.input[..N].copy_from_slice(input);
            slot.len = N as u8;
            slot.bits = bits_of(input);
        }
        for bit in slot.bits {
            bloom.0[Bloom::len_bytes() - 1 - usize::from(bit / 8)] |= 1 << (bit % 8);
        }
    }
}

/// The three positions: the low 11 bits of each of the first three pairs of bytes of the hash.
fn bits_of(input: &[u8]) -> [u16; BITS] {
    let hash = keccak256(input);
    [0, 2, 4].map(|at| u16::from_be_bytes([hash[at], hash[at + 1]]) & 0x07ff)
}

/// Spreads inputs over the slots by their last bytes: addresses and numbers in topics are padded on the left.
fn slot_of<const N: usize>(input: &[u8; N]) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio
    let low = input.last_chunk().map_or(0, |low| u64::from_le_bytes(*low));
    (low.wrapping_mul(SPREAD) >> (u64::BITS - SLOTS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, BloomInput};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_alloy(
            // Few distinct values, so that slots are both hit and fought over.
            inputs in prop::collection::vec((0_u16..600, any::<bool>()), 0..800),
        ) {
            let (mut builder, mut bloom, mut reference) = (BloomBuilder::new(), Bloom::ZERO, Bloom::ZERO);
            for (seed, is_address) in inputs {
                let topic = B256::left_padding_from(&seed.to_be_bytes());
                if is_address {
                    let address = Address::from_word(topic);
                    builder.accrue(&address.0, &mut bloom);
                    reference.accrue(BloomInput::Raw(address.as_slice()));
                } else {
                    builder.accrue(&topic.0, &mut bloom);
                    reference.accrue(BloomInput::Raw(topic.as_slice()));
                }
                prop_assert_eq!(bloom, reference);
            }
        }
    }
}
