//! Which accounts are meant, and what of each: the same in every command that asks for a part of a state.

use alloy_primitives::{Address, U256};
use clap::{ArgGroup, Args};
use content_types::capsule::Claim;

use crate::values;

/// What names accounts. At least one has to be named, unless a command has another flag in the group `accounts`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("accounts").required(true).multiple(true))]
pub(crate) struct ClaimArgs {
    /// An account; may be given several times
    #[arg(long, group = "accounts", value_name = "ADDRESS", value_parser = values::hexadecimal::<Address>("an address: 0x and 40 hex digits"))]
    account: Vec<Address>,
    /// A slot of the storage of each of these accounts, as a number or 32 bytes in hexadecimal; may be given several times
    #[arg(long, value_name = "SLOT", value_parser = values::hexadecimal::<U256>("a slot: a number, or 0x and up to 64 hex digits"))]
    slot: Vec<U256>,
    /// With the code of each of these accounts
    #[arg(long)]
    code: bool,
}

impl ClaimArgs {
    /// What is asked for: of each account the same.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let claim = |address: &Address| Claim { address: *address, slots: self.slot.clone(), code: self.code };
        self.account.iter().map(claim).collect()
    }
}
