//! Many peers at once: local networks for tests, the demonstration and benchmarks.
//!
//! | module | what |
//! |---|---|
//! | [`network`] | N peers in this process, each with sockets, store and threads of its own, joined over loopback or addresses of their own |
//! | [`sample`] | fetches random pieces of history through one peer and measures how that went |
//! | [`demo`] | the main job on a small network: seed, join, fetch, prove |
//!
//! Nothing of the product uses this crate but the command `cairn demo`, which is the harness with a table.

pub mod demo;
pub mod network;
pub mod sample;
