//! Keccak-256 of many messages at once, one in each lane of the CPU's vectors.
//!
//! A block is hundreds of short messages to hash, and Keccak's permutation has little parallelism within but runs as
//! well on vectors as on words: eight lanes on AVX-512, four on AVX2, two on NEON and SSE. The vectors, and the choice
//! between instruction sets at run time, are `fearless_simd`'s.

use alloy_primitives::{B256, Keccak256};
use fearless_simd::{Level, Simd, SimdBase, dispatch};

/// Messages hashed side by side.
const LANES: usize = 8;
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

    /// The block that starts at `position`, padded if it is the last one.
    fn block(&self, position: usize) -> [u8; RATE] {
        if let Some(block) = position.checked_sub(self.head.len()).and_then(|at| self.tail.get(at..)?.first_chunk()) {
            return *block;
        }
        let mut block = [0; RATE];
        let head = &self.head[position.min(self.head.len())..];
        let head = &head[..head.len().min(RATE)];
        block[..head.len()].copy_from_slice(head);
        let tail = &self.tail[(position + head.len()).saturating_sub(self.head.len()).min(self.tail.len())..];
        let tail = &tail[..tail.len().min(RATE - head.len())];
        block[head.len()..head.len() + tail.len()].copy_from_slice(tail);
        let len = head.len() + tail.len();
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
    Lanes::new(Level::new()).run(messages, queue.iter().map(|(_, index)| *index), &mut hashes);
    hashes
}

/// The states of the messages in progress, word by word: `words[w][l]` is word `w` of lane `l`.
struct Lanes {
    level: Level,
    words: [[u64; LANES]; STATE_WORDS],
    jobs: [Option<Job>; LANES],
}

#[derive(Debug, Clone, Copy)]
struct Job {
    index: usize,
    position: usize,
}

impl Lanes {
    fn new(level: Level) -> Self {
        Self { level, words: [[0; LANES]; STATE_WORDS], jobs: [None; LANES] }
    }

    fn run(&mut self, messages: &[Message<'_>], mut queue: impl Iterator<Item = usize>, hashes: &mut [B256]) {
        loop {
            for lane in 0..LANES {
                if self.jobs[lane].is_none() {
                    self.jobs[lane] = queue.next().map(|index| Job { index, position: 0 });
                    self.words.iter_mut().for_each(|word| word[lane] = 0);
                }
                if let Some(job) = self.jobs[lane] {
                    self.absorb(lane, &messages[job.index].block(job.position));
                }
            }
            if self.jobs.iter().all(Option::is_none) {
                return;
            }
            let level = self.level;
            dispatch!(level, simd => self.permute(simd));
            for lane in 0..LANES {
                let Some(Job { index, position }) = self.jobs[lane] else { continue };
                let position = position + RATE;
                if position < messages[index].blocks() * RATE {
                    self.jobs[lane] = Some(Job { index, position });
                } else {
                    hashes[index] = self.digest(lane);
                    self.jobs[lane] = None;
                }
            }
        }
    }

    fn absorb(&mut self, lane: usize, block: &[u8; RATE]) {
        let (words, _) = block.as_chunks();
        for (state, word) in self.words[..RATE_WORDS].iter_mut().zip(words) {
            state[lane] ^= u64::from_le_bytes(*word);
        }
    }

    fn digest(&self, lane: usize) -> B256 {
        let mut digest = B256::ZERO;
        let (chunks, _) = digest.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(&self.words) {
            *chunk = word[lane].to_le_bytes();
        }
        digest
    }

    #[inline(always)]
    fn permute<S: Simd>(&mut self, simd: S) {
        let width = S::u64s::LEN;
        for group in (0..LANES).step_by(width) {
            if self.jobs[group..group + width].iter().any(Option::is_some) {
                simd.vectorize(
                    #[inline(always)]
                    || permute_group(simd, &mut self.words, group),
                );
            }
        }
    }
}

#[inline(always)]
fn permute_group<S: Simd>(simd: S, words: &mut [[u64; LANES]; STATE_WORDS], group: usize) {
    let lanes = group..group + S::u64s::LEN;
    let mut state = std::array::from_fn(|word| S::u64s::from_slice(simd, &words[word][lanes.clone()]));
    keccak_f(simd, &mut state);
    for (word, state) in words.iter_mut().zip(state) {
        state.store_slice(&mut word[lanes.clone()]);
    }
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
                Lanes::new(level).run(&messages, 0..messages.len(), &mut hashes);
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
