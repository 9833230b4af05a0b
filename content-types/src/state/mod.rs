//! The state network, `0x500A`: nodes of the account trie and of storage tries, and code, of any block's state.
//!
//! What is offered comes with the proof that leads to it from the state root of a block. What is stored, and found by who asks,
//! is bare, since it may belong to the states of many blocks; whoever asks for it has its hash from the node above.
//!
//! | module | what |
//! |---|---|
//! | [`key`] | content keys |
//! | [`value`] | both forms of a value |
//! | [`read`] | a read of an account, a slot or code, node by node |
//! | [`way`] | what is left of the way down a trie, to be asked for at once |
//! | [`page`] | as much of a way as fits a packet |
//! | `check` | what a value takes to be judged, and the check |

mod check;
pub mod key;
pub mod page;
pub mod read;
pub mod value;
pub mod way;

use crate::room::methods::methods;
use crate::room::{RadiusSteps, Retention, Spec, Spread, StoredForm, ping_extension};
pub use key::ContentKey;
pub use read::{Answer, Part, ReadOutput, StateRead};
pub use value::{Bare, Proved};
pub use way::Way;

/// The registry's entry.
pub const SPEC: Spec = Spec {
    protocol_id: [0x50, 0x0a],
    store_code: 0x0a,
    name: "state",
    label: "state",
    methods: methods!("portal_state"),
    ping_extensions: &[ping_extension::BASIC_RADIUS],
    retention: Retention::Nearest(RadiusSteps::Items),
    spread: Spread::Neighbourhood,
    // Little of any chain's state is in the network: room that is kept for it would be taken from what is there.
    default_share: 0,
    stored: StoredForm::Bare,
    pokes: false,
    has_headers: false,
};
