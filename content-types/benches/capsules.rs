//! What it takes to check a proof capsule: of one account without slots, and of five with some hundred slots. Beside it, hashing what is
//! in it once, and its size.

#![allow(clippy::print_stdout)] // The size is a figure as well.

use std::{collections::HashMap, hint::black_box};

use alloy_primitives::keccak256;
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use content_types::{
    ContentId, Key as _,
    capsule::{Capsule, Claim},
    state::ContentKey,
};
use criterion::{Criterion, criterion_group, criterion_main};

const BLOCK: u64 = 60;
/// Enough for account proofs of five nodes.
const ACCOUNTS: usize = 20_000;

fn capsules(criterion: &mut Criterion) {
    // The genesis block and no other has so large a state made for it.
    let chain = SyntheticChain::new(SyntheticConfig::small()).expect("a valid configuration");
    let block = chain.block(BLOCK).expect("a block of the chain");
    let state = cairn_synthetic::State::of(1, ACCOUNTS, BLOCK);
    let header = alloy_consensus::Header { state_root: state.root(), ..block.header.header().clone() };
    let header = content_types::header::DecodedHeader::decode(alloy_rlp::encode(header).into()).expect("a header");
    let bare = |(key, proved): (ContentKey, content_types::state::Proved)| {
        let (_, bare) = proved.check(&key).expect("a proof");
        (key.content_id(), bare.0)
    };
    let held: HashMap<ContentId, _> = state.contents(header.hash()).into_iter().map(bare).collect();
    let get = |key: &ContentKey| held.get(&key.content_id()).cloned().ok_or(());
    let mut richest: Vec<_> = state.accounts().iter().collect();
    richest.sort_by_key(|account| std::cmp::Reverse(account.storage.len()));
    let claim = |account: &&cairn_synthetic::StateAccount, slots: usize| Claim {
        address: account.address,
        slots: account.storage.iter().take(slots).map(|(slot, _)| *slot).collect(),
        code: false,
    };
    let one: Vec<_> = richest.iter().take(1).map(|account| claim(account, 0)).collect();
    let many: Vec<_> = richest.iter().take(5).map(|account| claim(account, 20)).collect();
    for (name, claims) in [("one account", one), ("5 accounts, 100 slots", many)] {
        let capsule = Capsule::make(&header, None, claims, get).expect("all of it is held");
        let written = capsule.encode();
        println!("{name}: {} nodes, {} bytes", capsule.nodes.len(), written.len());
        let check = || Capsule::decode(black_box(&written)).expect("a capsule").open().expect("a proof");
        let hash = || capsule.nodes.iter().map(keccak256).fold(0_u8, |sum, hash| sum ^ hash[0]);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("check", |bencher| bencher.iter(check));
        group.bench_function("keccak256 of its nodes", |bencher| bencher.iter(hash));
        group.finish();
    }
}

criterion_group!(benches, capsules);
criterion_main!(benches);
