//! A small chain with everything an archive can hold: blocks before and after the merge, under all four kinds of proof.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use cairn_archive::write::{ArchiveWriter, Plan};
use cairn_archive::{Component, Components, Receipts};
use content_types::block::{BodyEncoding, BodyRoots, ReceiptsEncoding, ReceiptsRoots};
use content_types::chain::{BeaconClock, ChainParameters};
use content_types::header::{BeaconBlock, Branch, EpochRecord, HeaderRecord, Period};
use content_types::trust::{
    HistoricalRoots, HistoricalSummaries, HistoricalSummary, PreMergeAccumulator, SummariesCheckpoint, TrustListKind,
};
use content_types::{ChainSpec, HeaderProof, HeaderVerifier, TrustLists, TrustRoots};

const GENESIS_TIME: u64 = 1_600_000_000;
const SECONDS_PER_SLOT: u64 = 12;
const CAPELLA_SLOT: u64 = 8192;
const DENEB_SLOT: u64 = 8292;

/// One block, in the encodings of an ere file.
pub(crate) struct Block {
    pub(crate) header: Bytes,
    pub(crate) hash: B256,
    pub(crate) body: Bytes,
    pub(crate) receipts: Bytes,
    pub(crate) total_difficulty: U256,
    pub(crate) proof: Option<HeaderProof>,
}

/// How many blocks there are of each time.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) before_merge: u64,
    pub(crate) bellatrix: u64,
    pub(crate) capella: u64,
    pub(crate) deneb: u64,
}

pub(crate) struct Chain {
    pub(crate) blocks: Vec<Block>,
    pub(crate) verifier: HeaderVerifier,
}

/// Bytes that depend on a seed, some of them repeated as in real blocks.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let random = (0..).flat_map(|round: u64| keccak256([seed.to_be_bytes(), round.to_be_bytes()].concat()).0);
    let mut bytes: Vec<u8> = random.take(length / 2).collect();
    bytes.resize(length, (seed % 3) as u8);
    bytes
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    alloy_rlp::Header { list: true, payload_length: items.iter().map(Vec::len).sum() }.encode(&mut out);
    items.iter().for_each(|item| out.extend_from_slice(item));
    out
}

fn string(bytes: &[u8]) -> Vec<u8> {
    alloy_rlp::encode(bytes)
}

fn body(number: u64, withdrawals: bool) -> Vec<u8> {
    let transactions: Vec<_> = (0..number % 3)
        .map(|index| {
            let payload = list(&[string(&bytes(number * 100 + index, 90))]);
            // Legacy transactions are lists, typed ones strings.
            if index == 0 { payload } else { string(&[&[0x02], &payload[..]].concat()) }
        })
        .collect();
    let mut fields = vec![list(&transactions), list(&[])];
    if withdrawals {
        fields.push(list(&[list(&[string(&bytes(number, 20))])]));
    }
    list(&fields)
}

fn receipts(number: u64) -> Vec<u8> {
    let receipt = |index: u64| {
        let log = list(&[string(&bytes(number, 20)), list(&[string(&bytes(index, 32))]), string(&bytes(number, 40))]);
        let kind = if index == 0 { 0_u8 } else { 2 };
        let gas = alloy_rlp::encode(21_000 * (index + 1));
        list(&[alloy_rlp::encode(kind), alloy_rlp::encode(1_u8), gas, list(&vec![log; index as usize])])
    };
    list(&(0..number % 3).map(receipt).collect::<Vec<_>>())
}

