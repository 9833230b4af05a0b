//! Offers what is left of one archive: batch after batch, checked ahead, with the headers first, and counted. What has no end
//! by then stays for another time, and the position goes no farther than before that.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use cairn_archive::Archive;
use cairn_swarm::geometry::Component;
use content_types::ContentKey;
use content_types::room::{BlockPart, Subject};
use futures::future::select_all;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::archives::Archives;
use super::batch::{self, BatchState, Rest, Retry, SeedingBatch, Which, blocks, open_batches, open_blocks};
use super::offer::{self, CheckedPiece, PeerNotes, Placed};
use super::position::{ArchiveKey, Position};
use super::prepare;
use super::refused::RefusedBlocks;
use super::serving::{BlocksOfArchive, Quic, ServedBy, Serving};
use super::shelf::Served;
use super::terms::{SeedOptions, SeedProgress};
use crate::networks::{self, Network};
use crate::parts::record_of;
use crate::pipeline::Pipeline;
use crate::trust::TrustStore;
use crate::verified::VerifiedContent;
use crate::workers::{Stopping, Workers, result_of};

/// Batches that are prepared ahead of the one being offered.
const BATCHES_AHEAD: usize = 2;
/// Blocks with open pieces at which no others are offered before those have been offered again.
const MAX_OPEN_BLOCKS: u64 = 1024;
/// Batches that are begun beside so many open blocks, each time that these are offered again: peers that never answer keep what
/// others would take waiting, but not for ever.
const FRESH_BATCHES: u32 = 16;

/// What the job works with.
#[derive(Clone)]
pub(crate) struct SeedSource {
    pub(crate) archives: Arc<Archives>,
    pub(crate) pipeline: Pipeline,
    pub(crate) trust: Arc<TrustStore>,
    pub(crate) networks: Vec<Arc<Network>>,
    pub(crate) workers: Workers,
    pub(crate) position_file: PathBuf,
    pub(crate) quic: Option<Quic>,
}

/// What offers one archive after another.
pub(super) struct Offering {
    pub(super) source: SeedSource,
    pub(super) options: SeedOptions,
    pub(super) progress: watch::Sender<SeedProgress>,
    pub(super) tasks: TaskTracker,
    /// What one batch tells of peers, for the next one to know.
    pub(super) notes: Arc<PeerNotes>,
    /// What others serve themselves.
    pub(super) serving: Arc<Serving>,
}

impl Offering {
    /// Counts a batch no longer as what it was until now.
    pub(super) fn forget(&self, batch: &SeedingBatch) {
        match &batch.state {
            BatchState::Open(keys) => self.progress.send_modify(|progress| {
                progress.blocks_open = progress.blocks_open.saturating_sub(batch.len());
                progress.pieces_open = progress.pieces_open.saturating_sub(keys.len() as u64);
            }),
            BatchState::Served => self.progress.send_modify(|progress| {
                progress.blocks_done = progress.blocks_done.saturating_sub(batch.len());
                progress.blocks_served = progress.blocks_served.saturating_sub(batch.len());
            }),
            BatchState::New | BatchState::Waiting => {}
        }
    }

