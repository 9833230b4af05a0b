//! The archives that are served, and the seeds that are not, and why.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_archive::{Archive, ArchiveError};
use cairn_store::StoreError;
use cairn_web_seed::Depot;

use crate::headers::Lineage;

/// Why a seed is not served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveProblem {
    /// The folder or the file cannot be looked at.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The file is no archive that can be read.
    #[error(transparent)]
    Archive(Arc<ArchiveError>),
    /// The store does not serve it.
    #[error(transparent)]
    Store(StoreError),
    /// The bucket or web server cannot be listed, or a file of it not be opened.
    #[error(transparent)]
    Web(cairn_web_seed::Error),
}

/// An archive that is served.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) archive: Archive,
    /// What is proved of it, if it holds no proofs of its own.
    pub(super) lineage: Option<Arc<Lineage>>,
    /// Where it comes from if it is no file.
    pub(super) origin: Option<Origin>,
}

impl Served {
    /// How many of its blocks nothing proves yet.
    pub(super) fn unproved_count(&self) -> u64 {
        self.lineage.as_ref().map_or(0, |lineage| lineage.unproved_count())
    }
}

/// The archives that are served, and what is wrong with others.
#[derive(Default)]
pub(super) struct ServedShelf {
    pub(super) open: BTreeMap<PathBuf, Served>,
    pub(super) problems: BTreeMap<PathBuf, ArchiveProblem>,
    pub(super) depot_problems: BTreeMap<PathBuf, DepotProblem>,
}

/// Which file of which depot an archive is.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) depot: Arc<Depot>,
    /// Tells this state of the file from others, where the depot does.
    pub(super) stamp: Option<String>,
}

/// What is wrong with a depot or a file of it.
pub(super) struct DepotProblem {
    pub(super) problem: ArchiveProblem,
    /// The state of the file that it is about, if no other try with the same file brings more.
    pub(super) final_for: Option<Option<String>>,
}
