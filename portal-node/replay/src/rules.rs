//! The rules of a chain at each of its blocks: which fork is active, what a blob costs, where deposits come from.
//!
//! Mainnet and Sepolia are known; those of a private chain stand in the `config` of its genesis file
//! ([`ForkConfig`], the names of which are geth's).

use std::collections::BTreeMap;

use alloy_consensus::Header;
use alloy_eips::eip7840::BlobParams;
use alloy_evm::EvmEnv;
use alloy_evm::eth::spec::{EthExecutorSpec, EthSpec};
use alloy_evm::revm::primitives::hardfork::SpecId;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::{Address, U256};
use content_types::ChainSpec;
use serde::Deserialize;

/// Forks that change what blobs cost, the youngest first, and their names in `blobSchedule`.
const BLOB_FORKS: [(EthereumHardfork, &str); 8] = [
    (EthereumHardfork::Bpo5, "bpo5"),
    (EthereumHardfork::Bpo4, "bpo4"),
    (EthereumHardfork::Bpo3, "bpo3"),
    (EthereumHardfork::Bpo2, "bpo2"),
    (EthereumHardfork::Bpo1, "bpo1"),
    (EthereumHardfork::Osaka, "osaka"),
    (EthereumHardfork::Prague, "prague"),
    (EthereumHardfork::Cancun, "cancun"),
];

/// The forks of a private chain, as `config` in geth's genesis files has them. A fork that is left out never comes. Numbers of
/// blocks, and times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the block or the time at which the fork of its name begins")]
pub struct ForkConfig {
    pub chain_id: u64,
    pub homestead_block: Option<u64>,
    pub dao_fork_block: Option<u64>,
    #[serde(default)]
    pub dao_fork_support: bool,
    pub eip150_block: Option<u64>,
    pub eip158_block: Option<u64>,
    pub byzantium_block: Option<u64>,
    pub constantinople_block: Option<u64>,
    pub petersburg_block: Option<u64>,
    pub istanbul_block: Option<u64>,
    pub muir_glacier_block: Option<u64>,
    pub berlin_block: Option<u64>,
    pub london_block: Option<u64>,
    pub arrow_glacier_block: Option<u64>,
    pub gray_glacier_block: Option<u64>,
    pub merge_netsplit_block: Option<u64>,
    pub terminal_total_difficulty: Option<U256>,
    pub shanghai_time: Option<u64>,
    pub cancun_time: Option<u64>,
    pub prague_time: Option<u64>,
    pub osaka_time: Option<u64>,
    pub bpo1_time: Option<u64>,
    pub bpo2_time: Option<u64>,
    pub bpo3_time: Option<u64>,
    pub bpo4_time: Option<u64>,
    pub bpo5_time: Option<u64>,
    pub amsterdam_time: Option<u64>,
    pub deposit_contract_address: Option<Address>,
    #[serde(default)]
    pub blob_schedule: BTreeMap<String, BlobSchedule>,
}

/// What blobs cost from a fork on (EIP-7840).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobSchedule {
    /// Blobs of a block at which the price stays.
    pub target: u64,
    /// Most blobs of a block.
    pub max: u64,
    /// How slowly the price follows.
    pub base_fee_update_fraction: u64,
}

/// A chain whose rules cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Neither mainnet nor Sepolia: the genesis file has to have the forks.
    #[error("the forks of chain {0:?} are not known, and there is no genesis file with a config")]
    UnknownChain(String),
    /// The genesis file is another chain's.
    #[error("the genesis file's config has chain ID {actual}, and the chain {expected}")]
    ChainId {
        /// The chain's.
        expected: u64,
        /// The file's.
        actual: u64,
    },
    /// Where the chain merges follows from its total difficulty alone, which nobody counts here.
    #[error(
        "terminalTotalDifficulty is given, but mergeNetsplitBlock, the number of the first block after the merge, is not"
    )]
    NoMergeBlock,
}

/// The rules of one chain.
#[derive(Debug, Clone)]
pub struct Rules {
    chain_id: u64,
    forks: Vec<(EthereumHardfork, ForkCondition)>,
    /// The youngest fork first.
    blobs: Vec<(ForkCondition, BlobParams)>,
    deposit_contract: Option<Address>,
}

impl Rules {
    /// Those of a chain; `config` is what its genesis file says, which mainnet and Sepolia do without.
    ///
    /// # Errors
    ///
    /// [`RulesError`] when the chain is not built in and `config` is missing or does not suffice.
    pub fn new(chain: &ChainSpec, config: Option<&ForkConfig>) -> Result<Self, RulesError> {
        for (known, spec) in [(ChainSpec::mainnet(), EthSpec::mainnet()), (ChainSpec::sepolia(), EthSpec::sepolia())] {
            if chain.genesis_hash() == known.genesis_hash() {
                return Ok(Self::built_in(chain.chain_id(), &spec));
            }
        }
        let config = config.ok_or_else(|| RulesError::UnknownChain(chain.name().to_owned()))?;
        if config.chain_id != chain.chain_id() {
            return Err(RulesError::ChainId { expected: chain.chain_id(), actual: config.chain_id });
        }
        Self::from_config(config)
    }

