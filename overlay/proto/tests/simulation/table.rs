//! Who is in a routing table: rules that hold whatever happens, and what each event does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_proto::{
    record::{self, Enr, Incompatible, udp_socket},
    routing::{
        Acquaintance, Inserted, K, MAX_FAILURES, MAX_FAILURES_UNCONFIRMED, MAX_REPLACEMENTS,
        MAX_SUBNET_PEERS_PER_BUCKET, MAX_SUBNET_PEERS_PER_TABLE, Peer, PeerRules, Refused, RoutingTable, Subnet,
        TableConfig, Unfit, log_distance,
    },
    wire::{BasicRadius, ClientInfo, ErrorCode, ErrorPayload, Extensions, MAX_ENRS, PingPayload},
};
use content_types::{ContentId, Distance, NodeId};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::population::{
    CHAIN_ID, INTERNET, INTERNET_NODES, LOCAL, generate, id, key, portal_record, private_ip, random_id,
};

fn table(local: NodeId, rules: PeerRules) -> RoutingTable {
    RoutingTable::new(local, TableConfig::new(rules))
}

/// What holds for every table at every time. `known` are all records that were ever put in.
fn check_invariants(table: &RoutingTable, known: &[Arc<Enr>]) {
    let local = table.local_id();
    let mut in_buckets = BTreeSet::new();
    // Those that were seen in a subnet apart from those that only claim to be there.
    let mut subnets: HashMap<(Subnet, bool), usize> = HashMap::new();
    let mut by_bucket: HashMap<(u16, Subnet, bool), usize> = HashMap::new();
    let mut waiting: BTreeMap<u16, usize> = BTreeMap::new();
    for (distance, peers) in table.buckets() {
        assert!(peers.len() <= K);
        for peer in peers {
            assert_eq!(log_distance(&local, &peer.node_id()), distance);
            assert!(in_buckets.insert(peer.node_id()), "twice in the table");
            assert!(!(peer.is_presentable() && peer.is_dead()));
        }
    }
    for enr in known {
        let Some(peer) = table.get(&id(enr)) else { continue };
        let distance = log_distance(&local, &peer.node_id());
        if !in_buckets.contains(&peer.node_id()) {
            *waiting.entry(distance).or_default() += 1;
        }
        let seen_at = peer.seen_at();
        let subnet = Subnet::of(seen_at.or(record::udp_socket(peer.enr())).unwrap().ip());
        *subnets.entry((subnet, seen_at.is_some())).or_default() += 1;
        *by_bucket.entry((distance, subnet, seen_at.is_some())).or_default() += 1;
    }
    assert!(waiting.values().all(|count| *count <= MAX_REPLACEMENTS));
    assert!(subnets.values().all(|count| *count <= MAX_SUBNET_PEERS_PER_TABLE));
    assert!(by_bucket.values().all(|count| *count <= MAX_SUBNET_PEERS_PER_BUCKET));
    let stats = table.stats();
    assert_eq!(stats.peers, in_buckets.len());
    assert_eq!(stats.replacements, waiting.values().sum::<usize>());
    assert_eq!(stats.presentable, table.peers().filter(|peer| peer.is_presentable()).count());
}

#[test]
fn ten_thousand_peers_and_anything_they_do() {
    for seed in 0..4 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut table = table(random_id(&mut rng), INTERNET);
        let mut now = Instant::now();
        for step in 0..40_000 {
            now += Duration::from_millis(rng.random_range(0..500));
            let enr = INTERNET_NODES.choose(&mut rng).unwrap();
            let peer = id(enr);
            match rng.random_range(0..10) {
                0..4 => drop(table.insert(Arc::clone(enr), Acquaintance::Mentioned, now)),
                4..6 => drop(table.insert(Arc::clone(enr), Acquaintance::Answered, now)),
                6 => table.handle_answer(&peer, now),
                7 => drop(table.handle_pong(
                    &peer,
                    1,
                    &PingPayload::BasicRadius(BasicRadius { data_radius: Distance::MAX }),
                    now,
                )),
                8 => table.handle_failure(&peer, now),
                _ => {
                    if let Some(peer) = table.closest(random_id(&mut rng), 1, |_| true).first() {
                        let peer = peer.node_id();
                        for _ in 0..rng.random_range(1..4) {
                            table.handle_failure(&peer, now);
                        }
                    }
                }
            }
            if rng.random_range(0..2000) == 0 {
                table.poll_output(now, Extensions::STANDARD, &mut rng);
            }
            if step % 2000 == 1999 {
                check_invariants(&table, &INTERNET_NODES);
            }
        }
        // 10,000 random IDs reach some 13 buckets: the table is a small part of the network.
        assert!(table.buckets().count() < 24);
        assert!(table.stats().peers > 100);
        check_that_nothing_leaked(table, now);
    }
}

