//! What a chain's tracker is called on the wire, and under which key an era's providers are found.

use sha2::{Digest, Sha256};

/// Keeps the keys apart from every other use of SHA-256; the number goes up when their meaning changes.
const DOMAIN: &[u8] = b"cairn/era/1";

/// The key of an era's provider records: SHA-256 over domain, chain and era.
pub type EraKey = [u8; 32];

/// The chain whose archives are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrackedChain {
    /// The chain ID of EIP-155.
    pub id: u64,
    /// The hash of block 0: chain IDs alone are not unique.
    pub genesis_hash: [u8; 32],
}

impl TrackedChain {
    /// The key under which the providers of an era (8,192 blocks) are recorded.
    #[must_use]
    pub fn era_key(&self, era: u64) -> EraKey {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(self.id.to_be_bytes());
        hasher.update(self.genesis_hash);
        hasher.update(era.to_be_bytes());
        hasher.finalize().into()
    }

    /// The name under which the Kademlia protocol is negotiated. Peers of another chain do not speak it.
    #[must_use]
    pub fn protocol_name(&self) -> String {
        let [a, b, c, d, ..] = self.genesis_hash;
        format!("/cairn/tracker/1/{}-{a:02x}{b:02x}{c:02x}{d:02x}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: TrackedChain = TrackedChain { id: 1, genesis_hash: [0xd4; 32] };

    #[test]
    fn the_protocol_is_named_after_the_chain() {
        assert_eq!(CHAIN.protocol_name(), "/cairn/tracker/1/1-d4d4d4d4");
    }

    /// Computed with `sha256sum` over the bytes that the crate's documentation gives.
    #[test]
    fn the_key_is_the_documented_hash() {
        let expected = "1c5db965eaa9b83ebe82dd2ef4bc597c7ce7d0a484ce8749942c897cfbefa989";
        assert_eq!(hex::encode(CHAIN.era_key(1_700)), expected);
    }

    #[test]
    fn chain_genesis_and_era_each_change_the_key() {
        let key = CHAIN.era_key(7);
        assert_ne!(key, CHAIN.era_key(8));
        assert_ne!(key, TrackedChain { id: 2, ..CHAIN }.era_key(7));
        assert_ne!(key, TrackedChain { genesis_hash: [0; 32], ..CHAIN }.era_key(7));
    }
}
