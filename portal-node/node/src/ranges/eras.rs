//! Eras one after the other, each as an archive of its own in one folder; those that are there are left alone.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_archive::{ArchiveName, Format};
use cairn_swarm::download::Order;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::range::serve;
use super::{Made, Profile, RangeError, RangeProgress, RangeSource, plan_of_era};
use crate::swarm::{FetchArchiveError, Patience, WantedArchive};
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
        let (place, network) = (folder.clone(), chain.name().to_owned());
        let looked = blocking(move || {
            fs::create_dir_all(&place)?;
            existing(&place, &network, era, format, profile)
        });
        let failed = |source| FetchArchiveError::Folder { folder: folder.display().to_string(), source };
        if let Some(there) = looked.await?.map_err(failed)? {
            tracing::info!(era, file = %there.display(), "the era is there");
            return Ok(EraMade::There(there));
        }
        let plan = plan_of_era(chain, format, era, profile)?;
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

/// The archive of an era that is in the folder already. It has its name because it is whole.
fn existing(folder: &Path, network: &str, era: u64, format: Format, profile: Profile) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse);
        let is_it = |name: &ArchiveName| {
            let has_parts =
                format == Format::Era1 || (name.proofs == profile.proofs && name.receipts == profile.receipts);
            (name.network.as_str(), name.era, name.format) == (network, era, format) && has_parts
        };
        if name.is_some_and(|name| is_it(&name)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_that_is_there_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let whole = Profile::WHOLE;
        let there = |era, format, profile| existing(folder.path(), "mainnet", era, format, profile).unwrap().is_some();
        for name in ["mainnet-00003-5ec1ffb8.ere", "mainnet-00004-5ec1ffb8-noproofs.ere", "sepolia-00005-5ec1ffb8.ere"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(folder.path().join(".cairn-mainnet-6-0-8191-ere.spool"), "").unwrap();
        assert!(there(3, Format::Ere, whole));
        assert!(!there(3, Format::Era1, whole) && !there(5, Format::Ere, whole) && !there(6, Format::Ere, whole));
        assert!(!there(4, Format::Ere, whole) && there(4, Format::Ere, Profile { proofs: false, ..whole }));
    }
}
