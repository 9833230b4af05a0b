//! Lookups of content among nodes that have it, lack it, lie, stall and die.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_proto::{
    interest::interested,
    lookup::{
        Answer, ContentLookup, ContentLookupResult, ContentOutput, LookupConfig, MAX_CANDIDATES,
        MAX_LEARNED_PER_ANSWER, Outcome, PeerFailure,
    },
    record::Enr,
};
use content_types::{ContentId, Distance, NodeId};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    network::{Agenda, Network, THOUSAND, round_trip},
    population::{INTERNET_NODES, LOCAL, id, random_id},
};

/// What a node does when it is asked for content within its radius; outside it names others, unless it is dead.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Role {
    /// Has it, and sends it in its answer.
    #[default]
    Inline,
    /// Has it, and sends it over a stream.
    Stream,
    /// Has it, and sends it over a stream a little at a time, for minutes.
    Trickle,
    /// Announces a stream over which nothing comes.
    Stall,
    /// Announces a stream that breaks.
    Break,
    /// Sends something else.
    Garbage,
    /// Has it, and says that it is busy the first times.
    Busy,
    /// Lacks it though it should have it.
    Lacks,
    /// Never answers, and the driver never says so.
    Dead,
    /// Answers after it was given up.
    Late,
}

/// How often who is busy says so.
const BUSY_TIMES: usize = 3;

enum Event {
    Nodes(NodeId, Vec<Arc<Enr>>),
    Busy(NodeId),
    ConnectionId(NodeId),
    Content(NodeId),
    Progress(NodeId, u64),
    Broken(NodeId),
    Validated(NodeId),
}

struct Run {
    result: ContentLookupResult,
    queries: usize,
    most_streams: usize,
    took: Duration,
}

struct Setting<'a> {
    network: &'a Network,
    roles: BTreeMap<NodeId, Role>,
    radius: Distance,
    config: LookupConfig,
}

impl Setting<'_> {
    fn holds(&self, id: &NodeId, content: &ContentId) -> bool {
        interested(id, &self.radius, content)
    }

    fn run(&self, origin: NodeId, content: ContentId, rng: &mut StdRng) -> Run {
        let network = self.network;
        let target = NodeId::from(<[u8; 32]>::from(content));
        let mut agenda = Agenda::new();
        let start = agenda.now;
        let seeds = network.seeds(&origin, target);
        let mut lookup = ContentLookup::new(origin, content, self.config, seeds, [], start);
        let (mut queries, mut most_streams) = (0, 0);
        let mut streams: Vec<NodeId> = Vec::new();
        let mut busy: BTreeMap<NodeId, usize> = BTreeMap::new();
        loop {
            match lookup.poll_output(agenda.now) {
                ContentOutput::Query { peer } => {
                    queries += 1;
                    let peer = id(&peer);
                    let role = self.roles[&peer];
                    let delay = if role == Role::Late { self.config.query_timeout * 2 } else { round_trip(rng) };
                    let holds = self.holds(&peer, &content);
                    match role {
                        Role::Dead => {}
                        Role::Inline | Role::Late | Role::Garbage if holds => {
                            agenda.after(delay, Event::Content(peer));
                        }
                        Role::Stream | Role::Trickle | Role::Stall | Role::Break if holds => {
                            agenda.after(delay, Event::ConnectionId(peer));
                        }
                        Role::Busy if holds => {
                            let times = busy.entry(peer).or_default();
                            *times += 1;
                            let is_ready = *times > BUSY_TIMES;
                            agenda.after(delay, if is_ready { Event::Content(peer) } else { Event::Busy(peer) });
                        }
                        _ => agenda.after(delay, Event::Nodes(peer, network.closest(&peer, target, &origin))),
                    }
                }
                ContentOutput::OpenStream { peer, connection_id } => {
                    assert_eq!(connection_id, 7);
                    let peer = id(&peer);
                    streams.push(peer);
                    most_streams = most_streams.max(streams.len());
                    match self.roles[&peer] {
                        Role::Trickle => {
                            for second in 1..300 {
                                agenda.after(Duration::from_secs(second), Event::Progress(peer, second));
                            }
                        }
                        Role::Break => agenda.after(round_trip(rng), Event::Broken(peer)),
                        Role::Stall => {}
                        _ => agenda.after(round_trip(rng), Event::Content(peer)),
                    }
                }
                ContentOutput::AbortStream { peer } => {
                    assert!(matches!(self.roles[&peer], Role::Stall | Role::Trickle), "a good stream is given up");
                    streams.retain(|other| *other != peer);
                }
                ContentOutput::Timeout(until) => match agenda.advance(until) {
                    Some(Event::Nodes(peer, enrs)) => lookup.handle_nodes(agenda.now, &peer, enrs),
                    Some(Event::Busy(peer)) => {
                        lookup.handle_busy(agenda.now, &peer, network.closest(&peer, target, &origin));
                    }
                    Some(Event::ConnectionId(peer)) => lookup.handle_connection_id(agenda.now, &peer, 7),
                    Some(Event::Progress(peer, total)) => lookup.handle_progress(agenda.now, &peer, total),
                    Some(Event::Broken(peer)) => {
                        streams.retain(|other| *other != peer);
                        lookup.handle_failure(agenda.now, &peer, PeerFailure::Stream);
                    }
                    Some(Event::Content(peer)) => {
                        streams.retain(|other| *other != peer);
                        if lookup.handle_content(agenda.now, &peer) {
                            agenda.after(Duration::from_millis(5), Event::Validated(peer));
                        }
                    }
                    Some(Event::Validated(peer)) => {
                        if self.roles[&peer] == Role::Garbage {
                            lookup.handle_content_invalid(agenda.now, &peer);
                        } else {
                            lookup.handle_content_valid(&peer);
                        }
                    }
                    None => {}
                },
                ContentOutput::Finished => break,
            }
        }
        let took = agenda.now.duration_since(start);
        Run { result: lookup.into_result(), queries, most_streams, took }
    }
}

