//! What a table asks for: PINGs at the right time and not too many, lookups where it knows too few.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_proto::{
    routing::{
        Acquaintance, K, MAX_PINGS, PING_INTERVAL, REFRESH_INTERVAL, RoutingTable, SPARSE_INTERVAL, TableConfig,
        Upkeep, log_distance, random_id_at,
    },
    wire::{ClientInfo, Extensions, PingPayload, payload_type},
};
use content_types::{Distance, NodeId};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::population::{INTERNET_NODES, LOCAL, generate, id, private_ip, random_id};

const OWN: Extensions = Extensions::STANDARD;

fn pong() -> PingPayload {
    PingPayload::ClientInfo(ClientInfo {
        client_info: bytes::Bytes::new(),
        data_radius: Distance::MAX,
        capabilities: vec![0, 2, 65535],
    })
}

/// What a table wants done at one time.
fn steps<'a>(table: &'a mut RoutingTable, now: Instant, rng: &'a mut StdRng) -> impl Iterator<Item = Upkeep> + 'a {
    std::iter::from_fn(move || match table.poll_output(now, OWN, rng) {
        Upkeep::Timeout(_) => None,
        step => Some(step),
    })
}

fn table_of(count: usize, now: Instant) -> RoutingTable {
    let mut table = RoutingTable::new(random_id(&mut StdRng::seed_from_u64(1)), TableConfig::new(LOCAL));
    for enr in &INTERNET_NODES[..count] {
        let _ = table.insert(Arc::clone(enr), Acquaintance::Mentioned, now);
    }
    table
}

#[test]
fn an_empty_table_wants_nothing() {
    let now = Instant::now();
    let mut table = table_of(0, now);
    assert_eq!(table.poll_output(now, OWN, &mut StdRng::seed_from_u64(1)), Upkeep::Timeout(None));
}

#[test]
fn new_peers_are_pinged_a_few_at_a_time() {
    let now = Instant::now();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut table = table_of(40, now);
    let mut pinged = Vec::new();
    while let Upkeep::Ping { peer, payload_type } = table.poll_output(now, OWN, rng) {
        assert_eq!(payload_type, payload_type::CLIENT_INFO);
        pinged.push(id(&peer));
    }
    assert_eq!(pinged.len(), MAX_PINGS);
    assert_eq!(pinged.iter().collect::<BTreeSet<_>>().len(), MAX_PINGS, "none twice");
    table.handle_pong(&pinged[0], 1, &pong(), now);
    table.handle_failure(&pinged[1], now);
    let more = steps(&mut table, now, rng).filter(|step| matches!(step, Upkeep::Ping { .. }));
    assert_eq!(more.count(), 2, "one for each that ended");
}

#[test]
fn the_next_ping_uses_the_best_extension_that_both_list() {
    let now = Instant::now();
    let rng = &mut StdRng::seed_from_u64(1);
    let own = Extensions::from_capabilities(&[0, 1, 2]);
    let mut table = table_of(1, now);
    let Upkeep::Ping { peer, payload_type: 0 } = table.poll_output(now, own, rng) else { panic!("no PING") };
    table.handle_pong(&id(&peer), 1, &pong(), now);
    let next = table.poll_output(now + PING_INTERVAL, own, rng);
    assert_eq!(next, Upkeep::Ping { peer, payload_type: payload_type::HISTORY_RADIUS });
}

#[test]
fn a_ping_whose_end_is_never_reported_does_not_block_for_ever() {
    let now = Instant::now();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut table = table_of(40, now);
    let mut count = 0;
    let mut time = now;
    while count < 40 && time < now + Duration::from_secs(3600) {
        let next = loop {
            match table.poll_output(time, OWN, rng) {
                Upkeep::Timeout(next) => break next.unwrap(),
                step => count += usize::from(matches!(step, Upkeep::Ping { .. })),
            }
        };
        assert!(next > time);
        time = next;
    }
    assert!(count >= 40);
}

#[test]
fn joining_looks_up_itself_and_then_every_bucket() {
    let now = Instant::now();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut table = table_of(2000, now);
    let local = table.local_id();
    let buckets: BTreeSet<u16> = table.buckets().map(|(distance, _)| distance).collect();
    let mut looked_up = Vec::new();
    let mut time = now;
    while time < now + Duration::from_secs(120) {
        match table.poll_output(time, OWN, rng) {
            Upkeep::Lookup { target } => looked_up.push(target),
            Upkeep::Ping { peer, .. } => drop(table.handle_pong(&id(&peer), 1, &pong(), time)),
            Upkeep::Timeout(next) => time = next.unwrap(),
        }
    }
    assert_eq!(looked_up[0], local);
    let distances: Vec<u16> = looked_up[1..].iter().map(|target| log_distance(&local, target)).collect();
    assert_eq!(distances.len(), buckets.len(), "each once");
    assert_eq!(distances.into_iter().collect::<BTreeSet<_>>(), buckets);
}

