//! Mirrors that behave, and mirrors that do not, on loopback.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use cairn_archive::{Archive, Component, Components};
use cairn_web_seed::{Error, NoArchive, Options, Reason, Record, WebArchive, WebSeed};
#[cfg(feature = "buckets")]
use support::bucket;
use support::{Archives, Manner, Server, options};

static ARCHIVES: LazyLock<Archives> = LazyLock::new(Archives::new);

async fn start(manner: Manner) -> Server {
    Server::start(ARCHIVES.files(), manner).await
}

/// The ere file as it is on the server, opened while it behaves.
async fn opened(server: &Server, options: Options) -> std::sync::Arc<WebArchive> {
    let seed = WebSeed::open(&format!("{}/eras/", server.url), options).await.unwrap();
    seed.archive(&ARCHIVES.ere.0).await.unwrap()
}

fn all() -> Components {
    Component::ALL.into_iter().collect()
}

async fn records(
    archive: &WebArchive,
    components: Components,
    blocks: RangeInclusive<u64>,
) -> Result<Vec<Record>, Error> {
    let mut reading = archive.read(components, blocks).await?;
    let mut records = Vec::new();
    while let Some(record) = reading.next().await? {
        records.push(record);
    }
    Ok(records)
}

/// What a local archive says is in a block.
fn content(archive: &Archive, number: u64, component: Component) -> Option<Vec<u8>> {
    match component {
        Component::Header => Some(archive.header(number).unwrap().to_vec()),
        Component::Body => Some(archive.body(number).unwrap().to_vec()),
        Component::Receipts => archive.receipts(number).unwrap().map(|receipts| receipts.bytes.to_vec()),
        Component::TotalDifficulty => {
            archive.total_difficulty(number).unwrap().map(|value| value.to_le_bytes::<32>().to_vec())
        }
        Component::Proof => None,
    }
}

