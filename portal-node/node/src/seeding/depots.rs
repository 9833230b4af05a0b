//! Archives in buckets and on web servers, served from there: what is listed is opened, what is listed no more drops out, and
//! a file that was replaced is opened anew. Nothing is read but what somebody asks for, beside what opening takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cairn_web_seed::{Depot, Error, Listed, Options, PieceCache, pieces::CACHE_BYTES};
use futures::future::join_all;
use futures::{StreamExt, stream};

use super::archives::{ArchiveProblem, Archives, Served};

/// How often depots are listed. A bucket's thousand files are one request.
pub(super) const LIST_INTERVAL: Duration = Duration::from_secs(60);
/// Archives of one depot that are opened at once. Each takes some 25 round trips.
const OPENINGS: usize = 8;
/// How a seed begins that is no path.
const SCHEMES: [&str; 3] = ["s3://", "http://", "https://"];

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
    final_for: Option<Option<String>>,
}

/// The URL that a seed is, if it is no path.
pub fn url_of(seed: &Path) -> Option<&str> {
    seed.to_str().filter(|seed| SCHEMES.iter().any(|scheme| seed.starts_with(scheme)))
}

/// Whether a seed's URL can be one. Nothing is asked of anybody.
///
/// # Errors
/// [`Error`] says why not.
pub fn check_url(url: &str) -> Result<(), Error> {
    depot_at(url, Options::serving()).map(drop)
}

/// How many archives there are now at a seed's URL.
///
/// # Errors
/// [`Error`] says whether it is settled, or may go better another time.
pub async fn count_at(url: &str) -> Result<usize, Error> {
    // Whoever asks waits for the answer.
    let options = Options { attempts: 2, ..Options::serving() };
    Ok(depot_at(url, options)?.list().await?.len())
}

fn depot_at(url: &str, options: Options) -> Result<Depot, Error> {
    Depot::new(url, options, Arc::new(PieceCache::new(0)))
}

/// Paths, and depots at URLs. A URL that cannot be one is told with its problem.
pub(super) fn split(seeds: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<Arc<Depot>>, BTreeMap<PathBuf, DepotProblem>) {
    let cache = Arc::new(PieceCache::new(CACHE_BYTES));
    let (mut paths, mut depots, mut problems) = (Vec::new(), Vec::new(), BTreeMap::new());
    for seed in seeds {
        match url_of(&seed).map(|url| Depot::new(url, Options::serving(), Arc::clone(&cache))) {
            None => paths.push(seed),
            Some(Ok(depot)) => depots.push(Arc::new(depot)),
            Some(Err(error)) => {
                tracing::warn!(%error, "seed not served");
                problems.insert(seed, DepotProblem { problem: ArchiveProblem::Web(error), final_for: None });
            }
        }
    }
    (paths, depots, problems)
}

impl Archives {
    /// Looks at all depots now.
    pub(super) async fn look_at_depots(self: &Arc<Self>) {
        let _looking = self.looking.lock().await;
        join_all(self.depots.iter().map(|depot| self.look_at(depot))).await;
        if !self.looked.send_replace(true) {
            self.news.send_replace(());
        }
    }

    async fn look_at(self: &Arc<Self>, depot: &Arc<Depot>) {
        let listed = match depot.list().await {
            Ok(listed) => listed,
            Err(error) => return self.note_problem(depot.url().into(), None, error),
        };
        if self.shelf.lock().depot_problems.remove(Path::new(depot.url())).is_some() {
            tracing::info!(url = depot.url(), "archives are listed again");
        }
        let listed: BTreeMap<PathBuf, Listed> =
            listed.into_iter().map(|listed| (PathBuf::from(&*listed.url), listed)).collect();
        self.drop_unlisted(depot, &listed).await;
        let new = listed.into_iter().filter(|(path, listed)| self.is_new(path, listed));
        let new: Vec<(PathBuf, Listed)> = new.collect();
        stream::iter(new).for_each_concurrent(OPENINGS, |(path, listed)| self.open_listed(depot, path, listed)).await;
        if depot.had_trouble() {
            // What could not be read may be tried again.
            self.news.send_replace(());
        }
    }

    fn is_new(&self, path: &Path, listed: &Listed) -> bool {
        let shelf = self.shelf.lock();
        let is_hopeless = |problem: &DepotProblem| problem.final_for.as_ref() == Some(&listed.stamp);
        !shelf.open.contains_key(path) && !shelf.depot_problems.get(path).is_some_and(is_hopeless)
    }

    async fn drop_unlisted(self: &Arc<Self>, depot: &Arc<Depot>, listed: &BTreeMap<PathBuf, Listed>) {
        let is_of = |origin: &Origin| Arc::ptr_eq(&origin.depot, depot);
        let is_there = |path: &Path, served: &Served| {
            let stamp = served.origin.as_ref().and_then(|origin| origin.stamp.as_ref());
            let is_intact = served.archive.check_identity().is_ok();
            is_intact && listed.get(path).is_some_and(|listed| listed.stamp.as_ref() == stamp)
        };
        let gone: Vec<PathBuf> = {
            let mut shelf = self.shelf.lock();
            // Of two depots one may lie in the other; who opened an archive looks after it.
            let prefix = depot.url().trim_end_matches('/');
            let is_inside = |path: &Path| path.to_str().is_some_and(|path| path.starts_with(prefix));
            shelf.depot_problems.retain(|path, _| !is_inside(path) || listed.contains_key(path));
            let of_depot = shelf.open.iter().filter(|(_, served)| served.origin.as_ref().is_some_and(is_of));
            of_depot.filter(|(path, served)| !is_there(path, served)).map(|(path, _)| path.clone()).collect()
        };
        if gone.is_empty() {
            return;
        }
        let archives = Arc::clone(self);
        let remove =
            move || gone.iter().for_each(|path| archives.remove(path, &"it is not listed any more, or is another"));
        // The node stops, or it is done.
        let _ = self.workers.read(remove).await;
    }

    async fn open_listed(self: &Arc<Self>, depot: &Arc<Depot>, path: PathBuf, listed: Listed) {
        let archive = match depot.open(&listed, Arc::clone(&self.epochs)).await {
            Ok(archive) => archive,
            Err(error) => return self.note_problem(path, listed.stamp, error),
        };
        let (archives, origin) = (Arc::clone(self), Origin { depot: Arc::clone(depot), stamp: listed.stamp });
        let serve = move || {
            let served = archives.serve(&path, archive, Some(origin));
            let mut shelf = archives.shelf.lock();
            match served {
                Ok(()) => drop(shelf.depot_problems.remove(&path)),
                Err(problem) => drop(shelf.depot_problems.insert(path, DepotProblem { problem, final_for: None })),
            }
        };
        // The node stops, or it is done.
        let _ = self.workers.read(serve).await;
    }

    fn note_problem(&self, path: PathBuf, stamp: Option<String>, error: Error) {
        let final_for = error.is_of_file().then_some(stamp);
        let mut shelf = self.shelf.lock();
        if !shelf.depot_problems.contains_key(&path) {
            tracing::warn!(%error, "seed not served for now");
        }
        shelf.depot_problems.insert(path, DepotProblem { problem: ArchiveProblem::Web(error), final_for });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        let seeds = ["/srv/era1", "s3://bucket/prefix", "s3", "https://host/eras/", "era1.http"].map(PathBuf::from);
        assert_eq!(seeds.iter().filter_map(|seed| url_of(seed)).count(), 2);
    }
}
