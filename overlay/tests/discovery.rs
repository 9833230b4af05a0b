//! The base protocol of a node over real discv5 on loopback.
#![allow(clippy::unwrap_used)] // A test that fails to set up has failed.

mod common;

use std::net::SocketAddr;

use bytes::Bytes;
use cairn_proto::record::{self, PortalFields};
use cairn_proto::wire::{MAX_FIRST_REQUEST_BYTES, MAX_REQUEST_BYTES};
use common::{CHAIN_ID, config, contact, discovery, soon};
use overlay::discovery::{Discovery, Nat, StartError};
use overlay::transport::{AlreadyRegistered, MAX_TALK_BODY, ProtocolId, TalkError};
use overlay::{Enr, Transport as _};

const ECHO: [u8; 2] = [0x50, 0x66];

/// Answers every request of the protocol with its own body.
fn echo(node: &Discovery) {
    let mut requests = node.register(ECHO.into(), 16).unwrap();
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let body = request.body.clone();
            request.respond(body);
        }
    });
}

#[tokio::test]
async fn the_record_says_what_a_portal_node_has_to_say() {
    let node = discovery(1).await;
    let enr = node.local_enr();
    let fields = PortalFields::read(&enr);
    assert_eq!(fields.negotiate(CHAIN_ID).unwrap().number(), 2);
    assert_eq!(fields.versions.as_deref(), Some(&[1, 2][..]));
    assert!(fields.client.unwrap().starts_with("cairn/"));
    assert_eq!(enr.udp4_socket().map(SocketAddr::V4), Some(node.listen_addresses()[0]));
    assert_eq!(node.node_id(), record::node_id(&enr));
}

#[tokio::test]
async fn the_sequence_number_rises_only_with_a_change() {
    let first = discovery(2).await;
    let (enr, address) = (first.local_enr(), first.listen_addresses()[0]);
    first.shutdown().await;
    let mut again = config(2);
    again.listen = address.into();
    again.previous_enr = Some(enr.clone());
    let second = Discovery::start(again.clone()).await.unwrap();
    assert_eq!(second.local_enr(), enr);

    assert!(second.announce_udp("127.0.0.1:7".parse().unwrap()));
    assert!(!second.announce_udp("127.0.0.1:7".parse().unwrap()), "it said so before");
    let updated = soon("the new record", async {
        let mut updates = second.local_enr_updates();
        updates.wait_for(|enr| enr.udp4() == Some(7)).await.unwrap().clone()
    })
    .await;
    assert_eq!(updated.seq(), enr.seq() + 1);
    second.shutdown().await;

    again.previous_enr = Some(updated.clone());
    let third = Discovery::start(again).await.unwrap();
    assert_eq!(third.local_enr().seq(), updated.seq() + 1, "back at its own address");
    third.shutdown().await;

    let mut other = config(3);
    other.previous_enr = Some(updated);
    assert_eq!(
        Discovery::start(other).await.unwrap().local_enr().seq(),
        1,
        "somebody else's record counts for nothing"
    );
}

#[tokio::test]
async fn an_external_address_is_announced_as_given() {
    let mut with_port = config(4);
    with_port.nat = Nat::ExternalIp([203, 0, 113, 7].into(), Some(1234));
    let node = Discovery::start(with_port).await.unwrap();
    assert_eq!(node.local_enr().udp4_socket(), Some("203.0.113.7:1234".parse().unwrap()));

    let mut without = config(5);
    without.nat = Nat::ExternalIp([203, 0, 113, 7].into(), None);
    let node = Discovery::start(without).await.unwrap();
    assert_eq!(node.local_enr().udp4_socket().unwrap().port(), node.listen_addresses()[0].port());
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_start() {
    let mut nowhere = config(6);
    nowhere.listen.v4 = None;
    assert!(matches!(Discovery::start(nowhere).await, Err(StartError::NoAddress)));
    let mut no_key = config(6);
    no_key.key = [0; 32];
    assert!(matches!(Discovery::start(no_key).await, Err(StartError::Key)));
    let mut one_vote = config(6);
    one_vote.min_ip_votes = 1;
    assert!(matches!(Discovery::start(one_vote).await, Err(StartError::TooFewVotes(1))));
    let node = discovery(6).await;
    let mut taken = config(7);
    taken.listen = node.listen_addresses()[0].into();
    assert!(matches!(Discovery::start(taken).await, Err(StartError::Bind(_))));
}

#[tokio::test]
async fn both_families_share_a_node() {
    let mut dual = config(8);
    dual.listen.v6 = Some("[::1]:0".parse().unwrap());
    let node = Discovery::start(dual).await.unwrap();
    let enr = node.local_enr();
    assert!(enr.udp4_socket().is_some() && enr.udp6_socket().is_some());
    echo(&node);
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let mut asking = config(9);
        asking.listen = listen.parse::<SocketAddr>().unwrap().into();
        let asking = Discovery::start(asking).await.unwrap();
        let answer = asking.talk(&contact(&node, &asking), &ECHO.into(), Bytes::from_static(b"hello")).await;
        assert_eq!(answer.unwrap(), "hello", "{listen}");
        asking.shutdown().await;
    }
}

