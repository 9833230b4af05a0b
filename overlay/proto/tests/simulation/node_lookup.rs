//! Lookups of nodes among honest, dead and lying ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use cairn_proto::{
    lookup::{
        Answer, LookupConfig, MAX_CANDIDATES, MAX_SUBNET_CANDIDATES, NodeLookup, NodeLookupResult, NodeOutput,
        PeerFailure,
    },
    record::Enr,
    routing::{AddressPolicy, PeerRules, log_distance},
};
use content_types::NodeId;
use proptest::prelude::*;
use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, IteratorRandom},
};

use crate::{
    network::{Agenda, Network, THOUSAND, round_trip},
    population::{CHAIN_ID, INTERNET_NODES, LOCAL, generate, id, random_id},
};

#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Role {
    #[default]
    Honest,
    /// Never answers, and the driver never says so.
    Dead,
    /// Does not answer; the driver gives up after a while.
    Unreachable,
    /// Answers after the lookup has given it up.
    Late,
    /// Names itself and whoever asks.
    SelfReferral,
    /// Names the same few nodes whatever it is asked.
    Loop,
    /// Names new invented nodes of one subnet each time.
    Flood,
    /// Names new invented nodes from everywhere each time.
    WideFlood,
    /// Answers with nothing.
    Empty,
}

const LIARS: [(u32, Role); 4] = [(80, Role::SelfReferral), (80, Role::Loop), (80, Role::Flood), (60, Role::Empty)];

/// Invented nodes with addresses of one subnet, as one attacker has them.
static SYBILS: LazyLock<Vec<Arc<Enr>>> =
    LazyLock::new(|| generate(99, 2000, |rng| Ipv4Addr::new(203, 0, 113, rng.random())));

enum Event {
    Nodes(NodeId, Vec<Arc<Enr>>),
    Failure(NodeId),
}

struct Run {
    result: NodeLookupResult,
    queries: usize,
    took: Duration,
}

fn run(
    network: &Network,
    roles: &BTreeMap<NodeId, Role>,
    origin: NodeId,
    target: NodeId,
    config: LookupConfig,
    rng: &mut StdRng,
) -> Run {
    let mut agenda = Agenda::new();
    let start = agenda.now;
    let mut lookup = NodeLookup::new(origin, target, config, network.seeds(&origin, target), start);
    let mut queries = 0;
    loop {
        match lookup.poll_output(agenda.now) {
            NodeOutput::Query { peer, distances } => {
                queries += 1;
                let peer = id(&peer);
                let honest = |asker| network.nodes_at(&peer, &distances, asker);
                // Invented nodes play dead: nobody is behind them.
                let role = roles.get(&peer).copied().unwrap_or(Role::Dead);
                let answer = match role {
                    Role::Dead => continue,
                    Role::Unreachable => {
                        agenda.after(Duration::from_millis(2500), Event::Failure(peer));
                        continue;
                    }
                    Role::Honest | Role::Late => honest(&origin),
                    Role::SelfReferral => {
                        network.nodes.iter().filter(|enr| [peer, origin].contains(&id(enr))).cloned().collect()
                    }
                    Role::Loop => network.nodes[..12].to_vec(),
                    Role::Flood => SYBILS.sample(rng, 32).cloned().collect(),
                    Role::WideFlood => {
                        let is_asked_for = |enr: &&Arc<Enr>| distances.contains(&log_distance(&peer, &id(enr)));
                        INTERNET_NODES.iter().filter(is_asked_for).cloned().sample(rng, 32)
                    }
                    Role::Empty => Vec::new(),
                };
                let delay = if role == Role::Late { config.query_timeout * 2 } else { round_trip(rng) };
                agenda.after(delay, Event::Nodes(peer, answer));
            }
            NodeOutput::Timeout(until) => match agenda.advance(until) {
                Some(Event::Nodes(peer, enrs)) => lookup.handle_nodes(agenda.now, &peer, enrs),
                Some(Event::Failure(peer)) => lookup.handle_failure(agenda.now, &peer, PeerFailure::Timeout),
                None => {}
            },
            NodeOutput::Finished => break,
        }
    }
    Run { result: lookup.into_result(), queries, took: agenda.now.duration_since(start) }
}

/// What a number of lookups came to.
struct Sum {
    /// Share of the true `k` nearest that was found, percent.
    nearest: usize,
    /// The same of the nearer half of them.
    nearer_half: usize,
    most_queries: usize,
    longest: Duration,
}

