//! The one limiter: who may have how much of what all peers share.
//!
//! Whatever is scarce (transfer slots, streams that were announced, requests under way, handshakes, bytes in memory,
//! connections of the JSON-RPC) is counted here, by the same rules everywhere:
//!
//! - A [`Quota`] says how much there is in all, and what of it one peer and the peers of one subnet may have. Node IDs cost
//!   nothing, so the limit for a peer bounds mistakes, and the limit for a subnet bounds attackers.
//! - A peer that never finished anything has less than one that did ([`Quota::of_newcomer`]).
//! - When all is taken and somebody waits, who takes nothing is the first to lose its place ([`Quota::yields_after`]): the
//!   hold that made no progress for longest, of the newcomer that has most, then of the others.
//! - Of those who wait, who has finished something comes first, then who has least, then who has waited longest.
//!
//! | module | what |
//! |---|---|
//! | [`holder`] | who is counted: a node ID, an address, its subnet |
//! | [`quota`] | how much there is, and what is said when there is no more |
//! | [`counts`] | who has how much, bare, for where each part lasts microseconds |
//! | [`ledger`] | the counts as a state machine: no clock, no waiting |
//! | [`limiter`] | the ledger shared by tasks: permits that are given back when dropped, and waiting for one |
//! | [`rate`] | bytes a second, as a bucket of tokens |
//! | [`meter`] | a bucket for each address, so that connecting anew renews nothing |
//!
//! Nothing here does I/O. The ledger, the buckets and the meter are told the time; only [`limiter`] asks tokio for it.

pub mod counts;
pub mod holder;
pub mod ledger;
pub mod limiter;
pub mod meter;
pub mod quota;
pub mod rate;

pub use counts::Counts;
pub use holder::{Holder, Payer, Subnet};
pub use ledger::Ledger;
pub use limiter::{Limiter, Permit};
pub use meter::{Allowance, Meter};
pub use quota::{Full, Quota, SUBNET_SHARE};
pub use rate::TokenBucket;
