//! Archives without proofs: what of them counts as held, is served and is offered, before and after headers from elsewhere
//! prove them.

use std::fs::OpenOptions;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use cairn_synthetic::SyntheticConfig;
use content_types::{ContentKey, Form, history, legacy_history};

use super::archives::Archives;
use super::prepare::{self, Prepared};
use super::shelf::Served;
use crate::headers::Lineage;
use crate::testing::Fixture;

/// Type of an e2store record with a header.
const HEADER_RECORD: u16 = 0x03;
/// Blocks that an archive without proofs proves by their epoch.
const MERGE: u64 = 20;
const END: u64 = MERGE + 600;
/// The last block of each segment.
const ENDS: [u64; 3] = [MERGE + 255, MERGE + 511, END - 1];

fn chain() -> SyntheticConfig {
    SyntheticConfig {
        pre_merge_blocks: MERGE,
        bellatrix_blocks: 200,
        capella_blocks: 200,
        deneb_blocks: 200,
        block_size: 200,
        ..SyntheticConfig::small()
    }
}

fn served(archives: &Archives) -> (Served, Arc<Lineage>) {
    let served = archives.served().remove(0);
    let lineage = served.lineage.clone().unwrap();
    (served, lineage)
}

fn body(number: u64) -> ContentKey {
    history::ContentKey::BlockBody { number }.into()
}

async fn held(fixture: &Fixture) -> Vec<u64> {
    let keys = (0..END).map(|number| Some(body(number))).collect();
    let held = fixture.holdings.which_are_held(keys).await.unwrap();
    (0..END).zip(held).filter(|(_, is_held)| *is_held).map(|(number, _)| number).collect()
}

async fn prepare(fixture: &Fixture, served: &Served, numbers: Range<u64>) -> Prepared {
    prepare::batch(fixture.pipeline.clone(), fixture.workers.clone(), served.clone(), numbers).await
}

#[tokio::test]
async fn blocks_are_held_and_served_only_below_a_header_that_was_found() {
    let fixture = Fixture::of(chain());
    let archives = fixture.archives(vec![fixture.write_bare_archive()]).await;
    let (_, lineage) = served(&archives);
    archives.prove(&lineage).await.unwrap();
    assert_eq!(lineage.unproved_count(), END - MERGE);
    assert_eq!(held(&fixture).await, Vec::from_iter(0..MERGE));
    assert_eq!(fixture.holdings.get_for_peer(cairn_limits::Holder::id([7; 32]), &body(MERGE)).await.unwrap(), None);
    assert_eq!(fixture.holdings.get(&body(MERGE)).await.unwrap(), None);

    fixture.store_header(ENDS[1]);
    archives.prove(&lineage).await.unwrap();
    assert_eq!(lineage.unproved_count(), END - 1 - ENDS[1]);
    assert_eq!(held(&fixture).await, Vec::from_iter(0..=ENDS[1]));
    for number in [0, MERGE, ENDS[0], ENDS[0] + 1, ENDS[1]] {
        let value = Some(fixture.chain.block(number).unwrap().body);
        assert_eq!(
            fixture.holdings.get_for_peer(cairn_limits::Holder::id([7; 32]), &body(number)).await.unwrap(),
            value,
            "{number}"
        );
    }
    assert_eq!(fixture.holdings.get(&body(ENDS[1] + 1)).await.unwrap(), None);
    // No proof that could be handed on comes with that.
    let header = ContentKey::from(legacy_history::ContentKey::HeaderByNumber(MERGE));
    assert_eq!(fixture.holdings.which_are_held(vec![Some(header)]).await, Ok(vec![false]));

    fixture.store_header(ENDS[2]);
    archives.prove(&lineage).await.unwrap();
    assert_eq!((lineage.unproved_count(), held(&fixture).await.len() as u64), (0, END));
}

#[tokio::test]
async fn what_is_offered_is_what_is_proved_and_the_rest_is_counted() {
    let fixture = Fixture::of(chain());
    let archives = fixture.archives(vec![fixture.write_bare_archive()]).await;
    let (served, lineage) = served(&archives);
    fixture.store_header(ENDS[0]);
    archives.prove(&lineage).await.unwrap();

    // Across the last block that the archive proves, and across the last one that its lineage does.
    for (numbers, with_proof, proved) in [(MERGE - 2..MERGE + 3, 2, 3), (ENDS[0] - 1..ENDS[0] + 4, 0, 2)] {
        let prepared = prepare(&fixture, &served, numbers).await;
        assert_eq!(prepared.contents.len(), 6 * with_proof + 4 * proved);
        assert_eq!((prepared.refused.count(), prepared.waiting.count()), (0, 5 - (with_proof + proved) as u64));
        assert!(prepared.waiting.first().is_none_or(|why| why.contains("no proof of its header")));
        for content in prepared.contents {
            fixture.headers.remember(content.header().unwrap().clone());
            let alone = fixture.pipeline.validate(*content.key(), Form::Offered, content.value().clone()).await;
            assert_eq!(alone.unwrap(), content);
        }
    }
}

#[tokio::test]
async fn a_damaged_header_ends_what_follows_from_those_above_it_until_the_next_segment() {
    let fixture = Fixture::of(chain());
    let folder = fixture.write_bare_archive();
    let damaged = ENDS[0] + 100;
    damage_header(&folder, damaged);
    let archives = fixture.archives(vec![folder]).await;
    let (served, lineage) = served(&archives);
    fixture.store_header(ENDS[2]);
    archives.prove(&lineage).await.unwrap();
    assert_eq!(held(&fixture).await, Vec::from_iter((0..MERGE).chain(damaged + 1..END)));
    fixture.store_header(ENDS[0]);
    archives.prove(&lineage).await.unwrap();
    assert_eq!(held(&fixture).await, Vec::from_iter((0..=ENDS[0]).chain(damaged + 1..END)));
    assert_eq!(lineage.unproved_count(), 100);
    let prepared = prepare(&fixture, &served, damaged - 1..damaged + 2).await;
    assert_eq!((prepared.refused.count(), prepared.waiting.count(), prepared.contents.len()), (1, 1, 4));
}

#[tokio::test]
async fn another_chains_archive_is_proved_by_no_header_of_this_one() {
    let other = Fixture::of(SyntheticConfig { seed: 2, ..chain() });
    let fixture = Fixture::of(chain());
    let archives = fixture.archives(vec![other.write_bare_archive()]).await;
    let (_, lineage) = served(&archives);
    ENDS.into_iter().for_each(|number| fixture.store_header(number));
    archives.prove(&lineage).await.unwrap();
    assert_eq!(lineage.unproved_count(), END - MERGE);
    assert_eq!(fixture.holdings.get(&body(ENDS[0])).await.unwrap(), None);
}

fn damage_header(folder: &Path, number: u64) {
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    let (mut at, mut headers) = (0, Vec::new());
    while let Some(record) = bytes.get(at..at + 8) {
        let record_type = u16::from_le_bytes([record[0], record[1]]);
        let len = u32::from_le_bytes([record[2], record[3], record[4], record[5]]) as usize;
        if record_type == HEADER_RECORD {
            headers.push(at + 8 + len / 2);
        }
        at += 8 + len;
    }
    let at = headers[number as usize];
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
}
