//! Lookups as state machines: who to ask next, and when it is over.
//!
//! The driver polls a lookup, does what it says, and reports what came. Each peer is asked once; twice if
//! its connection ID grew too old, and a few times if it says that it is busy. Every list is bounded and there is a deadline, so
//! a lookup ends whatever its peers do.
//!
//! | | [`NodeLookup`] | [`ContentLookup`] |
//! |---|---|---|
//! | asks with | FINDNODES | FINDCONTENT |
//! | ends with | the `k` nearest nodes that answered | content that the driver found valid, or the reason why not |
//!
//! `parallelism` counts only peers that answer in reasonable time: one that is silent for [`LookupConfig::stall_after`]
//! no longer keeps the next one waiting, yet its answer is still welcome.
//!
//! Specification: `portal-wire-protocol.md`, "Lookup".

mod candidates;
mod config;
mod content;
mod nodes;
mod trace;

pub use config::{LookupConfig, MAX_CANDIDATES, MAX_LEARNED_PER_ANSWER, MAX_SUBNET_CANDIDATES};
pub use content::{ContentLookup, ContentLookupResult, ContentOutput, Outcome};
pub use nodes::{NodeLookup, NodeLookupResult, NodeOutput};
pub use trace::{Answer, PeerFailure, PeerTrace, Trace};
