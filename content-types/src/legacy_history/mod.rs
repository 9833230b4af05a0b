//! The legacy history network, `0x500B`: headers by hash and by number, bodies and receipts by block hash, headers near
//! the head of the chain.
//!
//! Values of headers are in [`crate::header`].

pub mod ephemeral;
pub mod key;

use crate::room::methods::methods;
use crate::room::{RadiusSteps, Retention, Spec, Spread, StoredForm, ping_extension};
pub use ephemeral::{EphemeralError, EphemeralHeaders, OfferedHeader};
pub use key::ContentKey;

/// The registry's entry.
pub const SPEC: Spec = Spec {
    protocol_id: [0x50, 0x0b],
    store_code: 0x0b,
    name: "legacy-history",
    label: "legacy_history",
    methods: methods!("portal_legacyHistory"),
    ping_extensions: &[ping_extension::HISTORY_RADIUS],
    retention: Retention::Nearest(RadiusSteps::Items),
    spread: Spread::Neighbourhood,
    default_share: 1,
    stored: StoredForm::AsOffered,
    pokes: true,
    has_headers: true,
};
