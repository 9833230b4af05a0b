//! The state network, `0x500A`: nodes of the account trie and of storage tries, and code, of any block's state.
//!
//! What is offered comes with the proof that leads to it from the state root of a block. What is stored, and found by who asks,
//! is bare, since it may belong to the states of many blocks; whoever asks for it has its hash from the node above.
//!
//! The room is not in the registry yet ([`crate::sub_network`]): no peer speaks this sub-network.
//!
//! | module | what |
//! |---|---|
//! | [`key`] | content keys |
//! | [`value`] | both forms of a value |
//! | `check` | what a value takes to be judged, and the check |

mod check;
pub mod key;
pub mod value;

pub use key::ContentKey;
pub use value::{Bare, Proved};
