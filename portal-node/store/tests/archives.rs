//! Archives served in place, with a synthetic chain of every fork.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use bytes::Bytes;
use cairn_archive::{Archive, ArchiveError, Component, Format};
use cairn_store::{Budgets, Event, HeaderProver, Item, SledEngine, Store};
use cairn_synthetic::{Block, SyntheticChain, SyntheticConfig};
use common::{Events, config};
use content_types::{
    ContentKey, HeaderProof, HeaderVerifier, ProvedHeader, SubNetwork, TrustLists,
    block::{BodyEncoding, ReceiptsEncoding, transcode},
    header::DecodedHeader,
    history::{self, ContentType},
    legacy_history,
};

/// Types of e2store records in era1.
const HEADER_RECORD: u16 = 0x03;
const TOTAL_DIFFICULTY_RECORD: u16 = 0x06;

struct Fixture {
    chain: SyntheticChain,
    dir: tempfile::TempDir,
    archive: PathBuf,
}

impl Fixture {
    fn new(config: SyntheticConfig, format: Format) -> Self {
        let chain = SyntheticChain::new(config).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let archive = chain.write_archive(0, format, dir.path()).unwrap();
        Self { chain, dir, archive }
    }

    fn small() -> Self {
        Self::new(SyntheticConfig::small(), Format::Ere)
    }

    fn prover(&self) -> Arc<dyn HeaderProver> {
        Arc::new(self.chain.verifier())
    }

    fn open_archive(&self) -> Result<Archive, ArchiveError> {
        Archive::open(&self.archive)
    }

    fn open(&self) -> (Store, Events) {
        let budgets = Budgets::NONE.with(SubNetwork::History, 1 << 20);
        common::open::<SledEngine>(config(&self.dir.path().join("store"), budgets)).unwrap()
    }

    fn serving(&self) -> (Store, Events) {
        let (store, events) = self.open();
        store.add_archive(self.open_archive().unwrap(), self.prover()).unwrap();
        (store, events)
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        (0..self.chain.config().blocks()).map(|number| self.chain.block(number).unwrap())
    }
}

/// Everything that is served about a block, and under which key.
fn contents(block: &Block) -> [(ContentKey, Bytes); 6] {
    let (number, hash) = (block.number(), block.header.hash());
    let body = transcode::body(BodyEncoding::Rlp, BodyEncoding::Ssz, &block.body).unwrap();
    let receipts = transcode::receipts(ReceiptsEncoding::Slim, ReceiptsEncoding::Ssz, &block.receipts).unwrap();
    [
        (body_key(number), block.body.clone()),
        (history::ContentKey::BlockReceipts { number }.into(), block.receipts.clone()),
        (legacy_history::ContentKey::HeaderByNumber(number).into(), block.header_with_proof()),
        (legacy_history::ContentKey::HeaderByHash(hash).into(), block.header_with_proof()),
        (legacy_history::ContentKey::Body(hash).into(), body.into()),
        (legacy_history::ContentKey::Receipts(hash).into(), receipts.into()),
    ]
}

fn body_key(number: u64) -> ContentKey {
    history::ContentKey::BlockBody { number }.into()
}

/// Hashes are indexed in the background.
fn wait_until_indexed(store: &Store, last: &Block) {
    let key = legacy_history::ContentKey::HeaderByHash(last.header.hash()).into();
    while !store.contains(&key).unwrap() {
        thread::yield_now();
    }
}

fn flip(path: &Path, at: usize) {
    let mut byte = [0];
    let file = File::options().read(true).write(true).open(path).unwrap();
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
}

#[test]
fn everything_in_an_ere_file_is_served_in_every_encoding() {
    let fixture = Fixture::small();
    let (store, _) = fixture.serving();
    // By number at once.
    assert_eq!(store.get(&body_key(95)).unwrap(), Some(fixture.chain.block(95).unwrap().body));
    wait_until_indexed(&store, &fixture.blocks().last().unwrap());
    for block in fixture.blocks() {
        // Twice: the second time without a check against the header.
        for (key, value) in contents(&block).into_iter().chain(contents(&block)) {
            assert!(store.contains(&key).unwrap());
            assert_eq!(store.get(&key).unwrap(), Some(value), "{key:?}");
        }
    }
    let run = store.run(ContentType::BlockBody, 0).unwrap();
    assert_eq!(run.count(), 96);
    assert!(run.has(95) && !run.has(96) && !run.is_whole());
    assert_eq!(store.run(ContentType::BlockReceipts, 1).unwrap().count(), 0);
    // Without a copy.
    assert_eq!(store.usage(SubNetwork::History).items, 0);
    assert_eq!(store.get(&body_key(96)).unwrap(), None);
}