/// An emptied table takes and refuses exactly whom a new one does: no subnet is still counted.
fn check_that_nothing_leaked(mut emptied: RoutingTable, now: Instant) {
    while !emptied.is_empty() {
        let ids: Vec<_> = emptied.peers().map(Peer::node_id).collect();
        ids.iter().for_each(|id| drop(emptied.remove(id)));
    }
    let mut fresh = table(emptied.local_id(), INTERNET);
    for enr in INTERNET_NODES.iter() {
        let [emptied, fresh] =
            [&mut emptied, &mut fresh].map(|table| table.insert(Arc::clone(enr), Acquaintance::Answered, now));
        assert_eq!(emptied, fresh);
    }
}

/// One subnet full of node IDs gets a handful of places, whoever vouches for them.
#[test]
fn many_ids_on_few_addresses_do_not_fill_a_table() {
    let sybils = generate(7, 400, |rng| Ipv4Addr::new(198, 51, 100, rng.random()));
    let mut rng = StdRng::seed_from_u64(7);
    let mut table = table(random_id(&mut rng), INTERNET);
    let now = Instant::now();
    for enr in &sybils {
        let _ = table.insert(Arc::clone(enr), Acquaintance::Answered, now);
    }
    let stats = table.stats();
    assert_eq!(stats.peers + stats.replacements, MAX_SUBNET_PEERS_PER_TABLE);
    check_invariants(&table, &sybils);
}

#[test]
fn closest_agrees_with_a_full_sort() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut table = table(random_id(&mut rng), INTERNET);
    let now = Instant::now();
    for (at, enr) in INTERNET_NODES.iter().take(2000).enumerate() {
        let how = if at % 3 == 0 { Acquaintance::Mentioned } else { Acquaintance::Answered };
        let _ = table.insert(Arc::clone(enr), how, now);
    }
    for count in [0, 1, 16, 100, 10_000] {
        let target = random_id(&mut rng);
        let mut all: Vec<_> = table.peers().filter(|peer| peer.is_confirmed()).map(Peer::node_id).collect();
        all.sort_by_key(|id| target.distance_to_node(id));
        all.truncate(count);
        let closest: Vec<_> = table.closest(target, count, Peer::is_confirmed).into_iter().map(Peer::node_id).collect();
        assert_eq!(closest, all);
    }
}

#[test]
fn nodes_are_named_by_distance_and_only_if_they_live() {
    let mut rng = StdRng::seed_from_u64(4);
    let mut table = table(random_id(&mut rng), LOCAL);
    let now = Instant::now();
    let nodes = generate(4, 300, private_ip);
    for (at, enr) in nodes.iter().enumerate() {
        let how = if at % 4 == 0 { Acquaintance::Mentioned } else { Acquaintance::Answered };
        let _ = table.insert(Arc::clone(enr), how, now);
    }
    let silent = table.closest(random_id(&mut rng), 5, Peer::is_confirmed).into_iter().map(Peer::node_id);
    let silent: Vec<_> = silent.collect();
    for peer in &silent {
        table.handle_failure(peer, now);
    }
    let asker = table.peers().find(|peer| peer.is_presentable()).unwrap().node_id();
    let distances = [256, 254, 255, 3, 0];
    let named = table.nodes_at(&distances, &asker);
    assert!(!named.is_empty() && named.len() <= MAX_ENRS);
    for enr in &named {
        let peer = id(enr);
        assert!(distances.contains(&log_distance(&table.local_id(), &peer)));
        assert!(table.get(&peer).unwrap().is_confirmed() && peer != asker && !silent.contains(&peer));
    }
    // No distance crowds out another, so that the first records, which are what fits a packet, are of each.
    let first: BTreeSet<_> = named[..3].iter().map(|enr| log_distance(&table.local_id(), &id(enr))).collect();
    assert_eq!(first, BTreeSet::from([254, 255, 256]));
    assert!(table.nodes_at(&[], &asker).is_empty());
}

/// A table of which one bucket is full, that bucket's members, and further nodes that belong there.
fn full_bucket(how: Acquaintance, now: Instant) -> (RoutingTable, Vec<Arc<Enr>>, Vec<Arc<Enr>>) {
    let mut rng = StdRng::seed_from_u64(5);
    let local = random_id(&mut rng);
    let mut nodes = generate(5, 120, private_ip);
    nodes.retain(|enr| log_distance(&local, &id(enr)) == 256);
    let rest = nodes.split_off(K);
    let mut table = table(local, LOCAL);
    for enr in &nodes {
        assert_eq!(table.insert(Arc::clone(enr), how, now), Ok(Inserted::Added));
    }
    (table, nodes, rest)
}

