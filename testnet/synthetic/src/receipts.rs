//! Slim receipts with logs like mainnet's: few contracts and event signatures, many other accounts.

use alloy_primitives::B256;
use alloy_rlp::{Encodable, Header};

use crate::accounts::Accounts;
use crate::config::Fork;
use crate::random::Random;
use crate::transactions::Action;

/// Appends a slim receipt: `[tx-type, post-state-or-status, cumulative-gas, logs]`.
pub(crate) fn write_slim(
    random: &mut Random,
    accounts: &Accounts,
    fork: Fork,
    kind: u8,
    cumulative_gas: u64,
    action: Action,
    out: &mut Vec<u8>,
) {
    let mut logs = Vec::new();
    let has_failed = fork > Fork::Frontier && random.one_in(50);
    if !has_failed {
        for _ in 0..action.logs {
            write_log(random, accounts, &mut logs);
        }
    }
    let mut fields = Vec::with_capacity(64 + logs.len());
    kind.encode(&mut fields);
    if fork == Fork::Frontier {
        random.hash().encode(&mut fields)
    } else {
        (!has_failed).encode(&mut fields)
    }
    cumulative_gas.encode(&mut fields);
    write_list(&logs, &mut fields);
    write_list(&fields, out);
}

fn write_log(random: &mut Random, accounts: &Accounts, out: &mut Vec<u8>) {
    let mut topics = Vec::new();
    accounts.event(random).encode(&mut topics);
    for _ in 0..random.below(4) {
        let account = if random.one_in(2) { accounts.contract(random) } else { random.address() };
        account.into_word().encode(&mut topics);
    }
    let mut fields = Vec::new();
    accounts.contract(random).encode(&mut fields);
    write_list(&topics, &mut fields);
    let words = 1 + random.skewed(6);
    random.call_data(words * B256::len_bytes()).as_slice().encode(&mut fields);
    write_list(&fields, out);
}

/// Appends an RLP list of items that are encoded already.
pub(crate) fn write_list(payload: &[u8], out: &mut Vec<u8>) {
    Header { list: true, payload_length: payload.len() }.encode(out);
    out.extend_from_slice(payload);
}