fn setting(shares: &[(u32, Role)], seed: u64) -> Setting<'static> {
    let network = &*THOUSAND;
    let roles = network.roles(shares, &mut StdRng::seed_from_u64(seed));
    // One node in 64 has each piece: some 16 of 1,000.
    Setting { network, roles, radius: Distance::from_log2(250), config: LookupConfig::new(LOCAL) }
}

/// Runs `count` lookups of random content from random nodes and checks what holds for each. Returns in how many content
/// was found, and the virtual times that these took.
fn lookups(setting: &Setting<'_>, count: usize, seed: u64) -> Vec<(bool, Duration)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let one = |_| {
        let origin = id(setting.network.nodes.choose(&mut rng).unwrap());
        let content = ContentId::from(<[u8; 32]>::from(random_id(&mut rng)));
        let run = setting.run(origin, content, &mut rng);
        check(setting, &content, &run);
        (matches!(run.result.outcome, Outcome::Found { .. }), run.took)
    };
    (0..count).map(one).collect()
}

fn check(setting: &Setting<'_>, content: &ContentId, run: &Run) {
    let Run { result, queries, most_streams, took } = run;
    let config = &setting.config;
    assert!(*queries <= config.max_queries && *most_streams <= config.max_streams && *took <= config.deadline);
    match &result.outcome {
        Outcome::Found { from, streamed } => {
            let from = id(from);
            let role = setting.roles[&from];
            assert!(setting.holds(&from, content));
            let has_it = matches!(role, Role::Inline | Role::Late | Role::Busy | Role::Stream | Role::Trickle);
            assert!(has_it, "{role:?}");
            assert_eq!(*streamed, matches!(role, Role::Stream | Role::Trickle));
            assert_eq!(result.trace.received_from, Some(from));
            assert_eq!(result.trace.source().unwrap().answer, Some(Answer::Content));
        }
        Outcome::NotFound => assert!(result.trace.cancelled().next().is_none()),
        Outcome::Unverifiable => panic!("nobody's driver says so"),
        Outcome::DeadlineReached => assert!(*took >= config.deadline),
    }
    for liar in rejected(result) {
        assert_eq!(setting.roles[&liar], Role::Garbage);
    }
    for lacking in &result.lacking {
        let answered_nodes = |role| matches!(role, Role::Lacks) || !setting.holds(&id(lacking), content);
        assert!(answered_nodes(setting.roles[&id(lacking)]));
    }
}

/// Whose content was not let in.
fn rejected(result: &ContentLookupResult) -> Vec<NodeId> {
    let peers = result.trace.peers.iter().filter(|peer| peer.answer == Some(Answer::RejectedContent));
    peers.map(|peer| peer.node_id).collect()
}