fn is_in_bucket(table: &RoutingTable, enr: &Arc<Enr>) -> bool {
    table.peers().any(|peer| peer.node_id() == id(enr))
}

#[test]
fn live_peers_keep_their_place_and_replacements_step_in() {
    let now = Instant::now();
    let (mut table, members, rest) = full_bucket(Acquaintance::Answered, now);
    let later = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(table.insert(Arc::clone(&rest[0]), Acquaintance::Answered, later(1)), Ok(Inserted::Waiting));
    assert_eq!(table.insert(Arc::clone(&rest[1]), Acquaintance::Answered, later(2)), Ok(Inserted::Waiting));
    assert_eq!(table.insert(Arc::clone(&rest[2]), Acquaintance::Mentioned, later(3)), Ok(Inserted::Waiting));
    table.handle_answer(&id(&rest[0]), later(4));

    for _ in 1..MAX_FAILURES {
        table.handle_failure(&id(&members[3]), later(5));
    }
    assert!(is_in_bucket(&table, &members[3]));
    table.handle_failure(&id(&members[3]), later(5));
    assert!(table.get(&id(&members[3])).is_none());
    assert!(is_in_bucket(&table, &rest[0]), "the one seen last steps in");
    assert!(!is_in_bucket(&table, &rest[1]) && table.get(&id(&rest[1])).is_some());
    table.remove(&id(&members[4]));
    assert!(is_in_bucket(&table, &rest[1]), "before one that was mentioned later and never answered");
}

#[test]
fn without_a_replacement_a_dead_peer_stays_unnamed_and_yields() {
    let now = Instant::now();
    let (mut table, members, rest) = full_bucket(Acquaintance::Answered, now);
    let dead = id(&members[0]);
    for _ in 0..MAX_FAILURES {
        table.handle_failure(&dead, now);
    }
    let peer = table.get(&dead).unwrap();
    assert!(peer.is_dead() && !peer.is_presentable());
    assert!(!table.nodes_at(&[256], &table.local_id()).iter().any(|enr| id(enr) == dead));
    table.handle_answer(&dead, now);
    assert!(table.get(&dead).unwrap().is_presentable(), "it came back");
    for _ in 0..MAX_FAILURES {
        table.handle_failure(&dead, now);
    }
    assert_eq!(table.insert(Arc::clone(&rest[0]), Acquaintance::Mentioned, now), Ok(Inserted::Added));
    assert!(table.get(&dead).is_none());
}

#[test]
fn peers_that_were_only_mentioned_yield_to_those_that_answered() {
    let now = Instant::now();
    let (mut table, members, rest) = full_bucket(Acquaintance::Mentioned, now);
    assert_eq!(table.insert(Arc::clone(&rest[0]), Acquaintance::Mentioned, now), Ok(Inserted::Waiting));
    assert_eq!(table.insert(Arc::clone(&rest[1]), Acquaintance::Answered, now), Ok(Inserted::Added));
    table.handle_answer(&id(&rest[0]), now);
    assert!(is_in_bucket(&table, &rest[0]), "a replacement that answers need not wait");
    assert_eq!(members.iter().filter(|enr| is_in_bucket(&table, enr)).count(), K - 2);

    let never = members.iter().find(|enr| is_in_bucket(&table, enr)).unwrap();
    for _ in 0..MAX_FAILURES_UNCONFIRMED {
        table.handle_failure(&id(never), now);
    }
    assert!(table.get(&id(never)).is_none(), "who never answered is not kept");
}

#[test]
fn a_flood_of_mentions_does_not_wash_out_the_replacements() {
    let now = Instant::now();
    let (mut table, _, rest) = full_bucket(Acquaintance::Answered, now);
    let (answered, mentioned) = rest.split_at(MAX_REPLACEMENTS);
    for enr in answered {
        assert_eq!(table.insert(Arc::clone(enr), Acquaintance::Answered, now), Ok(Inserted::Waiting));
    }
    for enr in mentioned {
        assert_eq!(table.insert(Arc::clone(enr), Acquaintance::Mentioned, now), Err(Refused::BucketFull));
    }
    assert!(answered.iter().all(|enr| table.get(&id(enr)).is_some()));
}

