//! The rules at work on a `libp2p-kad` without a network.

use std::sync::Arc;

use libp2p_core::ConnectedPoint;
use libp2p_swarm::{StreamProtocol, behaviour::ConnectionEstablished};

use super::*;
use crate::{RecordLimits, records::EraRecords};

const PROTOCOL: &str = "/test";
const KEY: EraKey = [9; 32];

/// Connections that others may open.
const MAX_INBOUND: usize = 40;

fn dht(listen: &str) -> Dht {
    let local = peer(200);
    let records = EraRecords::new(&local.to_bytes(), RecordLimits::default());
    let store = DhtStore::new(local, records, [KEY].into(), Arc::new(|| 1_000_000));
    let mut config = kad::Config::new(StreamProtocol::new(PROTOCOL));
    config.set_kbucket_inserts(kad::BucketInserts::Manual).set_periodic_bootstrap_interval(None);
    let kad = kad::Behaviour::with_config(local, store, config);
    Dht::new(kad, PROTOCOL.to_owned(), AddressReach::of(listen.parse().unwrap()), MAX_INBOUND)
}

fn peer(secret: u8) -> PeerId {
    identity::keypair([secret; 32]).unwrap().public().to_peer_id()
}

fn address(text: &str) -> Multiaddr {
    multiaddr(text.parse().unwrap())
}

/// A connection from (or, if dialled, to) `remote`.
fn connect(dht: &mut Dht, peer: PeerId, remote: &str, is_dialled: bool) {
    let remote = address(remote);
    let endpoint = if is_dialled {
        let (role_override, port_use) = (Endpoint::Dialer, PortUse::Reuse);
        ConnectedPoint::Dialer { address: remote, role_override, port_use }
    } else {
        ConnectedPoint::Listener { local_addr: address("8.8.8.8:1"), send_back_addr: remote }
    };
    dht.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: peer,
        connection_id: ConnectionId::new_unchecked(usize::from(is_dialled)),
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established: 0,
    }));
}

/// What would be dialled to reach a peer.
fn dialled(dht: &mut Dht, peer: PeerId) -> Vec<Multiaddr> {
    dht.handle_pending_outbound_connection(ConnectionId::new_unchecked(7), Some(peer), &[], Endpoint::Dialer).unwrap()
}

/// Lets `libp2p-kad` report what has changed.
fn settle(dht: &mut Dht) {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while dht.poll(&mut cx).is_ready() {}
}

#[test]
fn garbage_is_not_dialled() {
    let mut dht = dht("0.0.0.0");
    let claimed = [
        "/ip4/127.0.0.1/udp/1/quic-v1",
        "/ip4/10.0.0.1/udp/1/quic-v1",
        "/ip4/8.8.4.4/tcp/1",
        "/ip4/8.8.4.4/udp/1",
        "/dns4/example.org/udp/1/quic-v1",
        "/ip4/224.0.0.1/udp/1/quic-v1",
        "/ip4/8.8.4.4/udp/0/quic-v1",
    ];
    for claimed in claimed {
        dht.kad.add_address(&peer(1), claimed.parse().unwrap());
    }
    assert!(dialled(&mut dht, peer(1)).is_empty());
    for port in 1..9 {
        dht.kad.add_address(&peer(1), address(&format!("8.8.4.4:{port}")));
    }
    assert_eq!(dialled(&mut dht, peer(1)).len(), table::MAX_ADDRESSES);
    // Once it is known what entered the table, it is cleaned as well.
    settle(&mut dht);
    let mut entries = dht.kad.kbuckets();
    assert_eq!(entries.next().unwrap().iter().next().unwrap().node.value.len(), table::MAX_ADDRESSES);
}

#[test]
fn only_whoever_answers_enters_the_table() {
    let mut dht = dht("0.0.0.0");
    connect(&mut dht, peer(1), "20.0.0.1:5", true);
    dht.identified(peer(1), ["/other"], &[]);
    assert_eq!(dht.peers(), 0);
    dht.identified(peer(1), ["/other", PROTOCOL], &[]);
    assert_eq!(dialled(&mut dht, peer(1)), [address("20.0.0.1:5")]);
    dht.identified(peer(1), ["/other"], &[]);
    assert_eq!(dht.peers(), 0, "it stopped answering");
}