#[tokio::test]
async fn ranges_of_blocks_come_as_they_lie_in_the_files() {
    let server = start(Manner::Good).await;
    let seed = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap();
    let mut names: Vec<_> = seed.files().map(|file| file.name).collect();
    names.sort();
    let mut expected = [ARCHIVES.era1.0.clone(), ARCHIVES.ere.0.clone()];
    expected.sort();
    assert_eq!(names, expected);
    assert!(seed.files().all(|file| file.blocks() == Some(0..=8191)));

    for (name, bytes) in [&ARCHIVES.era1, &ARCHIVES.ere] {
        let local = Archive::from_source(Box::new(bytes.clone()), name).unwrap();
        let archive = seed.archive(name).await.unwrap();
        for blocks in [0..=299, 0..=0, 299..=299, 40..=77] {
            for component in local.components().iter() {
                let found = records(&archive, Components::default().with(component), blocks.clone()).await.unwrap();
                let numbers: Vec<_> = found.iter().map(|record| record.number).collect();
                assert_eq!(numbers, blocks.clone().collect::<Vec<_>>());
                for record in found {
                    assert_eq!(record.component, component);
                    let found = record.content().unwrap();
                    if let Some(expected) = content(&local, record.number, component) {
                        assert_eq!(found, expected, "{component} of block {} in {name}", record.number);
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn an_era1_file_takes_one_request_for_all_components_and_an_ere_file_one_for_each() {
    let server = start(Manner::Good).await;
    let seed = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap();
    for (name, requests) in [(&ARCHIVES.era1.0, 1), (&ARCHIVES.ere.0, 2)] {
        let archive = seed.archive(name).await.unwrap();
        let wanted = Components::default().with(Component::Body).with(Component::Receipts);
        let _ = archive.read(wanted, 100..=199).await.unwrap();
        let before = server.requests().len();
        assert_eq!(records(&archive, wanted, 100..=199).await.unwrap().len(), 200);
        assert_eq!(server.requests().len() - before, requests);
    }
}

#[tokio::test]
async fn single_records_are_read_through_the_archive() {
    let server = start(Manner::Good).await;
    let archive = opened(&server, options()).await;
    let before = server.requests().len();
    let found = tokio::task::spawn_blocking({
        let archive = archive.clone();
        move || (0..300).map(|number| archive.archive().header(number).unwrap()).collect::<Vec<_>>()
    });
    let expected: Vec<_> = (0..300).map(|number| ARCHIVES.chain.block(number).unwrap().header.rlp().clone()).collect();
    assert_eq!(found.await.unwrap(), expected);
    // The headers of a few hundred blocks lie in a few blocks of the cache.
    assert!(server.requests().len() - before < 10);
}

#[tokio::test]
async fn one_file_by_its_url_is_a_mirror() {
    let server = start(Manner::Good).await;
    let seed = WebSeed::open(&format!("{}/eras/{}", server.url, ARCHIVES.era1.0), options()).await.unwrap();
    let archive = seed.archive(&ARCHIVES.era1.0).await.unwrap();
    assert_eq!(records(&archive, all().without(Component::Proof), 5..=9).await.unwrap().len(), 20);
    let unlisted = seed.archive("other.ere").await.unwrap_err();
    assert!(matches!(unlisted.reason, Reason::Unlisted(_)), "{unlisted}");
}

#[tokio::test]
async fn a_server_without_range_requests_is_told_so() {
    let server = start(Manner::IgnoresRange).await;
    let seed = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap();
    let error = seed.archive(&ARCHIVES.ere.0).await.unwrap_err();
    assert!(matches!(error.reason, Reason::NoRanges), "{error}");
    assert!(error.to_string().contains(&ARCHIVES.ere.0), "{error}");
}

#[tokio::test]
async fn a_false_content_range_is_refused() {
    let server = start(Manner::LiesInRange).await;
    let seed = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap();
    let error = seed.archive(&ARCHIVES.ere.0).await.unwrap_err();
    assert!(matches!(error.reason, Reason::WrongRange { .. }), "{error}");
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_broke_up_to_a_bound() {
    let server = start(Manner::Good).await;
    let archive = opened(&server, options()).await;
    let bodies = Components::default().with(Component::Body);
    let whole = records(&archive, bodies, 0..=299).await.unwrap();
    let length = archive.read(bodies, 0..=299).await.unwrap().pending_bytes() as usize;

    server.behave(Manner::CutsOff(length / 3));
    assert_eq!(records(&archive, bodies, 0..=299).await.unwrap(), whole);

    server.behave(Manner::CutsOff(length / 20));
    let before = server.requests().len();
    let error = records(&archive, bodies, 0..=299).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Transport(_) | Reason::Short { .. }), "{error}");
    assert!(error.block.is_some_and(|block| block > 10), "{error}");
    assert_eq!(server.requests().len() - before, options().attempts as usize);
}

#[tokio::test]
async fn a_body_that_ends_early_in_good_order_is_short() {
    let server = start(Manner::Good).await;
    let archive = opened(&server, options()).await;
    let bodies = Components::default().with(Component::Body);
    let whole = records(&archive, bodies, 0..=9).await.unwrap();
    let length = archive.read(bodies, 0..=9).await.unwrap().pending_bytes() as usize;
    server.behave(Manner::EndsEarly(length.div_ceil(3)));
    assert_eq!(records(&archive, bodies, 0..=9).await.unwrap(), whole);
    server.behave(Manner::EndsEarly(0));
    let error = records(&archive, bodies, 0..=9).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Short { found: 0, .. }), "{error}");
}

#[tokio::test]
async fn a_body_without_end_is_left() {
    let server = start(Manner::Good).await;
    let archive = opened(&server, options()).await;
    server.behave(Manner::Endless);
    let error = records(&archive, Components::default().with(Component::Body), 0..=0).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Long { .. }), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_left_after_the_time_out() {
    let server = start(Manner::Good).await;
    let short = Options { stall: Duration::from_millis(30), attempts: 2, ..options() };
    let seed = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap();
    seed.archive(&ARCHIVES.ere.0).await.unwrap();
    server.behave(Manner::Silent);
    let error = WebSeed::open(&format!("{}/eras/", server.url), short).await.unwrap_err();
    assert!(matches!(error.reason, Reason::TimeOut), "{error}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_up_to_a_bound() {
    let server = start(Manner::Good).await;
    let archive = opened(&server, options()).await;
    let bodies = Components::default().with(Component::Body);
    server.behave(Manner::Busy(3, "0"));
    assert_eq!(records(&archive, bodies, 0..=9).await.unwrap().len(), 10);

    server.behave(Manner::Busy(u32::MAX, "0"));
    let before = server.requests().len();
    let error = records(&archive, bodies, 0..=9).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Busy { status: 429, .. }), "{error}");
    assert_eq!(server.requests().len() - before, options().attempts as usize);

    server.behave(Manner::Busy(u32::MAX, "86400"));
    let before = server.requests().len();
    let error = records(&archive, bodies, 0..=9).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Busy { retry_after: Some(_), .. }), "{error}");
    assert_eq!(server.requests().len() - before, 1);
}

