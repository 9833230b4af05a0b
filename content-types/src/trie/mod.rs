//! Merkle Patricia tries as others have built them: ways through them, their nodes, and proofs that lead from a root to a node or to
//! what lies under a key. ([`crate::block`] computes the roots of tries whose keys are known beforehand.)
//!
//! | module | what |
//! |---|---|
//! | [`nibbles`] | the way from a root to a node |
//! | `node` | one node, and where a way goes on from it |
//! | [`walk`] | the way down, node by node |
//! | `error` | what is wrong with a proof |
//! | [`proof`] | proofs, of nodes and of what lies under a key |

mod error;
pub mod nibbles;
mod node;
pub mod proof;
pub mod walk;

pub use error::ProofError;
pub use nibbles::Nibbles;
pub use node::NodeError;
pub use walk::{Reached, Walk};
