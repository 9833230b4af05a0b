//! Archives: served in place, and offered to the peers whose radius covers their content, so that a network that was
//! seeded from files ends up sharded over its peers.

mod archives;
#[cfg(test)]
mod bare_tests;
mod depots;
mod handover;
mod job;
mod offer;
mod plan;
mod position;
mod prepare;
mod refused;
mod slow;

pub use archives::{ArchiveProblem, Archives, archive_files};
pub use depots::{check_url, count_at, url_of};
pub(crate) use handover::HandOver;
pub(crate) use job::SeedSource;
pub use job::{SeedHandle, SeedOptions, SeedProgress};

/// Where the job's position is kept, in the data directory.
pub(crate) const POSITION_FILE: &str = "seed-position.json";
