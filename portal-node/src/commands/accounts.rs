//! Accounts as they are shown, whether they come out of a capsule or out of the state network.

use alloy_primitives::{Address, Bytes, U256};
use alloy_trie::TrieAccount;
use serde_json::{Map, Value, json};

use crate::{failure::Failure, output};

/// An account and what is told of it.
pub(super) struct ShownAccount<'a> {
    pub(super) address: Address,
    /// `None`: the state has none under the address.
    pub(super) account: Option<TrieAccount>,
    /// Slots and what stands in them.
    pub(super) slots: Vec<(U256, U256)>,
    /// Its code, if it is told.
    pub(super) code: Option<&'a Bytes>,
}

impl ShownAccount<'_> {
    /// As an object.
    pub(super) fn json(&self) -> Value {
        // Of an account that there is not, what an empty one has.
        let account = self.account.unwrap_or_default();
        let slots = self.slots.iter().map(|(slot, value)| (format!("{slot:#x}"), json!(value)));
        json!({
            "address": self.address,
            "exists": self.account.is_some(),
            "balance": account.balance,
            "nonce": account.nonce,
            "codeHash": account.code_hash,
            "storageRoot": account.storage_root,
            "slots": slots.collect::<Map<_, _>>(),
            "code": self.code,
        })
    }

    /// As lines.
    pub(super) fn print(&self) -> Result<(), Failure> {
        match self.account {
            None => output::line(format_args!("{}: there is no such account", self.address))?,
            Some(account) => output::line(format_args!(
                "{}: balance {} wei, nonce {}, code {}, storage {}",
                self.address, account.balance, account.nonce, account.code_hash, account.storage_root
            ))?,
        }
        for (slot, value) in &self.slots {
            output::line(format_args!("  slot {slot:#x}: {value:#x}"))?;
        }
        if let Some(code) = self.code {
            output::line(format_args!("  code of {} bytes", code.len()))?;
        }
        Ok(())
    }
}
