//! Keccak-256 of many messages at once, one in each lane of the CPU's vectors.
//!
//! A block is hundreds of short messages to hash, and Keccak's permutation has little parallelism within but runs as
//! well on vectors as on words: eight lanes on AVX-512, four on AVX2, two on NEON and SSE. The vectors, and the choice
//! between instruction sets at run time, are `fearless_simd`'s.

use alloy_primitives::{B256, Keccak256};
use fearless_simd::{Level, Simd, SimdBase, dispatch};

/// Lanes of the widest vectors.
const MAX_LANES: usize = 8;
/// Bytes that Keccak-256 absorbs in one go.
const RATE: usize = 136;
const RATE_WORDS: usize = RATE / 8;
const STATE_WORDS: usize = 25;

/// Keccak-f[1600]'s round constants (FIPS 202, section 3.2.5).
const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// A message in two pieces: a trie node's beginning and the value in it, say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
}

impl Message<'_> {
    /// Permutations that the message takes; its padding needs at least a byte.
    fn blocks(&self) -> usize {
        (self.head.len() + self.tail.len()) / RATE + 1
    }

    pub(super) fn hash(&self) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update(self.head);
        hasher.update(self.tail);
        hasher.finalize()
    }

    /// Reads the block that starts at `position`, padded if it is the last one.
    #[inline]
    fn read_block(&self, position: usize, words: &mut [u64; RATE_WORDS]) {
        let in_tail = position.checked_sub(self.head.len()).and_then(|at| self.tail.get(at..)?.first_chunk());
        let padded;
        let block: &[u8; RATE] = match in_tail {
            Some(block) => block,
            None => {
                padded = self.padded_block(position);
                &padded
            }
        };
        for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
    }

    fn padded_block(&self, position: usize) -> [u8; RATE] {
        let mut block = [0; RATE];
        let head = self.head.get(position..).unwrap_or_default();
        let head = &head[..head.len().min(RATE)];
        block[..head.len()].copy_from_slice(head);
        let tail = self.tail.get((position + head.len()).saturating_sub(self.head.len())..).unwrap_or_default();
        let tail = &tail[..tail.len().min(RATE - head.len())];
        let len = head.len() + tail.len();
        block[head.len()..len].copy_from_slice(tail);
        if len < RATE {
            block[len] ^= 0x01;
            block[RATE - 1] ^= 0x80;
        }
        block
    }
}

