//! A synthetic chain of any length with its own trust roots and archive files, the same from the same seed.
//!
//! Everything about it is well-formed and everything verifies: transactions of every type, logs and their blooms, ommers,
//! withdrawals, header proofs of all four kinds under the chain's own trust roots. Nothing was executed and
//! nobody signed: it is an arbitrary number whom a signature is recovered to. So are state roots, unless the chain is to have a
//! state, which then is one of its own: what its transactions say does not come about in it.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | how long the chain is, which forks it goes through, how large its blocks are |
//! | `random` | the generator that everything arbitrary comes from |
//! | `contents`, `transactions`, `signatures`, `receipts`, `ommers` | what is in a block, from the seed and the number alone |
//! | `clock` | which slot a block has, and when it was made |
//! | `trust` | epochs, beacon periods and the proofs from them |
//! | [`state`] | accounts, storage and code at each block, with their proofs |
//! | [`chain`] | the chain: headers in memory, contents made anew whenever a block is asked for |
//! | `archives` | the chain as era1 and ere files |
//!
//! ```
//! use cairn_synthetic::{SyntheticChain, SyntheticConfig};
//!
//! let chain = SyntheticChain::new(SyntheticConfig { seed: 7, ..SyntheticConfig::small() }).unwrap();
//! let block = chain.block(3).unwrap();
//! chain.verifier().verify(&block.header_with_proof()).unwrap();
//! ```

mod accounts;
mod archives;
pub mod chain;
mod clock;
pub mod config;
mod contents;
mod ommers;
mod random;
mod receipts;
mod signatures;
pub mod state;
mod transactions;
mod trust;

pub use chain::{Block, SyntheticChain, SyntheticError};
pub use config::{ConfigError, SyntheticConfig};
pub use state::{State, StateAccount};
