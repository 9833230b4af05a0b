//! uTP streams between two discv5 nodes on loopback.
#![allow(clippy::unwrap_used)] // A test that fails to set up has failed.

mod common;

use std::sync::Arc;

use cairn_proto::limits::Direction;
use common::{contact, data, discovery};
use overlay::discovery::Discovery;
use overlay::transfer::{Stream, TransferError, Transfers};

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

    /// A stream from B to A or the other way, accepted by B and opened by A.
    async fn stream(&self) -> (Stream, Stream) {
        let (to_b, to_a) = (contact(&self.b, &self.a), contact(&self.a, &self.b));
        let slot = self.from_b.slot(Direction::Outbound, &to_a).await.unwrap();
        let accepted = self.from_b.accept(&to_a, slot).unwrap();
        let slot = self.from_a.slot(Direction::Inbound, &to_b).await.unwrap();
        let opened = self.from_a.connect(&to_b, accepted.connection_id(), slot).unwrap();
        (accepted, opened)
    }
}

async fn read_to_end(stream: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.read_chunk().await.unwrap() {
        all.extend_from_slice(&chunk);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_send() {
    let pair = Pair::start(10).await;
    let (there, back) = (data(300_000, 1), data(100_000, 2));
    let (mut accepted, mut opened) = pair.stream().await;
    let a = async {
        opened.write_all(there.clone()).await.unwrap();
        let got = read_to_end(&mut opened).await;
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
    let pair = &pair;
    // More than there are slots for one peer: the rest wait.
    let transfers = (0..32u64).map(|seed| {
        let sent = data(50_000 + 1000 * seed as usize, seed);
        async move {
            let (mut accepted, mut opened) = pair.stream().await;
            let send = async {
                accepted.write_all(sent.clone()).await.unwrap();
                accepted.finish().await.unwrap();
            };
            let ((), got) = tokio::join!(send, read_to_end(&mut opened));
            opened.close();
            assert_eq!(got, sent);
        }
    });
    futures::future::join_all(transfers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_stream_is_reset_at_the_other_end() {
    let pair = Pair::start(30).await;
    let (mut accepted, mut opened) = pair.stream().await;
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
async fn a_shutdown_ends_what_is_open() {
    let pair = Pair::start(50).await;
    let (mut accepted, mut opened) = pair.stream().await;
    pair.from_b.shutdown().await;
    assert!(accepted.read_chunk().await.is_err());
    assert!(opened.read_chunk().await.is_err());
    let peer = contact(&pair.a, &pair.b);
    let slot = pair.from_b.slot(Direction::Outbound, &peer).await.unwrap();
    assert_eq!(pair.from_b.accept(&peer, slot).map(drop), Err(TransferError::Stopped));
}
