//! The job that offers archives to the network: block after block, checked, planned, sent, with a bounded number of offers
//! under way. When peers are slow it is slow; when nobody is there it waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_archive::Archive;
use cairn_proto::wire::AcceptCode;
use content_types::{ContentKey, NodeId, legacy_history};
use futures::{StreamExt, stream};
use overlay::Enr;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::archives::Archives;
use super::plan::{self, Offer, Peer, Piece};
use super::position::Position;
use super::prepare;
use crate::networks::Network;
use crate::pipeline::{Pipeline, VerifiedContent};
use crate::workers::Workers;

/// Blocks that are read, checked and offered together: enough that a peer gets full offers, few enough that 100 kB a block
/// stay within some ten megabytes.
const RUN_BLOCKS: u64 = 32;
/// Runs that are prepared ahead of the one being offered.
const RUNS_AHEAD: usize = 2;
/// Waits between looks at a routing table in which nobody is.
const NO_PEERS_WAIT: Duration = Duration::from_secs(1);
/// How often an offer that a busy peer declined is repeated.
const MAX_RETRIES: u32 = 5;
/// First wait before such an offer is repeated; doubled each time.
const RETRY_WAIT: Duration = Duration::from_millis(100);

/// How archives are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedOptions {
    /// Peers that each piece is offered to.
    pub replicas: usize,
    /// Offers under way at once.
    pub parallel_offers: usize,
    /// Whether to start over instead of where the last run stopped.
    pub from_start: bool,
}

impl Default for SeedOptions {
    fn default() -> Self {
        Self { replicas: 4, parallel_offers: 16, from_start: false }
    }
}

/// How far the job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedProgress {
    /// Archive being offered.
    pub archive: Option<String>,
    /// Blocks in all archives.
    pub blocks_total: u64,
    /// Blocks that were offered, in this run and before.
    pub blocks_done: u64,
    /// Blocks that could not be offered because they are damaged or don't prove true.
    pub blocks_refused: u64,
    /// Pieces of content offered in this run.
    pub pieces: u64,
    /// Of them, those that at least one peer took or had already.
    pub pieces_placed: u64,
    /// Pieces that peers took, each peer counted.
    pub accepted: u64,
    /// Bytes of what peers took.
    pub bytes: u64,
    /// Whether all is done.
    pub finished: bool,
}

/// A running job. Dropping it lets the job go on.
#[derive(Debug)]
pub struct SeedHandle {
    progress: watch::Receiver<SeedProgress>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl SeedHandle {
    pub(crate) fn start(
        source: SeedSource,
        options: SeedOptions,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sender, progress) = watch::channel(SeedProgress::default());
        let stopping = stop.clone();
        let task = tasks.spawn(async move {
            let job = Job { source, options, progress: sender };
            stopping.run_until_cancelled(job.run()).await;
        });
        Self { progress, stop, task }
    }

    /// How far it is; the receiver tells of each change.
    pub fn progress(&self) -> watch::Receiver<SeedProgress> {
        self.progress.clone()
    }

    /// Stops after what is under way. The next run goes on from there.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until all is done, or the job was stopped, and tells how far it came.
    pub async fn wait(self) -> SeedProgress {
        if self.task.await.is_err() {
            tracing::error!("the seeding job broke off");
        }
        self.progress.borrow().clone()
    }
}

/// What the job works with.
#[derive(Clone)]
pub(crate) struct SeedSource {
    pub(crate) archives: Arc<Archives>,
    pub(crate) pipeline: Pipeline,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) workers: Workers,
    pub(crate) position_file: PathBuf,
}

struct Job {
    source: SeedSource,
    options: SeedOptions,
    progress: watch::Sender<SeedProgress>,
}

/// The pieces made of a run of blocks.
struct Run {
    blocks: u64,
    refused: u64,
    end: u64,
    contents: Vec<VerifiedContent>,
}

