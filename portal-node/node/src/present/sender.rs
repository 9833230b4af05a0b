//! Who signed a transaction.

use alloy_consensus::TxEnvelope;
use alloy_primitives::{Address, Signature as RawSignature};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

/// The sender, by the signature; `None` if no key can have made that. That `s` may be in the upper half of its range only
/// before Homestead (EIP-2) is a rule of the chain, which has been checked where the header was proved.
pub(super) fn of(transaction: &TxEnvelope) -> Option<Address> {
    recover(transaction.signature(), transaction.signature_hash().as_slice())
}

fn recover(signature: &RawSignature, hash: &[u8]) -> Option<Address> {
    let (r, s) = (signature.r().to_be_bytes::<32>(), signature.s().to_be_bytes::<32>());
    let parts = Signature::from_scalars(r, s).ok()?;
    // The chain has no form for an `r` that was reduced.
    let key = VerifyingKey::recover_from_prehash(hash, &parts, RecoveryId::new(signature.v(), false)).ok()?;
    let point = key.to_sec1_point(false);
    let [_, public @ ..] = point.as_bytes() else { return None };
    (public.len() == PUBLIC_KEY_LEN).then(|| Address::from_raw_public_key(public))
}

/// Both coordinates of a point of the curve.
const PUBLIC_KEY_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use alloy_primitives::{U256, b256};

    use super::*;

    #[test]
    fn numbers_that_are_no_signature_have_no_sender() {
        let hash = b256!("000000000000000000000000000000000000000000000000000000000000002a");
        let of = |r, s| recover(&RawSignature::new(r, s, false), hash.as_slice());
        // The x of the curve's generator is that of a point, whatever was signed.
        let x = U256::from_be_bytes(b256!("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798").0);
        assert!(of(x, U256::ONE).is_some());
        assert!(of(x, U256::ZERO).is_none() && of(U256::ZERO, U256::ONE).is_none());
        assert!(of(x, U256::MAX).is_none() && of(U256::MAX, U256::ONE).is_none());
        // 5 is the x of no point of secp256k1.
        assert!(of(U256::from(5), U256::ONE).is_none());
    }
}
