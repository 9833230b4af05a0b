//! A router by whichever protocol it is asked.

use alloy_primitives::Keccak256;

use super::igd::Igd;
use super::mapper::PortMapper;
use super::mapping::{Granted, MapRequest, MappingFailure, MappingProtocol, Removal};
use super::pmp::Pmp;

/// What sets the hash of a node's key apart that a router gets to see from every other.
const NONCE_DOMAIN: &[u8] = b"cairn port mappings";

/// All protocols.
pub(super) struct Router {
    pmp: Pmp,
    igd: Igd,
}

impl Router {
    /// For the node with this key.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let mut hash = Keccak256::new();
        hash.update(NONCE_DOMAIN);
        hash.update(key);
        let hash = hash.finalize();
        let (words, _) = hash.as_chunks::<4>();
        let word = |index: usize| words.get(index).map_or(0, |word| u32::from_be_bytes(*word));
        Self { pmp: Pmp::new([word(0), word(1), word(2)]), igd: Igd::default() }
    }
}

impl PortMapper for Router {
    async fn map(&mut self, request: MapRequest) -> Result<Granted, MappingFailure> {
        match request.by {
            MappingProtocol::Pcp | MappingProtocol::NatPmp => self.pmp.map(request).await,
            MappingProtocol::Upnp => self.igd.map(request).await,
        }
    }

    async fn unmap(&mut self, removal: Removal) {
        match removal.by {
            MappingProtocol::Pcp | MappingProtocol::NatPmp => self.pmp.unmap(removal).await,
            MappingProtocol::Upnp => self.igd.unmap(removal).await,
        }
    }
}
