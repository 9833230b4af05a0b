//! The chain of the load. Its headers say what the replay itself finds out: each block is tried with a header that is wrong, and
//! the error tells what it would have to be.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::ops::ControlFlow;

use alloy_consensus::transaction::SignableTransaction as _;
use alloy_consensus::{BlockBody, EMPTY_OMMER_ROOT_HASH, Header, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, bytes, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use cairn_replay::error::Trouble;
use cairn_replay::execution::ExecutionError;
use cairn_replay::genesis::GenesisAccount;
use cairn_replay::rules::{ForkConfig, RulesError};
use cairn_replay::store::DiskStore;
use cairn_replay::{Block, Genesis, Replay, Rules};
use content_types::block::ordered_trie_root;
use k256::ecdsa::SigningKey;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const CHAIN_ID: u64 = 1337;
const GAS_LIMIT: u64 = 30_000_000;
const BASE_FEE: u64 = 7;
const CONTRACTS: u64 = 100;
const SLOTS_OF_EACH: u64 = 10_000;
const ACCOUNTS: u64 = 200_000;
const SENDERS: usize = 2000;
const TRANSACTIONS: usize = 200;
const SLOTS_OF_CALL: usize = 4;
/// Writes the slots of its input: pairs of number and value.
const CODE: Bytes = bytes!("5f5b8036146016578060200135813555604001600156" "5b00");

type Failed = Box<dyn Error>;

fn config() -> ForkConfig {
    ForkConfig {
        chain_id: CHAIN_ID,
        homestead_block: Some(0),
        eip150_block: Some(0),
        eip158_block: Some(0),
        byzantium_block: Some(0),
        constantinople_block: Some(0),
        istanbul_block: Some(0),
        berlin_block: Some(0),
        london_block: Some(0),
        merge_netsplit_block: Some(0),
        shanghai_time: Some(0),
        ..ForkConfig::default()
    }
}

pub(crate) fn rules() -> Result<Rules, RulesError> {
    Rules::from_config(&config())
}

pub(crate) fn empty_genesis() -> Genesis {
    Genesis::new(Some(config()), BTreeMap::new(), GAS_LIMIT)
}

pub(crate) fn genesis() -> Genesis {
    let mut alloc = BTreeMap::new();
    for number in 0..ACCOUNTS {
        alloc.insert(account(number), GenesisAccount { balance: U256::from(number + 1), ..GenesisAccount::default() });
    }
    for number in 0..CONTRACTS {
        let storage = (0..SLOTS_OF_EACH).map(|slot| (B256::from(U256::from(slot)), keccak256(slot.to_be_bytes())));
        let contract = GenesisAccount { code: CODE, storage: storage.collect(), ..GenesisAccount::default() };
        alloc.insert(contract_at(number), contract);
    }
    for number in 0..SENDERS {
        let rich = GenesisAccount { balance: U256::from(10).pow(U256::from(24)), ..GenesisAccount::default() };
        alloc.insert(sender_at(number), rich);
    }
    Genesis::new(Some(config()), alloc, GAS_LIMIT)
}

/// An address that stands for a number.
fn account(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

fn contract_at(number: u64) -> Address {
    Address::from_word(keccak256([&b"contract"[..], &number.to_be_bytes()].concat()))
}

/// The key of a sender, and its address.
fn key(number: usize) -> Option<SigningKey> {
    SigningKey::from_slice(keccak256([&b"sender"[..], &number.to_be_bytes()].concat()).as_slice()).ok()
}

fn sender_at(number: usize) -> Address {
    let Some(key) = key(number) else { return Address::ZERO };
    Address::from_raw_public_key(&key.verifying_key().to_sec1_point(false).as_bytes()[1..])
}

/// Makes one block after the other.
pub(crate) struct Builder {
    random: StdRng,
    nonces: Vec<u64>,
    parent: B256,
}

impl Builder {
    pub(crate) fn new() -> Self {
        let random = StdRng::seed_from_u64(1);
        let genesis = Block::from_parts(Header::default(), BlockBody::default());
        Self { random, nonces: vec![0; SENDERS], parent: genesis.hash() }
    }

    /// The block in RLP; it is replayed as well.
    pub(crate) fn next_block(&mut self, number: u64, replay: &mut Replay<DiskStore>) -> Result<Vec<u8>, Failed> {
        if let Some(reached) = replay.reached() {
            self.parent = reached.hash;
        }
        let transactions: Vec<TxEnvelope> =
            (0..TRANSACTIONS).map(|at| self.transaction(at)).collect::<Result<_, Failed>>()?;
        let encoded: Vec<Vec<u8>> = transactions.iter().map(|transaction| transaction.encoded_2718()).collect();
        let mut header = Header {
            parent_hash: self.parent,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            transactions_root: ordered_trie_root(&encoded),
            beneficiary: Address::repeat_byte(0xcb),
            number,
            gas_limit: GAS_LIMIT,
            timestamp: number * 12,
            base_fee_per_gas: Some(BASE_FEE),
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            ..Header::default()
        };
        loop {
            let body = BlockBody {
                transactions: transactions.clone(),
                ommers: Vec::new(),
                withdrawals: Some(Vec::new().into()),
            };
            let block = Block::from_parts(header.clone(), body.clone());
            let outcome = replay.run(std::iter::once(Ok::<_, Infallible>(block)), |_| ControlFlow::Continue(()));
            match outcome.map_err(|error| error.trouble) {
                Ok(_) => return Ok(alloy_rlp::encode(alloy_consensus::Block { header, body })),
                Err(Trouble::Execution(ExecutionError::GasUsed { actual, .. })) => header.gas_used = actual,
                Err(Trouble::Execution(ExecutionError::ReceiptsRoot { actual, .. })) => header.receipts_root = actual,
                Err(Trouble::StateRoot { actual, .. }) => header.state_root = actual,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn transaction(&mut self, at: usize) -> Result<TxEnvelope, Failed> {
        let sender = self.random.random_range(0..SENDERS);
        let (to, input) = if at.is_multiple_of(2) {
            (account(self.random.random_range(0..ACCOUNTS)), Bytes::new())
        } else {
            let slots = (0..SLOTS_OF_CALL).flat_map(|_| {
                let slot = U256::from(self.random.random_range(0..SLOTS_OF_EACH));
                [slot, U256::from(self.random.random::<u128>())].map(|word| word.to_be_bytes::<32>())
            });
            let input: Vec<u8> = slots.flatten().collect();
            (contract_at(self.random.random_range(0..CONTRACTS)), input.into())
        };
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonces[sender],
            gas_limit: 200_000,
            max_fee_per_gas: 100,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(to),
            value: U256::from(1),
            input,
            ..TxEip1559::default()
        };
        self.nonces[sender] += 1;
        let key = key(sender).ok_or("no key")?;
        let (signature, recovery) = key.sign_prehash_recoverable(transaction.signature_hash().as_slice());
        let signature = Signature::from_bytes_and_parity(&signature.to_bytes(), recovery.is_y_odd());
        Ok(transaction.into_signed(signature).into())
    }
}
