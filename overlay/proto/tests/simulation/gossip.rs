//! Whom content is offered to, from a table of many peers with many radii.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Instant};

use cairn_proto::{
    gossip::{GossipWidth, MAX_POKES, gossip_targets, poke_targets},
    interest::interested,
    routing::{Acquaintance, MAX_SUBNET_PEERS_PER_TABLE, Peer, RoutingTable, TableConfig},
    wire::{BasicRadius, PingPayload},
};
use content_types::{ContentId, Distance, NodeId};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::population::{INTERNET_NODES, LOCAL, generate, id, random_id};

/// A third of the peers has a radius unknown, the others one between nothing and everything.
fn table(rng: &mut StdRng) -> RoutingTable {
    let now = Instant::now();
    let mut table = RoutingTable::new(random_id(rng), TableConfig::new(LOCAL));
    for enr in &INTERNET_NODES[..1000] {
        let _ = table.insert(Arc::clone(enr), Acquaintance::Answered, now);
        if rng.random_bool(0.67) {
            let data_radius = Distance::from_log2(rng.random_range(245..=255));
            table.handle_pong(&id(enr), 1, &PingPayload::BasicRadius(BasicRadius { data_radius }), now);
        }
    }
    table
}

#[test]
fn gossip_goes_to_the_nearest_interested_peers_and_some_others() {
    let mut rng = StdRng::seed_from_u64(1);
    let table = table(&mut rng);
    let width = GossipWidth { nearest: 3, random: 2 };
    let mut random = BTreeSet::new();
    for _ in 0..200 {
        let content = ContentId::from(<[u8; 32]>::from(random_id(&mut rng)));
        let mut wanting: Vec<NodeId> = table
            .peers()
            .filter(|peer| peer.radius().is_some_and(|radius| interested(&peer.node_id(), &radius, &content)))
            .map(Peer::node_id)
            .collect();
        wanting.sort_by_key(|id| id.distance(&content));
        let targets: Vec<_> =
            gossip_targets(table.interested(&content), &content, width, &mut rng).iter().map(id).collect();
        assert_eq!(targets.len(), wanting.len().min(5));
        assert_eq!(targets.iter().collect::<BTreeSet<_>>().len(), targets.len(), "none twice");
        assert!(targets.iter().all(|id| wanting.contains(id)));
        let nearest = wanting.len().min(3);
        assert_eq!(targets[..nearest], wanting[..nearest]);
        random.extend(targets[nearest..].iter().map(|id| wanting.iter().position(|other| other == id)));
    }
    assert!(random.len() > 5, "always the same ranks: {random:?}");
}

#[test]
fn gossip_goes_to_as_many_subnets_as_there_are() {
    let mut rng = StdRng::seed_from_u64(3);
    let now = Instant::now();
    let mut table = RoutingTable::new(random_id(&mut rng), TableConfig::new(LOCAL));
    let mut crowd = 0;
    for enr in generate(3, 400, |rng| Ipv4Addr::new(20, 0, if rng.random_bool(0.9) { 0 } else { rng.random() }, 1)) {
        if table.insert(Arc::clone(&enr), Acquaintance::Answered, now).is_ok() {
            let radius = PingPayload::BasicRadius(BasicRadius { data_radius: Distance::MAX });
            table.handle_pong(&id(&enr), 1, &radius, now);
            crowd += usize::from(enr.ip4().unwrap().octets()[2] == 0);
        }
    }
    assert_eq!(crowd, MAX_SUBNET_PEERS_PER_TABLE);
    for _ in 0..100 {
        let content = ContentId::from(<[u8; 32]>::from(random_id(&mut rng)));
        let targets = gossip_targets(table.interested(&content), &content, GossipWidth::default(), &mut rng);
        let subnets: BTreeSet<_> = targets.iter().map(|enr| enr.ip4().unwrap().octets()[2]).collect();
        assert_eq!((targets.len(), subnets.len()), (8, 8));
    }
}

#[test]
fn the_dead_are_not_interested() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut table = table(&mut rng);
    let content = ContentId::from(<[u8; 32]>::from(random_id(&mut rng)));
    let dead = table.interested(&content).next().unwrap().node_id();
    for _ in 0..10 {
        table.handle_failure(&dead, Instant::now());
    }
    assert!(table.interested(&content).all(|peer| peer.node_id() != dead));
}

#[test]
fn a_poke_goes_to_those_whose_radius_covers_the_content() {
    let nodes = &INTERNET_NODES[..40];
    let content = ContentId::from(<[u8; 32]>::from(id(&nodes[0])));
    // A radius of nothing, of everything, and unknown, in turn.
    let radius_of = |node: &NodeId| match nodes.iter().position(|enr| id(enr) == *node).unwrap() % 3 {
        0 => Some(Distance::ZERO),
        1 => Some(Distance::MAX),
        _ => None,
    };
    let expected: Vec<_> = [0, 1, 4, 7].map(|at| Arc::clone(&nodes[at])).to_vec();
    assert_eq!(expected.len(), MAX_POKES);
    assert_eq!(poke_targets(nodes, &content, radius_of), expected);
}