#[tokio::test]
async fn requests_go_to_their_protocol_and_others_are_answered_empty() {
    let (a, b) = (discovery(10).await, discovery(11).await);
    echo(&b);
    assert_eq!(b.register(ECHO.into(), 1).map(drop), Err(AlreadyRegistered(ECHO.into())));
    let to_b = contact(&b, &a);
    let body = Bytes::from_static(b"echo");
    assert_eq!(a.talk(&to_b, &ECHO.into(), body.clone()).await.unwrap(), body);
    assert_eq!(a.talk(&to_b, &ProtocolId::from([0x50, 0x67]), body).await.unwrap(), "");
}

#[tokio::test]
async fn a_full_queue_answers_empty() {
    let (a, b) = (discovery(12).await, discovery(13).await);
    let mut requests = b.register(ECHO.into(), 1).unwrap();
    let to_b = contact(&b, &a);
    let first = tokio::spawn(a.talk(&to_b, &ECHO.into(), Bytes::from_static(b"first")));
    let waiting = soon("the first request", requests.recv()).await.unwrap();
    // Of two more, one finds the only place in the queue.
    let more = || Box::pin(a.talk(&to_b, &ECHO.into(), Bytes::from_static(b"more")));
    let (refused, queued) = soon("a refusal", futures::future::select(more(), more())).await.factor_first();
    assert_eq!(refused.unwrap(), "");
    waiting.respond(Bytes::from_static(b"one"));
    assert_eq!(first.await.unwrap().unwrap(), "one");
    soon("the second request", requests.recv()).await.unwrap().respond(Bytes::from_static(b"two"));
    assert_eq!(queued.await.unwrap(), "two");
}

#[tokio::test]
async fn the_largest_request_arrives_at_first_contact() {
    let (a, b) = (discovery(14).await, discovery(15).await);
    echo(&b);
    // What the wire protocol lets a sub-network send at most: an OFFER of many keys may be just as long.
    let body = common::data(MAX_REQUEST_BYTES, 1);
    assert_eq!(a.talk(&contact(&b, &a), &ECHO.into(), body.clone()).await.unwrap(), body);
    let body = common::data(MAX_REQUEST_BYTES + 1, 1);
    assert_eq!(a.talk(&contact(&b, &a), &ECHO.into(), body).await, Err(TalkError::TooLong(MAX_REQUEST_BYTES + 1)));
}

#[tokio::test]
async fn what_fits_at_first_contact_fits_beside_the_largest_record() {
    // Every length from what is sent with the handshake to what a greeting goes before.
    for (seed, len) in (40..).zip([600, MAX_FIRST_REQUEST_BYTES, MAX_FIRST_REQUEST_BYTES + 1, 900, 1100]) {
        let mut large = config(seed);
        large.service_ports =
            ["the first service", "the second service", "the third service", "the fourth service", "the fifth service"]
                .map(|name| (name, 9009))
                .into();
        let (a, b) = (Discovery::start(large).await.unwrap(), discovery(100 + seed).await);
        assert!(record::encode(&a.local_enr()).len() > 260);
        echo(&b);
        let body = common::data(len, seed);
        assert_eq!(a.talk(&contact(&b, &a), &ECHO.into(), body.clone()).await.as_ref(), Ok(&body), "{len}");
    }
}