#[test]
fn a_peer_that_connects_is_believed_about_its_own_host_only() {
    let mut dht = dht("0.0.0.0");
    connect(&mut dht, peer(1), "20.0.0.1:5", false);
    dht.identified(peer(1), [PROTOCOL], &[address("20.0.0.2:6"), address("20.0.0.1:7")]);
    assert_eq!(dialled(&mut dht, peer(1)), [address("20.0.0.1:7")]);
    connect(&mut dht, peer(2), "20.0.1.1:5", false);
    dht.identified(peer(2), [PROTOCOL], &[address("20.0.0.2:6")]);
    assert_eq!(dialled(&mut dht, peer(2)), [address("20.0.1.1:5")]);
}

#[test]
fn a_subnet_has_few_places_in_the_table() {
    let mut dht = dht("0.0.0.0");
    for secret in 1..40 {
        connect(&mut dht, peer(secret), &format!("20.0.0.{secret}:5"), true);
        dht.identified(peer(secret), [PROTOCOL], &[]);
    }
    assert!((2..=10).contains(&dht.peers()), "{}", dht.peers());
    for bucket in dht.kad.kbuckets() {
        assert!(bucket.num_entries() <= 2);
    }
}

#[test]
fn a_peer_of_the_table_cannot_move_into_a_crowded_subnet() {
    let mut dht = dht("0.0.0.0");
    for secret in 1..40 {
        connect(&mut dht, peer(secret), &format!("20.0.{secret}.1:5"), true);
        dht.identified(peer(secret), [PROTOCOL], &[]);
    }
    settle(&mut dht);
    let before = dht.peers();
    // As `libp2p-kad` does by itself when it reaches a peer elsewhere.
    for secret in 1..40 {
        dht.kad.add_address(&peer(secret), address(&format!("20.0.0.{secret}:5")));
    }
    settle(&mut dht);
    assert!(dht.peers() < before);
    for bucket in dht.kad.kbuckets() {
        let moved = bucket.iter().filter(|entry| entry.node.value.len() > 1);
        assert!(moved.count() <= 2);
    }
}

#[test]
fn an_announcement_counts_for_the_host_that_it_came_from() {
    let mut dht = dht("0.0.0.0");
    let announce = |dht: &mut Dht, addresses| {
        let provider = peer(1);
        dht.record(&kad::ProviderRecord { key: KEY.to_vec().into(), provider, expires: None, addresses });
        dht.store().records.providers(&KEY, 1_000_000).flat_map(|record| record.addresses.clone()).collect::<Vec<_>>()
    };
    assert!(announce(&mut dht, vec![address("20.0.0.1:6")]).is_empty(), "not connected");
    connect(&mut dht, peer(1), "20.0.0.1:5", false);
    assert_eq!(announce(&mut dht, vec![]), ["20.0.0.1:5".parse().unwrap()]);
    assert_eq!(announce(&mut dht, vec![address("30.0.0.1:6")]), ["20.0.0.1:5".parse().unwrap()]);
    assert_eq!(announce(&mut dht, vec![address("20.0.0.1:6")]), ["20.0.0.1:6".parse().unwrap()]);
}

#[test]
fn keys_that_are_no_eras_and_peers_without_our_kind_of_key_are_not_recorded() {
    let mut dht = dht("0.0.0.0");
    connect(&mut dht, peer(1), "20.0.0.1:5", false);
    let stranger = PeerId::random();
    connect(&mut dht, stranger, "20.0.1.1:5", false);
    let refused = [(vec![9; 31], peer(1)), (vec![9; 33], peer(1)), (vec![8; 32], peer(1)), (KEY.to_vec(), stranger)];
    for (key, provider) in refused {
        dht.record(&kad::ProviderRecord { key: key.into(), provider, expires: None, addresses: vec![] });
    }
    assert_eq!(dht.store().records.len(), 0);
}

#[test]
fn one_subnet_opens_few_connections() {
    let mut dht = dht("0.0.0.0");
    let id = ConnectionId::new_unchecked(99);
    let local = address("8.8.8.8:1");
    for secret in 1..=16 {
        assert!(dht.handle_pending_inbound_connection(id, &local, &address("20.0.0.9:1")).is_ok());
        connect(&mut dht, peer(secret), &format!("20.0.0.{secret}:5"), false);
    }
    assert!(dht.handle_pending_inbound_connection(id, &local, &address("20.0.0.9:1")).is_err());
    assert!(dht.handle_pending_inbound_connection(id, &local, &address("20.0.1.9:1")).is_ok());
}

