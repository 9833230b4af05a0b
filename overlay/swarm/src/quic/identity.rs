//! Who is at the other end: certificates as [libp2p's TLS](https://github.com/libp2p/specs/blob/master/tls/tls.md) has them
//! (see [`cairn_tls`]), signed by the key of the node's record.

use std::any::Any;

use alloy_primitives::keccak256;
use cairn_tls::{Certificate, GenerateError};
use content_types::NodeId;
use libp2p_identity::{PublicKey, secp256k1};

use crate::wire::ALPN;

/// Keys or certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SwarmIdentityError {
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

impl From<GenerateError> for SwarmIdentityError {
    fn from(error: GenerateError) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// The own key, and what follows from it.
#[derive(Clone)]
pub struct Identity {
    certificate: Certificate,
    node_id: NodeId,
}

impl Identity {
    /// The identity of a secp256k1 secret key.
    ///
    /// # Errors
    ///
    /// [`SwarmIdentityError::Secret`]; [`SwarmIdentityError::Certificate`].
    pub fn new(mut secret: [u8; 32]) -> Result<Self, SwarmIdentityError> {
        let secret = secp256k1::SecretKey::try_from_bytes(&mut secret).map_err(|_| SwarmIdentityError::Secret)?;
        let keypair = secp256k1::Keypair::from(secret);
        let node_id = node_id(keypair.public());
        Ok(Self { certificate: Certificate::generate(&keypair.into())?, node_id })
    }

    /// The own node ID.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    pub(super) fn server_config(&self) -> Result<rustls::ServerConfig, SwarmIdentityError> {
        Ok(self.certificate.server_config(ALPN)?)
    }

    /// For a connection to the peer with this key and to no other.
    pub(super) fn client_config(&self, peer: &[u8; 33]) -> Result<rustls::ClientConfig, SwarmIdentityError> {
        let key = secp256k1::PublicKey::try_from_bytes(peer).map_err(|_| SwarmIdentityError::Public)?;
        let peer = PublicKey::from(key).to_peer_id();
        Ok(self.certificate.client_config(Some(peer), ALPN)?)
    }
}

/// The node ID of a compressed secp256k1 key (EIP-778, scheme "v4").
///
/// # Errors
///
/// [`SwarmIdentityError::Public`].
pub fn node_id_of(key: &[u8; 33]) -> Result<NodeId, SwarmIdentityError> {
    secp256k1::PublicKey::try_from_bytes(key).map(|key| node_id(&key)).map_err(|_| SwarmIdentityError::Public)
}

fn node_id(key: &secp256k1::PublicKey) -> NodeId {
    // Without the byte that says "not compressed".
    keccak256(&key.to_bytes_uncompressed()[1..]).0.into()
}

/// The node ID that a handshake has proved; `None` if the certificate's key is none of secp256k1.
pub(super) fn proved_node_id(identity: Option<Box<dyn Any>>) -> Option<NodeId> {
    let key = cairn_tls::proved_key(identity).ok()?;
    Some(node_id(&key.try_into_secp256k1().ok()?))
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.node_id).finish()
    }
}
