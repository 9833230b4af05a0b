//! The execution of a block: alloy's executor, which knows rewards, system calls, withdrawals and the DAO's fork, on a state of
//! ours. Gas, receipts and requests are held against the header; the state's root is for who applies the changes.

use alloy_consensus::{Eip658Value, ReceiptEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_evm::block::{BlockExecutionError, BlockExecutor as _};
use alloy_evm::eth::receipt_builder::AlloyReceiptBuilder;
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor, EthEvmFactory};
use alloy_evm::{Evm as _, EvmFactory as _};
use alloy_primitives::B256;
use alloy_primitives::map::B256Map;
use bytes::Bytes;
use content_types::block::ordered_trie_root;

use super::block_state::BlockState;
use super::code_cache::CodeCache;
use super::intermediate::Intermediate;
use crate::block::RecoveredBlock;
use crate::rules::Rules;
use crate::state::{AccountChange, View};
use crate::trie::TrieError;

/// A block that cannot be executed, or yields other than its header says.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The execution failed: the block is invalid on this state, or the state cannot be read.
    #[error(transparent)]
    Failed(#[from] BlockExecutionError),
    /// The root between two transactions cannot be computed.
    #[error(transparent)]
    Trie(#[from] TrieError),
    /// It takes other gas.
    #[error("gas used is {actual}, and not {expected}")]
    GasUsed {
        /// The header's.
        expected: u64,
        /// What was used.
        actual: u64,
    },
    /// It yields other receipts.
    #[error("the receipts' root is {actual}, and not {expected}")]
    ReceiptsRoot {
        /// The header's.
        expected: B256,
        /// That of the receipts.
        actual: B256,
    },
    /// It yields other requests to the consensus layer (EIP-7685).
    #[error("the requests' hash is {actual}, and not {expected}")]
    RequestsHash {
        /// The header's.
        expected: B256,
        /// That of the requests.
        actual: B256,
    },
}

/// What a block has changed.
pub(crate) struct Executed {
    pub(crate) changes: Vec<AccountChange>,
    pub(crate) codes: B256Map<Bytes>,
}

/// Executes a block on the state before it, which has this root and so many tries.
pub(crate) fn execute<V: View>(
    rules: &Rules,
    block: &RecoveredBlock,
    view: &V,
    codes: &mut CodeCache,
    (root, tries): (B256, u64),
) -> Result<Executed, ExecutionError> {
    let header = &block.header;
    let mut state = BlockState::new(view, codes);
    let evm = EthEvmFactory::default().create_evm(&mut state, rules.environment(header));
    let context = EthBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        ommers: &block.ommers,
        withdrawals: block.withdrawals.as_deref().map(Into::into),
        extra_data: header.extra_data.clone(),
        tx_count_hint: Some(block.transactions.len()),
        slot_number: None,
    };
    let mut executor = EthBlockExecutor::new(evm, context, rules, AlloyReceiptBuilder::default());
    executor.apply_pre_execution_changes()?;
    let mut intermediate = (!rules.receipts_have_status(header.number)).then(|| Intermediate::new(root, tries));
    let mut roots = Vec::new();
    for transaction in &block.transactions {
        executor.execute_transaction(transaction)?;
        if let Some(intermediate) = &mut intermediate {
            roots.push(intermediate.advance(executor.evm_mut().db_mut())?);
        }
    }
    let result = executor.apply_post_execution_changes()?;
    if result.gas_used != header.gas_used {
        return Err(ExecutionError::GasUsed { expected: header.gas_used, actual: result.gas_used });
    }
    let mut receipts = result.receipts;
    receipts.iter_mut().zip(roots).for_each(|(receipt, root)| set_root(receipt, root));
    let encoded: Vec<Vec<u8>> = receipts.iter().map(|receipt| receipt.encoded_2718()).collect();
    let receipts_root = ordered_trie_root(&encoded);
    if receipts_root != header.receipts_root {
        return Err(ExecutionError::ReceiptsRoot { expected: header.receipts_root, actual: receipts_root });
    }
    if let Some(expected) = header.requests_hash {
        let actual = result.requests.requests_hash();
        if actual != expected {
            return Err(ExecutionError::RequestsHash { expected, actual });
        }
    }
    let (changes, codes) = state.into_changes();
    Ok(Executed { changes, codes })
}

/// Puts the root of the state in the place of the status.
fn set_root(receipt: &mut ReceiptEnvelope, root: B256) {
    if let ReceiptEnvelope::Legacy(receipt) = receipt {
        receipt.receipt.status = Eip658Value::PostState(root);
    }
}