impl Chain {
    pub(crate) fn new(lengths: Lengths) -> Self {
        let merge = lengths.before_merge;
        let capella = merge + lengths.bellatrix;
        let deneb = capella + lengths.capella;
        let end = deneb + lengths.deneb;
        let slot = |number: u64| match number {
            _ if number < capella => number - merge,
            _ if number < deneb => CAPELLA_SLOT + (number - capella),
            _ => DENEB_SLOT + (number - deneb),
        };

        let mut blocks: Vec<Block> = Vec::new();
        for number in 0..end {
            let time = if number < merge { 1000 + number } else { GENESIS_TIME + SECONDS_PER_SLOT * slot(number) };
            let body = body(number, number >= capella);
            let receipts = receipts(number);
            let body_roots = BodyRoots::compute(BodyEncoding::Rlp, &body).unwrap();
            let receipts_roots = ReceiptsRoots::compute(ReceiptsEncoding::Slim, &receipts).unwrap();
            let difficulty = if number < merge { U256::from(1000 + number) } else { U256::ZERO };
            let header = Header {
                parent_hash: blocks.last().map(|parent| parent.hash).unwrap_or_default(),
                ommers_hash: body_roots.ommers_hash,
                transactions_root: body_roots.transactions,
                receipts_root: receipts_roots.root,
                logs_bloom: receipts_roots.logs_bloom,
                withdrawals_root: body_roots.withdrawals,
                difficulty,
                number,
                timestamp: time,
                gas_limit: 30_000_000,
                extra_data: b"a private chain".into(),
                base_fee_per_gas: (number >= merge).then_some(7),
                blob_gas_used: (number >= deneb).then_some(0),
                excess_blob_gas: (number >= deneb).then_some(0),
                parent_beacon_block_root: (number >= deneb).then_some(B256::repeat_byte(9)),
                ..Header::default()
            };
            let rlp = alloy_rlp::encode(&header);
            let before = blocks.last().map(|parent| parent.total_difficulty).unwrap_or_default();
            blocks.push(Block {
                hash: keccak256(&rlp),
                header: rlp.into(),
                body: body.into(),
                receipts: receipts.into(),
                total_difficulty: before + difficulty,
                proof: None,
            });
        }

        let epoch = EpochRecord::new(
            blocks[..merge as usize]
                .iter()
                .map(|block| HeaderRecord { block_hash: block.hash, total_difficulty: block.total_difficulty })
                .collect(),
        )
        .unwrap()
        .into_tree();
        let accumulator = PreMergeAccumulator::encode(&[epoch.root()]);

        let bellatrix_blocks: Vec<_> =
            (merge..capella).map(|number| beacon_block::<11>(&blocks, number, slot)).collect();
        let capella_blocks: Vec<_> = (capella..deneb).map(|number| beacon_block::<11>(&blocks, number, slot)).collect();
        let deneb_blocks: Vec<_> = (deneb..end).map(|number| beacon_block::<12>(&blocks, number, slot)).collect();
        let before_capella = Period::new(bellatrix_blocks.iter().map(BeaconBlock::root).collect()).unwrap();
        let mut roots: Vec<B256> = capella_blocks.iter().map(BeaconBlock::root).collect();
        roots.resize((DENEB_SLOT - CAPELLA_SLOT) as usize, B256::ZERO);
        roots.extend(deneb_blocks.iter().map(BeaconBlock::root));
        let since_capella = Period::new(roots).unwrap();
        let state_roots_root = B256::repeat_byte(3);

        let proofs = (0..merge as usize)
            .map(|index| HeaderProof::HistoricalHashes(epoch.prove(index).unwrap()))
            .chain(
                bellatrix_blocks
                    .iter()
                    .map(|block| before_capella.prove_historical_roots(block, state_roots_root).unwrap()),
            )
            .chain(capella_blocks.iter().map(|block| since_capella.prove_historical_summaries_capella(block).unwrap()))
            .chain(deneb_blocks.iter().map(|block| since_capella.prove_historical_summaries_deneb(block).unwrap()))
            .collect::<Vec<_>>();
        blocks.iter_mut().zip(proofs).for_each(|(block, proof)| block.proof = Some(proof));

        let merged = end > merge;
        let historical_roots = [before_capella.historical_root(&state_roots_root)];
        let summaries = [HistoricalSummary {
            block_summary_root: since_capella.block_summary_root(),
            state_summary_root: B256::ZERO,
        }];
        let trust_roots = TrustRoots {
            pre_merge: PreMergeAccumulator::root_of(&[epoch.root()]),
            historical_roots: merged.then(|| HistoricalRoots::root_of(&historical_roots)),
            summaries: merged.then(|| SummariesCheckpoint { count: 1, root: HistoricalSummaries::root_of(&summaries) }),
        };
        let spec = ChainSpec::new(ChainParameters {
            name: "private".into(),
            chain_id: 1234,
            genesis_hash: blocks[0].hash,
            merge_block: merged.then_some(merge),
            shanghai_time: merged.then_some(GENESIS_TIME + SECONDS_PER_SLOT * CAPELLA_SLOT),
            cancun_time: merged.then_some(GENESIS_TIME + SECONDS_PER_SLOT * DENEB_SLOT),
            amsterdam_time: None,
            beacon: merged.then_some(BeaconClock { genesis_time: GENESIS_TIME, seconds_per_slot: SECONDS_PER_SLOT }),
            trust_roots,
        })
        .unwrap();
        let mut lists = TrustLists::default();
        lists.import(TrustListKind::PreMergeAccumulator, &accumulator, &trust_roots).unwrap();
        if merged {
            let roots = HistoricalRoots::encode(&historical_roots);
            lists.import(TrustListKind::HistoricalRoots, &roots, &trust_roots).unwrap();
            let summaries = HistoricalSummaries::encode(&summaries);
            lists.import(TrustListKind::HistoricalSummaries, &summaries, &trust_roots).unwrap();
        }
        Self { blocks, verifier: HeaderVerifier::new(Arc::new(spec), lists) }
    }

