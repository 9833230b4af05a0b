//! A Cairn peer as a library: validation pipeline, header source, sub-networks, seeding, JSON-RPC and metrics, joined
//! in [`Node`].
//!
//! | module | what |
//! |---|---|
//! | [`node`] | starting and stopping everything |
//! | [`config`] | what a node is told |
//! | [`pipeline`] | the one way in: checks content against proved headers |
//! | [`headers`] | where proved headers come from |
//! | [`trust`] | the lists behind the chain's trust roots |
//! | [`fetch`] | headers, bodies, receipts and blocks, verified |
//! | [`state`] | accounts, storage and code at a block, proved |
//! | [`capsules`] | proof capsules out of what execution clients prove |
//! | [`followed`] | accounts that somebody follows: when they are proved, and how others get that |
//! | [`present`] | blocks and parts of them as JSON and RLP |
//! | [`seeding`] | archives: served in place, offered to the network |
//! | [`outbox`] | what a program makes block by block, handed to the network through a peer that runs |
//! | [`swarm`] | ranges over QUIC: served, and fetched into archives |
//! | [`ticket`] | eras and who has them, in a word that is passed on |
//! | [`ranges`] | ranges and eras as archives, whichever way they come |
//! | [`rpc`], [`metrics`], [`status`] | what a node shows |
//! | [`ports`] | UDP ports of a node's services, and what the router does for them |
//! | [`http`] | requests to mirrors and JSON-RPC servers, bounded in time and size |
//! | `networks` | the registry of sub-networks and what they ask of this node |
//! | [`verified`] | content that was checked, as a type |
//! | `express` | single items over QUIC, for lookups, and ways down the tries of the state |
//! | `trust_fetcher` | trust lists from peers |
//! | `not_found` | why something was not found |
//! | `holdings` | store and archives as one |
//! | `parts` | what ranges are made of |
//! | `workers` | threads for what would hold up the reactor |

mod access;
mod again;
mod bootnodes;
pub mod capsules;
pub mod config;
mod express;
pub mod fetch;
mod files;
pub mod followed;
#[doc(hidden)]
pub mod fuzzing;
pub mod headers;
mod holdings;
pub mod http;
pub mod identity;
pub mod metrics;
mod networks;
pub mod node;
mod not_found;
pub mod outbox;
mod parts;
pub mod pipeline;
mod placed;
pub mod ports;
pub mod present;
mod quic_address;
pub mod ranges;
pub mod rpc;
pub mod seeding;
pub mod state;
pub mod status;
pub mod swarm;
mod tasks;
#[cfg(test)]
mod testing;
pub mod ticket;
pub mod trust;
mod trust_fetcher;
pub mod verified;
mod workers;

/// A URL to be shown: without user, password, query and fragment.
pub use cairn_web_seed::without_secrets;
pub use config::NodeConfig;
pub use fetch::{FetchError, Fetcher, ProvedBlock};
pub use headers::BlockId;
pub use holdings::HoldingsError;
pub use http::HttpError;
pub use node::{Node, StartError};
pub use not_found::NotFoundCause;
pub use rpc::RpcConfig;
pub use status::Status;
pub use ticket::Ticket;
pub use trust_fetcher::PeerFetch;
pub use verified::VerifiedContent;
pub use workers::Stopping;
