//! The node's secp256k1 key as a libp2p identity. A peer ID of such a key is the key itself, so the node ID and, over
//! discv5, the node record follow from it.

use libp2p_identity::{Keypair, PeerId, PublicKey as AnyPublicKey, secp256k1};

use crate::Error;

/// A compressed secp256k1 public key, as in a node record.
pub type PublicKey = [u8; 33];

/// A peer ID of at most 42 bytes of encoded key is that encoding, under the multihash code of "identity".
const IDENTITY_MULTIHASH: u64 = 0;

/// The key pair of the node's secret key.
pub(crate) fn keypair(mut secret_key: [u8; 32]) -> Result<Keypair, Error> {
    // The bytes are wiped by the call.
    let secret = secp256k1::SecretKey::try_from_bytes(&mut secret_key).map_err(|_| Error::SecretKey)?;
    Ok(secp256k1::Keypair::from(secret).into())
}

/// What stands before the 33 bytes of a compressed secp256k1 key in a peer ID: identity multihash of 37 bytes; key type
/// 2; 33 bytes of data.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 37, 0x08, 0x02, 0x12, 33];

/// The peer ID of a public key. Whether the bytes are a point of the curve shows when somebody proves to be this peer.
pub(crate) fn peer_id(public_key: &PublicKey) -> Option<PeerId> {
    PeerId::from_bytes(&[&PEER_ID_PREFIX[..], public_key].concat()).ok()
}

/// The public key in a peer ID; nothing when it is of another kind.
pub(crate) fn public_key(peer: &PeerId) -> Option<PublicKey> {
    let multihash = peer.as_ref();
    if multihash.code() != IDENTITY_MULTIHASH {
        return None;
    }
    let key = AnyPublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    Some(key.try_into_secp256k1().ok()?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_survives_the_way_through_a_peer_id() {
        let pair = keypair([7; 32]).unwrap();
        let key = pair.public().try_into_secp256k1().unwrap().to_bytes();
        let peer = pair.public().to_peer_id();
        assert_eq!(public_key(&peer), Some(key));
        assert_eq!(peer_id(&key), Some(peer));
    }

    #[test]
    fn zero_is_no_secret_key() {
        assert!(matches!(keypair([0; 32]), Err(Error::SecretKey)));
    }

    #[test]
    fn other_peer_ids_have_no_key_for_us() {
        // A random peer ID is a hash, or the ID of some other kind of key.
        assert_eq!(public_key(&PeerId::random()), None);
        assert_eq!(public_key(&peer_id(&[0; 33]).unwrap()), None, "no point of the curve");
    }
}
