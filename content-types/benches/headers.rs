//! What it costs to prove a header before the merge, by a proof of its own and as part of a run, and to build the proofs
//! of an epoch; beside it, what hashing the same headers costs.

use std::{hint::black_box, sync::Arc};

use alloy_consensus::Header;
use alloy_primitives::{B256, U256, keccak256};
use bytes::Bytes;
use content_types::{
    ChainSpec, Distance, HeaderProof, HeaderVerifier, NodeId, TrustLists, TrustRoots,
    chain::ChainParameters,
    header::{DecodedHeader, EpochRecord, HeaderRecord, epoch::EPOCH_SIZE},
    history::{ContentType, blocks_within},
    trust::PreMergeAccumulator,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// An epoch of linked headers as long as mainnet's.
fn headers() -> Vec<DecodedHeader> {
    let mut parent_hash = B256::ZERO;
    (0..EPOCH_SIZE)
        .map(|number| {
            let header = Header {
                parent_hash,
                number,
                difficulty: U256::from(0x0b6b_4bbd_735f_u64),
                gas_limit: 30_000_000,
                gas_used: 12_345_678,
                timestamp: 1_600_000_000 + number,
                extra_data: vec![0x61; 24].into(),
                ..Header::default()
            };
            let header = DecodedHeader::decode(alloy_rlp::encode(header).into()).expect("a header");
            parent_hash = header.hash();
            header
        })
        .collect()
}

fn record(headers: &[DecodedHeader]) -> EpochRecord {
    let records = headers
        .iter()
        .map(|header| HeaderRecord { block_hash: header.hash(), total_difficulty: U256::from(header.number()) });
    EpochRecord::new(records.collect()).expect("one epoch")
}

fn verifier(epoch_root: B256) -> HeaderVerifier {
    let trust_roots = TrustRoots { pre_merge: PreMergeAccumulator::root_of(&[epoch_root]), ..TrustRoots::default() };
    let mut lists = TrustLists::default();
    lists.import_any(&PreMergeAccumulator::encode(&[epoch_root]), &trust_roots).expect("the list of these roots");
    let chain = ChainSpec::new(ChainParameters {
        name: "bench".into(),
        chain_id: 1,
        genesis_hash: B256::ZERO,
        merge_block: None,
        shanghai_time: None,
        cancun_time: None,
        amsterdam_time: None,
        beacon: None,
        trust_roots,
    });
    HeaderVerifier::new(Arc::new(chain.expect("a chain")), lists)
}

fn benches(criterion: &mut Criterion) {
    let headers = headers();
    let run: Vec<Bytes> = headers.iter().map(|header| header.rlp().clone()).collect();
    let tree = record(&headers).into_tree();
    let verifier = verifier(tree.root());
    let last = headers.len() - 1;
    let last_proof = HeaderProof::HistoricalHashes(tree.prove(last).expect("a block of the epoch"));

    criterion.bench_function("prove one header", |bencher| {
        bencher.iter(|| {
            let header = DecodedHeader::decode(run[last].clone()).expect("a header");
            verifier.prove(header, black_box(&last_proof)).expect("proved")
        });
    });

    let mut group = criterion.benchmark_group("epoch of 8,192 headers");
    group.throughput(Throughput::Bytes(run.iter().map(|header| header.len() as u64).sum()));
    group.sample_size(20);
    group.bench_function("keccak alone", |bencher| {
        bencher.iter(|| run.iter().map(keccak256).fold(0, |sum, hash| sum ^ hash[0]));
    });
    group.bench_function("prove as a run", |bencher| {
        bencher.iter(|| verifier.verify_run(black_box(&run), &last_proof).expect("proved"));
    });
    group.bench_function("hash the epoch's tree", |bencher| {
        bencher.iter_with_setup(|| record(&headers), |record| record.into_tree().root());
    });
    group.finish();

    let epoch_roots: Vec<_> = (0..1897_u64).map(|epoch| B256::from(U256::from(epoch))).collect();
    criterion.bench_function("root of mainnet's pre-merge accumulator", |bencher| {
        bencher.iter(|| PreMergeAccumulator::root_of(black_box(&epoch_roots)));
    });

    let node = NodeId::from([0xa7; 32]);
    let radius = Distance::from_be_bytes([0x0c; 32]);
    criterion.bench_function("ranges of 23 million blocks within a twentieth of the key space", |bencher| {
        bencher.iter(|| blocks_within(ContentType::BlockBody, &node, black_box(&radius), 23_000_000).count());
    });
}

criterion_group!(group, benches);
criterion_main!(group);