#[test]
fn a_bucket_in_which_something_was_looked_up_is_fresh() {
    let now = Instant::now();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut table = table_of(400, now);
    let local = table.local_id();
    let distances: Vec<u16> = table.buckets().map(|(distance, _)| distance).chain([0]).collect();
    for distance in distances {
        table.handle_lookup(&random_id_at(&local, distance, rng), now);
    }
    let lookups = |table: &mut RoutingTable, time, rng: &mut StdRng| {
        steps(table, time, rng).filter(|step| matches!(step, Upkeep::Lookup { .. })).count()
    };
    assert_eq!(lookups(&mut table, now + REFRESH_INTERVAL - Duration::from_millis(1), rng), 0);
    assert_eq!(lookups(&mut table, now + REFRESH_INTERVAL, rng), 1);
}

#[test]
fn a_sparse_table_looks_around_more_often() {
    let now = Instant::now();
    let rng = &mut StdRng::seed_from_u64(1);
    let mut table = table_of(K - 1, now);
    let local = table.local_id();
    let mut times = Vec::new();
    let mut time = now;
    while time < now + 10 * SPARSE_INTERVAL {
        match table.poll_output(time, OWN, rng) {
            Upkeep::Lookup { target } if target == local => times.push(time),
            Upkeep::Lookup { .. } => {}
            Upkeep::Ping { peer, .. } => drop(table.handle_pong(&id(&peer), 1, &pong(), time)),
            Upkeep::Timeout(next) => time = next.unwrap(),
        }
    }
    assert_eq!(times.len(), 10);
}

/// Three hours in the life of a table whose peers come and go: every live peer is heard of within the ping interval, the
/// dead are not named, and between events the table sleeps.
#[test]
fn hours_of_churn() {
    for seed in 0..3 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let nodes = generate(100 + seed, 400, private_ip);
        let start = Instant::now();
        let end = start + Duration::from_secs(3 * 3600);
        let mut table = RoutingTable::new(random_id(rng), TableConfig::new(LOCAL));
        // When each node dies.
        let dies: HashMap<NodeId, Instant> = nodes
            .iter()
            .map(|enr| {
                let lives = if rng.random_bool(0.5) { 1_000_000 } else { rng.random_range(0..3 * 3600) };
                (id(enr), start + Duration::from_secs(lives))
            })
            .collect();
        let mut now = start;
        let mut pings = 0;
        let mut polls = 0;
        for enr in &nodes {
            let _ = table.insert(Arc::clone(enr), Acquaintance::Mentioned, now);
        }
        while now < end {
            polls += 1;
            match table.poll_output(now, OWN, rng) {
                Upkeep::Ping { peer, .. } => {
                    pings += 1;
                    let peer = id(&peer);
                    if dies[&peer] > now {
                        table.handle_pong(&peer, 1, &pong(), now);
                    } else {
                        table.handle_failure(&peer, now);
                    }
                }
                Upkeep::Lookup { .. } => {
                    for _ in 0..8 {
                        let enr = &nodes[rng.random_range(0..nodes.len())];
                        let _ = table.insert(Arc::clone(enr), Acquaintance::Mentioned, now);
                    }
                }
                Upkeep::Timeout(next) => {
                    let grace = PING_INTERVAL + Duration::from_secs(1);
                    for enr in table.nodes_at(&(0..=256).collect::<Vec<_>>(), &table.local_id()) {
                        assert!(dies[&id(&enr)] + grace > now, "a peer long dead is named");
                    }
                    for peer in table.peers().filter(|peer| dies[&peer.node_id()] > now && peer.is_confirmed()) {
                        assert!(now.duration_since(peer.last_seen().unwrap()) < grace);
                    }
                    let next = next.unwrap();
                    assert!(next > now, "it would never sleep");
                    now = next;
                }
            }
        }
        // A ping interval has room for one PING to each of some 100 peers; lookups and retries come on top.
        assert!(pings < 400 * 36 && polls < 3 * pings + 2000, "{pings} PINGs, {polls} polls");
    }
}
