//! The network of capsules, `0xCA01`: [proof capsules](crate::capsule) that peers keep for one another. It is Cairn's own;
//! `PROTOCOL.md` beside this crate's manifest specifies it.
//!
//! | module | what |
//! |---|---|
//! | [`key`] | what a capsule is called |
//! | `check` | what a value takes to be judged, and the check |

mod check;
pub mod key;

use crate::room::methods::methods;
use crate::room::{RadiusSteps, Retention, Spec, Spread, StoredForm, ping_extension};
pub use check::{MAX_SHARED_LENGTH, shared};
pub use key::ContentKey;

/// The registry's entry.
pub const SPEC: Spec = Spec {
    // The Portal Network's identifiers begin with 0x50.
    protocol_id: [0xca, 0x01],
    store_code: 0xca,
    name: "capsules",
    label: "capsules",
    methods: methods!("cairn_capsule"),
    ping_extensions: &[ping_extension::BASIC_RADIUS],
    retention: Retention::Nearest(RadiusSteps::Items),
    spread: Spread::Neighbourhood,
    // Room that is kept for it would be taken from history: who wants to keep capsules of others says so.
    default_share: 0,
    stored: StoredForm::AsOffered,
    pokes: true,
    has_headers: false,
};
