//! The archives of this node: found in the seed folders, opened, served in place by the store, and dropped when their
//! file is gone. The folders are looked at again and again, so files may come and go while the node runs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_archive::{Archive, ArchiveError, Component, EpochCache};
use cairn_store::{HeaderProver, StoreError};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::holdings::Holdings;
use crate::workers::Workers;

/// How often the seed folders are looked at.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// Epoch trees kept in memory for archives without proofs; each takes about 1.5 MB.
const CACHED_EPOCHS: usize = 8;
/// Endings of archive files; `.erae` is in circulation for files without proofs.
const ENDINGS: [&str; 3] = ["era1", "ere", "erae"];

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
}

/// The archives of a node.
pub struct Archives {
    seeds: Vec<PathBuf>,
    holdings: Holdings,
    prover: Arc<dyn HeaderProver>,
    workers: Workers,
    epochs: Arc<EpochCache>,
    shelf: Mutex<Shelf>,
    scanned: watch::Sender<bool>,
}

#[derive(Default)]
struct Shelf {
    open: BTreeMap<PathBuf, Arc<Archive>>,
    problems: BTreeMap<PathBuf, ArchiveProblem>,
}

impl Archives {
    /// Archives in `seeds`, whose headers `prover` proves.
    pub(crate) fn new(
        seeds: Vec<PathBuf>,
        holdings: Holdings,
        prover: Arc<dyn HeaderProver>,
        workers: Workers,
    ) -> Self {
        Self {
            seeds,
            holdings,
            prover,
            workers,
            epochs: Arc::new(EpochCache::new(CACHED_EPOCHS)),
            shelf: Mutex::default(),
            scanned: watch::Sender::new(false),
        }
    }

    /// The archives that are open now, by their first blocks.
    pub fn list(&self) -> Vec<Arc<Archive>> {
        let mut archives: Vec<Arc<Archive>> = self.shelf.lock().open.values().cloned().collect();
        archives.sort_by_key(|archive| *archive.blocks().start());
        archives
    }

    /// How many are open now.
    pub fn count(&self) -> usize {
        self.shelf.lock().open.len()
    }

    /// Seeds that are not served, and why.
    pub fn problems(&self) -> Vec<ArchiveProblem> {
        self.shelf.lock().problems.values().cloned().collect()
    }

    /// Waits until the seed folders were looked at once.
    pub async fn wait_until_scanned(&self) {
        // The sender lives as long as this does.
        let _ = self.scanned.subscribe().wait_for(|scanned| *scanned).await;
    }

    /// Looks at the seed folders now: opens what is new, drops what is gone.
    pub async fn scan(self: &Arc<Self>) {
        let archives = Arc::clone(self);
        if self.workers.read(move || archives.scan_blocking()).await.is_ok() {
            self.scanned.send_replace(true);
        }
    }

    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            self.scan().await;
            if self.seeds.is_empty() {
                return;
            }
            tokio::time::sleep(SCAN_INTERVAL).await;
        }
    }

    fn scan_blocking(&self) {
        let mut problems = BTreeMap::new();
        let mut found = Vec::new();
        for seed in &self.seeds {
            match archive_files(seed) {
                Ok(files) => found.extend(files),
                Err(source) => {
                    let problem = ArchiveProblem::File { path: seed.clone(), source: Arc::new(source) };
                    problems.insert(seed.clone(), problem);
                }
            }
        }
        self.drop_vanished();
        for path in found {
            if self.shelf.lock().open.contains_key(&path) {
                continue;
            }
            if let Err(problem) = self.open(&path) {
                problems.insert(path, problem);
            }
        }
        let mut shelf = self.shelf.lock();
        for (path, problem) in &problems {
            if !shelf.problems.contains_key(path) {
                tracing::warn!(%problem, "seed not served");
            }
        }
        shelf.problems = problems;
    }

    /// Drops archives whose file is not the one that was opened any more; a file that replaced it is opened anew.
    fn drop_vanished(&self) {
        let open: Vec<(PathBuf, Arc<Archive>)> =
            self.shelf.lock().open.iter().map(|(path, archive)| (path.clone(), Arc::clone(archive))).collect();
        for (path, archive) in open {
            if let Err(error) = archive.check_identity() {
                tracing::warn!(archive = %path.display(), %error, "archive no longer served");
                self.holdings.store().remove_archive(&path);
                self.shelf.lock().open.remove(&path);
            }
        }
    }

    fn open(&self, path: &Path) -> Result<(), ArchiveProblem> {
        let problem = |error| ArchiveProblem::Archive(Arc::new(error));
        let archive = Archive::open_with(path, Arc::clone(&self.epochs)).map_err(problem)?;
        if let Some(damage) = archive.damage() {
            tracing::warn!(archive = %path.display(), %damage, "archive is damaged; what is left of it is served");
        }
        let has = |component| archive.components().has(component);
        // With the difficulties, the proofs of headers before the merge are built.
        if !has(Component::Proof) && !has(Component::TotalDifficulty) {
            tracing::warn!(
                archive = %path.display(),
                "archive holds no proofs of its headers: it is not offered, and a block of it is served when its header \
                 was found on the network or at the execution client"
            );
        }
        let prover = Arc::clone(&self.prover);
        self.holdings.store().add_archive(path, prover).map_err(ArchiveProblem::Store)?;
        tracing::info!(archive = %path.display(), blocks = ?archive.blocks(), "archive served in place");
        self.shelf.lock().open.insert(path.to_owned(), Arc::new(archive));
        Ok(())
    }
}

/// The archive files that a path stands for: itself, or of a folder those directly in it, sorted by name.
///
/// # Errors
/// When the path does not exist or the folder cannot be read.
pub fn archive_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_the_archives_in_it_and_a_file_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.ere", "a.era1", "c.erae", "notes.txt", "d.era1.part"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |seed: &Path| -> Vec<String> {
            let files = archive_files(seed).unwrap();
            files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(folder.path()), ["a.era1", "b.ere", "c.erae"]);
        assert_eq!(names(&folder.path().join("d.era1.part")), ["d.era1.part"]);
        assert!(archive_files(&folder.path().join("nowhere")).is_err());
    }
}