fn lookups(shares: &[(u32, Role)], seed: u64) -> Sum {
    let network = &*THOUSAND;
    let mut rng = StdRng::seed_from_u64(seed);
    let roles = network.roles(shares, &mut rng);
    let answers = |id: &NodeId| !matches!(roles[id], Role::Dead | Role::Unreachable | Role::Late);
    let config = LookupConfig::new(LOCAL);
    let (mut found, mut wanted) = ([0, 0], [0, 0]);
    let (mut most_queries, mut longest) = (0, Duration::ZERO);
    for _ in 0..60 {
        let origin = id(network.nodes.choose(&mut rng).unwrap());
        let target = random_id(&mut rng);
        let run = run(network, &roles, origin, target, config, &mut rng);
        let closest: Vec<_> = run.result.closest.iter().map(id).collect();
        assert!(closest.is_sorted_by_key(|id| target.distance_to_node(id)));
        assert!(closest.iter().all(|id| answers(id) && *id != origin), "only those that answered");
        let nearest = network.nearest(&target, config.k, |id| answers(id) && *id != origin);
        for (rank, id) in nearest.iter().enumerate() {
            let half = usize::from(rank >= config.k / 2);
            wanted[half] += 1;
            found[half] += usize::from(closest.contains(id));
        }
        most_queries = most_queries.max(run.queries);
        longest = longest.max(run.took);
        assert!(run.queries <= config.max_queries && run.took <= config.deadline);
    }
    let nearest = 100 * (found[0] + found[1]) / (wanted[0] + wanted[1]);
    Sum { nearest, nearer_half: 100 * found[0] / wanted[0], most_queries, longest }
}

#[test]
fn among_honest_nodes_the_nearest_are_found() {
    let sum = lookups(&[], 1);
    assert!(sum.nearer_half == 100 && sum.nearest >= 94, "{} %, {} %", sum.nearer_half, sum.nearest);
    assert!(sum.most_queries <= 48, "{} queries", sum.most_queries);
}

#[test]
fn a_third_of_dead_nodes_hides_few_and_costs_few_timeouts() {
    let sum = lookups(&[(200, Role::Dead), (133, Role::Unreachable)], 2);
    assert!(sum.nearer_half >= 98 && sum.nearest >= 86, "{} %, {} %", sum.nearer_half, sum.nearest);
    let timeout = LookupConfig::new(LOCAL).query_timeout;
    assert!(sum.longest < 4 * timeout, "{:?}", sum.longest);
}

#[test]
fn a_third_of_liars_hides_few() {
    let sum = lookups(&LIARS, 3);
    assert!(sum.nearer_half >= 96 && sum.nearest >= 88, "{} %, {} %", sum.nearer_half, sum.nearest);
}

/// Three silent peers do not stop a lookup until they time out: others are asked meanwhile.
#[test]
fn silent_peers_do_not_hold_others_back() {
    let network = &*THOUSAND;
    let mut rng = StdRng::seed_from_u64(4);
    let config = LookupConfig::new(LOCAL);
    let origin = id(&network.nodes[0]);
    let target = random_id(&mut rng);
    let seeds = network.seeds(&origin, target);
    let silent: Vec<_> = seeds.iter().take(config.parallelism).map(id).collect();
    let roles: BTreeMap<_, _> = network
        .nodes
        .iter()
        .map(id)
        .map(|id| (id, if silent.contains(&id) { Role::Dead } else { Role::Honest }))
        .collect();
    let run = run(network, &roles, origin, target, config, &mut rng);
    let others = run.result.trace.asked().filter(|peer| !silent.contains(&peer.node_id));
    let first_other = others.map(|peer| peer.asked.unwrap()).min().unwrap();
    assert_eq!(first_other, config.stall_after);
    assert!(run.took < config.query_timeout + config.stall_after + Duration::from_secs(2));
}

#[test]
fn the_trace_tells_who_named_whom_and_what_came() {
    let network = &*THOUSAND;
    let mut rng = StdRng::seed_from_u64(5);
    let roles = network.roles(&[(200, Role::Dead)], &mut rng);
    let origin = id(&network.nodes[0]);
    let target = random_id(&mut rng);
    let trace = run(network, &roles, origin, target, LookupConfig::new(LOCAL), &mut rng).result.trace;
    assert_eq!((trace.origin, trace.target), (origin, target));
    assert!(trace.peers.is_sorted_by_key(|peer| peer.distance));
    for peer in &trace.peers {
        assert_eq!(peer.distance, target.distance_to_node(&peer.node_id));
        match &peer.answer {
            None => assert!(peer.answered.is_none()),
            Some(answer) => {
                assert!(peer.asked.unwrap() < peer.answered.unwrap());
                let is_dead = roles[&peer.node_id] == Role::Dead;
                assert_eq!(*answer == Answer::Failed(PeerFailure::Timeout), is_dead);
            }
        }
        let Some(from) = peer.learned_from else {
            assert_eq!(peer.hops, 1);
            continue;
        };
        let from = trace.peers.iter().find(|other| other.node_id == from).unwrap();
        assert_eq!(peer.hops, from.hops + 1);
        assert!(matches!(&from.answer, Some(Answer::Nodes(named)) if named.contains(&peer.node_id)));
    }
}

/// One subnet's invented nodes take a handful of a lookup's places.
#[test]
fn a_flood_from_one_subnet_is_bounded() {
    let network = &*THOUSAND;
    let mut rng = StdRng::seed_from_u64(6);
    let rules = PeerRules { chain_id: CHAIN_ID, addresses: AddressPolicy::Local };
    let roles = network.roles(&[(1000, Role::Flood)], &mut rng);
    let origin = id(&network.nodes[0]);
    // Near the flood's nodes, so that they would be preferred.
    let target = id(&SYBILS[0]);
    let run = run(network, &roles, origin, target, LookupConfig::new(rules), &mut rng);
    let sybils = run.result.trace.peers.iter().filter(|peer| !roles.contains_key(&peer.node_id)).count();
    assert!(sybils <= MAX_SUBNET_CANDIDATES, "{sybils}");
}

