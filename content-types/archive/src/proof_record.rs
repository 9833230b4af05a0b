//! The content of an ere file's proof record: `rlp([proof-type, ssz(proof)])`.

use alloy_primitives::U256;
use alloy_rlp::{Decodable, Encodable, Error as RlpError, Header};
use content_types::{HeaderProof, ProofKind};

use crate::error::ArchiveRule;

/// Decodes a proof record's content.
///
/// # Errors
///
/// [`ArchiveRule::ProofRecord`] unless the bytes are exactly such a list, [`ArchiveRule::ProofKind`] for a kind this version does
/// not know, [`ArchiveRule::Header`] when the proof does not have its kind's length.
pub fn decode(content: &[u8]) -> Result<HeaderProof, ArchiveRule> {
    let (kind, proof) = split(content).map_err(ArchiveRule::ProofRecord)?;
    let kind = ProofKind::try_from(kind).map_err(|_| ArchiveRule::ProofKind(kind))?;
    HeaderProof::decode(kind, proof).map_err(|error| ArchiveRule::Header(Box::new(error)))
}

fn split(mut content: &[u8]) -> Result<(u64, &[u8]), RlpError> {
    let mut list = Header::decode_bytes(&mut content, true)?;
    let kind = u64::decode(&mut list)?;
    let proof = Header::decode_bytes(&mut list, false)?;
    if !list.is_empty() || !content.is_empty() {
        return Err(RlpError::UnexpectedLength);
    }
    Ok((kind, proof))
}

/// Encodes a proof as a proof record's content.
pub fn encode(proof: &HeaderProof) -> Vec<u8> {
    let ssz = proof.encode();
    let kind = proof.kind() as u8;
    let mut content = Vec::new();
    Header { list: true, payload_length: kind.length() + ssz.as_ref().length() }.encode(&mut content);
    kind.encode(&mut content);
    ssz.as_ref().encode(&mut content);
    content
}

/// The total difficulty that a proof from before the merge vouches for: it is the block hash's sibling in the epoch.
pub(crate) fn total_difficulty(proof: &HeaderProof) -> Option<U256> {
    match proof {
        HeaderProof::HistoricalHashes(branch) => branch.as_slice().first().map(|leaf| U256::from_le_bytes(leaf.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::component::Component;

    proptest! {
        #[test]
        fn proofs_of_every_kind_round_trip(seed: u8) {
            for kind in ProofKind::ALL {
                let ssz: Vec<u8> = (0..kind.encoded_len()).map(|at| seed.wrapping_add(at as u8)).collect();
                let proof = HeaderProof::decode(kind, &ssz).unwrap();
                let content = encode(&proof);
                prop_assert!(content.len() <= Component::Proof.limit());
                prop_assert_eq!(decode(&content).unwrap(), proof);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_round_trip(bytes: Vec<u8>) {
            if let Ok(proof) = decode(&bytes) {
                prop_assert_eq!(encode(&proof), bytes);
            }
        }
    }

    #[test]
    fn an_unknown_kind_is_named() {
        assert!(matches!(decode(&[0xc2, 0x07, 0x80]), Err(ArchiveRule::ProofKind(7))));
    }

    #[test]
    fn nothing_may_follow() {
        let mut content = encode(&HeaderProof::decode(ProofKind::HistoricalHashes, &[1; 480]).unwrap());
        content.push(0);
        assert!(matches!(decode(&content), Err(ArchiveRule::ProofRecord(_))));
    }
}
