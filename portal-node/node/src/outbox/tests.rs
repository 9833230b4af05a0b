//! Pieces with an end for each, whatever the outlet answers.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::rpc::error::{CONTENT_REFUSED, STOPPING};

const CHAIN: B256 = B256::repeat_byte(1);
const PATIENCE: Duration = Duration::from_secs(600);

/// What an outlet answers for a piece, by how often it was asked before.
type Rule = fn(key: &[u8], asked: u32) -> Fate;

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Placed,
    Declined,
    Open,
    Unproved,
    Error(i32),
}

/// Remembers what it was asked, and answers by a rule.
#[derive(Clone)]
struct Peers {
    rule: Rule,
    asked: Arc<Mutex<BTreeMap<Bytes, u32>>>,
    ended: Arc<Mutex<BTreeSet<Bytes>>>,
    most_at_once: Arc<Mutex<usize>>,
}

impl Peers {
    fn new(rule: Rule) -> Self {
        Self { rule, asked: Arc::default(), ended: Arc::default(), most_at_once: Arc::default() }
    }
}

impl Outlet for Peers {
    async fn offer(&self, items: Vec<(Bytes, Bytes)>) -> Result<GivenOutcome, AskError> {
        tokio::task::yield_now().await;
        let mut outcome = GivenOutcome::default();
        let mut most = self.most_at_once.lock();
        *most = items.len().max(*most);
        for (place, (key, _)) in items.into_iter().enumerate() {
            let mut asked = self.asked.lock();
            let times = asked.entry(key.clone()).or_default();
            let fate = (self.rule)(&key, *times);
            *times += 1;
            match fate {
                Fate::Placed => outcome.placed += 1,
                Fate::Declined => {}
                Fate::Open => outcome.open.push(place),
                Fate::Unproved => {
                    outcome.open.push(place);
                    outcome.unproved = Some("no header".to_owned());
                }
                Fate::Error(code) => {
                    return Err(AskError::Refused(RpcRefusal { code, message: "why".to_owned(), data: Value::Null }));
                }
            }
            if matches!(fate, Fate::Placed | Fate::Declined) {
                self.ended.lock().insert(key);
            }
        }
        Ok(outcome)
    }
}

fn key(block: u64, nth: u64) -> Bytes {
    [block.to_be_bytes(), nth.to_be_bytes()].concat().into()
}

fn block_of(key: &[u8]) -> u64 {
    u64::from_be_bytes(*key.first_chunk().unwrap())
}

async fn open(folder: &TempDir, peers: Peers) -> Outbox {
    let position = folder.path().join("position.json");
    Outbox::open(peers, OutboxOptions { position, chain: CHAIN, patience: PATIENCE }).await.unwrap()
}

/// What the file says.
async fn saved(folder: &TempDir) -> u64 {
    OutboxPosition::load(folder.path().join("position.json"), CHAIN).await.unwrap().next()
}

