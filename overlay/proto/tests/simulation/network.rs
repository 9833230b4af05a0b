//! A network in which every node has a routing table, and a clock that jumps from event to event.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use cairn_proto::{
    record::{self, Enr},
    routing::{Acquaintance, RoutingTable, TableConfig},
    wire::{Content, Nodes},
};
use content_types::NodeId;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::population::{LOCAL, generate, id, private_ip};

/// 1,000 nodes whose tables are as full as they get.
pub(crate) static THOUSAND: LazyLock<Network> = LazyLock::new(|| Network::new(20, 1000));

pub(crate) struct Network {
    pub(crate) nodes: Vec<Arc<Enr>>,
    pub(crate) tables: HashMap<NodeId, RoutingTable>,
}

impl Network {
    pub(crate) fn new(seed: u64, count: usize) -> Self {
        let nodes = generate(seed, count, private_ip);
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Instant::now();
        let mut order = nodes.clone();
        let tables = nodes.iter().map(|enr| {
            let mut table = RoutingTable::new(id(enr), TableConfig::new(LOCAL));
            order.shuffle(&mut rng);
            for other in &order {
                let _ = table.insert(Arc::clone(other), Acquaintance::Answered, now);
            }
            (id(enr), table)
        });
        Self { tables: tables.collect(), nodes }
    }

    /// What an honest node answers to FINDNODES: as much as fits a packet.
    pub(crate) fn nodes_at(&self, peer: &NodeId, distances: &[u16], asker: &NodeId) -> Vec<Arc<Enr>> {
        let named = self.tables[peer].nodes_at(distances, asker);
        let packed = Nodes::pack(named.iter().map(|enr| record::encode(enr))).enrs.len();
        named.into_iter().take(packed).collect()
    }

    /// What an honest node that lacks the content answers to FINDCONTENT.
    pub(crate) fn closest(&self, peer: &NodeId, target: NodeId, asker: &NodeId) -> Vec<Arc<Enr>> {
        let named = self.tables[peer].closest(target, 16, |other| other.is_presentable() && other.node_id() != *asker);
        let Content::Enrs(packed) = Content::pack(named.iter().map(|other| record::encode(other.enr()))) else {
            unreachable!("only records were packed")
        };
        named.into_iter().take(packed.len()).map(|other| Arc::clone(other.enr())).collect()
    }

    /// The `count` nodes nearest to `target` among those that pass `filter`.
    pub(crate) fn nearest(&self, target: &NodeId, count: usize, filter: impl Fn(&NodeId) -> bool) -> Vec<NodeId> {
        let mut ids: Vec<_> = self.nodes.iter().map(id).filter(filter).collect();
        ids.sort_by_key(|id| target.distance_to_node(id));
        ids.truncate(count);
        ids
    }

    /// The records a lookup of `origin` starts from.
    pub(crate) fn seeds(&self, origin: &NodeId, target: NodeId) -> Vec<Arc<Enr>> {
        self.tables[origin].closest(target, 16, |_| true).into_iter().map(|peer| Arc::clone(peer.enr())).collect()
    }

    /// Gives each node a role: `share` of them `role`, in permille, the rest the default.
    pub(crate) fn roles<R: Copy + Default>(&self, shares: &[(u32, R)], rng: &mut StdRng) -> BTreeMap<NodeId, R> {
        let mut draw = || {
            let mut at = rng.random_range(0..1000);
            for (share, role) in shares {
                if at < *share {
                    return *role;
                }
                at -= share;
            }
            R::default()
        };
        self.nodes.iter().map(|enr| (id(enr), draw())).collect()
    }
}

/// What will happen, in the order of time; at the same time in the order of scheduling.
pub(crate) struct Agenda<E> {
    pub(crate) now: Instant,
    events: BinaryHeap<Reverse<(Instant, u64)>>,
    details: HashMap<u64, E>,
    next: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { now: Instant::now(), events: BinaryHeap::new(), details: HashMap::new(), next: 0 }
    }

    pub(crate) fn after(&mut self, delay: Duration, event: E) {
        self.events.push(Reverse((self.now + delay, self.next)));
        self.details.insert(self.next, event);
        self.next += 1;
    }

    /// Moves the clock to the next event or to `until`, whichever is first.
    pub(crate) fn advance(&mut self, until: Instant) -> Option<E> {
        assert!(until > self.now, "a machine waits for a time that is not in the future");
        match self.events.peek() {
            Some(Reverse((at, _))) if *at <= until => {
                let Reverse((at, number)) = self.events.pop().unwrap();
                self.now = at;
                self.details.remove(&number)
            }
            _ => {
                self.now = until;
                None
            }
        }
    }
}

/// One way and back, with the work of answering.
pub(crate) fn round_trip(rng: &mut StdRng) -> Duration {
    Duration::from_millis(rng.random_range(10..200))
}
