//! What is left of an archive to be offered, in batches of blocks that are read, checked and offered together, and when those
//! that are open are offered again. A batch is none of the network's runs of 256 blocks: it may be shorter, and begins anywhere.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use cairn_archive::Archive;
use content_types::ContentKey;
use tokio::time::Instant;

use super::position::ArchiveKey;
use super::shelf::Served;

/// Blocks that are read, checked and offered together, if they are not too large: enough that a peer gets full offers.
const BLOCKS_TOGETHER: u64 = 32;
/// First pause before open pieces are offered again, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// After so many times the job counts as finished although pieces are open: they are offered on, but whoever waits for the
/// job should not wait for peers that will never answer.
const PATIENT_TRIES: u32 = 6;

/// An archive and the batches of it that are still to be offered, in order.
pub(super) struct Rest {
    pub(super) served: Served,
    pub(super) key: ArchiveKey,
    pub(super) batches: Vec<SeedingBatch>,
    /// Blocks of the archive that nothing proved when the batches were tried last.
    pub(super) unproved: Option<u64>,
    /// When the open batches are offered again.
    pub(super) retry: Option<Retry>,
}

/// When something is tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    pub(crate) at: Instant,
    pub(super) tries: u32,
}

impl Retry {
    /// After one try more.
    pub(crate) fn after(before: Option<Self>, now: Instant) -> Self {
        let tries = before.map_or(0, |before| before.tries);
        let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(16)).min(LONGEST_PAUSE);
        Self { at: now + pause, tries: tries.saturating_add(1) }
    }
}

/// Consecutive blocks that are still to be offered.
pub(super) struct SeedingBatch {
    pub(super) blocks: Range<u64>,
    pub(super) state: BatchState,
}

pub(super) enum BatchState {
    /// Not tried yet.
    New,
    /// They could not be offered when that was tried: a list or a proof was missing, or the file could not be read.
    Waiting,
    /// They were offered, and these pieces have no end yet.
    Open(Vec<ContentKey>),
}

impl SeedingBatch {
    pub(super) const fn len(&self) -> u64 {
        self.blocks.end - self.blocks.start
    }
}

/// Which batches of an archive are tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that nothing but time, or other peers, keeps.
    NotWaiting,
}

impl Rest {
    /// Whether the open batches are to be offered again now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.retry.is_some_and(|retry| now >= retry.at)
    }

    /// Whether nothing of it is left that could come to an end soon.
    pub(super) fn is_settled(&self) -> bool {
        let has_new = self.batches.iter().any(|batch| matches!(batch.state, BatchState::New));
        !has_new && self.retry.is_none_or(|retry| retry.tries > PATIENT_TRIES)
    }
}

/// All batches of some blocks.
pub(super) fn batches(blocks: Range<u64>) -> Vec<SeedingBatch> {
    let starts = blocks.clone().step_by(BLOCKS_TOGETHER as usize);
    let batch = |from: u64| from..from.saturating_add(BLOCKS_TOGETHER).min(blocks.end);
    starts.map(|from| SeedingBatch { blocks: batch(from), state: BatchState::New }).collect()
}

/// Blocks of open batches.
pub(super) fn open_blocks(batches: &[SeedingBatch]) -> u64 {
    batches.iter().filter(|batch| matches!(batch.state, BatchState::Open(_))).map(SeedingBatch::len).sum()
}

/// Open blocks that follow each other as one batch, so that they are read and offered together again.
pub(super) fn open_batches(open: BTreeMap<u64, Vec<ContentKey>>) -> Vec<SeedingBatch> {
    let mut batches: Vec<SeedingBatch> = Vec::new();
    for (number, keys) in open {
        match batches.last_mut() {
            Some(SeedingBatch { blocks, state: BatchState::Open(of) }) if blocks.end == number => {
                blocks.end = number.saturating_add(1);
                of.extend(keys);
            }
            _ => batches.push(SeedingBatch { blocks: number..number.saturating_add(1), state: BatchState::Open(keys) }),
        }
    }
    batches
}

pub(super) fn blocks(archive: &Archive) -> Range<u64> {
    let blocks = archive.blocks();
    *blocks.start()..blocks.end().saturating_add(1)
}
