//! One reputation for all of a node's networks: whoever lied on one of them is not spoken to on any.
//!
//! | module | what |
//! |---|---|
//! | [`offence`] | what a peer can do wrong, and what it costs |
//! | [`book`] | the standing of peers and of subnets, as a state machine: the time is passed in |
//! | [`mod@file`] | the bars as text, so that a restart frees nobody |
//! | [`shared`] | the book as the networks of a node share it |

pub mod book;
pub mod file;
pub mod offence;
pub mod shared;

pub use book::{Book, Who};
pub use offence::Offence;
pub use shared::PeerBook;