    /// Mainnet's.
    pub fn mainnet() -> Self {
        Self::built_in(ChainSpec::mainnet().chain_id(), &EthSpec::mainnet())
    }

    fn built_in(chain_id: u64, spec: &EthSpec) -> Self {
        let all = EthereumHardfork::VARIANTS.iter().map(|fork| (*fork, spec.ethereum_fork_activation(*fork)));
        let mut rules = Self {
            chain_id,
            forks: all.collect(),
            blobs: Vec::new(),
            deposit_contract: spec.deposit_contract_address(),
        };
        rules.blobs = rules.blob_schedule(&BTreeMap::new());
        rules
    }

    /// Those of a private chain.
    ///
    /// # Errors
    ///
    /// [`RulesError::NoMergeBlock`].
    pub fn from_config(config: &ForkConfig) -> Result<Self, RulesError> {
        use EthereumHardfork as Fork;
        let merge = match (config.merge_netsplit_block, config.terminal_total_difficulty) {
            (Some(block), _) => Some(block),
            (None, Some(U256::ZERO)) => Some(0),
            (None, Some(_)) => return Err(RulesError::NoMergeBlock),
            (None, None) => None,
        };
        let dao = config.dao_fork_block.filter(|_| config.dao_fork_support);
        // Geth's genesis files may leave out what came with Constantinople on mainnet.
        let petersburg = config.petersburg_block.or(config.constantinople_block);
        let blocks = [
            (Fork::Frontier, Some(0)),
            (Fork::Homestead, config.homestead_block),
            (Fork::Dao, dao),
            (Fork::Tangerine, config.eip150_block),
            (Fork::SpuriousDragon, config.eip158_block),
            (Fork::Byzantium, config.byzantium_block),
            (Fork::Constantinople, config.constantinople_block),
            (Fork::Petersburg, petersburg),
            (Fork::Istanbul, config.istanbul_block),
            (Fork::MuirGlacier, config.muir_glacier_block),
            (Fork::Berlin, config.berlin_block),
            (Fork::London, config.london_block),
            (Fork::ArrowGlacier, config.arrow_glacier_block),
            (Fork::GrayGlacier, config.gray_glacier_block),
            (Fork::Paris, merge),
        ];
        let times = [
            (Fork::Shanghai, config.shanghai_time),
            (Fork::Cancun, config.cancun_time),
            (Fork::Prague, config.prague_time),
            (Fork::Osaka, config.osaka_time),
            (Fork::Bpo1, config.bpo1_time),
            (Fork::Bpo2, config.bpo2_time),
            (Fork::Bpo3, config.bpo3_time),
            (Fork::Bpo4, config.bpo4_time),
            (Fork::Bpo5, config.bpo5_time),
            (Fork::Amsterdam, config.amsterdam_time),
        ];
        let blocks = blocks.map(|(fork, at)| (fork, at.map_or(ForkCondition::Never, ForkCondition::Block)));
        let times = times.map(|(fork, at)| (fork, at.map_or(ForkCondition::Never, ForkCondition::Timestamp)));
        let mut rules = Self {
            chain_id: config.chain_id,
            forks: blocks.into_iter().chain(times).collect(),
            blobs: Vec::new(),
            deposit_contract: config.deposit_contract_address,
        };
        rules.blobs = rules.blob_schedule(&config.blob_schedule);
        Ok(rules)
    }

    /// What blobs cost from each fork on: what `own` says, or else what they cost on mainnet.
    fn blob_schedule(&self, own: &BTreeMap<String, BlobSchedule>) -> Vec<(ForkCondition, BlobParams)> {
        let mut schedule = Vec::new();
        for (fork, name) in BLOB_FORKS {
            let on_mainnet = match fork {
                EthereumHardfork::Cancun => Some(BlobParams::cancun()),
                EthereumHardfork::Prague => Some(BlobParams::prague()),
                EthereumHardfork::Osaka => Some(BlobParams::osaka()),
                EthereumHardfork::Bpo1 => Some(BlobParams::bpo1()),
                EthereumHardfork::Bpo2 => Some(BlobParams::bpo2()),
                _ => None,
            };
            // From Osaka on the price has a floor, and a transaction has few blobs: as alloy has it for these forks.
            let like = if fork < EthereumHardfork::Osaka { BlobParams::cancun() } else { BlobParams::osaka() };
            let params = own.get(name).map(|own| BlobParams {
                target_blob_count: own.target,
                max_blob_count: own.max,
                update_fraction: u128::from(own.base_fee_update_fraction),
                max_blobs_per_tx: if fork < EthereumHardfork::Osaka { own.max } else { like.max_blobs_per_tx },
                ..like
            });
            if let Some(params) = params.or(on_mainnet) {
                schedule.push((self.ethereum_fork_activation(fork), params));
            }
        }
        schedule
    }

