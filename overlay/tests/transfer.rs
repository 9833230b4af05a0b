//! uTP streams between two discv5 nodes on loopback.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{contact, discovery};
use overlay::discovery::Discovery;
use overlay::transfer::{TransferError, Transfers};

struct Pair {
    a: Discovery,
    b: Discovery,
    from_a: Transfers,
    from_b: Transfers,
}

impl Pair {
    async fn start(seed: u64) -> Self {
        let (a, b) = (discovery(seed).await, discovery(seed + 1).await);
        a.ping(overlay::Transport::local_enr(&b)).await.unwrap();
        let from_a = Transfers::start(Arc::new(a.clone())).unwrap();
        let from_b = Transfers::start(Arc::new(b.clone())).unwrap();
        Self { a, b, from_a, from_b }
    }
}

/// Bytes that differ from each other and between seeds.
fn data(len: usize, seed: u64) -> Bytes {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_send() {
    let pair = Pair::start(10).await;
    let (to_b, to_a) = (contact(&pair.b, &pair.a), contact(&pair.a, &pair.b));
    let (there, back) = (data(300_000, 1), data(100_000, 2));

    let mut accepted = pair.from_b.accept(&to_a).unwrap();
    let mut opened = pair.from_a.connect(&to_b, accepted.connection_id()).unwrap();
    let a = async {
        opened.write_all(there.clone()).await.unwrap();
        let got = opened.read_to_end(back.len()).await.unwrap();
        opened.finish().await.unwrap();
        got
    };
    let b = async {
        // The accepting side sends first.
        accepted.write_all(back.clone()).await.unwrap();
        let mut got = Vec::new();
        while got.len() < there.len() {
            got.extend_from_slice(&accepted.read_chunk().await.unwrap().unwrap());
        }
        accepted.finish().await.unwrap();
        got
    };
    let (at_a, at_b) = tokio::join!(a, b);
    assert_eq!(at_a, back);
    assert_eq!(at_b, there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_at_once_arrive_whole() {
    let pair = Pair::start(20).await;
    let (to_b, to_a) = (contact(&pair.b, &pair.a), contact(&pair.a, &pair.b));
    let transfers = (0..32u64).map(|seed| {
        let sent = data(50_000 + 1000 * seed as usize, seed);
        let mut accepted = pair.from_b.accept(&to_a).unwrap();
        let mut opened = pair.from_a.connect(&to_b, accepted.connection_id()).unwrap();
        async move {
            let send = async {
                accepted.write_all(sent.clone()).await.unwrap();
                accepted.finish().await.unwrap();
            };
            let ((), got) = tokio::join!(send, opened.read_to_end(sent.len()));
            opened.close();
            assert_eq!(got.unwrap(), sent);
        }
    });
    futures::future::join_all(transfers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_is_reset_at_the_other_end() {
    let pair = Pair::start(30).await;
    let (to_b, to_a) = (contact(&pair.b, &pair.a), contact(&pair.a, &pair.b));
    let mut accepted = pair.from_b.accept(&to_a).unwrap();
    let mut opened = pair.from_a.connect(&to_b, accepted.connection_id()).unwrap();
    opened.write_all(data(1000, 1)).await.unwrap();
    assert!(accepted.read_chunk().await.unwrap().is_some());
    drop(opened);
    let error = loop {
        match accepted.read_chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream was not ended in order"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, TransferError::Closed(cairn_utp::CloseReason::PeerReset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_longer_than_allowed_is_an_error() {
    let pair = Pair::start(40).await;
    let (to_b, to_a) = (contact(&pair.b, &pair.a), contact(&pair.a, &pair.b));
    let mut accepted = pair.from_b.accept(&to_a).unwrap();
    let mut opened = pair.from_a.connect(&to_b, accepted.connection_id()).unwrap();
    accepted.write_all(data(5000, 1)).await.unwrap();
    assert_eq!(opened.read_to_end(4999).await, Err(TransferError::TooLong { limit: 4999 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_ends_what_is_open() {
    let pair = Pair::start(50).await;
    let (to_b, to_a) = (contact(&pair.b, &pair.a), contact(&pair.a, &pair.b));
    let mut accepted = pair.from_b.accept(&to_a).unwrap();
    let mut opened = pair.from_a.connect(&to_b, accepted.connection_id()).unwrap();
    pair.from_b.shutdown().await;
    assert!(accepted.read_chunk().await.is_err());
    assert!(opened.read_chunk().await.is_err());
    assert_eq!(pair.from_b.accept(&to_a).map(drop), Err(TransferError::Stopped));
}
