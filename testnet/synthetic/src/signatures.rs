//! Signatures that nobody made, and from which a sender is recovered all the same.
//!
//! A signature's `r` is the `x` of a point on secp256k1; of random numbers every second one is, and to find out takes longer
//! than all else about a transaction. So points are found once.

use std::sync::LazyLock;

use alloy_primitives::{Signature, U256, uint};

use crate::random::{Purpose, Random};

/// The prime that the curve's coordinates are counted by: 2^256 - 2^32 - 977.
const P: U256 = uint!(0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f_U256);
/// How many points there are: enough that signatures of one block are seldom alike, which would make it compress better.
const POINTS: usize = 512;

static XS: LazyLock<Vec<U256>> = LazyLock::new(|| {
    let mut random = Random::new(0, Purpose::Accounts, 0);
    std::iter::repeat_with(|| random.word()).filter(is_on_curve).take(POINTS).collect()
});

/// Whether `x^3 + 7` is a square, by Euler's criterion.
fn is_on_curve(x: &U256) -> bool {
    let square = x.pow_mod(U256::from(3), P).add_mod(U256::from(7), P);
    square.pow_mod((P - U256::ONE) / U256::from(2), P) == U256::ONE
}

/// Any signature.
pub(crate) fn draw(random: &mut Random) -> Signature {
    let point = random.word() % U256::from(POINTS);
    let r = XS.get(point.saturating_to::<usize>()).copied().unwrap_or(U256::ONE);
    Signature::new(r, random.word(), random.one_in(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_told_from_other_numbers() {
        // The x of secp256k1's generator (SEC 2, 2.4.1); 5 is the x of none.
        let generator = uint!(0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798_U256);
        assert!(is_on_curve(&generator) && is_on_curve(&U256::ONE) && !is_on_curve(&U256::from(5)));
    }
}