    /// Offers what is left of an archive, and leaves of it what has to be tried again. The position goes as far as
    /// everything before it is settled.
    pub(super) async fn offer_archive(
        &self,
        rest: &mut Rest,
        which: Which,
        mut position: Position,
    ) -> Result<Position, Stopping> {
        self.progress.send_modify(|progress| progress.archive = Some(file_name(&rest.served.archive)));
        self.prove(&rest.served).await?;
        rest.unproved = Some(rest.served.unproved_count());
        let is_tried = |batch: &SeedingBatch| which == Which::All || !matches!(batch.state, BatchState::Waiting);
        let (batches, mut left): (Vec<SeedingBatch>, Vec<SeedingBatch>) =
            std::mem::take(&mut rest.batches).into_iter().partition(is_tried);
        let starts: Vec<u64> = batches.iter().map(|batch| batch.blocks.start).collect();
        let end = blocks(&rest.served.archive).end;
        let first = |next: u64, left: &[SeedingBatch]| left.iter().map(|batch| batch.blocks.start).fold(next, u64::min);
        let mut settled = first(starts.first().copied().unwrap_or(end), &left);
        let (mut refused, mut waiting) = (RefusedBlocks::default(), RefusedBlocks::default());
        let is_served = |batch: &SeedingBatch| matches!(batch.state, BatchState::Served);
        let prepare = |batch: &SeedingBatch| self.prepare(&rest.served, batch.blocks.clone(), is_served(batch));
        let jobs: Vec<_> = batches.iter().map(prepare).collect();
        let mut prepared = pin!(ahead(&self.tasks, jobs.into_iter()));
        let mut has_split = false;
        let (mut fresh, before) = (0, open_blocks(&batches).saturating_add(open_blocks(&left)));
        let mut batches = batches.into_iter().enumerate();
        while let Some((place, batch)) = batches.next() {
            let open = open_blocks(&left);
            let is_new = matches!(batch.state, BatchState::New);
            if is_new && open >= MAX_OPEN_BLOCKS {
                fresh += 1;
            }
            if fresh > FRESH_BATCHES {
                // What is open is offered again before more of them: it would only pile up.
                left.push(batch);
                left.extend(batches.map(|(_, batch)| batch));
                break;
            }
            let Some(prepared) = prepared.next().await else { break };
            let mut prepared = prepared?;
            self.forget(&batch);
            if is_served(&batch) && prepared.served_by == ServedBy::NotAll {
                // Of so many it may be a few that somebody lacks.
                left.extend(batch::batches(batch.blocks));
                has_split = true;
                continue;
            }
            let mut from = batch.blocks.start;
            while from < batch.blocks.end {
                let is_last = prepared.rest.is_empty();
                let until = if is_last { batch.blocks.end } else { prepared.rest.start };
                left.extend(self.offer_prepared(prepared, from..until, &batch.state, &mut refused, &mut waiting).await);
                from = until;
                if is_last {
                    break;
                }
                prepared = self.prepare(&rest.served, from..batch.blocks.end, false).await;
            }
            let next = first(starts.get(place + 1).copied().unwrap_or(end), &left);
            if next > settled {
                settled = next;
                position = self.save(position, rest.key.clone(), settled).await?;
            }
        }
        let left = batch::with_served_joined(left);
        let is_open = left.iter().any(|batch| matches!(batch.state, BatchState::Open(_)));
        // Where something came to an end, the others may soon.
        let tried = rest.retry.filter(|_| open_blocks(&left) >= before);
        let now = Instant::now();
        rest.retry = if has_split {
            Some(Retry::at_once(now))
        } else if is_open {
            Some(Retry::after(tried, now))
        } else {
            left.iter().any(is_served).then(|| Retry::when_others_may_be_there(now))
        };
        rest.batches = left;
        let archive = file_name(&rest.served.archive);
        if let Some(first) = refused.first() {
            tracing::warn!(archive, blocks = %refused, count = refused.count(), first, "blocks cannot be offered");
        }
        if let Some(first) = waiting.first() {
            tracing::warn!(archive, blocks = %waiting, count = waiting.count(), first, "blocks cannot be offered yet");
        }
        Ok(position)
    }