impl Job {
    async fn run(self) {
        self.source.archives.wait_until_scanned().await;
        let file = self.source.position_file.clone();
        let from_start = self.options.from_start;
        let load = move || if from_start { Position::start(&file) } else { Position::load(&file) };
        let Ok(mut position) = self.source.workers.disk(load).await else { return };

        let archives = self.source.archives.list();
        let total = archives.iter().map(|archive| blocks(archive).count() as u64).sum();
        self.progress.send_modify(|progress| progress.blocks_total = total);
        for archive in archives {
            let Ok(advanced) = self.offer_archive(archive, position).await else { return };
            position = advanced;
        }
        self.progress.send_modify(|progress| {
            progress.archive = None;
            progress.finished = true;
        });
    }

    async fn offer_archive(
        &self,
        archive: Arc<Archive>,
        mut position: Position,
    ) -> Result<Position, crate::workers::Stopping> {
        let name = file_name(&archive);
        let all = blocks(&archive);
        let start = position.next(&name).unwrap_or(all.start).clamp(all.start, all.end);
        self.progress.send_modify(|progress| {
            progress.archive = Some(name.clone());
            progress.blocks_done += start - all.start;
        });
        let ranges = (start..all.end)
            .step_by(RUN_BLOCKS as usize)
            .map(|from| from..from.saturating_add(RUN_BLOCKS).min(all.end));
        let mut runs = stream::iter(ranges).map(|range| self.prepare(Arc::clone(&archive), range)).buffered(RUNS_AHEAD);
        while let Some(run) = runs.next().await {
            let (next, blocks, refused) = (run.end, run.blocks, run.refused);
            self.offer_run(run).await;
            let archive = name.clone();
            position = self
                .source
                .workers
                .disk(move || {
                    if let Err(error) = position.advance(&archive, next) {
                        tracing::warn!(%error, "position of seeding not saved");
                    }
                    position
                })
                .await?;
            self.progress.send_modify(|progress| {
                progress.blocks_done += blocks;
                progress.blocks_refused += refused;
            });
        }
        Ok(position)
    }

    async fn prepare(&self, archive: Arc<Archive>, range: std::ops::Range<u64>) -> Run {
        let SeedSource { pipeline, workers, .. } = &self.source;
        let mut run = Run { blocks: range.end - range.start, refused: 0, end: range.end, contents: Vec::new() };
        for block in prepare::read_run(workers, archive, range).await {
            let contents = match block {
                Ok(block) => prepare::contents(pipeline, workers, block).await,
                Err(problem) => Err(problem),
            };
            match contents {
                Ok(contents) => run.contents.extend(contents),
                Err(problem) => {
                    run.refused += 1;
                    tracing::warn!(%problem, "block not offered");
                }
            }
        }
        run
    }

    /// Headers go first: a peer that has them need not ask for them to check the rest.
    async fn offer_run(&self, run: Run) {
        let (headers, rest): (Vec<_>, Vec<_>) = run.contents.iter().partition(|content| is_header(content.key()));
        for contents in [headers, rest] {
            for network in &self.source.networks {
                let of_network = |content: &&VerifiedContent| content.key().sub_network() == network.entry().network;
                let pieces: Vec<&VerifiedContent> = contents.iter().copied().filter(of_network).collect();
                if !pieces.is_empty() {
                    self.offer_pieces(network, &pieces).await;
                }
            }
        }
    }

