//! What a seed is: a path, or the URL of a bucket or of a folder on a web server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_web_seed::{Depot, Error, Options, PieceCache, pieces::CACHE_BYTES};

use super::shelf::{ArchiveProblem, DepotProblem};

/// How a seed begins that is no path.
const SCHEMES: [&str; 3] = ["s3://", "http://", "https://"];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        let seeds = ["/srv/era1", "s3://bucket/prefix", "s3", "https://host/eras/", "era1.http"].map(PathBuf::from);
        assert_eq!(seeds.iter().filter_map(|seed| url_of(seed)).count(), 2);
    }
}
