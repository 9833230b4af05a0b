//! Archives: served in place, and offered to the peers whose radius covers their content, so that a network that was
//! seeded from files ends up sharded over its peers.

mod archives;
#[cfg(test)]
mod bare_tests;
mod batch;
mod depots;
mod explorer;
mod fate;
mod given;
mod handover;
mod job;
mod offer;
mod offering;
mod plan;
mod position;
mod prepare;
mod refused;
mod seeds;
mod serving;
mod shelf;
mod slow;
mod terms;
mod watch;

pub use archives::{Archives, archive_files};
pub(crate) use batch::Retry;
pub use given::GivenOutcome;
pub(crate) use given::{GivenContent, GivenError};
pub(crate) use handover::HandOver;
pub use job::SeedHandle;
pub(crate) use offering::SeedSource;
pub use seeds::{check_url, count_at, url_of};
pub(crate) use serving::Quic;
pub use shelf::ArchiveProblem;
pub use terms::{SeedOptions, SeedProgress};

/// Where the job's position is kept, in the data directory.
pub(crate) const POSITION_FILE: &str = "seed-position.json";