#[tokio::test]
async fn five_redirects_are_followed_and_no_more() {
    let server = start(Manner::Redirects(5)).await;
    WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap();
    server.behave(Manner::Redirects(6));
    let error = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Redirects(5)), "{error}");
}

#[tokio::test]
async fn a_file_that_changed_is_noticed_and_opened_anew() {
    let server = start(Manner::Good).await;
    let seed = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap();
    let archive = seed.archive(&ARCHIVES.ere.0).await.unwrap();
    server.state.lock().unwrap().etag = "\"two\"".to_owned();
    let error = records(&archive, Components::default().with(Component::Body), 0..=9).await.unwrap_err();
    assert!(error.is_changed(), "{error}");
    assert!(archive.is_changed());
    let blocking = tokio::task::spawn_blocking(move || archive.archive().body(3).unwrap_err());
    assert!(blocking.await.unwrap().is_vanished());
    let anew = seed.archive(&ARCHIVES.ere.0).await.unwrap();
    assert_eq!(records(&anew, Components::default().with(Component::Body), 0..=9).await.unwrap().len(), 10);
}

#[tokio::test]
async fn no_more_requests_at_a_time_than_allowed() {
    let server = start(Manner::Good).await;
    let archive = opened(&server, Options { concurrency: 2, ..options() }).await;
    server.behave(Manner::Slow);
    let readings = (0..12).map(|_| {
        let archive = archive.clone();
        tokio::spawn(async move { records(&archive, all().without(Component::Proof), 0..=40).await.unwrap().len() })
    });
    for reading in readings.collect::<Vec<_>>() {
        assert_eq!(reading.await.unwrap(), 164);
    }
    assert_eq!(server.state.lock().unwrap().most_open, 2);
}

#[tokio::test]
async fn what_is_no_archive_is_refused_without_reading_it_whole() {
    let mut cut = ARCHIVES.ere.1.to_vec();
    cut.truncate(cut.len() - 8);
    let mut files = HashMap::new();
    files.insert("/a-00000-00000000.ere".to_owned(), Bytes::from(vec![7; 100_000]));
    files.insert("/b-00000-00000000.ere".to_owned(), Bytes::from(cut));
    let server = Server::start(files, Manner::Good).await;
    for name in ["a-00000-00000000.ere", "b-00000-00000000.ere"] {
        let seed = WebSeed::open(&format!("{}/{name}", server.url), options()).await.unwrap();
        let error = seed.archive(name).await.unwrap_err();
        assert!(matches!(error.reason, Reason::Archive(_)), "{error}");
    }
    let none = WebSeed::open(&format!("{}/none.ere", server.url), options()).await.unwrap();
    assert!(matches!(none.archive("none.ere").await.unwrap_err().reason, Reason::NotFound));
    for url in ["ftp://127.0.0.1/", "nonsense", ""] {
        let error = WebSeed::open(url, options()).await.unwrap_err();
        assert!(matches!(error.reason, Reason::Address(_)), "{error}");
    }
    let error = WebSeed::open("s3://", options()).await.unwrap_err();
    assert_eq!(matches!(error.reason, Reason::Address(_)), cfg!(feature = "buckets"), "{error}");
}

