//! The `cairn` command as a person or a script meets it: real processes, a synthetic chain, loopback only.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

mod archives;
#[cfg(feature = "buckets")]
mod bucket;
mod capsule;
mod causes;
mod client;
mod demo;
#[cfg(feature = "replay")]
mod executed;
mod kill;
mod mirror;
mod network;
mod output;
mod peer;
mod settings;
mod share;
#[cfg(feature = "replay")]
mod state;
mod support;
mod swarm;
mod sync;
mod trust;