/// A chain that ends before the merge, in an era1 file.
fn before_the_merge(pre_merge_blocks: u64) -> Fixture {
    let config = SyntheticConfig {
        pre_merge_blocks,
        bellatrix_blocks: 0,
        capella_blocks: 0,
        deneb_blocks: 0,
        ..SyntheticConfig::small()
    };
    Fixture::new(config, Format::Era1)
}

#[test]
fn everything_in_an_era1_file_is_served_with_proofs_built_from_it() {
    let fixture = before_the_merge(300);
    let (store, _) = fixture.serving();
    wait_until_indexed(&store, &fixture.blocks().last().unwrap());
    for block in fixture.blocks() {
        for (key, value) in contents(&block) {
            assert_eq!(store.get(&key).unwrap(), Some(value), "{key:?}");
        }
    }
    assert!(store.run(ContentType::BlockReceipts, 0).unwrap().is_whole());
    store.close().unwrap();

    // The hashes are known from before.
    let (store, _) = fixture.serving();
    for block in fixture.blocks().step_by(60) {
        for (key, value) in contents(&block) {
            assert_eq!(store.get(&key).unwrap(), Some(value), "{key:?}");
        }
    }
}

#[test]
fn a_stored_value_comes_before_the_archive() {
    let fixture = Fixture::small();
    let (store, _) = fixture.serving();
    let other = Bytes::from_static(b"stored");
    store.put_batch(vec![Item::new(&body_key(5), other.clone())]).unwrap();
    assert_eq!(store.get(&body_key(5)).unwrap(), Some(other));
    store.remove(SubNetwork::History, &body_key(5).content_id()).unwrap();
    assert_eq!(store.get(&body_key(5)).unwrap(), Some(fixture.chain.block(5).unwrap().body));
    store.remove_archive(&fixture.archive);
    assert_eq!(store.get(&body_key(5)).unwrap(), None);
}

#[test]
fn a_file_that_vanishes_drops_out_and_comes_back() {
    let fixture = Fixture::small();
    let (store, events) = fixture.serving();
    let body = fixture.chain.block(7).unwrap().body;
    assert_eq!(store.get(&body_key(7)).unwrap(), Some(body.clone()));
    events.take();

    let away = fixture.dir.path().join("away");
    fs::rename(&fixture.archive, &away).unwrap();
    assert_eq!(store.get(&body_key(7)).unwrap(), None);
    assert!(!store.contains(&body_key(7)).unwrap());
    assert_eq!(store.archives(), [(fixture.archive.clone(), false)]);
    assert!(matches!(&events.take()[..], [Event::ArchiveGone { path, .. }] if *path == fixture.archive));

    fs::rename(&away, &fixture.archive).unwrap();
    while !store.contains(&body_key(7)).unwrap() {
        thread::yield_now();
    }
    assert_eq!(store.get(&body_key(7)).unwrap(), Some(body.clone()));
    // It is served before that is told.
    while !events.take().contains(&Event::ArchiveAdded { path: fixture.archive.clone() }) {
        thread::yield_now();
    }

    // Written over in place: its bytes are checked anew.
    let bytes = fs::read(&fixture.archive).unwrap();
    fs::write(&fixture.archive, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(store.get(&body_key(7)).unwrap(), None);
    fs::write(&fixture.archive, bytes).unwrap();
    while store.get(&body_key(7)).unwrap().is_none() {
        thread::yield_now();
    }
    assert_eq!(store.get(&body_key(7)).unwrap(), Some(body));
}

#[test]
fn no_flipped_byte_is_ever_served() {
    let fixture = Fixture::small();
    let len = fs::metadata(&fixture.archive).unwrap().len() as usize;
    let mut reported = 0;
    for at in (0..len).step_by(len / 60) {
        flip(&fixture.archive, at);
        let (store, events) = fixture.open();
        if let Ok(archive) = fixture.open_archive() {
            store.add_archive(archive, fixture.prover()).unwrap();
            let mut refused = 0;
            for block in fixture.blocks() {
                for (key, value) in contents(&block).into_iter().take(3) {
                    match store.get(&key).unwrap() {
                        Some(found) => assert_eq!(found, value, "byte {at}, {key:?}"),
                        None => refused += 1,
                    }
                }
            }
            let corrupt = events.take().into_iter().filter(|event| matches!(event, Event::ArchiveCorrupt { .. }));
            let corrupt = corrupt.count();
            assert!(corrupt <= refused);
            reported += corrupt;
            // Reported once, not each time that it is asked for.
            fixture.blocks().for_each(|block| drop(store.get(&body_key(block.number())).unwrap()));
            assert!(!events.take().iter().any(|event| matches!(event, Event::ArchiveCorrupt { .. })));
        }
        drop(store);
        flip(&fixture.archive, at);
    }
    assert!(reported > 20, "only {reported} reports");
}

/// The proofs of all headers are built from all headers and total difficulties of the file.
#[test]
fn one_damaged_block_takes_no_other_with_it() {
    let fixture = before_the_merge(60);
    let bytes = fs::read(&fixture.archive).unwrap();
    let mut records = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let record_type = u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        let len = u32::from_le_bytes(bytes[at + 2..at + 6].try_into().unwrap()) as usize;
        records.push((record_type, at + 8, len));
        at += 8 + len;
    }
    for (record_type, is_whole_block_lost) in [(HEADER_RECORD, true), (TOTAL_DIFFICULTY_RECORD, false)] {
        for damaged in [0, 31, 58] {
            let (_, start, len) = records.iter().filter(|(found, ..)| *found == record_type).nth(damaged).unwrap();
            flip(&fixture.archive, start + len / 2);
            let (store, _) = fixture.serving();
            for block in fixture.blocks() {
                let expected = (!is_whole_block_lost || block.number() != damaged as u64).then_some(block.body.clone());
                assert_eq!(store.get(&body_key(block.number())).unwrap(), expected, "{damaged}: {}", block.number());
            }
            drop(store);
            flip(&fixture.archive, start + len / 2);
        }
    }
}

