//! How content spreads: whom to offer it to, and what to answer when it is offered.
//!
//! | | |
//! |---|---|
//! | [`gossip_targets`], [`poke_targets`] | which peers to offer some content to |
//! | [`DeclinedOffers`] | who declined it a moment ago, so that it is not offered again |
//! | [`batch_offers`] | keys for one peer, in OFFERs that fit a packet |
//! | [`answer_offer`] | the code for each key of an OFFER |
//! | [`Credit`] | how many keys may be accepted of whom: less of those who were told to send and did not |
//! | [`InFlight`] | which keys are being taken from whom, and who else has them if that fails |
//!
//! Specification: `portal-wire-protocol.md`, "Neighborhood Gossip", "POKE Mechanism" and "Offer (0x06)".

mod answer;
mod batch;
mod credit;
mod declined;
mod in_flight;
mod targets;

pub use answer::{OfferAnswer, OfferVerdict, answer_offer};
pub use batch::batch_offers;
pub use credit::Credit;
pub use declined::{DECLINE_LIFETIME, DeclinedOffers, MAX_DECLINES};
pub use in_flight::{CLAIM_PATIENCE, Claim, InFlight, MAX_ALTERNATIVES, MAX_CLAIM, MAX_IN_FLIGHT_KEYS, Offerer};
pub use targets::{GossipWidth, MAX_POKES, gossip_targets, poke_targets};
