//! `cairn state`: the state of the chain made by replaying its blocks, handed to the network, and read from there.

mod get;
#[cfg(feature = "replay")]
mod replay;
#[cfg(feature = "replay")]
mod sink;

pub(super) use get::get;
#[cfg(feature = "replay")]
pub(super) use replay::replay;
