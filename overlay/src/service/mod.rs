//! One service for each sub-network: it answers peers, keeps the routing table, and looks up, offers and gossips content.

mod account;
mod answers;
mod client;
mod config;
mod gossip;
mod handler;
mod inner;
mod lookup;
mod observer;
mod overlay;
mod receive;
mod refetch;
mod serve;
mod upkeep;

pub use answers::{
    FindContentAnswer, FoundContent, LookupError, LookupTrace, NotFound, PingAnswer, PutReport, RequestError,
    TableEntry, TableSnapshot, TracedAnswer, TracedResponse, Unverifiable,
};
pub use config::SubNetworkConfig;
pub use handler::{Admitted, Busy, Cause, ContentHandler, ContentSource, OfferVerdict, Reader, Rejection};
pub use observer::{Flow, LookupOutcome, Observer, RequestKind, TransferFailure, Unobserved};
pub use overlay::Overlay;
