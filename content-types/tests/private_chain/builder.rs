//! Builds the chain, its roots and its proofs with nothing but what the crate offers for it.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::Header;
use alloy_primitives::{B256, U256, keccak256};
use bytes::Bytes;
use content_types::{
    ChainSpec, HeaderProof, HeaderVerifier, SummariesCheckpoint, TrustLists, TrustRoots,
    chain::{BeaconClock, ChainParameters},
    header::{BeaconBlock, Branch, DecodedHeader, EpochRecord, HeaderRecord, Period},
    trust::{HistoricalRoots, HistoricalSummaries, HistoricalSummary, PreMergeAccumulator},
};

/// Number of the first block after the merge.
pub(crate) const BELLATRIX: usize = 20;
/// Number of the first block of Capella.
pub(crate) const CAPELLA: usize = 25;
/// Number of the first block of Deneb.
pub(crate) const DENEB: usize = 30;
/// Blocks of the chain.
pub(crate) const LENGTH: usize = 35;

pub(crate) const SECONDS_PER_SLOT: u64 = 5;
const GENESIS_TIME: u64 = 1_000_000;
const SLOTS_PER_PERIOD: u64 = 8192;
/// Deneb begins in the middle of a period, in which the last blocks of Capella lie too.
const DENEB_SLOT: u64 = 2 * SLOTS_PER_PERIOD + 100;

pub(crate) struct PrivateChain {
    pub(crate) parameters: ChainParameters,
    pub(crate) lists: TrustLists,
    pub(crate) headers: Vec<DecodedHeader>,
    pub(crate) proofs: Vec<HeaderProof>,
}

impl PrivateChain {
    pub(crate) fn build() -> Self {
        let headers = headers();
        let epoch = EpochRecord::new(records(&headers[..BELLATRIX])).unwrap().into_tree();
        let mut proofs: Vec<_> =
            (0..BELLATRIX).map(|index| HeaderProof::HistoricalHashes(epoch.prove(index).unwrap())).collect();

        let mut block_roots = BTreeMap::<u64, Vec<B256>>::new();
        for (number, header) in headers.iter().enumerate().skip(BELLATRIX) {
            let slot = slot_of(number);
            let roots = block_roots.entry(slot / SLOTS_PER_PERIOD).or_insert_with(|| vec![B256::ZERO; 8192]);
            roots[(slot % SLOTS_PER_PERIOD) as usize] = beacon_block_root(number, slot, header.hash());
        }
        let periods: BTreeMap<_, _> =
            block_roots.into_iter().map(|(period, roots)| (period, Period::new(roots).unwrap())).collect();
        let state_roots_root = keccak256("state roots");
        for (number, header) in headers.iter().enumerate().skip(BELLATRIX) {
            let slot = slot_of(number);
            let period = &periods[&(slot / SLOTS_PER_PERIOD)];
            let proof = match number {
                ..CAPELLA => period.prove_historical_roots(&beacon_block(slot, header.hash()), state_roots_root),
                CAPELLA..DENEB => period.prove_historical_summaries_capella(&beacon_block(slot, header.hash())),
                DENEB.. => period.prove_historical_summaries_deneb(&beacon_block(slot, header.hash())),
            };
            proofs.push(proof.unwrap());
        }

        let historical_roots = [periods[&0].historical_root(&state_roots_root)];
        let summaries = [&periods[&1], &periods[&2]].map(|period| HistoricalSummary {
            block_summary_root: period.block_summary_root(),
            state_summary_root: state_roots_root,
        });
        let trust_roots = TrustRoots {
            pre_merge: PreMergeAccumulator::root_of(&[epoch.root()]),
            historical_roots: Some(HistoricalRoots::root_of(&historical_roots)),
            summaries: Some(SummariesCheckpoint { count: 2, root: HistoricalSummaries::root_of(&summaries) }),
        };
        let mut lists = TrustLists::default();
        for list in [
            PreMergeAccumulator::encode(&[epoch.root()]),
            HistoricalRoots::encode(&historical_roots),
            HistoricalSummaries::encode(&summaries),
        ] {
            lists.import_any(&list, &trust_roots).unwrap();
        }
        let parameters = ChainParameters {
            name: "private".into(),
            chain_id: 4242,
            genesis_hash: headers[0].hash(),
            merge_block: Some(BELLATRIX as u64),
            shanghai_time: Some(time_of(SLOTS_PER_PERIOD)),
            cancun_time: Some(time_of(DENEB_SLOT)),
            amsterdam_time: None,
            beacon: Some(BeaconClock { genesis_time: GENESIS_TIME, seconds_per_slot: SECONDS_PER_SLOT }),
            trust_roots,
        };
        Self { parameters, lists, headers, proofs }
    }

