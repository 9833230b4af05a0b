//! Archives that are served from a bucket on loopback, which behaves or does not.

#![cfg(feature = "buckets")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use cairn_archive::{Archive, ArchiveError, EpochCache, Format};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use cairn_web_seed::pieces::CACHE_BYTES;
use cairn_web_seed::{Depot, Options, PieceCache, Reason};
use support::{Archives, Manner, Server, bucket, options};

/// Blocks of the archives here.
const BLOCKS: u64 = 300;

static SMALL: LazyLock<Archives> = LazyLock::new(Archives::new);
/// Some ten megabytes, so that a reader goes from one large piece to the next.
static LARGE: LazyLock<(String, Bytes)> = LazyLock::new(|| {
    let chain = SyntheticChain::new(SyntheticConfig::of_every_fork(1, BLOCKS, 60_000)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = chain.write_archive(0, Format::Ere, dir.path()).unwrap();
    let bytes = Bytes::from(std::fs::read(&path).unwrap());
    assert!(bytes.len() > 6 << 20, "{}", bytes.len());
    (path.file_name().unwrap().to_str().unwrap().to_owned(), bytes)
});

async fn start(files: &[&(String, Bytes)]) -> Server {
    let files = files.iter().map(|(name, bytes)| (format!("/eras/{name}"), bytes.clone()));
    Server::start(files.collect(), Manner::Good).await
}

fn options_of(server: &Server) -> Options {
    Options {
        back_off: Duration::ZERO,
        ..Options { s3: bucket(&server.url, Some(("id", "secret"))).s3, ..Options::serving() }
    }
}

fn depot(server: &Server, budget: usize) -> Depot {
    Depot::new("s3://eras/", options_of(server), Arc::new(PieceCache::new(budget))).unwrap()
}

async fn open(depot: &Depot) -> Archive {
    let listed = depot.list().await.unwrap();
    depot.open(&listed[0], Arc::new(EpochCache::new(1))).await.unwrap()
}

fn local((name, bytes): &(String, Bytes)) -> Archive {
    Archive::from_source(Box::new(bytes.clone()), name).unwrap()
}

/// Runs what waits for the server where that is allowed.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

type Blocks = Vec<(Bytes, Bytes, Option<Bytes>)>;

/// Header with proof, body and receipts of some blocks.
async fn read(archive: &Archive, blocks: RangeInclusive<u64>) -> Result<Blocks, ArchiveError> {
    let archive = archive.clone();
    let read = move |number| {
        let receipts = archive.receipts(number)?.map(|receipts| receipts.bytes);
        Ok((archive.header_with_proof(number)?.encode(), archive.body(number)?, receipts))
    };
    blocking(move || blocks.map(read).collect()).await
}

/// Bytes that were asked for since so many requests.
fn asked(server: &Server, before: usize) -> u64 {
    let of = |range: &str| {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()
    };
    server.requests()[before..].iter().filter_map(|(_, range)| range.as_deref()).map(of).sum()
}

#[tokio::test]
async fn archives_read_from_a_bucket_and_from_a_web_server_are_the_same_as_local_ones() {
    let server = Server::start(SMALL.files(), Manner::Good).await;
    for url in ["s3://eras".to_owned(), format!("{}/eras/", server.url)] {
        let depot = Depot::new(&url, options_of(&server), Arc::new(PieceCache::new(CACHE_BYTES))).unwrap();
        let listed = depot.list().await.unwrap();
        assert_eq!(listed.len(), 2);
        let expected: BTreeSet<_> = [&SMALL.era1, &SMALL.ere].into();
        for (listed, expected) in listed.iter().zip(expected) {
            assert_eq!((listed.name.as_str(), listed.stamp.is_some()), (expected.0.as_str(), url.starts_with("s3")));
            let archive = depot.open(listed, Arc::new(EpochCache::new(1))).await.unwrap();
            assert_eq!(archive.name(), &*listed.url);
            let expected = local(expected);
            assert_eq!(archive.blocks(), expected.blocks());
            assert_eq!(read(&archive, 0..=BLOCKS - 1).await.unwrap(), read(&expected, 0..=BLOCKS - 1).await.unwrap());
        }
    }
}

#[tokio::test]
async fn opening_and_a_lone_block_bring_little_of_the_file() {
    let server = start(&[&LARGE]).await;
    let archive = open(&depot(&server, CACHE_BYTES)).await;
    let opening = asked(&server, 0);
    assert!(opening < LARGE.1.len() as u64 / 12, "{opening}");
    let before = server.requests().len();
    read(&archive, 150..=150).await.unwrap();
    // A large piece for the body and one for the receipts, and small ones.
    assert!(asked(&server, before) < 5 << 19, "{}", asked(&server, before));
}

#[tokio::test]
async fn a_run_is_fetched_ahead_by_several_requests_at_once_and_nothing_twice() {
    let server = start(&[&LARGE]).await;
    let archive = open(&depot(&server, CACHE_BYTES)).await;
    server.behave(Manner::Slow);
    server.state.lock().unwrap().most_open = 0;
    let expected = read(&local(&LARGE), 0..=BLOCKS - 1).await.unwrap();
    assert_eq!(read(&archive, 0..=BLOCKS - 1).await.unwrap(), expected);
    let most = server.state.lock().unwrap().most_open;
    assert!((3..=16).contains(&most), "{most} requests at once");
    let large: Vec<_> = server.requests().into_iter().filter_map(|(_, range)| range).collect();
    assert_eq!(large.len(), large.iter().collect::<HashSet<_>>().len(), "{large:?}");
    assert!(asked(&server, 0) < LARGE.1.len() as u64 * 5 / 4);
}

#[tokio::test]
async fn those_who_want_the_same_piece_wait_for_one_request() {
    let server = start(&[&LARGE]).await;
    let archive = open(&depot(&server, CACHE_BYTES)).await;
    server.behave(Manner::Slow);
    let before = server.requests().len();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let archive = archive.clone();
                async move { read(&archive, 200..=203).await }
            })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), read(&local(&LARGE), 200..=203).await.unwrap());
    }
    let requests = server.requests().split_off(before);
    assert_eq!(requests.len(), requests.iter().map(|(_, range)| range).collect::<HashSet<_>>().len(), "{requests:?}");
}

