//! The state between blocks: what the store has, what is not written yet, and how a block's changes get into both.
//!
//! | module | what |
//! |---|---|
//! | `account` | an account in the store, and as a leaf |
//! | `apply` | changes brought into the tries |
//! | `pending` | what is not written yet |
//! | `view` | the store, and over it what is not written yet |

mod account;
mod apply;
mod pending;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use account::{Account, AccountInfo};
pub(crate) use apply::{AccountChange, Applied, apply};
pub(crate) use pending::Pending;
pub(crate) use view::{LayeredView, View};