    /// The chain ID (EIP-155).
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Whether receipts have a status (EIP-658, from Byzantium on), and not the state's root behind their transaction.
    pub(crate) fn receipts_have_status(&self, number: u64) -> bool {
        self.is_byzantium_active_at_block(number)
    }

    /// What the machine is told of a block.
    pub(crate) fn environment(&self, header: &Header) -> EvmEnv<SpecId> {
        let blobs = self.blobs.iter().find(|(fork, _)| fork.active_at_timestamp(header.timestamp));
        EvmEnv::for_eth_block(header, self, self.chain_id, blobs.map(|(_, params)| *params))
    }
}

impl EthereumHardforks for Rules {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        self.forks.iter().find(|(known, _)| *known == fork).map_or(ForkCondition::Never, |(_, condition)| *condition)
    }
}

impl EthExecutorSpec for Rules {
    fn deposit_contract_address(&self) -> Option<Address> {
        self.deposit_contract
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_at(rules: &Rules, number: u64, timestamp: u64) -> SpecId {
        *rules.environment(&Header { number, timestamp, ..Header::default() }).spec_id()
    }

    #[test]
    fn mainnet_changes_its_rules_with_its_forks() {
        let rules = Rules::new(&ChainSpec::mainnet(), None).unwrap();
        for (number, timestamp, spec) in [
            (0, 0, SpecId::FRONTIER),
            (1_149_999, 0, SpecId::FRONTIER),
            (1_150_000, 0, SpecId::HOMESTEAD),
            (4_369_999, 0, SpecId::SPURIOUS_DRAGON),
            (4_370_000, 0, SpecId::BYZANTIUM),
            (15_537_393, 1_663_224_162, SpecId::LONDON),
            (15_537_394, 1_663_224_179, SpecId::MERGE),
            (17_034_870, 1_681_338_479, SpecId::SHANGHAI),
            (19_426_587, 1_710_338_135, SpecId::CANCUN),
        ] {
            assert_eq!(spec_at(&rules, number, timestamp), spec, "block {number}");
        }
        assert!(!rules.receipts_have_status(4_369_999) && rules.receipts_have_status(4_370_000));
    }

    #[test]
    fn a_private_chain_has_its_own_forks_and_prices() {
        let config = r#"{"chainId": 7, "homesteadBlock": 0, "byzantiumBlock": 3, "mergeNetsplitBlock": 5, "shanghaiTime": 10,
            "cancunTime": 20, "blobSchedule": {"cancun": {"target": 1, "max": 2, "baseFeeUpdateFraction": 3}}, "ethash": {}}"#;
        let rules = Rules::from_config(&serde_json::from_str(config).unwrap()).unwrap();
        assert_eq!(spec_at(&rules, 2, 0), SpecId::HOMESTEAD);
        assert_eq!(spec_at(&rules, 3, 0), SpecId::BYZANTIUM);
        assert_eq!(spec_at(&rules, 5, 9), SpecId::MERGE);
        assert_eq!(spec_at(&rules, 6, 10), SpecId::SHANGHAI);
        assert_eq!(spec_at(&rules, 7, 20), SpecId::CANCUN);
        let header = Header { number: 7, timestamp: 20, excess_blob_gas: Some(3), ..Header::default() };
        let price = rules.environment(&header).block_env.blob_excess_gas_and_price.unwrap().blob_gasprice;
        assert_eq!(price, 2, "e, rounded down: the excess is as much as the fraction");
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let young = r#"{"name": "young", "chainId": 7, "trustRoots": {},
            "genesisHash": "0x0000000000000000000000000000000000000000000000000000000000000001"}"#;
        let young = ChainSpec::from_json(young).unwrap();
        let config = |text: &str| serde_json::from_str::<ForkConfig>(text).unwrap();
        assert_eq!(Rules::new(&young, None).err(), Some(RulesError::UnknownChain("young".into())));
        assert_eq!(
            Rules::new(&young, Some(&config(r#"{"chainId": 8}"#))).err(),
            Some(RulesError::ChainId { expected: 7, actual: 8 })
        );
        let untold = config(r#"{"chainId": 7, "terminalTotalDifficulty": 5}"#);
        assert_eq!(Rules::new(&young, Some(&untold)).err(), Some(RulesError::NoMergeBlock));
        assert!(Rules::new(&young, Some(&config(r#"{"chainId": 7, "terminalTotalDifficulty": 0}"#))).is_ok());
    }
}
