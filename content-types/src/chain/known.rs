//! The chains that are built in.

use alloy_primitives::b256;

use super::{BeaconClock, ChainParameters, ChainSpec};
use crate::{SummariesCheckpoint, TrustRoots};

/// Seconds from one slot to the next on public chains (consensus specification, `SECONDS_PER_SLOT`).
const SECONDS_PER_SLOT: u64 = 12;

impl ChainSpec {
    /// Ethereum's main chain.
    pub fn mainnet() -> Self {
        Self(ChainParameters {
            name: "mainnet".into(),
            chain_id: 1,
            genesis_hash: b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
            merge_block: Some(15_537_394),
            shanghai_time: Some(1_681_338_455),
            cancun_time: Some(1_710_338_135),
            amsterdam_time: None,
            beacon: Some(BeaconClock { genesis_time: 1_606_824_023, seconds_per_slot: SECONDS_PER_SLOT }),
            trust_roots: TrustRoots {
                // EIP-7643, "Pre-PoS Root"
                pre_merge: Some(b256!("ec8e040fd6c557b41ca8ddd38f7e9d58a9281918dc92bdb72342a38fb085e701")),
                // Hash tree root of the 758 `historical_roots` that the beacon state holds since Capella.
                historical_roots: Some(b256!("4df6b89755125d4f6c5575039a04e22301a5a49ee893c1d27e559e3eeab73da7")),
                // Of the beacon state at slot 11,476,992: blocks until April 2025.
                summaries: Some(SummariesCheckpoint {
                    count: 643,
                    root: b256!("ea683f50e62fec2100177c9cf2ad74744b096c15cc00c61579c336411994232c"),
                }),
            },
        })
    }

    /// The test network Sepolia. No roots of its lists are published, so its headers can be proved only by lists that
    /// come with a proof of their own.
    pub fn sepolia() -> Self {
        Self(ChainParameters {
            name: "sepolia".into(),
            chain_id: 11_155_111,
            genesis_hash: b256!("25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9"),
            merge_block: Some(1_450_409),
            shanghai_time: Some(1_677_557_088),
            cancun_time: Some(1_706_655_072),
            // Epoch 353,024 (Gloas) of the beacon chain's configuration.
            amsterdam_time: Some(1_791_294_816),
            beacon: Some(BeaconClock { genesis_time: 1_655_733_600, seconds_per_slot: SECONDS_PER_SLOT }),
            trust_roots: TrustRoots { pre_merge: None, historical_roots: None, summaries: None },
        })
    }
}