fn found(results: &[(bool, Duration)]) -> usize {
    results.iter().filter(|(found, _)| *found).count()
}

#[test]
fn among_honest_nodes_everything_is_found() {
    assert_eq!(found(&lookups(&setting(&[(500, Role::Stream)], 1), 100, 1)), 100);
}

#[test]
fn a_third_of_the_nodes_dead_and_everything_is_found() {
    assert_eq!(found(&lookups(&setting(&[(333, Role::Dead), (333, Role::Stream)], 2), 100, 2)), 100);
}

#[test]
fn liars_are_noted_and_everything_is_found() {
    let setting = setting(&[(300, Role::Garbage), (200, Role::Lacks), (100, Role::Break), (200, Role::Stream)], 3);
    assert_eq!(found(&lookups(&setting, 100, 3)), 100);
}

#[test]
fn a_network_that_is_busy_is_no_network_without_the_content() {
    assert_eq!(found(&lookups(&setting(&[(1000, Role::Busy)], 6), 100, 6)), 100);
}

#[test]
fn who_is_busy_is_asked_again_after_pauses_that_grow_and_lacks_nothing() {
    let config = LookupConfig::new(LOCAL);
    let mut hand = ByHand::new(&THOUSAND.nodes[1..2]);
    let mut pauses = Vec::new();
    for _ in 0..config.busy_retries {
        let peer = hand.query();
        hand.lookup.handle_busy(hand.now, &peer, Vec::new());
        let until = hand.wait();
        pauses.push(until.duration_since(hand.now));
        hand.now = until;
    }
    let around = |pause: Duration| pause * 3 / 4..=pause * 5 / 4;
    assert!(around(config.busy_pause).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.windows(2).all(|pair| pair[1] == pair[0] * 2), "{pauses:?}");
    let peer = hand.query();
    hand.lookup.handle_busy(hand.now, &peer, Vec::new());
    assert_eq!(hand.poll(), ContentOutput::Finished);
    let result = hand.lookup.into_result();
    assert_eq!((result.outcome, result.lacking.len()), (Outcome::NotFound, 0));
    assert_eq!(result.trace.peers[0].answer, Some(Answer::Failed(PeerFailure::Busy)));
}

#[test]
fn who_is_slow_to_say_that_it_is_busy_is_not_asked_again() {
    let mut hand = ByHand::new(&THOUSAND.nodes[1..2]);
    let peer = hand.query();
    hand.now += 2 * LookupConfig::new(LOCAL).stall_after;
    hand.lookup.handle_busy(hand.now, &peer, Vec::new());
    assert_eq!(hand.poll(), ContentOutput::Finished);
}

