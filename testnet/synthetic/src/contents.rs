//! What is in a block: body and receipts, from the seed and the block's number alone.

use alloy_rlp::Encodable;

use crate::accounts::Accounts;
use crate::config::{Fork, SyntheticConfig};
use crate::random::{Purpose, Random};
use crate::receipts::write_list;
use crate::transactions::Action;
use crate::{ommers, receipts, transactions};

/// Withdrawals of a block: `MAX_WITHDRAWALS_PER_PAYLOAD` of the consensus specification.
const WITHDRAWALS: u64 = 16;
/// Blob gas of a transaction with three blobs (EIP-4844).
const BLOB_GAS: u64 = 3 << 17;

/// Body and receipts of a block.
#[derive(Debug)]
pub(crate) struct Contents {
    /// RLP `[transactions, ommers, withdrawals?]`.
    pub(crate) body: Vec<u8>,
    /// RLP list of slim receipts.
    pub(crate) receipts: Vec<u8>,
    pub(crate) gas_used: u64,
    pub(crate) blob_gas_used: u64,
}

impl Contents {
    pub(crate) fn new(config: &SyntheticConfig, accounts: &Accounts, number: u64) -> Self {
        let fork = config.fork(number);
        let mut random = Random::new(config.seed, Purpose::Contents, number);
        let mut ommers = Vec::new();
        if fork < Fork::Paris {
            ommers::write(&mut random, number, &mut ommers);
        }
        let mut withdrawals = Vec::new();
        if fork >= Fork::Shanghai {
            write_withdrawals(&mut random, number, &mut withdrawals);
        }

        let size = match number {
            0 => 0, // genesis has no transactions
            _ => config.block_size / 2 + random.below(config.block_size as u64 + 1) as usize,
        };
        let (mut transactions, mut receipts, mut envelope) = (Vec::new(), Vec::new(), Vec::new());
        let (mut gas_used, mut blob_gas_used) = (0, 0);
        loop {
            let used = transactions.len() + receipts.len() + ommers.len() + withdrawals.len();
            // The last transaction may go over: stopping half of a small one before the end keeps the average.
            let Some(room) = size.checked_sub(used + SMALL_TRANSACTION / 2) else { break };
            let action = Action::draw(&mut random, room);
            envelope.clear();
            let kind = transactions::write(&mut random, accounts, fork, action, &mut envelope);
            match kind {
                0 => transactions.extend_from_slice(&envelope),
                _ => envelope.as_slice().encode(&mut transactions),
            }
            gas_used += action.gas;
            blob_gas_used += if kind == 3 { BLOB_GAS } else { 0 };
            receipts::write_slim(&mut random, accounts, fork, kind, gas_used, action, &mut receipts);
        }

        let mut fields = Vec::with_capacity(transactions.len() + ommers.len() + withdrawals.len() + 32);
        write_list(&transactions, &mut fields);
        write_list(&ommers, &mut fields);
        if fork >= Fork::Shanghai {
            write_list(&withdrawals, &mut fields);
        }
        let mut contents =
            Self { body: Vec::with_capacity(fields.len() + 16), receipts: Vec::new(), gas_used, blob_gas_used };
        write_list(&fields, &mut contents.body);
        write_list(&receipts, &mut contents.receipts);
        contents
    }
}

/// A transfer of ether with its receipt, bytes.
const SMALL_TRANSACTION: usize = 130;

/// Appends withdrawals, `[index, validator-index, address, amount]` each (EIP-4895).
fn write_withdrawals(random: &mut Random, number: u64, out: &mut Vec<u8>) {
    let mut fields = Vec::new();
    for nth in 0..WITHDRAWALS {
        fields.clear();
        (number * WITHDRAWALS + nth).encode(&mut fields);
        random.below(1 << 20).encode(&mut fields);
        random.address().encode(&mut fields);
        random.below(1 << 25).encode(&mut fields);
        write_list(&fields, out);
    }
}