#[tokio::test]
async fn memory_stays_within_the_budget_of_all_files() {
    let server = start(&[&LARGE, &SMALL.ere]).await;
    let cache = Arc::new(PieceCache::new(2 << 20));
    let depot = Depot::new("s3://eras/", options_of(&server), cache.clone()).unwrap();
    for listed in depot.list().await.unwrap() {
        let archive = depot.open(&listed, Arc::new(EpochCache::new(1))).await.unwrap();
        let expected = if listed.name == LARGE.0 { local(&LARGE) } else { local(&SMALL.ere) };
        assert_eq!(read(&archive, 0..=BLOCKS - 1).await.unwrap(), read(&expected, 0..=BLOCKS - 1).await.unwrap());
        assert!((1 << 20..=2 << 20).contains(&cache.held_bytes()), "{}", cache.held_bytes());
    }
}

#[tokio::test]
async fn an_object_that_changed_or_is_gone_has_vanished_and_is_listed_as_another() {
    for is_removed in [false, true] {
        let server = start(&[&LARGE]).await;
        let depot = depot(&server, CACHE_BYTES);
        let before = depot.list().await.unwrap().remove(0).stamp;
        let archive = open(&depot).await;
        {
            let mut state = server.state.lock().unwrap();
            state.etag = "\"two\"".to_owned();
            state.files.retain(|_, _| !is_removed);
        }
        assert!(archive.check_identity().is_ok(), "nobody has asked yet");
        assert!(read(&archive, 100..=100).await.unwrap_err().is_vanished());
        assert!(archive.check_identity().unwrap_err().is_vanished());
        assert!(read(&archive, 100..=100).await.unwrap_err().is_vanished());
        let after = depot.list().await.unwrap();
        assert_eq!(after.len(), usize::from(!is_removed));
        assert!(after.iter().all(|listed| listed.stamp != before));
        assert!(!depot.had_trouble(), "the server is well");
    }
}

#[tokio::test]
async fn connections_that_break_are_taken_up_where_they_broke() {
    let server = start(&[&LARGE]).await;
    let archive = open(&depot(&server, CACHE_BYTES)).await;
    server.behave(Manner::CutsOff(400_000));
    let expected = read(&local(&LARGE), 0..=BLOCKS - 1).await.unwrap();
    assert_eq!(read(&archive, 0..=BLOCKS - 1).await.unwrap(), expected);
}

