//! Nodes on loopback with a synthetic chain: what they answer over JSON-RPC, what they find at each other, what
//! survives a restart.

#![allow(clippy::unwrap_used)] // clippy's exception for tests covers only functions marked as such

mod browser;
mod buckets;
mod headers;
mod lifecycle;
mod metrics;
mod network;
mod offers;
mod pipeline;
mod ranges;
mod rpc;
mod served;
mod state;
mod support;
mod trust;
mod waiting;
