//! Sub-network services over real discv5 nodes on loopback.
#![allow(clippy::unwrap_used)] // A test that fails to set up has failed.

mod common;

use std::collections::HashSet;
use std::net::Ipv6Addr;

use bytes::Bytes;
use cairn_peer_book::{Offence, PeerBook, Who};
use cairn_proto::limits::TransferLimits;
use cairn_proto::record;
use cairn_proto::routing::log_distance;
use cairn_proto::wire::{AcceptCode, ErrorCode, HistoryRadius, PingPayload, WireError};
use common::{Peer, Setup, key, soon, value};
use content_types::{ContentId, Distance};
use enr::CombinedKey;
use overlay::service::{ContentSource, FindContentAnswer, LookupError, RequestError, TracedAnswer};
use overlay::{Discovery, Transport as _};

/// Content that fits one packet, and content that does not.
const SHORT: usize = 1000;
const LONG: usize = 70_000;

async fn pair(seed: u64) -> (Peer, Peer) {
    let (a, _) = Peer::on_loopback(seed, Setup::default()).await;
    let (b, _) = Peer::on_loopback(seed + 1, Setup::default()).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ping_tells_radius_and_extensions() {
    let (a, b) = pair(100).await;
    let radius = Distance::from_log2(200);
    b.memory.set_radius(radius);
    let pong = a.overlay.ping(b.enr(), None).await.unwrap();
    assert_eq!(pong.enr_seq, b.enr().seq());
    let PingPayload::ClientInfo(info) = pong.payload else { panic!("the first ping is of type 0") };
    assert_eq!(info.data_radius, radius);
    assert_eq!(info.capabilities, [0, 65535]);

    let table = a.overlay.routing_table();
    let entries: Vec<_> = table.buckets.iter().flatten().collect();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].radius, entries[0].live), (Some(radius), true));
    assert_eq!(a.overlay.peer_count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_extension_that_is_not_listed_earns_an_error() {
    let (a, b) = pair(110).await;
    let payload = HistoryRadius { data_radius: Distance::MAX, ephemeral_header_count: 0 };
    let error = a.overlay.ping(b.enr(), Some(PingPayload::HistoryRadius(payload))).await.unwrap_err();
    assert!(matches!(error, RequestError::PingRefused { code: ErrorCode::ExtensionNotSupported, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_found_by_distance() {
    let (a, b) = pair(120).await;
    let (c, _) = Peer::on_loopback(122, Setup::default()).await;
    b.overlay.ping(c.enr(), None).await.unwrap();
    assert_eq!(a.overlay.find_nodes(b.enr(), vec![0]).await.unwrap(), [b.enr()]);
    let distance = log_distance(&b.id(), &c.id());
    assert_eq!(a.overlay.find_nodes(b.enr(), vec![distance]).await.unwrap(), [c.enr()]);
    let other = if distance == 256 { 255 } else { distance + 1 };
    assert!(a.overlay.find_nodes(b.enr(), vec![other]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_comes_inline_or_by_stream_or_not_at_all() {
    let (a, b) = pair(130).await;
    for (name, len, utp) in [("short", SHORT, false), ("long", LONG, true), ("longer", 1_000_000, true)] {
        let key = key(name);
        let value = value(&key, len);
        b.memory.put(&key, value.clone());
        let answer = a.overlay.find_content(b.enr(), key).await.unwrap();
        assert_eq!(answer, FindContentAnswer::Content { value, utp });
    }
    assert_eq!(a.overlay.find_content(b.enr(), key("none")).await.unwrap(), FindContentAnswer::Enrs(Vec::new()));
    let error = a.overlay.find_content(b.enr(), key("malformed")).await.unwrap_err();
    assert_eq!(error, RequestError::Wire(WireError::Empty));
}

/// What is none of the protocol's messages goes to the network's own requests, and is answered empty where there is no such.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_networks_own_are_answered_and_others_empty() {
    let book = PeerBook::default();
    let (a, _) = Peer::on_loopback(135, Setup::default()).await;
    let (b, _) = Peer::on_loopback(136, Setup { book: book.clone(), ..Setup::default() }).await;
    let contact = a.transport.contact(&b.enr()).unwrap();
    let ask = |request: &'static [u8]| a.transport.talk(&contact, &common::protocol(), Bytes::from_static(request));
    assert_eq!(ask(b"\xff and more").await.unwrap(), b"\xff and more"[..]);
    assert_eq!(ask(b"\xfe and more").await.unwrap(), b""[..]);
    // One whom there is no business with is not answered these either.
    book.charge(std::time::Instant::now(), &Who::new(a.id(), contact.address().ip()), Offence::Lie);
    assert_eq!(ask(b"\xff and more").await.unwrap(), b""[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_content_is_served_when_no_slot_is_free() {
    let (a, _) = Peer::on_loopback(140, Setup::default()).await;
    let limits = TransferLimits { outbound: 0, ..TransferLimits::default() };
    let (b, _) = Peer::on_loopback(141, Setup { limits, ..Setup::default() }).await;
    let (short, long) = (key("short"), key("long"));
    b.memory.put(&short, value(&short, SHORT));
    b.memory.put(&long, value(&long, LONG));
    let answer = a.overlay.find_content(b.enr(), short.clone()).await.unwrap();
    assert_eq!(answer, FindContentAnswer::Content { value: value(&short, SHORT), utp: false });
    let reads = b.memory.reads();
    let busy = FindContentAnswer::Enrs(vec![b.enr()]);
    assert_eq!(a.overlay.find_content(b.enr(), long).await.unwrap(), busy, "its own record: it may be asked again");
    assert_eq!(b.memory.reads(), reads, "nothing is read for who has no slot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_fetches_at_once_from_one_peer_all_succeed() {
    let (a, b) = pair(150).await;
    let fetches = (0..64).map(|number| {
        let key = key(format!("item {number}"));
        let value = value(&key, LONG);
        b.memory.put(&key, value.clone());
        let (overlay, from) = (a.overlay.clone(), b.enr());
        async move {
            // Not compared by assert_eq: nobody wants to read the values.
            match overlay.find_content(from, key).await.unwrap() {
                FindContentAnswer::Content { value: found, utp } => assert!(utp && found == value),
                FindContentAnswer::Enrs(enrs) => panic!("{} records instead of content", enrs.len()),
            }
        }
    });
    futures::future::join_all(fetches).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_are_answered_key_by_key_and_what_is_wanted_arrives() {
    let (a, b) = pair(160).await;
    let (wanted, stored, strange) = (key("wanted"), key("stored"), key("unverifiable"));
    let (missing, last) = (key("missing"), key("last"));
    b.memory.put(&stored, value(&stored, SHORT));
    let mut items: Vec<_> = [&wanted, &stored, &strange].map(|key| (key.clone(), value(key, LONG))).into();
    // Accepted and then lost: a zero-length item, which must not spoil the rest.
    items.push((missing.clone(), bytes::Bytes::new()));
    items.push((last.clone(), value(&last, SHORT)));
    let codes = a.overlay.offer(b.enr(), items).await.unwrap();
    use AcceptCode::{Accepted, AlreadyStored, NotVerifiable};
    assert_eq!(codes, [Accepted, AlreadyStored, NotVerifiable, Accepted, Accepted]);
    for key in [&wanted, &last] {
        assert_eq!(b.memory.arrival(key).await, ContentSource::Offer { peer: a.id(), subnet: None });
        assert!(b.memory.holds(key));
    }
    assert!(!b.memory.holds(&missing));

    b.memory.set_radius(Distance::ZERO);
    let far = key("far");
    assert_eq!(
        a.overlay.offer(b.enr(), vec![(far.clone(), value(&far, LONG))]).await.unwrap(),
        [AcceptCode::OutsideRadius]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_without_a_free_slot_is_declined_for_that() {
    let (a, _) = Peer::on_loopback(170, Setup::default()).await;
    let limits = TransferLimits { inbound: 0, ..TransferLimits::default() };
    let (b, _) = Peer::on_loopback(171, Setup { limits, ..Setup::default() }).await;
    let key = key("item");
    assert_eq!(
        a.overlay.offer(b.enr(), vec![(key.clone(), value(&key, LONG))]).await.unwrap(),
        [AcceptCode::RateLimited]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_keys_than_a_message_holds_are_offered_in_several() {
    let (a, b) = pair(180).await;
    let items: Vec<_> = (0..100)
        .map(|number| {
            let key = key(format!("item {number:028}"));
            (key.clone(), value(&key, 100))
        })
        .collect();
    let codes = a.overlay.offer(b.enr(), items.clone()).await.unwrap();
    assert!(codes.len() == 100 && codes.iter().all(|code| code.is_accepted()));
    for (key, _) in &items {
        b.memory.arrival(key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_value_is_refused_and_its_sender_barred() {
    let (a, b) = pair(190).await;
    let key = key("lie");
    b.memory.put(&key, common::data(LONG, 1));
    a.overlay.ping(b.enr(), None).await.unwrap();
    let LookupError::NotFound(error) = a.overlay.lookup_content(key.clone()).await.unwrap_err() else { panic!() };
    assert!(matches!(&error.trace.responses[..], [response] if matches!(response.answer, TracedAnswer::Rejected(_))));
    assert!(!a.memory.holds(&key));
    assert_eq!(a.overlay.peer_count(), 0, "dropped from the table");
    assert_eq!(b.overlay.ping(a.enr(), None).await, Err(RequestError::Wire(WireError::Empty)), "no longer spoken to");
}

/// Who lied on another of the node's networks, over QUIC say, is not spoken to on this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_barred_elsewhere_is_dropped_here_too() {
    let book = PeerBook::default();
    let (a, _) = Peer::on_loopback(195, Setup { book: book.clone(), ..Setup::default() }).await;
    let (b, _) = Peer::on_loopback(196, Setup::default()).await;
    a.overlay.ping(b.enr(), None).await.unwrap();
    assert_eq!(a.overlay.peer_count(), 1);
    let liar = Who::new(b.id(), [127, 0, 0, 1].into());
    book.charge(std::time::Instant::now(), &liar, Offence::Lie);
    common::soon("it is dropped from the table", async {
        while a.overlay.peer_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(b.overlay.ping(a.enr(), None).await, Err(RequestError::Wire(WireError::Empty)), "not spoken to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_of_another_chain_is_not_spoken_to() {
    let (a, _) = Peer::on_loopback(200, Setup::default()).await;
    let mut config = common::config(201);
    config.chain_id = 5;
    let stranger = Discovery::start(config).await.unwrap();
    assert!(matches!(a.overlay.ping(stranger.local_enr(), None).await, Err(RequestError::Incompatible(_))));
    let contact = stranger.contact(&a.enr()).unwrap();
    let ping = bytes::Bytes::from_static(&[0x02, 4, 0, 0, 0, 0, 0]);
    let answer = stranger.talk(&contact, &common::protocol(), ping).await.unwrap();
    assert!(answer.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_only_the_other_protocol_takes_no_place() {
    let key = CombinedKey::generate_secp256k1();
    let mut builder = overlay::transport::Enr::builder();
    builder.ip6(Ipv6Addr::LOCALHOST).udp6(9);
    for (name, value) in record::portal_entries(common::CHAIN_ID, "test") {
        builder.add_value_rlp(name, value);
    }
    let other = builder.build(&key).unwrap();
    let setup = Setup { bootnodes: vec![other], ..Setup::default() };
    let (a, _) = Peer::on_loopback(210, setup).await;
    assert_eq!(a.overlay.routing_table().buckets.into_iter().flatten().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_dozen_peers_find_each_other_and_their_content() {
    let (first, _) = Peer::on_loopback(300, Setup::default()).await;
    let mut peers = vec![first];
    for seed in 301..324 {
        let setup = Setup { bootnodes: vec![peers[0].enr()], radius: Distance::ZERO, ..Setup::default() };
        peers.push(Peer::on_loopback(seed, setup).await.0);
    }
    // Everybody knows somebody: from there, lookups find the rest.
    for peer in &peers[1..] {
        peer.overlay.ping(peers[0].enr(), None).await.unwrap();
    }
    for peer in &peers {
        peer.overlay.lookup_nodes(peer.id()).await;
    }
    let ids: HashSet<_> = peers.iter().map(Peer::id).collect();
    for number in 0..12 {
        let key = key(format!("content {number}"));
        let id = ContentId::sha256(&key);
        let mut order: Vec<_> = peers.iter().collect();
        order.sort_by_key(|peer| peer.id().distance(&id));
        let (holder, seeker) = (order[0], order[order.len() - 1]);
        let len = if number % 2 == 0 { SHORT } else { LONG };
        holder.memory.put(&key, value(&key, len));

        let nearest = seeker.overlay.lookup_nodes(holder.id()).await;
        assert!(nearest.iter().all(|enr| ids.contains(&record::node_id(enr))));
        assert_eq!(nearest.first(), Some(&holder.enr()));

        let found = soon("a lookup", seeker.overlay.lookup_content(key.clone())).await.unwrap();
        assert_eq!((found.value, found.from, found.utp), (value(&key, len), holder.id(), len == LONG));
        assert!(found.trace.hops >= 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_restarts_elsewhere_with_the_same_key_is_found_again() {
    let (a, _) = Peer::on_loopback(400, Setup::default()).await;
    let (b, discovery) = Peer::on_loopback(401, Setup::default()).await;
    a.overlay.ping(b.enr(), None).await.unwrap();
    let old = b.enr();
    b.overlay.shutdown().await;
    b.transfers.shutdown().await;
    discovery.shutdown().await;

    let mut config = common::config(401);
    config.previous_enr = Some(old.clone());
    let discovery = Discovery::start(config).await.unwrap();
    assert_ne!(discovery.local_enr().udp4_socket(), old.udp4_socket());
    assert_eq!(discovery.local_enr().seq(), old.seq() + 1);
    let b = Peer::start(std::sync::Arc::new(discovery), Setup::default());
    let key = key("moved");
    b.memory.put(&key, value(&key, LONG));
    b.overlay.ping(a.enr(), None).await.unwrap();
    // Even with the old record in hand: the session tells where the peer is.
    let answer = a.overlay.find_content(old, key.clone()).await.unwrap();
    assert_eq!(answer, FindContentAnswer::Content { value: value(&key, LONG), utp: true });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_lost_its_sessions_is_still_offered_many_keys() {
    let (a, _) = Peer::on_loopback(410, Setup::default()).await;
    let (b, discovery) = Peer::on_loopback(411, Setup::default()).await;
    a.overlay.ping(b.enr(), None).await.unwrap();
    let (enr, listen) = (b.enr(), discovery.listen_addresses().to_vec());
    b.overlay.shutdown().await;
    b.transfers.shutdown().await;
    discovery.shutdown().await;
    drop((b, discovery));

    let mut config = common::config(411);
    config.listen = listen[0].into();
    config.previous_enr = Some(enr.clone());
    let discovery = Discovery::start(config).await.unwrap();
    assert_eq!(discovery.local_enr(), enr, "nothing changed: the same record");
    let b = Peer::start(std::sync::Arc::new(discovery), Setup::default());
    // A large request does not fit beside the handshake that is due now.
    let items: Vec<_> = (0..30)
        .map(|number| {
            let key = key(format!("item {number:028}"));
            (key.clone(), value(&key, 100))
        })
        .collect();
    let codes = a.overlay.offer(b.enr(), items.clone()).await.unwrap();
    assert!(codes.iter().all(|code| code.is_accepted()));
    b.memory.arrival(&items[29].0).await;
}