#[test]
fn records_are_replaced_by_newer_ones_only() {
    let mut rng = StdRng::seed_from_u64(6);
    let mut table = table(random_id(&mut rng), INTERNET);
    let now = Instant::now();
    let key = key(&mut rng);
    let [old, new, moved] =
        [(1, 7), (2, 8), (3, 9)].map(|(seq, d)| portal_record(&key, seq, Ipv4Addr::new(8, 8, d, d)));
    let peer = id(&old);
    let radius = PingPayload::BasicRadius(BasicRadius { data_radius: Distance::from_log2(200) });
    assert_eq!(table.insert(Arc::clone(&old), Acquaintance::Answered, now), Ok(Inserted::Added));
    assert!(table.handle_pong(&peer, 2, &radius, now), "it has a newer record");
    assert_eq!(table.insert(Arc::clone(&new), Acquaintance::Mentioned, now), Ok(Inserted::Updated));
    assert!(!table.handle_pong(&peer, 2, &radius, now));
    assert_eq!(table.insert(Arc::clone(&old), Acquaintance::Mentioned, now), Ok(Inserted::Known));
    let known = table.get(&peer).unwrap();
    assert_eq!((known.enr(), known.radius()), (&new, Some(Distance::from_log2(200))));
    assert!(known.is_live() && !known.is_presentable(), "it was not seen yet where the new record says");
    let announced = udp_socket(&new).unwrap();
    assert_eq!(table.insert_seen(Arc::clone(&new), announced, Acquaintance::Mentioned, now), Ok(Inserted::Known));
    assert!(table.get(&peer).unwrap().is_presentable());

    // Ten others in the subnet that it moves to, in as many buckets as need be.
    let crowd = generate(60, 200, |rng| Ipv4Addr::new(8, 8, 9, rng.random()));
    for enr in &crowd {
        let _ = table.insert(Arc::clone(enr), Acquaintance::Answered, now);
    }
    assert_eq!(table.insert(moved, Acquaintance::Answered, now), Err(Refused::SubnetFull));
    assert!(table.get(&peer).is_none(), "it is not where the old record says any more");
    check_invariants(&table, &[crowd, vec![old]].concat());
}

#[test]
fn a_peer_counts_for_where_it_is_and_not_for_what_it_claims() {
    let mut rng = StdRng::seed_from_u64(10);
    let mut table = table(random_id(&mut rng), INTERNET);
    let now = Instant::now();
    let claims = generate(61, 40, |rng| Ipv4Addr::new(rng.random_range(1..100), rng.random(), rng.random(), 1));
    let seen_at = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 5), 9009));
    let taken: Vec<_> = claims
        .iter()
        .filter(|enr| table.insert_seen(Arc::clone(enr), seen_at, Acquaintance::Answered, now).is_ok())
        .collect();
    assert!(taken.len() <= MAX_SUBNET_PEERS_PER_TABLE, "{} peers of one subnet", taken.len());
    assert!(!taken.is_empty());
    for enr in taken {
        let peer = table.get(&id(enr)).unwrap();
        assert!(peer.is_live() && !peer.is_presentable(), "others would not find it where its record says");
    }
}

#[test]
fn who_only_claims_an_address_keeps_nobody_out_who_is_there() {
    let mut rng = StdRng::seed_from_u64(12);
    let mut table = table(random_id(&mut rng), INTERNET);
    let now = Instant::now();
    let claims = generate(62, 200, |rng| Ipv4Addr::new(203, 0, 113, rng.random()));
    let claimed =
        claims.iter().filter(|enr| table.insert(Arc::clone(enr), Acquaintance::Mentioned, now).is_ok()).count();
    assert!(claimed <= MAX_SUBNET_PEERS_PER_TABLE);
    let owner = portal_record(&key(&mut rng), 1, Ipv4Addr::new(203, 0, 113, 5));
    assert_eq!(table.insert(Arc::clone(&owner), Acquaintance::Mentioned, now), Err(Refused::SubnetFull));
    let seen_at = udp_socket(&owner).unwrap();
    let taken = table.insert_seen(Arc::clone(&owner), seen_at, Acquaintance::Answered, now);
    assert!(matches!(taken, Ok(Inserted::Added | Inserted::Waiting)), "{taken:?}");
    check_invariants(&table, &[claims, vec![owner]].concat());
}

#[test]
fn an_address_of_the_local_network_is_taken_from_a_session_only() {
    let mut rng = StdRng::seed_from_u64(11);
    let mut table = table(random_id(&mut rng), INTERNET);
    let now = Instant::now();
    let enr = portal_record(&key(&mut rng), 1, Ipv4Addr::new(192, 168, 1, 1));
    let refused = table.insert(Arc::clone(&enr), Acquaintance::Mentioned, now);
    assert_eq!(refused, Err(Refused::Unfit(Unfit::Address)), "anybody could have written it");
    let seen_at = udp_socket(&enr).unwrap();
    assert_eq!(table.insert_seen(enr, seen_at, Acquaintance::Mentioned, now), Ok(Inserted::Added));
}

