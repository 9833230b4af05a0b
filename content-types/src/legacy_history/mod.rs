//! The legacy history network, `0x500B`: headers by hash and by number, bodies and receipts by block hash, headers near
//! the head of the chain.
//!
//! Values of headers are in [`crate::header`].

pub mod ephemeral;
pub mod key;

pub use ephemeral::{EphemeralError, EphemeralHeaders, OfferedHeader};
pub use key::ContentKey;
