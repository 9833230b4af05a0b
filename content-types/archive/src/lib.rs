//! Era1 and ere archive files: read in place, written, verified, converted.
//!
//! | module | what |
//! |---|---|
//! | [`archive`] | an open file: any component of any block by number, through positioned reads |
//! | [`e2store`], [`snappy`], [`proof_record`], [`name`] | the formats' parts |
//! | [`source`] | where the bytes come from, and how a file that vanished is noticed |
//! | [`extent`] | which bytes hold the records of consecutive blocks |
//! | `stored_run` | those records in one read |
//! | [`epochs`] | the cache of epoch trees, from which missing proofs are built |
//! | [`mod@write`] | files assembled from blocks in any order, renamed into place when complete |
//! | [`mod@verify`] | everything in a file against the chain, down to the last byte |
//! | [`mod@convert`] | era1 to ere and back, and ranges of either |
//!
//! The formats are those of the e2store format specifications (`formats/era1.md`, `formats/ere.md`).

pub mod archive;
pub mod component;
pub mod convert;
pub mod e2store;
pub mod epochs;
pub mod error;
pub mod extent;
pub mod name;
pub mod proof_record;
pub mod snappy;
pub mod source;
pub mod verify;
pub mod write;

mod content;
mod index;
mod lineage;
mod ranges;
mod read_ahead;
mod record_type;
mod scan;
mod stored_run;
mod whereabouts;

pub use archive::{Archive, Receipts};
pub use component::{Component, Components, Format, MAX_BLOCKS};
pub use epochs::EpochCache;
pub use error::{ArchiveError, ArchivePlace, ArchiveRule, Mismatch};
pub use extent::Extent;
pub use name::ArchiveName;
pub use source::{FileSource, ReadAt, Vanished};