async fn give(outbox: &Outbox, blocks: std::ops::Range<u64>, pieces: u64) -> Result<(), Closed> {
    for block in blocks {
        for nth in 0..pieces {
            outbox.push(block, key(block, nth), Bytes::from_static(b"value")).await?;
        }
        outbox.end_block(block).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn each_piece_comes_to_an_end_though_peers_are_busy_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    // Every third piece is open twice, every fifth nobody wants.
    let peers = Peers::new(|key, asked| match key[15] {
        nth if nth % 3 == 0 && asked < 2 => Fate::Open,
        nth if nth % 5 == 0 => Fate::Declined,
        _ => Fate::Placed,
    });
    let outbox = open(&folder, peers.clone()).await;
    give(&outbox, 0..20, 30).await.unwrap();
    let progress = outbox.finish().await.unwrap();
    assert_eq!((progress.open, progress.placed, progress.unclaimed), (0, 20 * 24, 20 * 6));
    assert_eq!((progress.next, saved(&folder).await), (20, 20));
    assert_eq!(peers.ended.lock().len(), 20 * 30);
    assert!(peers.asked.lock().iter().all(|(key, asked)| *asked == if key[15] % 3 == 0 { 3 } else { 1 }));
    assert_eq!(*peers.most_at_once.lock(), 64, "full calls, and none that is larger");
}

#[tokio::test(start_paused = true)]
async fn the_position_stays_before_what_is_open_and_the_next_run_begins_there() {
    let folder = tempfile::tempdir().unwrap();
    let busy: Rule = |key, _| if block_of(key) == 7 && key[15] == 1 { Fate::Open } else { Fate::Placed };
    let peers = Peers::new(busy);
    let outbox = open(&folder, peers.clone()).await;
    give(&outbox, 0..20, 3).await.unwrap();
    let mut progress = outbox.progress();
    progress.wait_for(|now| now.open == 1).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE / 2, outbox.settle()).await.is_err(), "one is open");
    assert_eq!((progress.borrow().next, saved(&folder).await), (7, 7));
    // As a kill does.
    drop(outbox);

    let outbox = open(&folder, Peers::new(|_, _| Fate::Placed)).await;
    assert_eq!(outbox.begins(), 7);
    give(&outbox, 7..20, 3).await.unwrap();
    outbox.settle().await.unwrap();
    assert_eq!(saved(&folder).await, 20);
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_is_given_up_in_time_with_its_reason() {
    for (rule, expected) in [
        ((|key, _| if block_of(key) == 3 { Fate::Open } else { Fate::Placed }) as Rule, Waiting::Peers),
        (
            |key, _| if block_of(key) == 3 { Fate::Unproved } else { Fate::Placed },
            Waiting::Unproved("no header".to_owned()),
        ),
        (
            |key, _| if block_of(key) == 3 { Fate::Error(STOPPING) } else { Fate::Placed },
            Waiting::Refused("why".to_owned()),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(&folder, Peers::new(rule)).await;
        give(&outbox, 0..3, 1).await.unwrap();
        outbox.settle().await.unwrap();
        give(&outbox, 3..5, 1).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(outbox.settle().await, Err(Closed));
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 2);
        assert_eq!(give(&outbox, 5..6, 1).await, Err(Closed));
        match outbox.finish().await.unwrap_err() {
            OutboxError::Stalled { block: 3, waiting, .. } => assert_eq!(waiting, expected),
            error => panic!("{error}"),
        }
        assert_eq!(saved(&folder).await, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_any_of_is_not_handed_out() {
    for pieces in [1, 100] {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(&folder, Peers::new(|_, _| Fate::Declined)).await;
        let given = give(&outbox, 0..20, pieces).await;
        assert_eq!(outbox.settle().await, Err(Closed), "{given:?}");
        assert!(matches!(outbox.finish().await, Err(OutboxError::NobodyTakes { block: 0, .. })));
        assert_eq!(saved(&folder).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_is_wrong_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Peers::new(|_, _| Fate::Error(CONTENT_REFUSED))).await;
    give(&outbox, 0..1, 1).await.unwrap();
    assert!(matches!(outbox.finish().await, Err(OutboxError::Refused(refusal)) if refusal.code == CONTENT_REFUSED));
}

#[tokio::test(start_paused = true)]
async fn whoever_makes_more_than_peers_take_waits() {
    let folder = tempfile::tempdir().unwrap();
    let outbox = open(&folder, Peers::new(|_, _| Fate::Open)).await;
    let given = tokio::time::timeout(PATIENCE / 2, give(&outbox, 0..1, MAX_PIECES as u64 + 1)).await;
    assert!(given.is_err(), "{given:?}");
    assert_eq!(outbox.progress().borrow().open, MAX_PIECES as u64);

    let outbox = open(&folder, Peers::new(|_, _| Fate::Open)).await;
    let long = Bytes::from(vec![0; MAX_BYTES / 4]);
    for nth in 0..3 {
        outbox.push(0, key(0, nth), long.clone()).await.unwrap();
    }
    // The fourth has no room for its key.
    let fourth = tokio::time::timeout(PATIENCE / 2, outbox.push(0, key(0, 4), long)).await;
    assert!(fourth.is_err(), "{fourth:?}");
}
