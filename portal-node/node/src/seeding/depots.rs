//! Archives in buckets and on web servers, served from there: what is listed is opened, what is listed no more drops out, and
//! a file that was replaced is opened anew. Nothing is read but what somebody asks for, beside what opening takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_web_seed::{Depot, Error, Listed};
use futures::future::join_all;
use futures::{StreamExt, stream};

use super::archives::Archives;
use super::shelf::{ArchiveProblem, DepotProblem, Origin, Served};

/// Archives of one depot that are opened at once. Each takes some 25 round trips.
const OPENINGS: usize = 8;

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
