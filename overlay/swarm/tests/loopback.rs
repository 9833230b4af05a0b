//! Endpoints on loopback: fetches from several peers, a liar among them, a peer with another key, another chain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::B256;
use cairn_swarm::{
    geometry::{Component, RUN_BLOCKS},
    quic::{ConnectError, Fetch, ItemError, PeerAddress, PutError, Received, Sink, SwarmFetchError},
    wire::AnswerStatus,
};
use common::{BLOCKS, Blocks, Kept, everything, item, key, options, start, start_on};
use content_types::{ContentKey, history, state::Way};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// A sink whose disk is full.
struct Full;

impl Sink for Full {
    fn put(&self, _: Component, _: u64, _: &Received) -> Result<(), PutError> {
        Err(PutError::Failed("the disk is full".into()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_comes_from_several_peers_and_a_liar_is_barred() {
    from_several_with_a_liar(Blocks::new(0..3, Some(50))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decompressed_is_a_lie() {
    from_several_with_a_liar(Blocks::compressed(0..3, Some(50))).await;
}

async fn from_several_with_a_liar(liar: Arc<Blocks>) {
    let peers = [start(1, Blocks::new(0..3, None)), start(2, Blocks::compressed(0..2, None)), start(3, liar)];
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    swarm.connect(peers[2].1).await.unwrap();
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = kept.clone();
    let fetch = Fetch::new(swarm.clone(), &options(), everything(), [], &sink);
    let mut progress = fetch.progress();
    let running = tokio::spawn(async move { fetch.run(&CancellationToken::new()).await });
    // Alone it is asked for all, its lies among it.
    progress.wait_for(|progress| progress.invalid > 0).await.unwrap();
    for (_, address) in &peers[..2] {
        swarm.connect(*address).await.unwrap();
    }
    running.await.unwrap().unwrap();
    assert_eq!(kept.0.lock().len() as u64, 3 * BLOCKS);
    let liar = peers[2].0.node_id();
    assert!(swarm.barred_for(&liar).is_some());
    assert!(matches!(swarm.connect(peers[2].1).await, Err(ConnectError::Barred(_))));
    assert!(peers[..2].iter().all(|(peer, _)| swarm.barred_for(&peer.node_id()).is_none()));
    assert!(progress.borrow().invalid >= 1 && progress.borrow().total.missing == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_comes_to_hold_is_fetched_when_it_says_so() {
    let library = Blocks::new(0..1, None);
    let (peer, address) = start(1, library.clone());
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    let kept = Arc::new(Kept::default());
    let sink: Arc<dyn Sink> = kept.clone();
    let fetch = Fetch::new(swarm.clone(), &options(), everything(), [], &sink);
    let mut progress = fetch.progress();
    let running = tokio::spawn(async move { fetch.run(&CancellationToken::new()).await });
    swarm.connect(address).await.unwrap();
    progress.wait_for(|progress| progress.total.missing == 3 * (BLOCKS - RUN_BLOCKS)).await.unwrap();
    assert_eq!(progress.borrow().total.unreachable, 3 * (BLOCKS - RUN_BLOCKS));
    library.held.send_modify(|held| {
        Arc::make_mut(held).iter_mut().for_each(|of| assert!(of.insert(0..3)));
    });
    running.await.unwrap().unwrap();
    assert_eq!(kept.0.lock().len() as u64, 3 * BLOCKS);
    peer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_are_told_of_others() {
    let ((teller, address), (hearer, _)) = (start(1, Blocks::new(0..1, None)), start(2, Blocks::new(0..1, None)));
    let records: Vec<_> = (0..20_u8).map(|number| vec![number; 40]).collect();
    teller.tell_of_peers(records.clone());
    let session = hearer.connect(address).await.unwrap();
    let mut changes = hearer.changes();
    changes.wait_for(|_| !session.view().peers.is_empty()).await.unwrap();
    assert_eq!(*session.view().peers, records[..16], "no more than a message takes");
    teller.shutdown().await;
    hearer.shutdown().await;
}

#[tokio::test]
async fn items_come_in_one_round_trip_or_not_at_all() {
    let (_peer, address) = start(1, Blocks::new(0..3, None));
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    let session = swarm.connect(address).await.unwrap();
    let body = |number| ContentKey::from(history::ContentKey::BlockBody { number });
    assert_eq!(session.item(&body(77)).await.unwrap(), item(Component::Bodies, 77));
    let receipts = history::ContentKey::BlockReceipts { number: 5 }.into();
    assert!(matches!(session.item(&receipts).await, Err(ItemError::Refused(AnswerStatus::NotHeld))));
    // Who holds nothing of the state says so.
    let way = Way::new(None, &B256::ZERO, 0, B256::ZERO).unwrap();
    assert!(matches!(session.way(&way).await, Err(ItemError::Refused(AnswerStatus::NotHeld))));
}

/// Two dials by one node can be done in another order at the other end: each end would keep what the other closes, and no
/// connection would be left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_dial_the_same_peer_share_one_connection() {
    let (peer, address) = start(1, Blocks::new(0..3, None));
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    let dialled = futures::future::join_all((0..16).map(|_| swarm.connect(address))).await;
    let numbers: BTreeSet<_> = dialled.into_iter().map(|session| session.unwrap().number()).collect();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
    // The peer has seen one of this node, too.
    peer.changes().wait_for(|_| peer.session(&swarm.node_id()).is_some()).await.unwrap();
    assert_eq!(peer.session(&swarm.node_id()).unwrap().number(), 0);
}

/// A second address of a peer: what comes there goes on to the first, and back.
async fn second_address(peer: PeerAddress) -> PeerAddress {
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = outside.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut back, mut asking) = ([0; 2048], [0; 2048], None);
        loop {
            tokio::select! {
                Ok((len, from)) = outside.recv_from(&mut there) => {
                    asking = Some(from);
                    inside.send_to(&there[..len], peer.address).await.unwrap();
                }
                Ok(len) = inside.recv(&mut back) => {
                    outside.send_to(&back[..len], asking.unwrap()).await.unwrap();
                }
            }
        }
    });
    PeerAddress { address, ..peer }
}

/// As with IPv4 and IPv6: whichever answers first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_of_two_addresses_of_a_peer_leave_one_connection() {
    let (peer, address) = start(1, Blocks::new(0..3, None));
    for number in 10..18 {
        let (swarm, _) = start(number, Blocks::new(0..0, None));
        let (first, second) =
            tokio::join!(swarm.connect(address), async { swarm.connect(second_address(address).await).await });
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.number(), second.number());
        peer.changes().wait_for(|_| peer.session(&swarm.node_id()).is_some()).await.unwrap();
        let body = history::ContentKey::BlockBody { number: 7 }.into();
        assert_eq!(first.item(&body).await.unwrap(), item(Component::Bodies, 7));
        assert!(!first.is_closed());
        swarm.shutdown().await;
    }
}

#[tokio::test]
async fn a_peer_with_another_key_or_chain_is_dropped() {
    let (_peer, address) = start(1, Blocks::new(0..3, None));
    let (_other_chain, of_other_chain) = start_on(5, 2, Blocks::new(0..3, None));
    let (swarm, own) = start(9, Blocks::new(0..0, None));
    let stranger = PeerAddress { key: key(7).1, address: address.address };
    assert!(matches!(swarm.connect(stranger).await, Err(ConnectError::Connection(_))));
    assert!(matches!(swarm.connect(own).await, Err(ConnectError::Own)));
    assert!(swarm.connect(of_other_chain).await.is_err());
    assert_eq!(swarm.connect(address).await.unwrap().node_id(), cairn_swarm::quic::node_id_of(&address.key).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_and_a_stop_end_a_fetch() {
    let (_peer, address) = start(1, Blocks::new(0..3, None));
    let (swarm, _) = start(9, Blocks::new(0..0, None));
    swarm.connect(address).await.unwrap();
    let full: Arc<dyn Sink> = Arc::new(Full);
    let outcome = Fetch::new(swarm.clone(), &options(), everything(), [], &full).run(&CancellationToken::new()).await;
    assert!(matches!(outcome, Err(SwarmFetchError::Sink(error)) if error.to_string() == "the disk is full"));
    let stop = CancellationToken::new();
    stop.cancel();
    let kept: Arc<dyn Sink> = Arc::new(Kept::default());
    let outcome = Fetch::new(swarm, &options(), everything(), [], &kept).run(&stop).await;
    assert!(matches!(outcome, Err(SwarmFetchError::Stopped)));
}
