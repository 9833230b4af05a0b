//! Replay of the chain: archived blocks executed one after the other, every block's state root checked, new trie nodes
//! handed out.
//!
//! | module | what |
//! |---|---|
//! | [`genesis`] | the state that a chain begins with |
//! | [`rules`] | which fork is active at which block |
//! | [`store`] | where the state lies: a database behind a narrow trait |
//! | [`trie`] | tries in the store, changed in batches |

pub mod genesis;
#[cfg_attr(not(test), expect(dead_code, reason = "what executes blocks comes next"))]
pub mod rules;
pub mod store;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the state that is made of tries comes next"))]
pub mod trie;

pub use genesis::Genesis;
pub use rules::Rules;
