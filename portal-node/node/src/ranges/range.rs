//! One range as one archive, whichever way it comes.

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use cairn_swarm::quic::{FetchProgress, SwarmFetchError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Pace, RangeError, RangeProgress, RangeSource, lookups};
use crate::swarm::{ArchiveFetch, FetchArchiveError, Patience, WantedArchive};

/// How long somebody is sought who serves a range over QUIC, before it is fetched item by item.
const SEEK_TIME: Duration = Duration::from_secs(4);
/// How often it is told how far a fetch is.
const LOOK: Duration = Duration::from_millis(250);

/// How a range is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ways {
    /// Over QUIC: how long is waited while nobody serves what is missing.
    pub patience: Duration,
    /// Item by item, when nobody was found in the first seconds who serves anything of it.
    pub pace: Pace,
}

/// An archive that was fetched.
#[derive(Clone, Debug)]
pub struct Made {
    /// Where it is.
    pub path: PathBuf,
    /// How long it took.
    pub took: Duration,
    /// How it came over QUIC; `None` if it came item by item.
    pub served: Option<FetchProgress>,
}

/// The fetch of a range.
pub struct RangeFetch {
    source: RangeSource,
    wanted: WantedArchive,
    ways: Ways,
    progress: watch::Sender<RangeProgress>,
}

impl RangeFetch {
    pub(crate) fn new(source: RangeSource, wanted: WantedArchive, ways: Ways) -> Self {
        Self { source, wanted, ways, progress: watch::Sender::default() }
    }

    /// How far it is, now and then.
    pub fn progress(&self) -> watch::Receiver<RangeProgress> {
        self.progress.subscribe()
    }

    /// Fetches the range and writes the file. When `stop` is cancelled, what came over QUIC until then is kept for the next
    /// time.
    ///
    /// # Errors
    /// [`RangeError`].
    pub async fn run(self, stop: &CancellationToken) -> Result<Made, RangeError> {
        let Self { source, wanted, ways: Ways { patience: nothing, pace }, progress } = self;
        // With a mirror there is somebody.
        let nobody = if wanted.web_seeds.is_empty() { SEEK_TIME } else { nothing };
        let tell = |fetch| {
            progress.send_replace(RangeProgress::Served { era: None, fetch });
        };
        let mirrors = match serve(&source, wanted.clone(), Patience { nobody, nothing }, stop, tell).await {
            Err(FetchArchiveError::NoQuic) => Vec::new(),
            Err(FetchArchiveError::Unserved(unserved)) if unserved.kept == 0 => unserved.mirrors,
            served => return Ok(served?),
        };
        let begun = Instant::now();
        let made = stop.run_until_cancelled(lookups::write(&source, wanted, pace, &progress)).await;
        let made = made.ok_or(FetchArchiveError::Fetch(SwarmFetchError::Stopped))?;
        let path = made.map_err(|error| error.after(mirrors))?;
        Ok(Made { path, took: begun.elapsed(), served: None })
    }
}

impl std::fmt::Debug for RangeFetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RangeFetch").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

/// Fetches one archive over QUIC.
pub(super) async fn serve(
    source: &RangeSource,
    wanted: WantedArchive,
    patience: Patience,
    stop: &CancellationToken,
    tell: impl Fn(FetchProgress),
) -> Result<Made, FetchArchiveError> {
    let begun = Instant::now();
    let peers = source.peers.clone().ok_or(FetchArchiveError::NoQuic)?;
    let fetch = ArchiveFetch::begin(peers.swarm.clone(), peers, source.verifier.clone(), wanted).await?;
    let progress = fetch.progress();
    let now = || progress.borrow().clone();
    let mut running = pin!(fetch.run_while_served(patience, stop));
    let made = loop {
        tokio::select! {
            made = &mut running => break made,
            () = tokio::time::sleep(LOOK) => tell(now()),
        }
    };
    tell(now());
    Ok(Made { path: made?, took: begun.elapsed(), served: Some(now()) })
}