    async fn offer_pieces(&self, network: &Network, pieces: &[&VerifiedContent]) {
        let peers = wait_for_peers(network).await;
        let candidates: Vec<Peer> = peers.iter().map(|(peer, _)| *peer).collect();
        let planned: Vec<Piece> =
            pieces.iter().map(|content| Piece { id: content.key().content_id(), len: content.value().len() }).collect();
        let offers = plan::plan(&planned, &candidates, self.options.replicas);
        let mut placed = vec![false; pieces.len()];
        let (mut accepted, mut bytes) = (0, 0);
        let mut results = stream::iter(offers)
            .map(|Offer { peer, pieces: places }| {
                let enr = peers.get(peer).map(|(_, enr)| enr.clone());
                let items: Vec<(Bytes, Bytes)> = places
                    .iter()
                    .filter_map(|place| pieces.get(*place))
                    .map(|content| (content.key().encode(), content.value().clone()))
                    .collect();
                async move {
                    match enr {
                        Some(enr) => (places, offer(network, enr, items).await),
                        None => (places, Vec::new()),
                    }
                }
            })
            .buffer_unordered(self.options.parallel_offers.max(1));
        while let Some((places, codes)) = results.next().await {
            for (place, code) in places.into_iter().zip(codes) {
                if code.is_accepted() {
                    accepted += 1;
                    bytes += pieces.get(place).map_or(0, |content| content.value().len() as u64);
                }
                if let Some(placed) = placed.get_mut(place) {
                    *placed |= matches!(code, AcceptCode::Accepted | AcceptCode::AlreadyStored);
                }
            }
        }
        drop(results);
        let mut placed_count = placed.iter().filter(|placed| **placed).count() as u64;
        // Nobody in the table took these: there may be somebody farther away who would.
        for content in pieces.iter().zip(&placed).filter(|(_, placed)| !**placed).map(|(content, _)| content) {
            let put = network.overlay().put_content(content.key().encode(), content.value().clone()).await;
            let taken = put.map_or(0, |report| report.codes.iter().filter(|code| code.is_accepted()).count() as u64);
            accepted += taken;
            bytes += taken * content.value().len() as u64;
            placed_count += u64::from(taken > 0);
        }
        self.progress.send_modify(|progress| {
            progress.pieces += pieces.len() as u64;
            progress.pieces_placed += placed_count;
            progress.accepted += accepted;
            progress.bytes += bytes;
        });
    }
}

/// The peers whose radius is known; waits until there is one.
async fn wait_for_peers(network: &Network) -> Vec<(Peer, Enr)> {
    loop {
        let table = network.overlay().routing_table();
        let peers: Vec<(Peer, Enr)> = table
            .buckets
            .into_iter()
            .flatten()
            .filter(|entry| entry.live)
            .filter_map(|entry| {
                let node_id = NodeId::from(entry.enr.node_id().raw());
                Some((Peer { node_id, radius: entry.radius? }, Enr::clone(&entry.enr)))
            })
            .collect();
        if !peers.is_empty() {
            return peers;
        }
        tokio::time::sleep(NO_PEERS_WAIT).await;
    }
}

/// Offers items to one peer, again while it is too busy to take them. One code for each item; none if the peer failed.
async fn offer(network: &Network, enr: Enr, items: Vec<(Bytes, Bytes)>) -> Vec<AcceptCode> {
    let mut codes: Vec<AcceptCode> = vec![AcceptCode::RateLimited; items.len()];
    let mut wait = RETRY_WAIT;
    for _ in 0..=MAX_RETRIES {
        let busy = |code: &AcceptCode| matches!(code, AcceptCode::RateLimited);
        let open: Vec<usize> = codes.iter().enumerate().filter(|(_, code)| busy(code)).map(|(at, _)| at).collect();
        if open.is_empty() {
            break;
        }
        let batch = open.iter().filter_map(|at| items.get(*at).cloned()).collect();
        match network.overlay().offer(enr.clone(), batch).await {
            Ok(answers) => {
                for (at, answer) in open.into_iter().zip(answers) {
                    if let Some(code) = codes.get_mut(at) {
                        *code = answer;
                    }
                }
            }
            Err(error) => {
                tracing::debug!(peer = %enr.node_id(), %error, "offer failed");
                return codes;
            }
        }
        if codes.iter().any(busy) {
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
    codes
}

fn is_header(key: &ContentKey) -> bool {
    use legacy_history::ContentKey::{HeaderByHash, HeaderByNumber};
    matches!(key, ContentKey::LegacyHistory(HeaderByHash(_) | HeaderByNumber(_)))
}

fn blocks(archive: &Archive) -> std::ops::Range<u64> {
    let blocks = archive.blocks();
    *blocks.start()..blocks.end().saturating_add(1)
}

fn file_name(archive: &Archive) -> String {
    let name = archive.path().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| archive.name().to_owned())
}
