//! How fast a real era1 file is verified, on one thread and on two.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use cairn_archive::Archive;
use cairn_archive::convert::{Target, convert};
use cairn_archive::verify::verify_archive;
use content_types::trust::TrustListKind;
use content_types::{ChainSpec, HeaderVerifier, TrustLists};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn verifier(root: &Path) -> HeaderVerifier {
    let chain = Arc::new(ChainSpec::mainnet());
    let mut lists = TrustLists::default();
    let accumulator = fs::read(root.join("trust/historical_hashes_accumulator.ssz")).unwrap();
    lists.import(TrustListKind::PreMergeAccumulator, &accumulator, chain.trust_roots()).unwrap();
    HeaderVerifier::new(chain, lists)
}

fn real_file(criterion: &mut Criterion) {
    let file = cairn_vectors::folder().map(|root| root.join("era1/mainnet-00001-a5364e9a.era1"));
    let Some((root, file)) = cairn_vectors::folder().zip(file).filter(|(_, file)| file.is_file()) else { return };
    let verifier = verifier(&root);
    let dir = tempfile::tempdir().unwrap();
    let era1 = Archive::open(&file).unwrap();
    let target = Target::Ere { proofs: true, receipts: true };
    let ere = Archive::open(convert(&era1, era1.blocks(), "mainnet", target, dir.path(), |_| {}).unwrap()).unwrap();

    let mut group = criterion.benchmark_group("verify");
    group.sample_size(20);
    for (format, archive) in [("era1", &era1), ("ere with proofs", &ere)] {
        group.throughput(Throughput::Bytes(archive.file_len()));
        for threads in [1, 2] {
            group.bench_function(format!("{format}, 8,192 early blocks, threads: {threads}"), |bencher| {
                bencher.iter(|| assert!(verify_archive(archive, &verifier, threads, |_| {}).unwrap().is_intact()));
            });
        }
    }
    group.finish();

    let mut group = criterion.benchmark_group("read");
    let mut numbers = era1.blocks().cycle();
    group.bench_function("header of a closed era1 file", |bencher| {
        bencher.iter(|| era1.header(numbers.next().unwrap()).unwrap());
    });
    group.bench_function("header with proof, epoch tree cached", |bencher| {
        bencher.iter(|| era1.header_with_proof(numbers.next().unwrap()).unwrap());
    });
    group.bench_function("epoch tree of 8,192 headers", |bencher| {
        bencher.iter(|| Archive::open(&file).unwrap().epoch_tree().unwrap().root());
    });
    group.finish();
}

criterion_group!(benches, real_file);
criterion_main!(benches);
