//! The accounts and events that come up again and again, as on a real chain.

use alloy_primitives::{Address, B256};

use crate::random::{Purpose, Random};

/// Contracts that transactions call and that logs come from.
const CONTRACTS: usize = 256;
/// Signatures of events.
const EVENTS: usize = 32;

/// The accounts and events that all blocks of a chain share.
#[derive(Debug)]
pub(crate) struct Accounts {
    contracts: Vec<Address>,
    events: Vec<B256>,
}

impl Accounts {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, Purpose::Accounts, 0);
        Self {
            contracts: (0..CONTRACTS).map(|_| random.address()).collect(),
            events: (0..EVENTS).map(|_| random.hash()).collect(),
        }
    }

    pub(crate) fn contract(&self, random: &mut Random) -> Address {
        self.contracts[random.skewed(CONTRACTS)]
    }

    pub(crate) fn event(&self, random: &mut Random) -> B256 {
        self.events[random.skewed(EVENTS)]
    }
}
