//! Validation of full blocks beside plain Keccak-256 over the same bytes, on one core and on all of them.
//!
//! `keccak256` hashes each body and each list of receipts as one message: the least that any check of the raw bytes
//! could cost. Validation hashes more than that (the nodes of the tries; for slim receipts also blooms, addresses and
//! topics), and hashes it several messages at a time.

use std::hint::black_box;
use std::thread;

use alloy_primitives::keccak256;
use cairn_synthetic::{Block, SyntheticChain, SyntheticConfig};
use content_types::block::{BodyEncoding, ReceiptsEncoding, validate};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};

/// Blocks in a pass, more than fit a core's cache.
const BLOCKS: u64 = 128;
/// Bytes of body and slim receipts of the average block.
const BLOCK_SIZE: usize = 100_000;

fn check_body(block: &Block) {
    validate::body(block.header.header(), BodyEncoding::Rlp, black_box(&block.body)).expect("a valid body");
}

fn check_slim(block: &Block) {
    validate::receipts(block.header.header(), ReceiptsEncoding::Slim, black_box(&block.receipts))
        .expect("valid receipts");
}

fn hash(bytes: &[u8]) {
    black_box(keccak256(black_box(bytes)));
}

fn total(values: &[impl AsRef<[u8]>]) -> u64 {
    values.iter().map(|value| value.as_ref().len() as u64).sum()
}

fn pass<T>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, bytes: u64, items: &[T], check: impl Fn(&T)) {
    group.throughput(Throughput::Bytes(bytes));
    group.bench_function(name, |bencher| bencher.iter(|| items.iter().for_each(&check)));
}

fn validation(criterion: &mut Criterion) {
    let config = SyntheticConfig {
        seed: 6,
        pre_merge_blocks: 1,
        bellatrix_blocks: 0,
        capella_blocks: 0,
        deneb_blocks: BLOCKS,
        block_size: BLOCK_SIZE,
        accounts: 0,
    };
    let chain = SyntheticChain::new(config).expect("a valid configuration");
    let blocks: Vec<Block> = chain.blocks().skip(1).collect();
    let bodies: Vec<_> = blocks.iter().map(|block| block.body.clone()).collect();
    let slim: Vec<_> = blocks.iter().map(|block| block.receipts.clone()).collect();
    let whole: Vec<_> = blocks
        .iter()
        .map(|block| (block, block.receipts_in(ReceiptsEncoding::Ssz).expect("well-formed receipts")))
        .collect();
    let (body_bytes, slim_bytes) = (total(&bodies), total(&slim));
    let whole_bytes = whole.iter().map(|(_, receipts)| receipts.len() as u64).sum();

    let mut group = criterion.benchmark_group("body");
    pass(&mut group, "keccak256", body_bytes, &bodies, |body| hash(body));
    pass(&mut group, "validate", body_bytes, &blocks, check_body);
    group.finish();

    let mut group = criterion.benchmark_group("slim receipts");
    pass(&mut group, "keccak256", slim_bytes, &slim, |receipts| hash(receipts));
    pass(&mut group, "validate", slim_bytes, &blocks, check_slim);
    group.finish();

    let mut group = criterion.benchmark_group("receipts with bloom");
    pass(&mut group, "keccak256", whole_bytes, &whole, |(_, receipts)| hash(receipts));
    pass(&mut group, "validate", whole_bytes, &whole, |(block, receipts)| {
        validate::receipts(block.header.header(), ReceiptsEncoding::Ssz, black_box(receipts)).expect("valid receipts");
    });
    group.finish();

    let mut group = criterion.benchmark_group("body and slim receipts");
    pass(&mut group, "keccak256", body_bytes + slim_bytes, &blocks, |block| {
        hash(&block.body);
        hash(&block.receipts);
    });
    for threads in 1..=thread::available_parallelism().map_or(1, usize::from) {
        let share = blocks.len().div_ceil(threads);
        group.throughput(Throughput::Bytes(body_bytes + slim_bytes));
        group.bench_function(format!("validate, {threads} threads"), |bencher| {
            bencher.iter(|| {
                thread::scope(|scope| {
                    for blocks in blocks.chunks(share) {
                        scope.spawn(move || {
                            blocks.iter().for_each(|block| {
                                check_body(block);
                                check_slim(block);
                            });
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = validation
}
criterion_main!(benches);