    pub(crate) fn spec(&self) -> ChainSpec {
        ChainSpec::new(self.parameters.clone()).unwrap()
    }

    pub(crate) fn verifier(&self) -> HeaderVerifier {
        HeaderVerifier::new(Arc::new(self.spec()), self.lists.clone())
    }

    /// All headers, RLP-encoded.
    pub(crate) fn run(&self) -> Vec<Bytes> {
        self.headers.iter().map(|header| header.rlp().clone()).collect()
    }

    /// A block that is not on the chain, with the number and timestamp of one that is.
    pub(crate) fn sibling(&self, number: usize) -> DecodedHeader {
        decoded(&Header { gas_used: 1, ..self.headers[number].header().clone() })
    }
}

/// Root of a beacon block of the slot that carries the block with that number and hash.
pub(crate) fn beacon_block_root(number: usize, slot: u64, block_hash: B256) -> B256 {
    if number < DENEB {
        beacon_block::<11>(slot, block_hash).root()
    } else {
        beacon_block::<12>(slot, block_hash).root()
    }
}

pub(crate) fn decoded(header: &Header) -> DecodedHeader {
    DecodedHeader::decode(alloy_rlp::encode(header).into()).unwrap()
}

fn headers() -> Vec<DecodedHeader> {
    let mut headers: Vec<DecodedHeader> = Vec::new();
    for number in 0..LENGTH {
        headers.push(decoded(&Header {
            number: number as u64,
            parent_hash: headers.last().map_or(B256::ZERO, DecodedHeader::hash),
            difficulty: U256::from(if number < BELLATRIX { 1000 + number } else { 0 }),
            timestamp: if number < BELLATRIX { 500_000 + number as u64 } else { time_of(slot_of(number)) },
            withdrawals_root: (number >= CAPELLA).then_some(B256::ZERO),
            base_fee_per_gas: (number >= BELLATRIX).then_some(7),
            ..Header::default()
        }));
    }
    headers
}

fn records(headers: &[DecodedHeader]) -> Vec<HeaderRecord> {
    let totals = headers.iter().scan(U256::ZERO, |total, header| {
        *total += header.header().difficulty;
        Some(*total)
    });
    let records = headers.iter().zip(totals);
    records.map(|(header, total_difficulty)| HeaderRecord { block_hash: header.hash(), total_difficulty }).collect()
}

/// Every second slot from 5 on; Capella's blocks lie in two periods.
fn slot_of(number: usize) -> u64 {
    let since = |first: usize| 2 * (number - first) as u64;
    match number {
        ..CAPELLA => 5 + since(BELLATRIX),
        CAPELLA..28 => SLOTS_PER_PERIOD + since(CAPELLA),
        28..DENEB => 2 * SLOTS_PER_PERIOD + since(28),
        DENEB.. => DENEB_SLOT + since(DENEB),
    }
}

fn time_of(slot: u64) -> u64 {
    GENESIS_TIME + slot * SECONDS_PER_SLOT
}

fn beacon_block<const N: usize>(slot: u64, block_hash: B256) -> BeaconBlock<N> {
    let siblings = std::array::from_fn(|depth| keccak256([depth as u8, slot as u8]));
    BeaconBlock { slot, block_hash, execution_block_proof: Branch(siblings) }
}
