//! Transactions of every type, in proportions like mainnet's.

use alloy_consensus::{TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy, transaction::RlpEcdsaEncodableTx};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip4844::VERSIONED_HASH_VERSION_KZG,
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, TxKind, U256};

use crate::accounts::Accounts;
use crate::config::Fork;
use crate::random::Random;
use crate::signatures;
use crate::trust::CHAIN_ID;

/// Bytes of a contract's method and two arguments, such as a token transfer.
const TOKEN_CALL: usize = 68;

/// What a transaction does: how much it carries, and how many logs it leaves behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action {
    call_data: usize,
    pub(crate) logs: u64,
    pub(crate) gas: u64,
}

impl Action {
    /// Sending ether.
    pub(crate) const TRANSFER: Self = Self { call_data: 0, logs: 0, gas: 21_000 };

    /// Any action that leaves the block about `room` bytes at most.
    pub(crate) fn draw(random: &mut Random, room: usize) -> Self {
        let action = match random.below(100) {
            ..30 => Self::TRANSFER,
            30..60 => Self { call_data: TOKEN_CALL, logs: 1, gas: 50_000 },
            60..97 => {
                let logs = 2 + random.below(7);
                Self { call_data: 36 + 32 * random.below(40) as usize, logs, gas: 60_000 + 30_000 * logs }
            }
            // Batches of a rollup.
            _ => Self { call_data: 2_000 + random.below(16_000) as usize, logs: 1, gas: 400_000 },
        };
        const LOG: usize = 150;
        const OVERHEAD: usize = 200;
        let size = OVERHEAD + action.call_data + LOG * action.logs as usize;
        if size <= room { action } else { Self::TRANSFER }
    }
}

/// Appends the EIP-2718 encoding of a transaction, and returns its type.
pub(crate) fn write(random: &mut Random, accounts: &Accounts, fork: Fork, action: Action, out: &mut Vec<u8>) -> u8 {
    let nonce = random.below(1 << 16);
    let fee = u128::from(random.below(1 << 36));
    let to = if action.logs == 0 { random.address() } else { accounts.contract(random) };
    let value = if action.logs == 0 { U256::from(random.number()) } else { U256::ZERO };
    let input = random.call_data(action.call_data).into();
    let gas_limit = action.gas + action.gas / 4;
    let (max_fee_per_gas, max_priority_fee_per_gas) = (fee, fee / 16);
    let access_list = access_list(random, accounts);
    let signature = signatures::draw(random);
    let kind = draw_type(random, fork);
    match kind {
        0 => {
            let chain_id = (fork > Fork::Frontier).then_some(CHAIN_ID);
            let to = if random.one_in(100) { TxKind::Create } else { TxKind::Call(to) };
            TxLegacy { chain_id, nonce, gas_price: fee, gas_limit, to, value, input }.eip2718_encode(&signature, out);
        }
        1 => TxEip2930 {
            chain_id: CHAIN_ID,
            nonce,
            gas_price: fee,
            gas_limit,
            to: TxKind::Call(to),
            value,
            access_list,
            input,
        }
        .eip2718_encode(&signature, out),
        2 => TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: TxKind::Call(to),
            value,
            access_list: if random.one_in(10) { access_list } else { AccessList::default() },
            input,
        }
        .eip2718_encode(&signature, out),
        3 => TxEip4844 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list: AccessList::default(),
            blob_versioned_hashes: (0..=random.below(6)).map(|_| versioned_hash(random)).collect(),
            max_fee_per_blob_gas: fee,
            input,
        }
        .eip2718_encode(&signature, out),
        _ => TxEip7702 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list: AccessList::default(),
            authorization_list: (0..=random.below(3)).map(|_| authorization(random, to)).collect(),
            input,
        }
        .eip2718_encode(&signature, out),
    }
    kind
}

/// The types that the fork knows, the newer ones more often.
fn draw_type(random: &mut Random, fork: Fork) -> u8 {
    match (fork, random.below(100)) {
        (Fork::Frontier, _) => 0,
        (Fork::Byzantium, ..90) => 0,
        (Fork::Byzantium, _) => 1,
        (_, ..20) => 0,
        (_, 20..24) => 1,
        (Fork::Cancun | Fork::Prague, 95..) => 3,
        (Fork::Prague, 88..) => 4,
        _ => 2,
    }
}

fn access_list(random: &mut Random, accounts: &Accounts) -> AccessList {
    let item = |random: &mut Random| AccessListItem {
        address: accounts.contract(random),
        storage_keys: (0..random.below(5)).map(|_| random.hash()).collect(),
    };
    AccessList((0..=random.below(3)).map(|_| item(random)).collect())
}

fn versioned_hash(random: &mut Random) -> B256 {
    let mut hash = random.hash();
    hash[0] = VERSIONED_HASH_VERSION_KZG;
    hash
}

fn authorization(random: &mut Random, address: Address) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address, nonce: random.below(100) };
    SignedAuthorization::new_unchecked(authorization, random.below(2) as u8, random.word(), random.word())
}
