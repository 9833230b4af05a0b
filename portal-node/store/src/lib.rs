//! The content store: append-only volumes, a rebuildable index, archives in place.
//!
//! Volumes hold the truth. A put is appended to the last volume, synced and acknowledged; the [index](Index) follows and
//! can be rebuilt from the volumes at any time. What lies farthest from the own node is evicted when a sub-network is
//! over its budget, and the room goes back to the file system behind the callers' backs.
//!
//! | module | does |
//! |---|---|
//! | [`record`] | the bytes of a volume |
//! | [`scan`] | walks over them, and over damage |
//! | [`eviction`] | decides what goes and how far the radius reaches, without I/O |
//! | `index` | the narrow trait of an index engine, sled behind it, and in front of it pages of entries and recent changes |
//! | `ledger` | counters that are always of the same moment as the entries |
//! | `core` | what the parts share |
//! | `work` | what is to be committed, and what became of it |
//! | `writer`, `commit`, `queue` | appending; commits; what goes into one, and how fast |
//! | `reading` | an item by its ID, checked |
//! | `recovery` | replay or rebuild when a store is opened |
//! | `refusal`, `room` | why nothing can be put: a disk that is full, or fails; looking at it |
//! | `maintenance`, `reclaim`, `renewal` | checkpoints, holes, rewriting volumes, renewing the index |
//! | `archives` | era1 and ere files served in place, each piece checked before it leaves |

mod archives;
mod commit;
mod config;
mod core;
mod error;
mod events;
pub mod eviction;
mod format;
mod index;
mod ledger;
mod maintenance;
mod queue;
mod reading;
mod reclaim;
pub mod record;
mod recovery;
mod refusal;
mod renewal;
mod room;
pub mod scan;
mod signal;
mod store;
mod volumes;
mod work;
mod writer;

pub use archives::{HeaderProver, Unproved};
pub use config::{Budgets, Chain, DISK_RESERVE, INDEX_CACHE, StoreConfig, VOLUME_LEN};
pub use error::{IndexError, StoreError};
pub use events::{Event, EventSink};
pub use index::{Batch, Index, IndexEngine, KeyOrder, SledEngine, Visit};
pub use ledger::Usage;
pub use reading::{Entry, ReadCost};
pub use record::Item;
pub use store::{RunBits, Stats, Store};
pub use work::Placement;
