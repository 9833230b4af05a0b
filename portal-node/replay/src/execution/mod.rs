//! One block executed on a state, and what it yields held against its header.
//!
//! | module | what |
//! |---|---|
//! | `block_state` | the state while a block is executed |
//! | `code_cache` | code that was analysed already |
//! | `execute` | the execution and its checks |
//! | `intermediate` | roots between transactions, which receipts had before Byzantium |

mod block_state;
mod code_cache;
mod execute;
mod intermediate;
#[cfg(test)]
mod tests;

pub use block_state::StateError;
pub(crate) use code_cache::CodeCache;
pub use execute::ExecutionError;
pub(crate) use execute::{Executed, execute};
