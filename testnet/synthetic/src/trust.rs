//! The chain's trust roots and the proofs under them: epochs before the merge, beacon periods after it.
//!
//! The beacon blocks are made up from the top: whatever lies beside the block hash in a beacon block is an arbitrary
//! number, and so are state roots.

use alloy_primitives::B256;
use content_types::{
    HeaderProof, SummariesCheckpoint, TrustLists, TrustRoots,
    header::{
        BeaconBlock, Branch, EpochRecord, HeaderRecord, Period,
        epoch::{EPOCH_SIZE, EpochTree},
        period::SLOTS_PER_HISTORICAL_ROOT,
    },
    trust::{HistoricalRoots, HistoricalSummaries, HistoricalSummary, PreMergeAccumulator, TrustError},
};

use crate::clock;
use crate::config::{Fork, SyntheticConfig};
use crate::random::{Purpose, Random};

/// The chain ID, one that no public chain has.
pub(crate) const CHAIN_ID: u64 = 0x6361_6972;

/// Everything that proofs are made from.
#[derive(Debug)]
pub(crate) struct Trust {
    epochs: Vec<EpochTree>,
    /// By number, from the merge on; a period without blocks can't be, except as the gap before Capella.
    periods: Vec<Period>,
    pub(crate) roots: TrustRoots,
    pub(crate) lists: TrustLists,
}

impl Trust {
    /// Builds the trees over the records of all blocks.
    pub(crate) fn new(config: &SyntheticConfig, records: &[HeaderRecord]) -> Result<Self, TrustError> {
        let (pre_merge, post_merge) = records.split_at(config.pre_merge_blocks as usize);
        let epochs: Vec<_> = pre_merge
            .chunks(EPOCH_SIZE as usize)
            .flat_map(|epoch| EpochRecord::new(epoch.to_vec()))
            .map(EpochRecord::into_tree)
            .collect();
        let periods = periods(config, post_merge);

        let epoch_roots: Vec<_> = epochs.iter().map(EpochTree::root).collect();
        let first_capella = (clock::capella_slot(config) / SLOTS_PER_HISTORICAL_ROOT) as usize;
        let (bellatrix, capella) = periods.split_at(first_capella.min(periods.len()));
        let state_root = |period: usize| state_roots_root(config, period as u64);
        let historical_roots: Vec<_> =
            bellatrix.iter().enumerate().map(|(nth, period)| period.historical_root(&state_root(nth))).collect();
        let summaries: Vec<_> = capella
            .iter()
            .enumerate()
            .map(|(nth, period)| HistoricalSummary {
                block_summary_root: period.block_summary_root(),
                state_summary_root: state_root(first_capella + nth),
            })
            .collect();

        let roots = TrustRoots {
            pre_merge: PreMergeAccumulator::root_of(&epoch_roots),
            historical_roots: (!historical_roots.is_empty()).then(|| HistoricalRoots::root_of(&historical_roots)),
            summaries: (!summaries.is_empty()).then(|| SummariesCheckpoint {
                count: summaries.len(),
                root: HistoricalSummaries::root_of(&summaries),
            }),
        };
        let mut lists = TrustLists {
            pre_merge: Some(PreMergeAccumulator::from_ssz(&PreMergeAccumulator::encode(&epoch_roots), &roots)?),
            ..TrustLists::default()
        };
        if roots.historical_roots.is_some() {
            lists.historical_roots =
                Some(HistoricalRoots::from_ssz(&HistoricalRoots::encode(&historical_roots), &roots)?);
        }
        if roots.summaries.is_some() {
            lists.summaries = Some(HistoricalSummaries::from_ssz(&HistoricalSummaries::encode(&summaries), &roots)?);
        }
        Ok(Self { epochs, periods, roots, lists })
    }

    /// The proof of block `number` with the hash `block_hash`; `None` behind the end of the chain.
    pub(crate) fn prove(&self, config: &SyntheticConfig, number: u64, block_hash: B256) -> Option<HeaderProof> {
        let fork = config.fork(number);
        if fork < Fork::Paris {
            let epoch = self.epochs.get((number / EPOCH_SIZE) as usize)?;
            return epoch.prove((number % EPOCH_SIZE) as usize).map(HeaderProof::HistoricalHashes);
        }
        let slot = clock::slot(config, number);
        let number = slot / SLOTS_PER_HISTORICAL_ROOT;
        let period = self.periods.get(number as usize)?;
        match fork {
            Fork::Paris => {
                period.prove_historical_roots(&beacon_block(config, slot, block_hash), state_roots_root(config, number))
            }
            Fork::Shanghai => period.prove_historical_summaries_capella(&beacon_block(config, slot, block_hash)),
            _ => period.prove_historical_summaries_deneb(&beacon_block(config, slot, block_hash)),
        }
    }
}

/// The periods from slot 0 to that of the last block. A slot without a block repeats the root before it.
fn periods(config: &SyntheticConfig, blocks: &[HeaderRecord]) -> Vec<Period> {
    let mut roots = Vec::new();
    for (number, block) in (config.pre_merge_blocks..).zip(blocks) {
        let slot = clock::slot(config, number);
        let before = roots.last().copied().unwrap_or_default();
        roots.resize(slot as usize, before);
        roots.push(match config.fork(number) {
            Fork::Paris | Fork::Shanghai => beacon_block::<11>(config, slot, block.block_hash).root(),
            _ => beacon_block::<12>(config, slot, block.block_hash).root(),
        });
    }
    roots.chunks(SLOTS_PER_HISTORICAL_ROOT as usize).filter_map(|period| Period::new(period.to_vec())).collect()
}

fn beacon_block<const N: usize>(config: &SyntheticConfig, slot: u64, block_hash: B256) -> BeaconBlock<N> {
    let mut random = Random::new(config.seed, Purpose::Beacon, slot);
    BeaconBlock { slot, block_hash, execution_block_proof: Branch(std::array::from_fn(|_| random.hash())) }
}

/// The root of a period's state roots, for which nothing has to be known below it.
fn state_roots_root(config: &SyntheticConfig, period: u64) -> B256 {
    // Slots count from 0 upwards, so the other end is free.
    Random::new(config.seed, Purpose::Beacon, !period).hash()
}
