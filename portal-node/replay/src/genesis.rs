//! The state that a chain begins with, from geth's genesis file: the allocation, its root, and the header of block 0.

use std::collections::BTreeMap;

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_hardforks::EthereumHardforks as _;
use alloy_primitives::{Address, B64, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::root::{state_root_unhashed, storage_root_unhashed};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use serde::Deserialize;

use crate::rules::{ForkConfig, Rules};

/// Price of a unit of gas in block 0 in wei, where London begins with it and the file does not say (EIP-1559).
const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// A genesis file's content. Fields that are not listed are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Genesis {
    /// The forks; mainnet's and Sepolia's are known without.
    pub config: Option<ForkConfig>,
    /// What each account has before block 1.
    pub alloc: BTreeMap<Address, GenesisAccount>,
    #[serde(flatten)]
    header: HeaderFields,
}

/// Fields of block 0's header, where it has others than nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeaderFields {
    nonce: U256,
    timestamp: U256,
    extra_data: Bytes,
    gas_limit: U256,
    difficulty: U256,
    mix_hash: B256,
    coinbase: Address,
    base_fee_per_gas: Option<U256>,
    excess_blob_gas: Option<U256>,
    blob_gas_used: Option<U256>,
}

/// What one account begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct GenesisAccount {
    /// In wei.
    #[serde(default)]
    pub balance: U256,
    /// Transactions it is taken to have sent.
    #[serde(default)]
    pub nonce: U256,
    /// Its code.
    #[serde(default)]
    pub code: Bytes,
    /// Its storage; a slot with the value 0 is none.
    #[serde(default)]
    pub storage: BTreeMap<B256, B256>,
}

/// A file that is no genesis file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// It is no JSON, or a field is missing or malformed.
    #[error("malformed genesis file: {0}")]
    Json(String),
    /// A number has more than 64 bits where that is all a block has room for.
    #[error("the genesis file's {field} is {value}, more than 64 bits have")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its value.
        value: U256,
    },
}

impl Genesis {
    /// Reads a genesis file: a JSON object with `alloc` (address to `balance`, `nonce`, `code`, `storage`, all but the
    /// address optional), the fields of block 0's header, and `config` where the chain is a private one.
    ///
    /// # Errors
    ///
    /// [`GenesisError`].
    pub fn from_json(text: &str) -> Result<Self, GenesisError> {
        let genesis: Self = serde_json::from_str(text).map_err(|error| GenesisError::Json(error.to_string()))?;
        let header = &genesis.header;
        let optional = |value: Option<U256>| value.unwrap_or_default();
        let fields = [
            ("nonce", header.nonce),
            ("timestamp", header.timestamp),
            ("gasLimit", header.gas_limit),
            ("baseFeePerGas", optional(header.base_fee_per_gas)),
            ("excessBlobGas", optional(header.excess_blob_gas)),
            ("blobGasUsed", optional(header.blob_gas_used)),
        ];
        let nonces = genesis.alloc.values().map(|account| ("nonce of an account", account.nonce));
        match fields.into_iter().chain(nonces).find(|(_, value)| u64::try_from(*value).is_err()) {
            Some((field, value)) => Err(GenesisError::TooLarge { field, value }),
            None => Ok(genesis),
        }
    }

    /// A chain that begins with these accounts, and a header that has nothing but its gas limit.
    pub fn new(config: Option<ForkConfig>, alloc: BTreeMap<Address, GenesisAccount>, gas_limit: u64) -> Self {
        Self { config, alloc, header: HeaderFields { gas_limit: U256::from(gas_limit), ..HeaderFields::default() } }
    }

    /// The root of the state that the file describes, computed from nothing but the file.
    pub fn state_root(&self) -> B256 {
        state_root_unhashed(self.alloc.iter().map(|(address, account)| (*address, account.trie_account())))
    }

    /// The header of block 0.
    pub fn header(&self, rules: &Rules) -> Header {
        let fields = &self.header;
        let number = |value: U256| value.saturating_to::<u64>();
        let time = number(fields.timestamp);
        let is_cancun = rules.is_cancun_active_at_timestamp(time);
        let in_cancun = |value: Option<U256>| is_cancun.then(|| number(value.unwrap_or_default()));
        let base_fee = fields.base_fee_per_gas.map_or(INITIAL_BASE_FEE, number);
        Header {
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: fields.coinbase,
            state_root: self.state_root(),
            transactions_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            difficulty: fields.difficulty,
            gas_limit: number(fields.gas_limit),
            timestamp: time,
            extra_data: fields.extra_data.clone(),
            mix_hash: fields.mix_hash,
            nonce: B64::from(number(fields.nonce)),
            base_fee_per_gas: rules.is_london_active_at_block(0).then_some(base_fee),
            withdrawals_root: rules.is_shanghai_active_at_timestamp(time).then_some(EMPTY_ROOT_HASH),
            blob_gas_used: in_cancun(fields.blob_gas_used),
            excess_blob_gas: in_cancun(fields.excess_blob_gas),
            parent_beacon_block_root: is_cancun.then_some(B256::ZERO),
            requests_hash: rules.is_prague_active_at_timestamp(time).then_some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        }
    }
}

impl GenesisAccount {
    /// The Keccak-256 hash of the code.
    pub fn code_hash(&self) -> B256 {
        if self.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&self.code) }
    }

    fn trie_account(&self) -> TrieAccount {
        let slots = self.storage.iter().filter(|(_, value)| !value.is_zero());
        let slots = slots.map(|(slot, value)| (*slot, U256::from_be_bytes(value.0)));
        TrieAccount {
            nonce: self.nonce.saturating_to(),
            balance: self.balance,
            storage_root: storage_root_unhashed(slots),
            code_hash: self.code_hash(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_genesis_file() {
        for (text, message) in [
            ("", "EOF"),
            ("{}", "missing field `alloc`"),
            (r#"{"alloc": {"00": {}}}"#, "invalid"),
            (r#"{"alloc": {}, "gasLimit": "0x10000000000000000"}"#, "gasLimit is 18446744073709551616"),
            (
                r#"{"alloc": {"0000000000000000000000000000000000000001": {"nonce": "0x10000000000000000"}}}"#,
                "nonce of an account is",
            ),
        ] {
            let error = Genesis::from_json(text).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn an_empty_allocation_is_the_empty_trie() {
        assert_eq!(Genesis::from_json(r#"{"alloc": {}}"#).unwrap().state_root(), EMPTY_ROOT_HASH);
    }
}
