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
/// How often it is asked whether a few peers are still all that there are.
const LOOK_AGAIN: Duration = Duration::from_secs(2 * 60);
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

    /// At once.
    pub(super) const fn at_once(now: Instant) -> Self {
        Self { at: now, tries: 0 }
    }

    /// When others may have turned up.
    pub(super) fn when_others_may_be_there(now: Instant) -> Self {
        Self { at: now + LOOK_AGAIN, tries: 0 }
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
    /// All peers that are known serve them, and those are few. They count as done, but only until somebody turns up who lacks them.
    Served,
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
        !has_new && (open_blocks(&self.batches) == 0 || self.retry.is_none_or(|retry| retry.tries > PATIENT_TRIES))
    }

    /// Whether nothing is left of it but what a few peers serve.
    pub(super) fn is_served(&self) -> bool {
        self.batches.iter().all(|batch| matches!(batch.state, BatchState::Served))
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

/// The same batches in order, those as one that follow each other and a few peers serve: to ask who does costs one look.
pub(super) fn with_served_joined(mut batches: Vec<SeedingBatch>) -> Vec<SeedingBatch> {
    batches.sort_by_key(|batch| batch.blocks.start);
    let mut joined: Vec<SeedingBatch> = Vec::new();
    for batch in batches {
        match joined.last_mut() {
            Some(SeedingBatch { blocks, state: BatchState::Served })
                if blocks.end == batch.blocks.start && matches!(batch.state, BatchState::Served) =>
            {
                blocks.end = batch.blocks.end;
            }
            _ => joined.push(batch),
        }
    }
    joined
}

pub(super) fn blocks(archive: &Archive) -> Range<u64> {
    let blocks = archive.blocks();
    *blocks.start()..blocks.end().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_a_few_serve_are_one_where_they_follow_each_other() {
        let batch = |blocks, state| SeedingBatch { blocks, state };
        let batches = vec![
            batch(64..96, BatchState::Served),
            batch(0..32, BatchState::Served),
            batch(32..64, BatchState::Served),
            batch(96..128, BatchState::Waiting),
            batch(128..160, BatchState::Served),
            batch(200..232, BatchState::Served),
        ];
        let joined = with_served_joined(batches);
        let blocks: Vec<_> = joined.iter().map(|batch| batch.blocks.clone()).collect();
        assert_eq!(blocks, [0..96, 96..128, 128..160, 200..232]);
        assert!(matches!(joined[1].state, BatchState::Waiting));
    }
}
