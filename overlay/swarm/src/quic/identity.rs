//! Who is at the other end: certificates as [libp2p's TLS](https://github.com/libp2p/specs/blob/master/tls/tls.md) has them,
//! signed by the key of the node's record.

use std::any::Any;

use alloy_primitives::keccak256;
use content_types::NodeId;
use libp2p_identity::{Keypair, PeerId, PublicKey, secp256k1};
use rustls::pki_types::CertificateDer;

use super::certificates;
use crate::wire::ALPN;

/// Bytes of a peer ID before the key: multihash "identity", and its length.
const MULTIHASH_HEAD: usize = 2;

/// Keys or certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The secret key is no secp256k1 key.
    #[error("the secret key is none of secp256k1")]
    Secret,
    /// The public key is no compressed secp256k1 key.
    #[error("the public key is none of secp256k1")]
    Public,
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Certificate(String),
}

/// The own key, and what follows from it.
#[derive(Clone)]
pub struct Identity {
    keypair: Keypair,
    node_id: NodeId,
}

impl Identity {
    /// The identity of a secp256k1 secret key.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Secret`].
    pub fn new(mut secret: [u8; 32]) -> Result<Self, IdentityError> {
        let secret = secp256k1::SecretKey::try_from_bytes(&mut secret).map_err(|_| IdentityError::Secret)?;
        let keypair = secp256k1::Keypair::from(secret);
        let node_id = node_id(keypair.public());
        Ok(Self { keypair: keypair.into(), node_id })
    }

    /// The own node ID.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    pub(super) fn server_config(&self) -> Result<rustls::ServerConfig, IdentityError> {
        let mut config = certificates::server_config(&self.keypair)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }

    /// For a connection to the peer with this key and to no other.
    pub(super) fn client_config(&self, peer: &[u8; 33]) -> Result<rustls::ClientConfig, IdentityError> {
        let key = secp256k1::PublicKey::try_from_bytes(peer).map_err(|_| IdentityError::Public)?;
        let peer = PublicKey::from(key).to_peer_id();
        let mut config = certificates::client_config(&self.keypair, peer)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

/// The node ID of a compressed secp256k1 key (EIP-778, scheme "v4").
///
/// # Errors
///
/// [`IdentityError::Public`].
pub fn node_id_of(key: &[u8; 33]) -> Result<NodeId, IdentityError> {
    secp256k1::PublicKey::try_from_bytes(key).map(|key| node_id(&key)).map_err(|_| IdentityError::Public)
}

fn node_id(key: &secp256k1::PublicKey) -> NodeId {
    // Without the byte that says "not compressed".
    keccak256(&key.to_bytes_uncompressed()[1..]).0.into()
}

/// The node ID that a handshake has proved; `None` if the certificate's key is none of secp256k1.
pub(super) fn proved_node_id(identity: Option<Box<dyn Any>>) -> Option<NodeId> {
    let chain = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let peer: PeerId = libp2p_tls::certificate::parse(chain.first()?).ok()?.peer_id();
    let bytes = peer.to_bytes();
    let key = PublicKey::try_decode_protobuf(bytes.get(MULTIHASH_HEAD..)?).ok()?;
    Some(node_id(&key.try_into_secp256k1().ok()?))
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.node_id).finish()
    }
}
