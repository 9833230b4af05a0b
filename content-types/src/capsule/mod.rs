//! Proof capsules: accounts of one block, any of their slots and their code, with everything that proves them, as one object
//! that can be checked without a network, now or in fifty years.
//!
//! A [`Capsule`] says what it tells of ([`Claim`]) and has the nodes that lead there from the state root of a header, the codes, the
//! header, and the header's own proof. Nodes that several claims lead through stand once. There is one capsule for a set of claims
//! and a block: claims are in order, and nodes and codes follow in the order in which the claims lead through them, so that
//! whatever is missing, doubled or too much is refused.
//!
//! | module | what |
//! |---|---|
//! | [`value`] | the object and its encoding |
//! | `error` | what is wrong with one |
//! | [`opened`] | the way through it: making one, and checking one |
//! | `contents` | what it tells, as the state network takes it |
//!
//! Peers keep capsules for one another in a sub-network of their own: [`crate::capsules`].

mod contents;
mod error;
pub mod opened;
pub mod value;

pub use error::{CapsuleError, MakeError};
pub use opened::{Opened, OpenedAccount, OpenedSlot};
pub use value::{Capsule, Claim};
