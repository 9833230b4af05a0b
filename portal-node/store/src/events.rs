//! What a store tells whoever opened it, beside the answers to calls.

use std::path::PathBuf;

use content_types::{ContentId, Distance, SubNetwork};

/// Something that a person, a metric or the node's other parts may want to know. Each is also written with `tracing`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The index was missing, damaged or made for something else, and was built anew from the volumes.
    IndexRebuilt {
        /// Why.
        reason: String,
        /// Values found.
        items: u64,
        /// Values that the index knew and that are not there any more, as far as it can be told: their volumes are gone, or were
        /// cut.
        lost: u64,
    },
    /// What a crash had left unfinished at the end of the last volume was cut off. Nothing acknowledged was in it.
    TailCut {
        /// The volume's number.
        volume: u32,
        /// Bytes cut.
        bytes: u64,
    },
    /// Bytes in the middle of a volume are damaged; the values that lay there are lost, those around them are not.
    VolumeDamaged {
        /// The volume's file.
        path: PathBuf,
        /// Where the damage begins.
        from: u64,
        /// Where it ends.
        until: u64,
    },
    /// A value did not match its checksum. It was dropped, not served.
    Corrupt {
        /// The value's sub-network.
        network: SubNetwork,
        /// The value's ID.
        id: ContentId,
        /// The check that failed.
        reason: String,
    },
    /// Values were evicted to stay within the budget.
    Evicted {
        /// Their sub-network.
        network: SubNetwork,
        /// How many.
        items: u64,
        /// Bytes of their records.
        bytes: u64,
        /// The radius, if it has shrunk: what lies beyond it is gone or will go, even if the radius grows again.
        radius: Option<Distance>,
    },
    /// The disk is full or fails: puts are refused.
    NotStoring {
        /// Why, and what to do.
        reason: String,
    },
    /// Puts are taken again.
    StoringAgain,
    /// An archive is being served.
    ArchiveAdded {
        /// Its file.
        path: PathBuf,
    },
    /// An archive's file is gone or was changed; it is not served until it is back.
    ArchiveGone {
        /// Its file.
        path: PathBuf,
        /// What happened to it.
        reason: String,
    },
    /// A piece of an archive does not match the chain, or cannot be read. It was not served.
    ArchiveCorrupt {
        /// The archive's file.
        path: PathBuf,
        /// The block that the piece belongs to.
        block: u64,
        /// The check that failed.
        reason: String,
    },
}

/// Called with each event, on the thread that noticed it. It must return soon and not call the store.
pub type EventSink = Box<dyn Fn(&Event) + Send + Sync>;
