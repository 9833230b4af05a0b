//! The history network, `0x5000`: block bodies and receipts by block number.
//!
//! Content IDs keep consecutive blocks close together, so that a peer's radius comes down to ranges of blocks
//! ("Content id Derivation Function" of the specification). [`key`] derives an ID and takes it apart again; [`ranges`]
//! lists the blocks within a radius.

pub mod key;
pub mod ranges;

use crate::room::methods::methods;
use crate::room::{RadiusSteps, Retention, Spec, Spread, StoredForm, ping_extension};
pub use key::{BLOCKS_PER_CYCLE, BLOCKS_PER_RUN, ContentKey, ContentType};
pub use ranges::blocks_within;

/// The registry's entry.
pub const SPEC: Spec = Spec {
    protocol_id: [0x50, 0x00],
    store_code: 0x00,
    name: "history",
    label: "history",
    methods: methods!("portal_history"),
    ping_extensions: &[ping_extension::BASIC_RADIUS],
    retention: Retention::Nearest(RadiusSteps::Runs),
    spread: Spread::Neighbourhood,
    default_share: 1,
    stored: StoredForm::AsOffered,
    pokes: true,
    has_headers: false,
};