fn established(secret: u8, dht: &mut Dht, remote: &str, is_dialled: bool, id: ConnectionId) {
    let remote = address(remote);
    let endpoint = if is_dialled {
        let (role_override, port_use) = (Endpoint::Dialer, PortUse::Reuse);
        ConnectedPoint::Dialer { address: remote, role_override, port_use }
    } else {
        ConnectedPoint::Listener { local_addr: address("8.8.8.8:1"), send_back_addr: remote }
    };
    dht.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: peer(secret),
        connection_id: id,
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established: 0,
    }));
}

/// What `Dht` wants of the swarm now.
fn wishes(dht: &mut Dht) -> Vec<ToSwarm<Event, THandlerInEvent<Dht>>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut wishes = Vec::new();
    while let Poll::Ready(wish) = dht.poll(&mut cx) {
        wishes.push(wish);
    }
    wishes
}

#[test]
fn a_full_house_closes_a_connection_for_a_newcomer() {
    let mut dht = dht("0.0.0.0");
    let come = |dht: &mut Dht, secret: u8, remote: &str| {
        let id = ConnectionId::new_unchecked(usize::from(secret));
        let (local, from) = (address("8.8.8.8:1"), address(remote));
        let admitted = dht.handle_established_inbound_connection(id, peer(secret), &local, &from);
        if admitted.is_ok() {
            established(secret, dht, remote, false, id);
        }
        admitted.is_ok()
    };
    for secret in 1..=MAX_INBOUND as u8 {
        assert!(come(&mut dht, secret, &format!("20.0.{}.1:5", secret.max(2))));
    }
    assert!(wishes(&mut dht).is_empty());
    assert!(come(&mut dht, 100, "30.0.0.1:5"));
    let wishes = wishes(&mut dht);
    let closed: Vec<_> = wishes
        .iter()
        .filter_map(|wish| match wish {
            ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) } => Some((*peer_id, *id)),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [(peer(1), ConnectionId::new_unchecked(1))], "the older of the two in one subnet");
}

#[test]
fn a_subnet_that_fills_up_while_hands_are_shaken_is_refused_then() {
    let mut dht = dht("0.0.0.0");
    for secret in 1..=crate::connections::MAX_INBOUND_OF_SUBNET as u8 {
        connect(&mut dht, peer(secret), &format!("20.0.0.{secret}:5"), false);
    }
    let (id, local, from) = (ConnectionId::new_unchecked(99), address("8.8.8.8:1"), address("20.0.0.99:5"));
    assert!(dht.handle_established_inbound_connection(id, peer(99), &local, &from).is_err());
    assert!(dht.handle_pending_inbound_connection(id, &local, &from).is_err());
    assert!(dht.handle_pending_inbound_connection(id, &local, &address("20.0.1.99:5")).is_ok());
}

/// An era is full of providers that answer nowhere. A newcomer is recorded, called back, and stays.
#[test]
fn who_answers_a_call_keeps_its_place_among_false_providers() {
    let mut dht = dht("0.0.0.0");
    let announce = |dht: &mut Dht, secret: u8| {
        let record = kad::ProviderRecord {
            key: KEY.to_vec().into(),
            provider: peer(secret),
            expires: None,
            addresses: vec![address(&format!("20.0.{secret}.1:5"))],
        };
        connect(dht, peer(secret), &format!("20.0.{secret}.1:5"), false);
        dht.record(&record);
        let calls = wishes(dht).into_iter().filter_map(|wish| match wish {
            ToSwarm::Dial { opts } => Some((opts.get_peer_id()?, opts.connection_id())),
            _ => None,
        });
        calls.collect::<Vec<_>>()
    };
    let is_recorded = |dht: &mut Dht, secret: u8| {
        let provider = identity::public_key(&peer(secret)).unwrap();
        dht.store().records.of_provider(&KEY, &provider, 1_000_000).is_some()
    };
    let fail = |dht: &mut Dht, calls: Vec<(PeerId, ConnectionId)>| {
        for (peer, id) in calls {
            let error = DialError::Transport(Vec::new());
            dht.not_reached(Some(peer), id, &error);
        }
    };
    for secret in 1..100 {
        let calls = announce(&mut dht, secret);
        fail(&mut dht, calls);
    }
    let calls = announce(&mut dht, 100);
    assert!(is_recorded(&mut dht, 100));
    let [(called, id)] = calls[..] else { panic!("{calls:?}") };
    assert_eq!(called, peer(100));
    established(100, &mut dht, "20.0.100.1:5", true, id);
    for secret in 101..200 {
        let calls = announce(&mut dht, secret);
        fail(&mut dht, calls);
    }
    assert!(is_recorded(&mut dht, 100));
    assert!(!is_recorded(&mut dht, 1) && is_recorded(&mut dht, 199));
}
