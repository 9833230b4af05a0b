//! One service for each sub-network: it answers peers, keeps the routing table, and looks up, offers and gossips content.

mod answers;
mod config;
mod handler;
mod observer;
mod overlay;

pub use answers::{
    FindContentAnswer, FoundContent, LookupError, LookupTrace, NotFound, Pong, PutReport, RequestError, TableEntry,
    TableSnapshot, TracedAnswer, TracedResponse,
};
pub use config::SubNetworkConfig;
pub use handler::{Admitted, ContentHandler, ContentSource, OfferVerdict, Rejection};
pub use observer::{Direction, LookupOutcome, Observer, RequestKind, TransferFailure, Unobserved};
pub use overlay::Overlay;
