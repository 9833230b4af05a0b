//! What tells one sub-network from another, beside its keys and values: names, and the policies by which its content is kept and
//! spread.

use super::methods::Methods;

/// Numbers of the ping extensions, the `payload_type` of PING and PONG (`ping-extensions/` of the specification).
pub mod ping_extension {
    /// Client description, radius and list of extensions. Every node speaks it; the first PING to a peer carries it.
    pub const CLIENT_INFO: u16 = 0;
    /// Radius alone.
    pub const BASIC_RADIUS: u16 = 1;
    /// Radius and number of ephemeral headers.
    pub const HISTORY_RADIUS: u16 = 2;
    /// What kept the peer from answering. Only in PONG.
    pub const ERROR: u16 = 65535;
}

/// The registry's entry of a sub-network.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The `protocol` field of its TALKREQ packets.
    pub protocol_id: [u8; 2],
    /// The byte that stands for it in the records of a store, for ever.
    pub store_code: u8,
    /// Its name in flags, configuration and messages.
    pub name: &'static str,
    /// Its label in metrics.
    pub label: &'static str,
    /// Its methods in the JSON-RPC.
    pub methods: Methods,
    /// Ping extensions beside [`CLIENT_INFO`](ping_extension::CLIENT_INFO) that its specification lists.
    pub ping_extensions: &'static [u16],
    /// What of it a peer keeps.
    pub retention: Retention,
    /// To whom new content goes.
    pub spread: Spread,
    /// Its share of a peer's capacity where nothing else is said, in proportion to the others'. 0: who wants to keep some of it says
    /// so.
    pub default_share: u32,
    /// What form of it is stored.
    pub stored: StoredForm,
    /// Whether what a lookup found is offered, as it was found, to the peers on the way that lack it.
    pub pokes: bool,
    /// Whether headers with their proofs are found there, by the keys of [`header`](crate::legacy_history::ContentKey::header).
    pub has_headers: bool,
}

/// What of a sub-network's content a peer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// What lies nearest to the node's ID. When its budget is used up, the farthest goes and the radius shrinks.
    Nearest(RadiusSteps),
    /// The newest, whatever its content ID: what is newer takes the place of what is older, and every peer wants the same.
    /// There is neither radius nor budget.
    Newest,
}

/// The steps in which a radius shrinks and grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RadiusSteps {
    /// Item by item.
    Items,
    /// In intervals of 1/256 of the key space, so that runs of blocks stay whole
    /// ([`BLOCKS_PER_RUN`](crate::history::BLOCKS_PER_RUN)); below one interval item by item.
    Runs,
}

/// In which form content is stored, and given to who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredForm {
    /// As it is offered.
    AsOffered,
    /// Without what proved it. It can't be offered as it was found, and so not poked.
    Bare,
}

/// To which peers content that is new here is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Those nearest to it, and some at random among those whose radius covers it.
    Neighbourhood,
    /// Any, at random: what everybody wants would else go round in the neighbourhood of its ID.
    Anywhere,
}
