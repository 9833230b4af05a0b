//! How peers find data and move it: discv5, uTP streams and the sub-networks' services.
//!
//! | module | what |
//! |---|---|
//! | [`discovery`] | discv5 as the base: the socket, the local record, NAT, addresses of peers, TALKREQ dispatch |
//! | [`transport`] | the seam at TALKREQ, with discv5 behind it or a simulated network |
//! | [`transfer`] | uTP streams over TALKREQ |
//! | [`service`] | a sub-network: requests, routing table, lookups, offers, gossip |

pub mod discovery;
pub mod service;
pub mod transfer;
pub mod transport;

pub use discovery::{Discovery, DiscoveryConfig};
pub use service::{ContentHandler, Observer, Overlay, SubNetworkConfig};
pub use transfer::Transfers;
pub use transport::{Enr, Transport};
