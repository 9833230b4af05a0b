//! The archives of this node: found in the seed folders, opened, served in place by the store, and dropped when their
//! file is gone. `watch` looks at the folders again and again, so files may come and go while the node runs. `depots` does the
//! same for buckets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_archive::{Archive, EpochCache, Format};
use cairn_web_seed::Depot;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::seeds;
use super::shelf::{ArchiveProblem, Origin, Served, ServedShelf};
use super::terms::SeedProgress;
use crate::headers::{ArchiveProver, HeaderSource, Lineage};
use crate::holdings::Holdings;
use crate::trust::TrustStore;
use crate::workers::{Stopping, Workers};

/// How long archives without proofs wait before their headers are looked for again, unless somebody asks for a block of
/// them, or a trust list comes in. Doubled each time that nothing was found.
const FIRST_PROVE_WAIT: Duration = Duration::from_secs(10);
/// The longest such wait: what nobody has now is not there a moment later, and an execution client may be asked for a whole
/// epoch each time.
const LONGEST_PROVE_WAIT: Duration = Duration::from_secs(640);
/// Epoch trees kept in memory for archives without proofs; each takes about 1.5 MB.
const CACHED_EPOCHS: usize = 8;
/// Endings of archive files; `.erae` is in circulation for files without proofs.
const ENDINGS: [&str; 3] = ["era1", "ere", "erae"];

/// The archives of a node.
pub struct Archives {
    /// Files and folders.
    paths: Vec<PathBuf>,
    pub(super) depots: Vec<Arc<Depot>>,
    holdings: Holdings,
    trust: Arc<TrustStore>,
    headers: Arc<HeaderSource>,
    prover: ArchiveProver,
    pub(super) workers: Workers,
    pub(super) epochs: Arc<EpochCache>,
    pub(super) shelf: Mutex<ServedShelf>,
    scanned: watch::Sender<bool>,
    /// Depots are looked at by one at a time, so that no archive is opened twice.
    pub(super) looking: tokio::sync::Mutex<()>,
    /// Whether all depots were looked at once.
    pub(super) looked: watch::Sender<bool>,
    /// Raised when an archive was opened, or a depot that failed answers again.
    pub(super) news: watch::Sender<()>,
    /// Raised when headers of archives without proofs were proved.
    proofs: watch::Sender<()>,
    /// How far the job is that offers them, once there is one.
    offered: Mutex<Option<watch::Receiver<SeedProgress>>>,
}

impl Archives {
    /// Archives in `seeds`, paths and URLs, whose headers `trust` and `headers` prove. Called within the runtime that searches run on.
    pub(crate) fn new(
        seeds: Vec<PathBuf>,
        holdings: Holdings,
        trust: Arc<TrustStore>,
        headers: Arc<HeaderSource>,
        workers: Workers,
    ) -> Self {
        let (paths, depots, depot_problems) = seeds::split(seeds);
        Self {
            paths,
            looked: watch::Sender::new(depots.is_empty()),
            depots,
            holdings,
            prover: ArchiveProver::new(Arc::clone(&trust), &headers),
            trust,
            headers,
            workers,
            epochs: Arc::new(EpochCache::new(CACHED_EPOCHS)),
            shelf: Mutex::new(ServedShelf { depot_problems, ..ServedShelf::default() }),
            scanned: watch::Sender::new(false),
            news: watch::Sender::new(()),
            looking: tokio::sync::Mutex::default(),
            proofs: watch::Sender::new(()),
            offered: Mutex::default(),
        }
    }

    /// The archives that are open now, by their first blocks, but for those that have been out of reach for a while: what
    /// is told to others would not hold.
    pub fn list(&self) -> Vec<Archive> {
        let is_down = |served: &Served| served.origin.as_ref().is_some_and(|origin| origin.depot.is_down());
        self.served().into_iter().filter(|served| !is_down(served)).map(|served| served.archive).collect()
    }

    pub(super) fn served(&self) -> Vec<Served> {
        let mut archives: Vec<Served> = self.shelf.lock().open.values().cloned().collect();
        archives.sort_by_key(|served| *served.archive.blocks().start());
        archives
    }

    /// How far it is that they are offered to peers; `None` if nobody does.
    pub fn offered(&self) -> Option<SeedProgress> {
        self.offered.lock().as_ref().map(|offered| offered.borrow().clone())
    }

    /// From here on they are offered, as this tells.
    pub(super) fn watch_offers(&self, progress: watch::Receiver<SeedProgress>) {
        *self.offered.lock() = Some(progress);
    }

    /// How many are open now.
    pub fn count(&self) -> usize {
        self.shelf.lock().open.len()
    }

    /// Seeds that are not served, and why.
    pub fn problems(&self) -> Vec<ArchiveProblem> {
        let shelf = self.shelf.lock();
        let of_depots = shelf.depot_problems.values().map(|found| &found.problem);
        shelf.problems.values().chain(of_depots).cloned().collect()
    }