/// Proves nothing, as long as the trust lists are not there.
#[test]
fn what_cannot_be_proved_is_not_served() {
    let fixture = Fixture::small();
    let (store, events) = fixture.open();
    let without_lists = HeaderVerifier::new(fixture.chain.verifier().chain().clone(), TrustLists::default());
    store.add_archive(fixture.open_archive().unwrap(), Arc::new(without_lists)).unwrap();
    assert_eq!(store.get(&body_key(7)).unwrap(), None);
    assert!(!events.take().iter().any(|event| matches!(event, Event::ArchiveCorrupt { .. })));

    // Added again when they are.
    store.add_archive(fixture.open_archive().unwrap(), fixture.prover()).unwrap();
    assert_eq!(store.get(&body_key(7)).unwrap(), Some(fixture.chain.block(7).unwrap().body));
}

struct Never;

impl HeaderProver for Never {
    fn prove(&self, _: DecodedHeader, _: Option<&HeaderProof>) -> Result<ProvedHeader, cairn_store::Unproved> {
        Err(cairn_store::Unproved::Wrong("another chain".into()))
    }
}

#[test]
fn an_archive_of_another_chain_is_reported() {
    let fixture = Fixture::small();
    let (store, events) = fixture.open();
    store.add_archive(fixture.open_archive().unwrap(), Arc::new(Never)).unwrap();
    events.take();
    for block in 0..3 {
        assert_eq!(store.get(&body_key(block)).unwrap(), None);
    }
    let blocks: Vec<_> = events
        .take()
        .into_iter()
        .map(|event| match event {
            Event::ArchiveCorrupt { block, .. } => block,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(blocks, [0, 1, 2]);
}

/// Proves every header, and vouches for bodies below a block only.
struct BodiesBelow(u64, HeaderVerifier);

impl HeaderProver for BodiesBelow {
    fn prove(&self, header: DecodedHeader, proof: Option<&HeaderProof>) -> Result<ProvedHeader, cairn_store::Unproved> {
        HeaderProver::prove(&self.1, header, proof)
    }

    fn vouches_for(&self, number: u64, component: Component) -> bool {
        component == Component::Body && number < self.0
    }
}

#[test]
fn only_what_the_prover_vouches_for_counts_as_held() {
    let fixture = Fixture::small();
    let (store, _) = fixture.open();
    let prover = BodiesBelow(10, fixture.chain.verifier());
    store.add_archive(fixture.open_archive().unwrap(), Arc::new(prover)).unwrap();
    assert!(store.contains(&body_key(9)).unwrap() && !store.contains(&body_key(10)).unwrap());
    assert_eq!(store.run(ContentType::BlockBody, 0).unwrap().count(), 10);
    assert_eq!(store.run(ContentType::BlockReceipts, 0).unwrap().count(), 0);
    let header = legacy_history::ContentKey::HeaderByNumber(9).into();
    assert!(!store.contains(&header).unwrap());
}
