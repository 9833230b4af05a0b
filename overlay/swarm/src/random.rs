//! Ties are broken by a seed that comes from outside, so that the same seed gives the same run everywhere.

/// A number that follows from a seed and a value and has nothing of their order: the output function of
/// [SplitMix64](https://prng.di.unimi.it/splitmix64.c).
pub(crate) const fn mix(seed: u64, value: u64) -> u64 {
    let mut mixed = (seed ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first number of the reference implementation from the state 1234567.
    #[test]
    fn is_splitmix64() {
        assert_eq!(mix(1_234_567, 0), 6_457_827_717_110_365_317);
        assert_eq!(mix(0, 1_234_567), 6_457_827_717_110_365_317);
    }
}
