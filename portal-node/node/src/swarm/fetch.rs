//! One archive from many peers: dialled, asked, checked, written.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use cairn_archive::write::Plan;
use cairn_archive::{ArchiveError, MAX_BLOCKS};
use cairn_swarm::download::{DownloadConfig, Order};
use cairn_swarm::quic::{Fetch, FetchOptions, FetchProgress, Sink, Swarm, SwarmFetchError};
use content_types::HeaderVerifier;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::patience::{Patience, Unserved};
use super::peers::KnownPeers;
use super::sink::ArchiveSink;
use super::web;
use crate::workers::{Stopping, blocking};

/// Why no archive was made.
#[derive(Debug, thiserror::Error)]
pub enum FetchArchiveError {
    /// This node does not speak QUIC.
    #[error("the peer does not speak QUIC")]
    NoQuic,
    /// The archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The folder cannot be looked at.
    #[error("{folder}: {source}")]
    Folder {
        /// Which one.
        folder: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody serves what is missing.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// What came could not be kept.
    #[error(transparent)]
    Fetch(#[from] SwarmFetchError),
    /// The node stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// The archive that is wanted.
#[derive(Clone, Debug)]
pub struct WantedArchive {
    /// The folder, which has to exist.
    pub folder: PathBuf,
    /// The file's name; `None` for the one that the format gives it.
    pub name: Option<String>,
    /// Format, components and blocks.
    pub plan: Plan,
    /// In which order runs are fetched.
    pub order: Order,
    /// Mirrors of archive files (`http`, `https`, `s3`) for what no peer serves.
    pub web_seeds: Vec<String>,
}

/// The fetch of one archive.
pub struct ArchiveFetch {
    fetch: Fetch,
    sink: Arc<ArchiveSink>,
    peers: KnownPeers,
    name: Option<String>,
    eras: RangeInclusive<u64>,
    web_seeds: Vec<String>,
    troubles: web::Troubles,
}

impl ArchiveFetch {
    pub(crate) async fn begin(
        swarm: Swarm,
        peers: KnownPeers,
        verifier: HeaderVerifier,
        wanted: WantedArchive,
    ) -> Result<Self, FetchArchiveError> {
        let WantedArchive { folder, name, plan, order, web_seeds } = wanted;
        let eras = plan.blocks().start() / MAX_BLOCKS..=plan.blocks().end() / MAX_BLOCKS;
        let sink = Arc::new(blocking(move || ArchiveSink::resume(verifier, &folder, plan)).await??);
        let options = FetchOptions {
            download: DownloadConfig { order, ..DownloadConfig::default() },
            seed: rand::random(),
            ..FetchOptions::default()
        };
        let kept: Arc<dyn Sink> = sink.clone();
        let fetch = Fetch::new(swarm, &options, sink.wanted(), sink.known(), &kept);
        Ok(Self { fetch, sink, peers, name, eras, web_seeds, troubles: web::Troubles::default() })
    }

    /// How far it is, now and then.
    pub fn progress(&self) -> watch::Receiver<FetchProgress> {
        self.fetch.progress()
    }

    /// How many items the archive has, those that came before among them.
    pub(super) fn items(&self) -> u64 {
        self.sink.items()
    }

    /// Why mirrors that were named give nothing, as it is at any time.
    pub(super) fn troubles(&self) -> web::Troubles {
        self.troubles.clone()
    }

    /// Fetches everything and writes the file; returns its path.
    ///
    /// # Errors
    /// [`FetchArchiveError`]. When `stop` is cancelled, what was fetched until then is kept for the next time.
    pub async fn run(self, stop: &CancellationToken) -> Result<PathBuf, FetchArchiveError> {
        let dialling = stop.child_token();
        let dialler = tokio::spawn(self.peers.clone().keep_dialling(self.eras.clone(), dialling.clone()));
        let fetched = self.fetch(stop).await;
        dialling.cancel();
        // It ends with its token.
        let _ = dialler.await;
        fetched?.finish().await
    }

    /// Like [`run`](Self::run), but only until nobody has served what is missing for too long.
    ///
    /// # Errors
    /// As [`ArchiveFetch::run`], and [`FetchArchiveError::Unserved`].
    pub(crate) async fn run_while_served(
        self,
        patience: Patience,
        stop: &CancellationToken,
    ) -> Result<PathBuf, FetchArchiveError> {
        let (ending, progress, troubles) = (stop.child_token(), self.progress(), self.troubles());
        let (peers, wanted) = (self.peers.clone(), self.items());
        let mut running = pin!(self.run(&ending));
        tokio::select! {
            made = &mut running => made,
            unserved = patience.run_out(progress) => {
                let (cause, mirrors) = (peers.why_unserved(), troubles.all());
                let unserved = Unserved { wanted, cause, mirrors, ..unserved };
                ending.cancel();
                match running.await {
                    Err(FetchArchiveError::Fetch(SwarmFetchError::Stopped)) if !stop.is_cancelled() => Err(unserved.into()),
                    ended => ended,
                }
            }
        }
    }

    /// Fetches everything from whoever gets connected.
    ///
    /// # Errors
    /// As [`ArchiveFetch::run`].
    pub(super) async fn fetch(self, stop: &CancellationToken) -> Result<Fetched, FetchArchiveError> {
        let Self { fetch, sink, name, web_seeds, peers, troubles, .. } = self;
        let swarm = peers.swarm.clone();
        let filling =
            web::keep_filling(web_seeds, Arc::clone(&sink), fetch.outside(), swarm, fetch.progress(), troubles);
        let ending = stop.child_token();
        let filler = tokio::spawn(ending.clone().run_until_cancelled_owned(filling));
        let fetched = fetch.run(stop).await;
        ending.cancel();
        let _ = filler.await;
        if let Err(error) = fetched {
            blocking(move || sink.abandon()).await?;
            return Err(error.into());
        }
        Ok(Fetched { sink, name })
    }
}

/// An archive of which everything was fetched, and which is not written yet.
pub(super) struct Fetched {
    sink: Arc<ArchiveSink>,
    name: Option<String>,
}

impl Fetched {
    /// Writes the file; returns its path.
    pub(super) async fn finish(self) -> Result<PathBuf, FetchArchiveError> {
        let Self { sink, name } = self;
        let made = blocking(move || sink.finish(name.as_deref())).await??;
        made.ok_or(FetchArchiveError::Stopping(Stopping))
    }
}

impl std::fmt::Debug for ArchiveFetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fetch.fmt(f)
    }
}