    /// Reads and checks a batch, as far as it is not too large at once; not if it was served by all that are known and is only looked
    /// at again.
    fn prepare(
        &self,
        served: &Served,
        blocks: Range<u64>,
        is_only_asked: bool,
    ) -> impl Future<Output = prepare::Prepared> + Send + use<> + 'static {
        let SeedSource { pipeline, workers, networks, .. } = self.source.clone();
        let is_remote = served.origin.is_some();
        let archive = batch::blocks(&served.archive);
        let asked = BlocksOfArchive { blocks: blocks.clone(), parts: parts_of(&served.archive), archive };
        let batch = prepare::batch(pipeline, workers, served.clone(), blocks);
        let (serving, notes) = (Arc::clone(&self.serving), Arc::clone(&self.notes));
        async move {
            let served_by = serving.served_by(&networks, notes.explorer(), &asked).await;
            if is_only_asked || matches!(served_by, ServedBy::AFew | ServedBy::All) {
                return prepare::Prepared { served_by, ..prepare::Prepared::default() };
            }
            // What lies in a bucket is not read for nobody.
            if is_remote && !networks.is_empty() {
                let storage = networks.iter().map(|network| offer::wait_for_storage(network.overlay()).boxed());
                select_all(storage).await;
            }
            batch.await
        }
    }

    /// Offers what was prepared of some blocks, and gives what has to be tried again.
    async fn offer_prepared(
        &self,
        prepared: prepare::Prepared,
        blocks: Range<u64>,
        before: &BatchState,
        refused: &mut RefusedBlocks,
        waiting: &mut RefusedBlocks,
    ) -> Vec<SeedingBatch> {
        if prepared.served_by != ServedBy::NotAll {
            self.progress.send_modify(|progress| {
                progress.blocks_done += blocks.end - blocks.start;
                progress.blocks_served += blocks.end - blocks.start;
                if matches!(before, BatchState::Waiting) {
                    progress.blocks_waiting = progress.blocks_waiting.saturating_sub(blocks.end - blocks.start);
                }
            });
            // The position goes no farther than to what only a few serve, or did when they were there.
            let is_settled = prepared.served_by == ServedBy::All;
            let again = SeedingBatch { blocks, state: BatchState::Served };
            return if is_settled { Vec::new() } else { vec![again] };
        }
        let prepare::Prepared { mut contents, refused: of_refused, waiting: of_waiting, left, .. } = prepared;
        if let BatchState::Open(keys) = before {
            contents.retain(|content| keys.contains(content.key()));
        }
        let open = self.offer_batch(contents, matches!(before, BatchState::Open(_))).await;
        let count = blocks.end - blocks.start;
        let (waits, opens) = (of_waiting.count(), open.len() as u64);
        let pieces_open = open.values().map(Vec::len).sum::<usize>() as u64;
        let waited = if matches!(before, BatchState::Waiting) { count } else { 0 };
        self.progress.send_modify(|progress| {
            progress.blocks_done += count.saturating_sub(waits + opens);
            progress.blocks_refused += of_refused.count();
            progress.blocks_open += opens;
            progress.pieces_open += pieces_open;
            progress.blocks_waiting = (progress.blocks_waiting + waits).saturating_sub(waited);
        });
        refused.append(of_refused);
        waiting.append(of_waiting);
        let waiting = left.into_iter().map(|blocks| SeedingBatch { blocks, state: BatchState::Waiting });
        waiting.chain(open_batches(open)).collect()
    }

    /// Looks once more for what proves an archive that has no proofs: what is not proved now is not offered in this run.
    async fn prove(&self, served: &Served) -> Result<(), Stopping> {
        let Some(lineage) = served.lineage.as_ref().filter(|lineage| lineage.unproved_count() > 0) else {
            return Ok(());
        };
        if let Some(network) = networks::of_headers(&self.source.networks) {
            offer::wait_for_peers(network.overlay()).await;
        }
        self.source.archives.prove(lineage).await
    }

    async fn save(&self, mut position: Position, key: ArchiveKey, next: u64) -> Result<Position, Stopping> {
        let save = move || {
            if let Err(error) = position.advance(&key, next) {
                tracing::warn!(%error, "position of seeding not saved");
            }
            position
        };
        self.source.workers.write(save).await
    }

    /// Offers pieces, headers first: a peer that has them need not ask for them to check the rest. Gives those that are open
    /// after that, by block.
    async fn offer_batch(&self, contents: Vec<VerifiedContent>, is_again: bool) -> BTreeMap<u64, Vec<ContentKey>> {
        let mut open: BTreeMap<u64, Vec<ContentKey>> = BTreeMap::new();
        // What a block is made of has a header, and is known as it is offered.
        let pieces = contents
            .iter()
            .filter_map(|content| Some((content.key(), content.header()?.number(), CheckedPiece::new(content)?)));
        let (headers, rest): (Vec<_>, Vec<_>) = pieces.partition(|(key, ..)| is_header(key));
        for pieces in [headers, rest] {
            for network in &self.source.networks {
                let of_network = pieces.iter().filter(|(key, ..)| key.sub_network() == network.sub_network());
                let (contents, checked): (Vec<_>, Vec<_>) =
                    of_network.map(|(key, number, piece)| ((**key, *number), piece.clone())).unzip();
                if contents.is_empty() {
                    continue;
                }
                let pieces = if is_again { 0 } else { contents.len() as u64 };
                offer::wait_for_peers(network.overlay()).await;
                let Placed { open: places, placed, accepted, bytes, .. } =
                    offer::place(network.overlay(), checked, self.options, &self.notes, None).await;
                for (key, number) in places.into_iter().filter_map(|place| contents.get(place)) {
                    open.entry(*number).or_default().push(*key);
                }
                self.progress.send_modify(|progress| {
                    progress.pieces += pieces;
                    progress.pieces_placed += placed.len() as u64;
                    progress.accepted += accepted;
                    progress.bytes += bytes;
                });
            }
        }
        open
    }
}