#[tokio::test]
async fn a_server_that_fails_is_not_waited_for_each_time_and_heals_by_itself() {
    let server = start(&[&LARGE]).await;
    let options = Options { stall: Duration::from_secs(1), attempts: 2, ..options_of(&server) };
    let depot = Depot::new("s3://eras/", options, Arc::new(PieceCache::new(CACHE_BYTES))).unwrap();
    for manner in [Manner::Silent, Manner::CutsOff(10), Manner::Refuses(503, "SlowDown")] {
        // Opened anew, it has none of the pieces of the time before.
        let archive = open(&depot).await;
        read(&archive, 0..=0).await.unwrap();
        assert!(!depot.had_trouble());
        server.behave(manner.clone());
        let error = read(&archive, 250..=250).await.unwrap_err();
        assert!(!error.is_vanished(), "{error}");
        let before = server.requests().len();
        for _ in 0..100 {
            assert!(!read(&archive, 250..=250).await.unwrap_err().is_vanished());
        }
        assert!(server.requests().len() - before < 10, "{manner:?}: asked again and again");
        assert!(archive.check_identity().is_ok());
        read(&archive, 0..=0).await.expect("what is held is served meanwhile");

        server.behave(Manner::Good);
        while read(&archive, 250..=250).await.is_err() {
            thread::yield_now();
        }
        read(&archive, 100..=100).await.expect("one answer is enough to ask for more");
        assert!(depot.had_trouble());
    }
}

#[tokio::test]
async fn a_server_without_range_requests_is_told_so() {
    let server = start(&[&SMALL.ere]).await;
    let depot = depot(&server, CACHE_BYTES);
    let listed = depot.list().await.unwrap();
    server.behave(Manner::IgnoresRange);
    let error = depot.open(&listed[0], Arc::new(EpochCache::new(1))).await.unwrap_err();
    assert!(matches!(error.reason, Reason::NoRanges), "{error}");
}

#[tokio::test]
async fn what_is_no_archive_is_refused_without_reading_it_whole() {
    let junk = ("a-00000-00000000.ere".to_owned(), Bytes::from(vec![7; 8 << 20]));
    let mut records = LARGE.1.to_vec();
    records.truncate(records.len() - 8);
    let without_index = ("b-00000-00000000.ere".to_owned(), Bytes::from(records));
    let server = start(&[&junk, &without_index]).await;
    let depot = depot(&server, CACHE_BYTES);
    for listed in depot.list().await.unwrap() {
        let before = server.requests().len();
        let error = depot.open(&listed, Arc::new(EpochCache::new(1))).await.unwrap_err();
        assert!(error.is_of_file(), "{error}");
        assert!(asked(&server, before) <= 5 << 20);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_said_with_what_to_do() {
    let server = start(&[&SMALL.ere]).await;
    let depot = depot(&server, CACHE_BYTES);
    for (manner, says) in [
        (Manner::Refuses(403, "InvalidAccessKeyId"), "InvalidAccessKeyId): check the credentials"),
        (Manner::Refuses(404, "NoSuchBucket"), "no such bucket: check its name"),
    ] {
        server.behave(manner);
        let error = depot.list().await.unwrap_err();
        assert!(error.to_string().contains(says) && error.is_settled(), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    server.behave(Manner::Good);
    let listed = depot.list().await.unwrap();
    server.behave(Manner::Refuses(403, "AccessDenied"));
    let error = depot.open(&listed[0], Arc::new(EpochCache::new(1))).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Denied { .. }), "{error}");
    for url in ["s3://", "ftp://127.0.0.1/", "nonsense"] {
        let error = Depot::new(url, options(), Arc::new(PieceCache::new(0))).unwrap_err();
        assert!(matches!(error.reason, Reason::Address(_)) && error.is_settled(), "{error}");
    }
}

#[tokio::test]
async fn objects_come_and_go_in_the_listing() {
    let server = Server::start(HashMap::new(), Manner::Good).await;
    let depot = depot(&server, CACHE_BYTES);
    assert!(depot.list().await.unwrap().is_empty());
    let (name, bytes) = &SMALL.ere;
    server.state.lock().unwrap().files.insert(format!("/eras/deeper/{name}"), bytes.clone());
    let listed = depot.list().await.unwrap();
    assert_eq!(listed[0].url.as_ref(), format!("s3://eras/deeper/{name}"));
    assert_eq!(read(&open(&depot).await, 7..=7).await.unwrap().len(), 1);
}