/// Neither keeps it from asking the others, nor is asked for ever.
#[test]
fn a_crowd_that_is_always_busy_is_asked_again_a_few_times_in_all() {
    let crowd = &THOUSAND.nodes[1..13];
    let mut hand = ByHand::new(crowd);
    let mut asked: BTreeMap<NodeId, usize> = BTreeMap::new();
    loop {
        match hand.poll() {
            ContentOutput::Query { peer } => {
                *asked.entry(id(&peer)).or_default() += 1;
                hand.lookup.handle_busy(hand.now, &id(&peer), Vec::new());
            }
            ContentOutput::Timeout(until) => hand.now = until,
            ContentOutput::Finished => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(asked.values().all(|times| *times >= 2), "each once more");
    assert_eq!((asked.len(), asked.values().sum::<usize>()), (crowd.len(), 2 * crowd.len() + 16));
}

#[test]
fn streams_that_drag_or_stall_do_not_hold_others_back() {
    let setting = setting(&[(300, Role::Trickle), (300, Role::Stall), (200, Role::Stream)], 4);
    let results = lookups(&setting, 100, 4);
    assert_eq!(found(&results), 100);
    let mut times: Vec<_> = results.iter().map(|(_, took)| *took).collect();
    times.sort();
    assert!(times[50] < Duration::from_secs(2), "{times:?}");
}

#[test]
fn content_that_nobody_has_is_not_found_and_those_who_should_have_it_are_named() {
    let setting = setting(&[(1000, Role::Lacks)], 5);
    let mut rng = StdRng::seed_from_u64(5);
    let origin = id(&setting.network.nodes[0]);
    let content = ContentId::from(<[u8; 32]>::from(random_id(&mut rng)));
    let run = setting.run(origin, content, &mut rng);
    check(&setting, &content, &run);
    assert_eq!(run.result.outcome, Outcome::NotFound);
    let target = NodeId::from(<[u8; 32]>::from(content));
    let nearest = setting.network.nearest(&target, 8, |id| *id != origin);
    let lacking: Vec<_> = run.result.lacking.iter().map(id).collect();
    assert!(nearest.iter().all(|id| lacking.contains(id)));
}

/// Peers of the table whose radius covers the content are asked by turns with the nearest, however many of those there are.
#[test]
fn interested_peers_and_the_nearest_take_turns() {
    let network = &*THOUSAND;
    let mut rng = StdRng::seed_from_u64(6);
    let origin = id(&network.nodes[0]);
    let content = ContentId::from(<[u8; 32]>::from(random_id(&mut rng)));
    let target = NodeId::from(<[u8; 32]>::from(content));
    let farthest = network.nearest(&target, 1000, |id| *id != origin).split_off(996);
    let interested: Vec<_> = network.nodes.iter().filter(|enr| farthest.contains(&id(enr))).cloned().collect();
    let agenda = Agenda::<()>::new();
    let seeds = network.seeds(&origin, target);
    let mut lookup = ContentLookup::new(origin, content, LookupConfig::new(LOCAL), seeds, interested, agenda.now);
    let mut asked = Vec::new();
    while let ContentOutput::Query { peer } = lookup.poll_output(agenda.now) {
        asked.push(id(&peer));
        lookup.handle_nodes(agenda.now, &id(&peer), network.closest(&id(&peer), target, &origin));
    }
    let turns: Vec<_> = farthest.iter().map(|far| asked.iter().position(|id| id == far)).collect();
    assert_eq!(turns, [Some(0), Some(2), Some(4)]);
    assert!(asked.len() >= 16 + 3);
}

/// Who serves a whole archive may lie far from what is in it.
#[test]
fn when_the_nearest_lack_it_those_beyond_are_asked_and_no_more_of_them_than_said() {
    let mut hand = ByHand::new(&THOUSAND.nodes[1..60]);
    let LookupConfig { k, last_resort, .. } = LookupConfig::new(LOCAL);
    let target = id(&THOUSAND.nodes[1]);
    let mut nearest: Vec<_> = THOUSAND.nodes[1..60].iter().map(id).collect();
    nearest.sort_by_key(|id| target.distance_to_node(id));
    let mut asked = Vec::new();
    for _ in 0..k - 1 {
        let peer = hand.query();
        hand.lookup.handle_nodes(hand.now, &peer, Vec::new());
        asked.push(peer);
    }
    let last = hand.query();
    hand.wait();
    hand.lookup.handle_nodes(hand.now, &last, Vec::new());
    asked.push(last);
    while let ContentOutput::Query { peer } = hand.poll() {
        asked.push(id(&peer));
        hand.lookup.handle_nodes(hand.now, &id(&peer), Vec::new());
    }
    assert_eq!(asked, nearest[..k + last_resort]);
    assert_eq!(hand.lookup.into_result().outcome, Outcome::NotFound);
}

/// A lookup by hand from `seeds`, which are asked as they come.
struct ByHand {
    lookup: ContentLookup,
    now: Instant,
}

impl ByHand {
    fn new(seeds: &[Arc<Enr>]) -> Self {
        let now = Instant::now();
        let origin = id(&THOUSAND.nodes[0]);
        let content = ContentId::from(<[u8; 32]>::from(id(&seeds[0])));
        let config = LookupConfig::new(LOCAL);
        Self { lookup: ContentLookup::new(origin, content, config, seeds.to_vec(), [], now), now }
    }

    fn poll(&mut self) -> ContentOutput {
        self.lookup.poll_output(self.now)
    }

    fn query(&mut self) -> NodeId {
        match self.poll() {
            ContentOutput::Query { peer } => id(&peer),
            other => panic!("no query: {other:?}"),
        }
    }

    /// Polls until nothing is to be done, and says when next.
    fn wait(&mut self) -> Instant {
        match self.poll() {
            ContentOutput::Timeout(until) => until,
            other => panic!("not waiting: {other:?}"),
        }
    }
}

#[test]
fn a_young_stream_is_left_alone_and_an_old_one_gets_company() {
    let mut hand = ByHand::new(&THOUSAND.nodes[1..8]);
    let config = LookupConfig::new(LOCAL);
    let [first, second, third] = [hand.query(), hand.query(), hand.query()];
    hand.wait();
    hand.lookup.handle_connection_id(hand.now, &first, 1);
    assert!(matches!(hand.poll(), ContentOutput::OpenStream { connection_id: 1, .. }));
    hand.lookup.handle_nodes(hand.now, &third, Vec::new());
    assert_eq!(hand.wait(), hand.now + config.hedge_after, "nobody else is asked yet");
    hand.lookup.handle_connection_id(hand.now, &second, 2);
    assert_eq!(hand.wait(), hand.now + config.hedge_after, "and no other stream opened");
    hand.now += config.hedge_after;
    assert!(matches!(hand.poll(), ContentOutput::OpenStream { connection_id: 2, .. }));
    hand.wait();
    hand.lookup.handle_failure(hand.now, &first, PeerFailure::Stream);
    hand.now += config.hedge_after;
    let fourth = hand.query();
    assert!(![first, second, third].contains(&fourth));
    assert!(hand.lookup.handle_content(hand.now, &second));
    hand.wait();
    hand.lookup.handle_content_valid(&second);
    assert_eq!(hand.poll(), ContentOutput::Finished);
    let result = hand.lookup.into_result();
    assert!(matches!(&result.outcome, Outcome::Found { from, streamed: true } if id(from) == second));
    assert_eq!(result.trace.cancelled().map(|peer| peer.node_id).collect::<Vec<_>>(), [fourth]);
}

#[test]
fn the_stream_that_has_brought_least_makes_room() {
    let mut hand = ByHand::new(&THOUSAND.nodes[1..8]);
    let config = LookupConfig::new(LOCAL);
    let [first, second, third] = [hand.query(), hand.query(), hand.query()];
    hand.lookup.handle_connection_id(hand.now, &first, 1);
    assert!(matches!(hand.poll(), ContentOutput::OpenStream { connection_id: 1, .. }));
    hand.now += config.hedge_after;
    hand.lookup.handle_connection_id(hand.now, &second, 2);
    while !matches!(hand.poll(), ContentOutput::OpenStream { connection_id: 2, .. }) {}
    hand.now += config.replace_after;
    // The older one trickles.
    hand.lookup.handle_progress(hand.now, &first, 10);
    hand.lookup.handle_progress(hand.now, &second, 10_000);
    hand.lookup.handle_connection_id(hand.now, &third, 3);
    let mut steps = std::iter::from_fn(|| Some(hand.poll()));
    let aborted = steps.find(|step| !matches!(step, ContentOutput::Query { .. }));
    assert_eq!(aborted, Some(ContentOutput::AbortStream { peer: first }));
}

#[test]
fn who_polls_only_when_told_to_misses_no_stream_that_has_to_make_room() {
    let mut hand = ByHand::new(&THOUSAND.nodes[1..4]);
    let (config, started) = (LookupConfig::new(LOCAL), hand.now);
    for (peer, connection_id) in [hand.query(), hand.query(), hand.query()].iter().zip(1..) {
        hand.lookup.handle_connection_id(hand.now, peer, connection_id);
    }
    let mut opened = Vec::new();
    let aborted = loop {
        match hand.poll() {
            ContentOutput::Timeout(until) => hand.now = until,
            ContentOutput::OpenStream { peer, .. } => {
                opened.push(id(&peer));
                hand.lookup.handle_progress(hand.now, &id(&peer), 10 * opened.len() as u64);
            }
            ContentOutput::AbortStream { peer } => break peer,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((aborted, hand.now), (opened[0], started + config.replace_after));
}

#[test]
fn a_connection_id_that_grew_old_is_asked_for_again_once() {
    let mut hand = ByHand::new(&THOUSAND.nodes[1..3]);
    let config = LookupConfig::new(LOCAL);
    let (first, second) = (hand.query(), hand.query());
    // Two streams at most, and the first two drag on; the third waits until its connection ID is stale.
    hand.lookup.handle_connection_id(hand.now, &first, 1);
    assert!(matches!(hand.poll(), ContentOutput::OpenStream { .. }));
    hand.lookup.handle_connection_id(hand.now, &second, 2);
    assert!(hand.lookup.handle_content(hand.now, &first), "being validated: no other stream is opened");
    hand.wait();
    hand.now += Duration::from_secs(6);
    hand.lookup.handle_content_invalid(hand.now, &first);
    assert_eq!(hand.query(), second);
    hand.lookup.handle_connection_id(hand.now, &second, 3);
    assert!(matches!(hand.poll(), ContentOutput::OpenStream { connection_id: 3, .. }));
    hand.now += config.stream_idle_timeout;
    assert_eq!(hand.poll(), ContentOutput::AbortStream { peer: second });
    assert_eq!(hand.poll(), ContentOutput::Finished);
    let result = hand.lookup.into_result();
    assert_eq!(result.outcome, Outcome::NotFound);
    assert_eq!(rejected(&result), [first]);
}

/// Ever new nodes: the lookup remembers so many and asks so often, and then it is over.
#[test]
fn a_flood_of_nodes_is_bounded() {
    let now = Instant::now();
    let content = ContentId::from(<[u8; 32]>::from(id(&THOUSAND.nodes[1])));
    let config = LookupConfig { k: 64, ..LookupConfig::new(LOCAL) };
    let seeds = THOUSAND.nodes[1..17].to_vec();
    let mut lookup = ContentLookup::new(id(&THOUSAND.nodes[0]), content, config, seeds, [], now);
    let mut asked = Vec::new();
    let mut flood = INTERNET_NODES.chunks(32);
    while let ContentOutput::Query { peer } = lookup.poll_output(now) {
        asked.push(id(&peer));
        lookup.handle_nodes(now, &id(&peer), flood.next().unwrap().to_vec());
    }
    assert_eq!(lookup.poll_output(now), ContentOutput::Finished);
    assert!(asked.len() >= config.k && asked.len() <= config.max_queries, "{}", asked.len());
    let trace = lookup.into_result().trace;
    assert_eq!(trace.peers.len(), MAX_CANDIDATES);
    let too_many = |answer: &Answer| matches!(answer, Answer::Nodes(named) if named.len() > MAX_LEARNED_PER_ANSWER);
    assert!(!trace.peers.iter().filter_map(|peer| peer.answer.as_ref()).any(too_many));
    let remembered: BTreeSet<_> = trace.asked().map(|peer| peer.node_id).collect();
    assert_eq!(remembered, asked.into_iter().collect(), "whoever was asked is not forgotten");
}

#[test]
fn events_out_of_place_change_nothing() {
    let mut hand = ByHand::new(&THOUSAND.nodes[1..3]);
    let first = hand.query();
    let stranger = random_id(&mut StdRng::seed_from_u64(1));
    for peer in [stranger, id(&THOUSAND.nodes[0])] {
        hand.lookup.handle_nodes(hand.now, &peer, Vec::new());
        hand.lookup.handle_connection_id(hand.now, &peer, 1);
        hand.lookup.handle_progress(hand.now, &peer, 1);
        hand.lookup.handle_failure(hand.now, &peer, PeerFailure::Timeout);
        assert!(!hand.lookup.handle_content(hand.now, &peer));
    }
    hand.lookup.handle_content_valid(&first);
    hand.lookup.handle_content_invalid(hand.now, &first);
    assert_ne!(hand.poll(), ContentOutput::Finished, "valid content before any content came");
    hand.lookup.handle_nodes(hand.now, &first, Vec::new());
    assert!(!hand.lookup.handle_content(hand.now, &first), "it has answered");
    assert!(rejected(&hand.lookup.into_result()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any mixture of roles, any numbers: the lookup ends, and within its bounds.
    #[test]
    fn always_terminates(
        seed: u64,
        shares in proptest::collection::vec(0u32..250, 9),
        parallelism in 1usize..6,
        k in 1usize..20,
        max_queries in 1usize..100,
        max_streams in 1usize..4,
        radius in 244u8..255,
    ) {
        use Role::*;
        let mut rng = StdRng::seed_from_u64(seed);
        let roles = [Stream, Trickle, Stall, Break, Garbage, Busy, Lacks, Dead, Late];
        let shares: Vec<_> = shares.into_iter().zip(roles).collect();
        let network = &*THOUSAND;
        let config = LookupConfig { parallelism, k, max_queries, max_streams, ..LookupConfig::new(LOCAL) };
        let setting =
            Setting { network, roles: network.roles(&shares, &mut rng), radius: Distance::from_log2(radius), config };
        lookups(&setting, 1, seed);
    }
}