/// Runs each job in a task of its own, the next [`BATCHES_AHEAD`] of them while the results before are worked on. A job
/// that only a stream polls stands still meanwhile, and with it the place for hashing that it may have been given.
/// Dropping the stream ends the tasks.
fn ahead<T: Send + 'static>(
    tasks: &TaskTracker,
    jobs: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> impl Stream<Item = Result<T, Stopping>> {
    let start = |job| AbortOnDropHandle::new(tasks.spawn(job)).map(result_of);
    // The stream begins these together, and then one more for each that it gives.
    stream::iter(jobs).map(start).buffered(BATCHES_AHEAD + 1)
}

/// The parts of its blocks that an archive has and ranges are made of.
fn parts_of(archive: &Archive) -> Vec<Component> {
    let held = archive.components();
    Component::ALL.into_iter().filter(|part| held.has(record_of(*part))).collect()
}

fn is_header(key: &ContentKey) -> bool {
    matches!(key.subject(), Subject::Part { part: BlockPart::Header, .. })
}

fn file_name(archive: &Archive) -> String {
    let name = archive.path().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| archive.name().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    /// Reached only when nothing else can happen any more: the clock is paused.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn batches_are_prepared_while_nobody_asks_for_one_but_no_more_than_a_few_and_none_after_the_end() {
        let tasks = TaskTracker::new();
        let (prepared, mut seen) = mpsc::channel(10);
        let jobs = (0..10).map(|number| {
            let prepared = prepared.clone();
            async move {
                tokio::task::yield_now().await;
                prepared.send(number).await.unwrap();
                // One that never ends has to be ended.
                if number == BATCHES_AHEAD + 1 { std::future::pending().await } else { number }
            }
        });
        let mut batches = Box::pin(ahead(&tasks, jobs));
        assert_eq!(batches.next().await, Some(Ok(0)));
        let mut begun = Vec::new();
        while begun.len() <= BATCHES_AHEAD {
            begun.push(tokio::time::timeout(PATIENCE, seen.recv()).await.unwrap().unwrap());
        }
        begun.sort_unstable();
        assert_eq!(begun, Vec::from_iter(0..=BATCHES_AHEAD));
        assert!(tokio::time::timeout(PATIENCE, seen.recv()).await.is_err(), "too far ahead");
        assert_eq!(batches.next().await, Some(Ok(1)));
        assert_eq!(tokio::time::timeout(PATIENCE, seen.recv()).await, Ok(Some(BATCHES_AHEAD + 1)));
        drop(batches);
        tasks.close();
        assert_eq!(tokio::time::timeout(PATIENCE, tasks.wait()).await, Ok(()));
    }
}