    /// Waits until the seed folders were looked at once. Buckets, which may not answer, are not waited for.
    pub async fn wait_until_scanned(&self) {
        // The sender lives as long as this does.
        let _ = self.scanned.subscribe().wait_for(|scanned| *scanned).await;
    }

    /// Whether buckets and web servers were looked at once, too.
    pub(super) fn has_looked(&self) -> bool {
        *self.looked.borrow()
    }

    pub(super) async fn scan_folders(self: &Arc<Self>) {
        let archives = Arc::clone(self);
        if self.workers.read(move || archives.scan_blocking()).await.is_ok() {
            self.scanned.send_replace(true);
        }
    }

    pub(super) fn has_seeds(&self) -> bool {
        !self.paths.is_empty() || !self.depots.is_empty()
    }

    /// Looks for what proves the headers of archives that have no proofs, again and again until all are proved.
    pub(crate) async fn keep_proving(self: Arc<Self>) {
        self.wait_until_scanned().await;
        let (mut wait, mut lists) = (FIRST_PROVE_WAIT, self.trust.changes());
        while self.has_seeds() {
            let lineages: Vec<_> = self.served().into_iter().filter_map(|served| served.lineage).collect();
            let unproved = || lineages.iter().map(|lineage| lineage.unproved_count()).sum::<u64>();
            let before = unproved();
            for lineage in &lineages {
                if self.prove(lineage).await.is_err() {
                    return;
                }
            }
            wait = if unproved() < before { FIRST_PROVE_WAIT } else { LONGEST_PROVE_WAIT.min(wait * 2) };
            let cause = async {
                tokio::select! {
                    () = self.prover.wanted() => {}
                    // The store of the lists lives as long as this does.
                    _ = lists.changed() => {}
                }
            };
            if tokio::time::timeout(wait, cause).await.is_ok() {
                wait = FIRST_PROVE_WAIT;
            }
        }
    }

    /// Looks once for what proves the headers of an archive.
    pub(super) async fn prove(&self, lineage: &Arc<Lineage>) -> Result<(), Stopping> {
        if lineage.unproved_count() == 0 {
            return Ok(());
        }
        let before = lineage.unproved_count();
        lineage.seek(&self.headers, &self.workers).await?;
        if lineage.unproved_count() < before {
            self.proofs.send_replace(());
        }
        Ok(())
    }

    /// Tells when blocks of archives without proofs were proved, so that they can be offered.
    pub(super) fn proofs(&self) -> watch::Receiver<()> {
        self.proofs.subscribe()
    }

    /// Tells when archives were opened, or can be read again.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    fn scan_blocking(&self) {
        let mut problems = BTreeMap::new();
        let mut found = Vec::new();
        for seed in &self.paths {
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
        let open: Vec<(PathBuf, Served)> =
            self.shelf.lock().open.iter().map(|(path, served)| (path.clone(), served.clone())).collect();
        for (path, served) in open {
            if let Err(error) = served.archive.check_identity() {
                self.remove(&path, &error);
            }
        }
    }

    pub(super) fn remove(&self, path: &Path, why: &dyn std::fmt::Display) {
        tracing::warn!(archive = %path.display(), %why, "archive no longer served");
        self.holdings.store().remove_archive(path);
        self.shelf.lock().open.remove(path);
    }

    fn open(&self, path: &Path) -> Result<(), ArchiveProblem> {
        let problem = |error| ArchiveProblem::Archive(Arc::new(error));
        let archive = Archive::open_with(path, Arc::clone(&self.epochs)).map_err(problem)?;
        if let Some(damage) = archive.damage() {
            tracing::warn!(archive = %path.display(), %damage, "archive is damaged; what is left of it is served");
        }
        self.serve(path, archive, None)
    }

    /// Has the store serve an archive that was opened. Blocks on what is read of it.
    pub(super) fn serve(&self, path: &Path, archive: Archive, origin: Option<Origin>) -> Result<(), ArchiveProblem> {
        if origin.is_some() && archive.format() == Format::Era1 {
            tracing::warn!(
                archive = %path.display(),
                "an era1 archive is read whole for what proves its headers; `cairn convert --to ere` makes one that has the \
                 proofs in it"
            );
        }
        let lineage = Lineage::of(&archive, self.trust.chain()).map(Arc::new);
        if lineage.is_some() {
            tracing::info!(
                archive = %path.display(),
                "archive lacks proofs of its headers: its blocks are held and offered as soon as headers from elsewhere prove \
                 them"
            );
        }
        let prover = Arc::new(self.prover.of(lineage.clone()));
        self.holdings.store().add_archive(archive.clone(), prover).map_err(ArchiveProblem::Store)?;
        tracing::info!(archive = %path.display(), blocks = ?archive.blocks(), "archive served in place");
        let is_bare = lineage.is_some();
        self.shelf.lock().open.insert(path.to_owned(), Served { archive, lineage, origin });
        self.news.send_replace(());
        if is_bare {
            self.prover.want();
        }
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