    /// Only blocks before the merge, as many as asked for.
    pub(crate) fn before_merge(count: u64) -> Self {
        Self::new(Lengths { before_merge: count, bellatrix: 0, capella: 0, deneb: 0 })
    }

    /// A few blocks of every time.
    pub(crate) fn of_all_times() -> Self {
        Self::new(Lengths { before_merge: 4, bellatrix: 2, capella: 2, deneb: 3 })
    }

    pub(crate) fn last(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    /// A verifier that knows none of the lists.
    pub(crate) fn untrusting(&self) -> HeaderVerifier {
        HeaderVerifier::new(self.verifier.chain().clone(), TrustLists::default())
    }

    pub(crate) fn put(&self, writer: &mut ArchiveWriter, number: u64, component: Component) {
        let block = &self.blocks[number as usize];
        match component {
            Component::Header => writer.put_header(&block.header),
            Component::Body => writer.put_body(number, &block.body),
            Component::Receipts => writer.put_receipts(number, &self.receipts(number)),
            Component::TotalDifficulty => writer.put_total_difficulty(number, block.total_difficulty),
            Component::Proof => writer.put_proof(number, block.proof.as_ref().unwrap()),
        }
        .unwrap();
    }

    pub(crate) fn receipts(&self, number: u64) -> Receipts {
        let bytes = self.blocks[number as usize].receipts.clone().0;
        Receipts { encoding: ReceiptsEncoding::Slim, bytes }
    }

    /// Writes a whole file and returns its path.
    pub(crate) fn write(&self, dir: &std::path::Path, plan: Plan) -> std::path::PathBuf {
        let mut writer = ArchiveWriter::create(dir, plan).unwrap();
        for number in writer.plan().blocks() {
            for component in writer.plan().components().iter() {
                self.put(&mut writer, number, component);
            }
        }
        writer.finish().unwrap()
    }

    /// The plan of an era1 file of all blocks.
    pub(crate) fn era1(&self) -> Plan {
        Plan::era1("private", 0..=self.last())
    }

    /// The plan of an ere file of all blocks.
    pub(crate) fn ere(&self, components: impl IntoIterator<Item = Component>) -> Plan {
        Plan::ere("private", 0..=self.last(), components.into_iter().collect::<Components>())
    }
}

fn beacon_block<const N: usize>(blocks: &[Block], number: u64, slot: impl Fn(u64) -> u64) -> BeaconBlock<N> {
    BeaconBlock {
        slot: slot(number),
        block_hash: blocks[number as usize].hash,
        execution_block_proof: Branch(std::array::from_fn(|level| B256::repeat_byte((number as u8) ^ (level as u8)))),
    }
}
