//! `cairn state`: the state of the chain made by replaying its blocks, handed to the network, and read from there; and what an
//! execution client proves of it, kept.

mod follow;
mod get;
mod kept;
#[cfg(feature = "replay")]
mod replay;
#[cfg(feature = "replay")]
mod sink;

pub(super) use follow::follow;
pub(super) use get::get;
#[cfg(feature = "replay")]
pub(super) use replay::replay;
