//! Replay of the chain: archived blocks executed one after the other, every block's state root checked, new trie nodes
//! handed out.
//!
//! [`Replay`] is given blocks that were proved to be the chain's, and a [`store`] for the state. What a block has brought,
//! [`Changes`], is handed out once the root of the state behind it is the one that its header has.
//!
//! | module | what |
//! |---|---|
//! | [`genesis`] | the state that a chain begins with |
//! | [`rules`] | which fork is active at which block |
//! | [`block`] | a block as it is replayed |
//! | [`eras`] | blocks out of era files |
//! | [`store`] | where the state lies: a database behind a narrow trait |
//! | [`trie`] | tries in the store, changed in batches |
//! | `state` | the state between blocks: the store, and what is not written yet |
//! | [`execution`] | one block on a state, held against its header |
//! | [`changes`] | what a block hands out |
//! | [`offers`] | the same with proofs, as the state network takes it |
//! | `tip` | the state at the youngest block, and how it goes on by one |
//! | `prepare` | who sent the transactions of blocks to come |
//! | [`replay`] | the loop, and who writes |
//! | [`error`] | what ends it |

pub mod block;
pub mod changes;
pub mod eras;
pub mod error;
pub mod execution;
pub mod genesis;
pub mod offers;
pub mod replay;
pub mod rules;
pub mod store;
pub mod trie;

mod prepare;
mod state;
mod tip;

pub use block::Block;
pub use changes::{AccountCode, Changes, TrieNode};
pub use error::ReplayError;
pub use genesis::Genesis;
pub use replay::{BatchLimits, Progress, Replay, Sink};
pub use rules::Rules;