/// The hash of each message.
pub(super) fn keccak256_each(messages: &[Message<'_>]) -> Vec<B256> {
    let mut hashes = vec![B256::ZERO; messages.len()];
    // Longest first, so that the lanes run out of work together.
    let mut order: Vec<(usize, usize)> =
        messages.iter().enumerate().map(|(index, message)| (message.blocks(), index)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    let mut queue = order.as_slice();
    let mut total: usize = queue.iter().map(|(blocks, _)| blocks).sum();
    // One that is longer than all the others together would go on alone: a plain hasher is no slower at that.
    while let [(blocks, index), rest @ ..] = queue
        && 2 * blocks > total
    {
        hashes[*index] = messages[*index].hash();
        total -= blocks;
        queue = rest;
    }
    let queue = queue.iter().map(|(_, index)| *index);
    dispatch!(Level::new(), simd => hash_in_lanes(simd, messages, queue, &mut hashes));
    hashes
}

/// A message that a lane hashes, and how far it is.
#[derive(Debug, Clone, Copy)]
struct HashJob {
    index: usize,
    position: usize,
}

/// Hashes the messages that `queue` names, each in the next lane that is free.
#[inline(always)]
fn hash_in_lanes<S: Simd>(
    simd: S,
    messages: &[Message<'_>],
    mut queue: impl Iterator<Item = usize>,
    hashes: &mut [B256],
) {
    const { assert!(S::u64s::LEN <= MAX_LANES) }
    simd.vectorize(
        #[inline(always)]
        || {
            let mut state = [S::u64s::splat(simd, 0); STATE_WORDS];
            let mut jobs = [None; MAX_LANES];
            let jobs = &mut jobs[..S::u64s::LEN];
            let mut blocks = [[0; RATE_WORDS]; MAX_LANES];
            loop {
                // All ones, but zero for a lane that starts anew.
                let mut kept = [u64::MAX; MAX_LANES];
                for (lane, job) in jobs.iter_mut().enumerate() {
                    if job.is_none() {
                        *job = queue.next().map(|index| HashJob { index, position: 0 });
                        kept[lane] = 0;
                    }
                    if let Some(HashJob { index, position }) = *job {
                        messages[index].read_block(position, &mut blocks[lane]);
                    }
                }
                if jobs.iter().all(Option::is_none) {
                    return;
                }
                let kept = S::u64s::from_slice(simd, &kept[..S::u64s::LEN]);
                state.iter_mut().for_each(|word| *word &= kept);
                for (word, state) in state[..RATE_WORDS].iter_mut().enumerate() {
                    let lanes: [u64; MAX_LANES] = std::array::from_fn(|lane| blocks[lane][word]);
                    *state ^= S::u64s::from_slice(simd, &lanes[..S::u64s::LEN]);
                }
                keccak_f(simd, &mut state);
                for (lane, job) in jobs.iter_mut().enumerate() {
                    let Some(HashJob { index, position }) = job else { continue };
                    *position += RATE;
                    if *position >= messages[*index].blocks() * RATE {
                        let (words, _) = hashes[*index].as_chunks_mut();
                        for (word, state) in words.iter_mut().zip(&state) {
                            *word = state.as_slice()[lane].to_le_bytes();
                        }
                        *job = None;
                    }
                }
            }
        },
    );
}

/// Keccak-f[1600] (FIPS 202, section 3.3) on as many states as a vector has lanes.
#[inline(always)]
fn keccak_f<S: Simd>(simd: S, a: &mut [S::u64s; STATE_WORDS]) {
    for constant in ROUND_CONSTANTS {
        // θ
        let column: [S::u64s; 5] = std::array::from_fn(|x| a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20]);
        let theta: [S::u64s; 5] =
            std::array::from_fn(|x| column[(x + 4) % 5] ^ rotate_left::<S, 1>(column[(x + 1) % 5]));
        // ρ and π: word (x, y) is rotated and goes to (y, 2x + 3y)
        macro_rules! moved {
            ($from:literal, $by:literal) => {
                rotate_left::<S, $by>(a[$from] ^ theta[$from % 5])
            };
        }
        #[rustfmt::skip]
        let b = [
            a[0] ^ theta[0], moved!(6, 44),  moved!(12, 43), moved!(18, 21), moved!(24, 14),
            moved!(3, 28),   moved!(9, 20),  moved!(10, 3),  moved!(16, 45), moved!(22, 61),
            moved!(1, 1),    moved!(7, 6),   moved!(13, 25), moved!(19, 8),  moved!(20, 18),
            moved!(4, 27),   moved!(5, 36),  moved!(11, 10), moved!(17, 15), moved!(23, 56),
            moved!(2, 62),   moved!(8, 55),  moved!(14, 39), moved!(15, 41), moved!(21, 2),
        ];
        // χ
        for row in (0..STATE_WORDS).step_by(5) {
            for x in 0..5 {
                a[row + x] = b[row + x] ^ (!b[row + (x + 1) % 5] & b[row + (x + 2) % 5]);
            }
        }
        // ι
        a[0] ^= S::u64s::splat(simd, constant);
    }
}

#[inline(always)]
fn rotate_left<S: Simd, const BY: u32>(word: S::u64s) -> S::u64s {
    (word << BY) | (word >> (u64::BITS - BY))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;
    use proptest::prelude::*;

    use super::*;

    /// Every instruction set this machine has, beside the one that is chosen.
    fn levels() -> Vec<Level> {
        let mut levels = vec![Level::new()];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            levels.extend(Level::new().as_avx2().map(Level::Avx2));
            levels.extend(Level::new().as_sse4_2().map(Level::Sse4_2));
        }
        levels
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_the_plain_hasher(
            messages in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..600)),
                0..40,
            ),
        ) {
            let expected: Vec<_> =
                messages.iter().map(|(head, tail)| keccak256([head.as_slice(), tail].concat())).collect();
            let messages: Vec<_> = messages.iter().map(|(head, tail)| Message { head, tail }).collect();
            prop_assert_eq!(&keccak256_each(&messages), &expected);
            for level in levels() {
                let mut hashes = vec![B256::ZERO; messages.len()];
                dispatch!(level, simd => hash_in_lanes(simd, &messages, 0..messages.len(), &mut hashes));
                prop_assert_eq!(&hashes, &expected, "{:?}", level);
            }
        }
    }

    #[test]
    fn agrees_at_the_edges_of_blocks() {
        let bytes = [0x5a; 3 * RATE];
        for len in [0, 1, RATE - 2, RATE - 1, RATE, RATE + 1, 2 * RATE - 1, 2 * RATE, 2 * RATE + 1] {
            for head in [0, 1, len / 2, len.saturating_sub(1), len].into_iter().filter(|head| *head <= len) {
                let message = Message { head: &bytes[..head], tail: &bytes[head..len] };
                assert_eq!(
                    keccak256_each(&[message; 9]),
                    [keccak256(&bytes[..len]); 9],
                    "{len} bytes, {head} in front"
                );
            }
        }
    }
}