#[tokio::test]
async fn a_peer_that_lost_its_session_is_sent_large_packets_again() {
    let (a, b) = (discovery(50).await, discovery(51).await);
    a.ping(b.local_enr()).await.unwrap();
    let (to_b, listen) = (contact(&b, &a), b.listen_addresses()[0]);
    b.shutdown().await;
    let mut again = config(51);
    again.listen = listen.into();
    let b = Discovery::start(again).await.unwrap();
    let mut packets = b.register(ProtocolId::UTP, 16).unwrap();
    // As uTP does, the same is sent until it arrives.
    let repeated = async {
        loop {
            a.send(&to_b, &ProtocolId::UTP, common::data(MAX_TALK_BODY, 1)).await;
        }
    };
    soon("a large packet", async {
        tokio::select! {
            packet = packets.recv() => assert_eq!(packet.unwrap().body.len(), MAX_TALK_BODY),
            () = repeated => {}
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_whose_record_names_another_address_is_reached_where_it_was_seen() {
    let node = discovery(16).await;
    let mut hidden = config(17);
    // As behind NAT: others cannot reach what the record says.
    hidden.nat = Nat::ExternalIp([127, 0, 0, 1].into(), Some(1));
    let hidden = Discovery::start(hidden).await.unwrap();
    echo(&node);
    echo(&hidden);
    let body = Bytes::from_static(b"from inside");
    hidden.talk(&contact(&node, &hidden), &ECHO.into(), body).await.unwrap();

    let back = node.known(&hidden.node_id()).unwrap();
    assert_eq!(back.address(), hidden.listen_addresses()[0]);
    let body = common::data(1000, 1);
    assert_eq!(node.talk(&back, &ECHO.into(), body.clone()).await.unwrap(), body);
    assert_eq!(node.talk(&contact(&hidden, &node), &ECHO.into(), body.clone()).await.unwrap(), body);
}

#[tokio::test]
async fn records_are_put_in_taken_out_and_looked_up() {
    let (a, b) = (discovery(20).await, discovery(21).await);
    let mut with_bootnode = config(22);
    with_bootnode.bootnodes = vec![b.local_enr()];
    let c = Discovery::start(with_bootnode).await.unwrap();
    let pong = c.ping(b.local_enr()).await.unwrap();
    assert_eq!((pong.enr_seq, pong.recipient_ip), (1, "127.0.0.1".parse::<std::net::IpAddr>().unwrap()));

    a.add_enr(b.local_enr()).unwrap();
    assert_eq!(a.get_enr(&b.node_id()), Some(b.local_enr()));
    assert_eq!(a.get_enr(&a.node_id()), Some(a.local_enr()));
    let listed =
        |node: &Discovery, of: &Discovery| node.routing_table().buckets.iter().flatten().any(|id| *id == of.node_id());
    assert!(listed(&a, &b));
    assert_eq!(a.find_node(b.local_enr(), vec![0]).await.unwrap(), [b.local_enr()]);

    // Known to the one that is asked, not here.
    assert_eq!(a.get_enr(&c.node_id()), None);
    assert_eq!(a.lookup_enr(c.node_id()).await, Some(c.local_enr()));
    let found = a.recursive_find_nodes(c.node_id()).await.unwrap();
    assert_eq!(found.first(), Some(&c.local_enr()));

    // The node itself is asked first.
    b.announce_tcp("127.0.0.1:9".parse().unwrap());
    assert_eq!(a.lookup_enr(b.node_id()).await.as_ref().map(Enr::seq), Some(2));

    assert!(a.delete_enr(&b.node_id()));
    assert!(!a.delete_enr(&b.node_id()));
    assert!(!listed(&a, &b));
}

#[tokio::test]
async fn after_a_shutdown_nothing_is_sent_and_the_port_is_free() {
    let (a, b) = (discovery(30).await, discovery(31).await);
    let to_b = contact(&b, &a);
    let address = a.listen_addresses()[0];
    a.shutdown().await;
    assert_eq!(a.talk(&to_b, &ECHO.into(), Bytes::new()).await, Err(TalkError::Stopped));
    assert!(std::net::UdpSocket::bind(address).is_ok());
    a.shutdown().await;
}