#[test]
fn who_is_refused() {
    let mut rng = StdRng::seed_from_u64(8);
    let now = Instant::now();
    let own_key = key(&mut rng);
    let key = key(&mut rng);
    let own = portal_record(&own_key, 1, Ipv4Addr::new(8, 8, 8, 8));
    let mut table = table(id(&own), INTERNET);
    let mut insert = |enr| table.insert(enr, Acquaintance::Answered, now);
    let portal = cairn_proto::record::portal_entries(CHAIN_ID, "");
    let other_chain = cairn_proto::record::portal_entries(CHAIN_ID + 1, "");
    let record = |ip, entries: &[(&'static str, Bytes)]| crate::population::record(&key, 1, ip, entries);
    let ip = Ipv4Addr::new(8, 8, 8, 8);
    assert_eq!(insert(own), Err(Refused::Local));
    assert_eq!(insert(record(ip, &[])), Err(Refused::Unfit(Unfit::Incompatible(Incompatible::NoVersion))));
    assert_eq!(
        insert(record(ip, &other_chain)),
        Err(Refused::Unfit(Unfit::Incompatible(Incompatible::OtherChain(CHAIN_ID + 1))))
    );
    assert_eq!(insert(record(Ipv4Addr::LOCALHOST, &portal)), Err(Refused::Unfit(Unfit::Address)));
    let mut nowhere = Enr::builder();
    for (key, rlp) in portal {
        nowhere.add_value_rlp(key, rlp);
    }
    assert_eq!(insert(Arc::new(nowhere.build(&key).unwrap())), Err(Refused::Unfit(Unfit::NoAddress)));
}

#[test]
fn what_a_pong_tells() {
    let mut rng = StdRng::seed_from_u64(9);
    let mut table = table(random_id(&mut rng), INTERNET);
    let now = Instant::now();
    let enr = Arc::clone(&INTERNET_NODES[0]);
    let peer = id(&enr);
    table.insert(enr, Acquaintance::Mentioned, now).unwrap();
    let content = ContentId::from(<[u8; 32]>::from(peer));
    assert_eq!(table.get(&peer).unwrap().radius(), None);
    assert_eq!(table.interested(&content).count(), 0, "unknown is not maximal");

    let info = ClientInfo {
        client_info: Bytes::from_static(b"somebody/1"),
        data_radius: Distance::from_log2(250),
        capabilities: vec![0, 2, 65535, 4711],
    };
    assert!(!table.handle_ping(&peer, 1, &PingPayload::ClientInfo(info), now));
    let known = table.get(&peer).unwrap();
    assert!(!known.is_confirmed(), "that it asks does not mean that it can be asked");
    assert_eq!(known.radius(), Some(Distance::from_log2(250)));
    assert_eq!(known.client_info(), Some("somebody/1"));
    assert_eq!(known.extensions(), Extensions::from_capabilities(&[0, 2]));
    assert_eq!(table.interested(&content).count(), 1);

    let error = PingPayload::Error(ErrorPayload::new(ErrorCode::ExtensionNotSupported, "no"));
    table.handle_pong(&peer, 1, &error, now);
    let known = table.get(&peer).unwrap();
    assert_eq!(known.extensions(), Extensions::STANDARD, "back to type 0");
    assert_eq!(known.radius(), Some(Distance::from_log2(250)), "an error says nothing about the radius");
    assert!(known.is_confirmed());
}

/// A radius is kept although there is no room for the peer, and is there when the peer gets in.
#[test]
fn radii_of_peers_outside_the_table() {
    let now = Instant::now();
    let (mut table, members, rest) = full_bucket(Acquaintance::Answered, now);
    let outside = &rest[0];
    let radius = Distance::from_log2(99);
    assert_eq!(table.radius(&id(outside), now), None);
    table.handle_ping(&id(outside), 1, &PingPayload::BasicRadius(BasicRadius { data_radius: radius }), now);
    assert_eq!(table.radius(&id(outside), now), Some(radius));
    assert!(table.get(&id(outside)).is_none());
    table.remove(&id(&members[0]));
    table.insert(Arc::clone(outside), Acquaintance::Mentioned, now).unwrap();
    assert_eq!(table.get(&id(outside)).unwrap().radius(), Some(radius));
}