/// Ever new nodes: the lookup asks so often, and then it is over.
#[test]
fn a_flood_from_everywhere_is_bounded() {
    let network = &*THOUSAND;
    let mut rng = StdRng::seed_from_u64(8);
    let roles = INTERNET_NODES.iter().chain(&network.nodes).map(|enr| (id(enr), Role::WideFlood)).collect();
    let config = LookupConfig { k: 100, ..LookupConfig::new(LOCAL) };
    let run = run(network, &roles, id(&network.nodes[0]), random_id(&mut rng), config, &mut rng);
    assert_eq!(run.queries, config.max_queries);
}

#[test]
fn without_anybody_to_ask_it_is_over_at_once() {
    let agenda = Agenda::<()>::new();
    let config = LookupConfig::new(LOCAL);
    let origin = id(&THOUSAND.nodes[0]);
    for seeds in [vec![], vec![Arc::clone(&THOUSAND.nodes[0])]] {
        let mut lookup = NodeLookup::new(origin, origin, config, seeds, agenda.now);
        assert_eq!(lookup.poll_output(agenda.now), NodeOutput::Finished);
        assert!(lookup.into_result().closest.is_empty());
    }
}

#[test]
fn answers_nobody_asked_for_change_nothing() {
    let network = &*THOUSAND;
    let agenda = Agenda::<()>::new();
    let origin = id(&network.nodes[0]);
    let seeds = network.seeds(&origin, origin);
    let mut lookup = NodeLookup::new(origin, origin, LookupConfig::new(LOCAL), seeds.clone(), agenda.now);
    lookup.handle_nodes(agenda.now, &id(&seeds[0]), network.nodes.clone());
    lookup.handle_failure(agenda.now, &id(&seeds[1]), PeerFailure::Timeout);
    lookup.handle_nodes(agenda.now, &random_id(&mut StdRng::seed_from_u64(1)), network.nodes.clone());
    let trace = lookup.into_result().trace;
    assert_eq!(trace.peers.len(), seeds.len());
    assert!(trace.peers.iter().all(|peer| peer.answer.is_none()));
}

/// FINDNODES names distances: a node at another one was slipped in.
#[test]
fn nodes_at_other_distances_than_asked_for_are_ignored() {
    let network = &*THOUSAND;
    let agenda = Agenda::<()>::new();
    let origin = id(&network.nodes[0]);
    let target = random_id(&mut StdRng::seed_from_u64(7));
    let seed = network.seeds(&origin, target).pop().unwrap();
    let mut lookup = NodeLookup::new(origin, target, LookupConfig::new(LOCAL), [seed], agenda.now);
    let NodeOutput::Query { peer, distances } = lookup.poll_output(agenda.now) else { panic!("no query") };
    let is_asked_for = |enr: &&Arc<Enr>| distances.contains(&log_distance(&id(&peer), &id(enr)));
    let wanted: Vec<_> = network.nodes.iter().filter(is_asked_for).take(3).cloned().collect();
    let slipped_in = network.nodes.iter().filter(|enr| !is_asked_for(enr)).take(3).cloned();
    lookup.handle_nodes(agenda.now, &id(&peer), slipped_in.chain(wanted.iter().cloned()).collect());
    let trace = lookup.into_result().trace;
    let learned: BTreeSet<_> =
        trace.peers.iter().map(|other| other.node_id).filter(|other| *other != id(&peer)).collect();
    assert_eq!(learned, wanted.iter().map(id).collect());
    assert!(!learned.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any mixture of roles, any numbers: the lookup ends, and within its bounds.
    #[test]
    fn always_terminates(
        seed: u64,
        shares in proptest::collection::vec(0u32..250, 8),
        parallelism in 1usize..6,
        k in 1usize..20,
        max_queries in 1usize..100,
    ) {
        let network = &*THOUSAND;
        let mut rng = StdRng::seed_from_u64(seed);
        let roles = [Role::Dead, Role::Unreachable, Role::Late, Role::SelfReferral, Role::Loop, Role::Flood, Role::WideFlood, Role::Empty];
        let shares: Vec<_> = shares.into_iter().zip(roles).collect();
        let roles = network.roles(&shares, &mut rng);
        let config = LookupConfig { parallelism, k, max_queries, ..LookupConfig::new(LOCAL) };
        let origin = id(network.nodes.choose(&mut rng).unwrap());
        let target = random_id(&mut rng);
        let run = run(network, &roles, origin, target, config, &mut rng);
        prop_assert!(run.queries <= max_queries);
        prop_assert!(run.took <= config.deadline);
        prop_assert!(run.result.closest.len() <= k);
        prop_assert!(run.result.trace.peers.len() <= MAX_CANDIDATES);
    }
}
