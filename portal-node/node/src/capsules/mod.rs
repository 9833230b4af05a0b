//! Proof capsules: where they come from, and how peers keep them for one another.
//!
//! | module | what |
//! |---|---|
//! | `eip1186` | out of what execution clients prove by `eth_getProof`, and back into that form |
//! | `shared` | given to the peers of the capsules' network, and found there |

mod eip1186;
mod shared;

pub use eip1186::{CapsuleSourceError, GivenProofs, NoProofs, NotGiven, ProofClient, proofs};
pub use shared::{CapsuleGetError, CapsulePutError, SharedCapsules};
