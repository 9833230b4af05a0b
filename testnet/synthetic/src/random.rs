//! The generator that everything arbitrary comes from: SplitMix64, the same numbers on every platform.

use alloy_primitives::{Address, B256, U256};

/// What numbers are drawn for: each purpose has its own sequence, so that one can change without the others.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Contracts, accounts and event signatures that the whole chain shares.
    Accounts = 1,
    /// Transactions, logs, withdrawals.
    Contents,
    /// Fields of the header.
    Header,
    /// The beacon block around the block.
    Beacon,
    /// Accounts of the state.
    State,
}

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence for a purpose in block `number`.
    pub(crate) fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        let mut random = Self(seed);
        for part in [purpose as u64, number] {
            random.0 = random.number() ^ part;
        }
        Self(random.number())
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, which is small against 2^64.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// An index below `bound`, the lower the likelier: half of all draws fall on the first eighth.
    pub(crate) fn skewed(&mut self, bound: usize) -> usize {
        let fraction = (self.number() >> 32) as u128;
        ((fraction * fraction * fraction * bound as u128) >> 96) as usize
    }

    /// True in one of `n` cases.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn hash(&mut self) -> B256 {
        let mut hash = B256::ZERO;
        self.fill(hash.as_mut_slice());
        hash
    }

    /// A hash that belongs to `nth` of this sequence's, whatever was drawn of the others.
    pub(crate) fn hash_of(&self, nth: u64) -> B256 {
        Self(self.0 ^ nth.wrapping_mul(0xd134_2543_de82_ef95)).hash()
    }

    pub(crate) fn address(&mut self) -> Address {
        let mut address = Address::ZERO;
        self.fill(address.as_mut_slice());
        address
    }

    /// A number of the size of a signature's parts.
    pub(crate) fn word(&mut self) -> U256 {
        U256::from_be_bytes(self.hash().0) | U256::ONE << 255
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }

    /// Bytes like those of contract calls: words of 32 bytes, every second one a number with zeros in front.
    pub(crate) fn call_data(&mut self, len: usize) -> Vec<u8> {
        const WORD: usize = 32;
        const NUMBER: usize = 8;
        let mut data = vec![0; len];
        for word in data.chunks_mut(WORD) {
            let zeros = if self.number() & 1 == 0 { word.len().saturating_sub(NUMBER) } else { 0 };
            self.fill(&mut word[zeros..]);
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation, <https://prng.di.unimi.it/splitmix64.c>, from the state
    /// 1234567.
    #[test]
    fn is_splitmix64() {
        let mut random = Random(1_234_567);
        assert_eq!(
            [random.number(), random.number(), random.number()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn skewed_draws_stay_below_the_bound() {
        let mut random = Random(1);
        let draws: Vec<_> = (0..10_000).map(|_| random.skewed(64)).collect();
        assert!(draws.iter().all(|draw| *draw < 64));
        let low = draws.iter().filter(|draw| **draw < 8).count();
        assert!((4_500..5_500).contains(&low), "{low}");
    }
}
