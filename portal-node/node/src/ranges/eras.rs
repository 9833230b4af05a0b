//! Eras one after the other, each as an archive of its own in one folder; those that are there and whole are left alone.

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use cairn_archive::Format;
use cairn_swarm::download::Order;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::range::serve;
use super::{Made, Profile, RangeError, RangeProgress, RangeSource, plan_of_era};
use crate::swarm::{FetchArchiveError, Patience, WantedArchive, archive_there};
use crate::workers::blocking;

/// The eras that are wanted.
#[derive(Clone, Debug)]
pub struct WantedEras {
    /// The folder; it is made when it is missing.
    pub folder: PathBuf,
    /// Which eras.
    pub eras: RangeInclusive<u64>,
    /// As what.
    pub format: Format,
    /// With what of their blocks.
    pub profile: Profile,
    /// How long is waited while nobody serves what is missing of one.
    pub patience: Duration,
    /// Mirrors of archive files (`http`, `https`, `s3`) for what no peer serves.
    pub web_seeds: Vec<String>,
}

/// How an era was had.
#[derive(Clone, Debug)]
pub enum EraMade {
    /// It was there before.
    There(PathBuf),
    /// It was fetched.
    Fetched(Made),
}

/// The fetch of eras.
pub struct EraFetches {
    source: RangeSource,
    wanted: WantedEras,
    progress: watch::Sender<RangeProgress>,
}

impl EraFetches {
    pub(crate) fn new(source: RangeSource, wanted: WantedEras) -> Self {
        Self { source, wanted, progress: watch::Sender::default() }
    }

    /// How far the one is that is being fetched, now and then.
    pub fn progress(&self) -> watch::Receiver<RangeProgress> {
        self.progress.subscribe()
    }

    /// Has the next era; `None` after the last. When `stop` is cancelled, what was fetched until then is kept for the next
    /// time.
    pub async fn next(&mut self, stop: &CancellationToken) -> Option<(u64, Result<EraMade, RangeError>)> {
        let era = self.wanted.eras.next()?;
        Some((era, self.have(era, stop).await))
    }

    async fn have(&self, era: u64, stop: &CancellationToken) -> Result<EraMade, RangeError> {
        self.progress.send_replace(RangeProgress::Waiting);
        let WantedEras { folder, format, profile, patience, web_seeds, .. } = self.wanted.clone();
        let chain = self.source.verifier.chain();
        let plan = plan_of_era(chain, format, era, profile)?;
        let (place, network, described) = (folder.clone(), chain.name().to_owned(), plan.clone());
        let looked = blocking(move || {
            fs::create_dir_all(&place)?;
            archive_there(&place, &network, &described)
        });
        let failed = |source| FetchArchiveError::Folder { folder: folder.display().to_string(), source };
        if let Some(there) = looked.await?.map_err(failed)? {
            tracing::info!(era, file = %there.display(), "the era is there");
            return Ok(EraMade::There(there));
        }
        let wanted = WantedArchive { folder, name: None, plan, order: Order::RarestFirst, web_seeds };
        let patience = Patience { nobody: patience, nothing: patience };
        let tell = |fetch| {
            self.progress.send_replace(RangeProgress::Served { era: Some(era), fetch });
        };
        Ok(EraMade::Fetched(serve(&self.source, wanted, patience, stop, tell).await?))
    }
}

impl std::fmt::Debug for EraFetches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EraFetches").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