#[cfg(not(feature = "buckets"))]
#[tokio::test]
async fn a_build_without_buckets_says_how_to_build_with_them() {
    let error = WebSeed::open("s3://eras/", options()).await.unwrap_err();
    assert!(matches!(error.reason, Reason::BuiltWithoutBuckets), "{error}");
    assert!(error.to_string().contains("cargo install --path portal-node --features buckets"), "{error}");
}

#[tokio::test]
async fn files_are_asked_for_with_the_credentials_of_their_listing() {
    let server = start(Manner::WantsCredentials).await;
    let url = format!("{}/eras/?token=hidden", server.url).replace("//", "//user:hidden@");
    let seed = WebSeed::open(&url, options()).await.unwrap();
    let archive = seed.archive(&ARCHIVES.ere.0).await.unwrap();
    assert_eq!(records(&archive, Components::default().with(Component::Body), 0..=9).await.unwrap().len(), 10);
    let shown = [seed.url(), archive.url(), archive.archive().name()];
    assert!(shown.iter().all(|url| !url.contains("hidden")), "{shown:?}");
    let error = WebSeed::open(&url.replace("user:", "other:"), options()).await.unwrap_err();
    assert!(matches!(error.reason, Reason::Forbidden(401 | 403)), "{error}");
    assert!(!error.to_string().contains("hidden") && !error.to_string().contains("AWS_"), "{error}");
}

#[tokio::test]
async fn a_listing_without_an_archive_says_what_it_is() {
    for (page, why) in [
        ("<?xml version=\"1.0\"?><ListBucketResult>", NoArchive::Xml),
        ("<a href=\"http://127.0.0.2/a-00000-00000000.ere\">", NoArchive::Elsewhere("http://127.0.0.2".to_owned())),
        ("", NoArchive::NoLink),
    ] {
        let files = [("/eras/".to_owned(), Bytes::from(page))].into();
        let server = Server::start(files, Manner::Good).await;
        let error = WebSeed::open(&format!("{}/eras/", server.url), options()).await.unwrap_err();
        assert!(matches!(&error.reason, Reason::NoArchive(found) if *found == why), "{error}");
        assert!(error.to_string().starts_with(&format!("{}/eras/: it lists no archive", server.url)), "{error}");
    }
}

#[tokio::test]
async fn errors_do_not_repeat_passwords() {
    let server = start(Manner::IgnoresRange).await;
    let url = format!("{}/eras/{}?token=hidden", server.url, ARCHIVES.ere.0).replace("//", "//user:hidden@");
    let seed = WebSeed::open(&url, options()).await.unwrap();
    let error = seed.archive(&ARCHIVES.ere.0).await.unwrap_err();
    assert!(!error.to_string().contains("hidden"), "{error}");
}

#[cfg(feature = "buckets")]
#[tokio::test]
async fn a_bucket_is_a_mirror() {
    let server = start(Manner::Good).await;
    for keys in [Some(("id", "secret")), None] {
        let seed = WebSeed::open("s3://eras/", bucket(&server.url, keys)).await.unwrap();
        assert_eq!(seed.files().count(), 2);
        let before = server.requests().len();
        let archive = seed.archive(&ARCHIVES.ere.0).await.unwrap();
        assert_eq!(archive.url(), format!("s3://eras/{}", ARCHIVES.ere.0));
        assert_eq!(records(&archive, Components::default().with(Component::Body), 0..=99).await.unwrap().len(), 100);
        let requests = server.requests();
        assert!(
            requests[before..]
                .iter()
                .all(|(target, range)| { target.contains("X-Amz-Signature") == keys.is_some() && range.is_some() })
        );
    }
}

#[cfg(feature = "buckets")]
#[tokio::test]
async fn a_bucket_that_ignores_ranges_is_found_out() {
    let server = start(Manner::Good).await;
    let seed = WebSeed::open("s3://eras", bucket(&server.url, None)).await.unwrap();
    server.behave(Manner::IgnoresRange);
    let error = seed.archive(&ARCHIVES.ere.0).await.unwrap_err();
    assert!(matches!(error.reason, Reason::NoRanges), "{error}");
    let missing = WebSeed::open("s3://eras/none.ere", bucket(&server.url, None)).await.unwrap();
    assert!(matches!(missing.archive("none.ere").await.unwrap_err().reason, Reason::NotFound));
}
