//! The router without devices and without a clock: what comes from a host goes up its link, is lost or takes the delay of its path,
//! and goes down the link of the host that has the destination's address.
//!
//! Each path draws its losses from a sequence of its own, so what is lost depends on the seed and on the packets of that path alone,
//! whatever happens on others at the same time. A path keeps the order of its packets.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::link::{Link, LinkSpec};

/// Bytes of packets that are on their way at once. A second of a gigabit; what comes beyond is dropped.
const MAX_BYTES: usize = 128 << 20;
/// Losses are said in parts of this.
const MILLION: u32 = 1_000_000;

/// A host, by the order in which it was given to [`Router::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// What a host is like.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// The addresses it has; at least one, and none of another host.
    pub addresses: Vec<Ipv4Addr>,
    /// From the host to the router.
    pub up: LinkSpec,
    /// From the router to the host.
    pub down: LinkSpec,
}

impl HostSpec {
    /// A host with these addresses and links that take no time.
    pub fn new(addresses: impl Into<Vec<Ipv4Addr>>) -> Self {
        Self { addresses: addresses.into(), up: LinkSpec::UNLIMITED, down: LinkSpec::UNLIMITED }
    }

    /// The same with a link like this in both directions.
    #[must_use]
    pub fn with_link(self, link: LinkSpec) -> Self {
        Self { up: link, down: link, ..self }
    }
}

/// What a path from one host to another is like, beside their links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathSpec {
    /// How long a packet takes, one way.
    pub delay: Duration,
    /// Packets of a million that are lost, each by itself.
    pub loss: u32,
}

impl PathSpec {
    /// A path on which a packet and its answer take this long, and nothing is lost.
    pub fn round_trip(time: Duration) -> Self {
        Self { delay: time / 2, loss: 0 }
    }
}

/// What became of the packets of a path, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They were handed over.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// They were lost, as the path says.
    pub lost: u64,
    /// There was no room for them before a link.
    pub dropped: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.dropped += other.dropped;
    }
}

/// A packet that is to be handed to a host now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// To whom.
    pub to: HostId,
    /// When it should have been.
    pub due: Instant,
    /// The packet as it came.
    pub packet: Vec<u8>,
}

struct Path {
    spec: PathSpec,
    random: StdRng,
    counts: Counts,
}

/// A packet under way, at the next place where something is done with it.
struct Underway {
    path: usize,
    /// Whether it is through the last link.
    is_there: bool,
    packet: Vec<u8>,
}

/// Links and paths between hosts. Cheap per packet: a draw and two places in a tree.
pub struct Router {
    hosts: Vec<HostSpec>,
    up: Vec<Link>,
    down: Vec<Link>,
    /// From each host to each, row by row.
    paths: Vec<Path>,
    by_address: HashMap<Ipv4Addr, usize>,
    /// By when something is to be done with them; those of the same time in the order in which they came.
    underway: BTreeMap<(Instant, u64), Underway>,
    next: u64,
    bytes: usize,
    strayed: u64,
}

impl Router {
    /// A router between these hosts, with the same path between any two of them. What is lost follows from `seed`.
    pub fn new(hosts: Vec<HostSpec>, path: PathSpec, seed: u64) -> Self {
        let count = hosts.len();
        let links = |spec: fn(&HostSpec) -> LinkSpec| hosts.iter().map(|host| Link::new(spec(host))).collect();
        let mut seeds = StdRng::seed_from_u64(seed);
        let path = |random| Path { spec: path, random, counts: Counts::default() };
        let address = |(host, spec): (usize, &HostSpec)| spec.addresses.clone().into_iter().map(move |of| (of, host));
        Self {
            up: links(|host| host.up),
            down: links(|host| host.down),
            paths: (0..count * count).map(|_| path(StdRng::from_rng(&mut seeds))).collect(),
            by_address: hosts.iter().enumerate().flat_map(address).collect(),
            hosts,
            underway: BTreeMap::new(),
            next: 0,
            bytes: 0,
            strayed: 0,
        }
    }

    /// Says what the paths between two hosts are like, there and back. Of hosts that are not there nothing is said.
    pub fn set_paths(&mut self, one: HostId, other: HostId, spec: PathSpec) {
        for (from, to) in [(one, other), (other, one)] {
            if let Some(path) = self.path(from, to) {
                self.paths[path].spec = spec;
            }
        }
    }

    /// The hosts, by their numbers.
    pub fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// What became of the packets from one host to another until now.
    pub fn counts(&self, from: HostId, to: HostId) -> Counts {
        self.path(from, to).map(|path| self.paths[path].counts).unwrap_or_default()
    }

    /// Packets that led to no host: to addresses that nobody has, or of another kind than IPv4.
    pub fn strayed(&self) -> u64 {
        self.strayed
    }

    fn path(&self, from: HostId, to: HostId) -> Option<usize> {
        let count = self.hosts.len();
        (from.0 < count && to.0 < count).then_some(from.0 * count + to.0)
    }

    /// A packet comes from a host. Times must not go backwards, neither here nor in [`Router::poll_output`].
    pub fn handle_packet(&mut self, now: Instant, from: HostId, packet: Vec<u8>) {
        let to = destination(&packet).and_then(|address| self.by_address.get(&address));
        let Some(index) = to.and_then(|to| self.path(from, HostId(*to))) else {
            self.strayed += 1;
            return;
        };
        let path = &mut self.paths[index];
        // Drawn for each packet, so that a full queue does not change which of the others are lost.
        let is_lost = path.random.random_range(0..MILLION) < path.spec.loss;
        let is_room = self.bytes + packet.len() <= MAX_BYTES;
        match self.up[from.0].handle_packet(now, packet.len()).filter(|_| is_room) {
            None => path.counts.dropped += 1,
            Some(_) if is_lost => path.counts.lost += 1,
            Some(at) => {
                let at = at + path.spec.delay;
                self.bytes += packet.len();
                self.put(at, Underway { path: index, is_there: false, packet });
            }
        }
    }

    fn put(&mut self, at: Instant, underway: Underway) {
        self.underway.insert((at, self.next), underway);
        self.next += 1;
    }

    /// The next packet that is to be handed over, if its time has come.
    pub fn poll_output(&mut self, now: Instant) -> Option<Handover> {
        while let Some(first) = self.underway.first_entry().filter(|first| first.key().0 <= now) {
            let ((due, _), underway) = first.remove_entry();
            let (path, to) = (&mut self.paths[underway.path], underway.path % self.hosts.len());
            let bytes = underway.packet.len();
            if underway.is_there {
                self.bytes -= bytes;
                path.counts.packets += 1;
                path.counts.bytes += bytes as u64;
                return Some(Handover { to: HostId(to), due, packet: underway.packet });
            }
            // It comes to the link when it is due, however late somebody looks.
            match self.down[to].handle_packet(due, bytes) {
                Some(at) => self.put(at, Underway { is_there: true, ..underway }),
                None => {
                    self.bytes -= bytes;
                    path.counts.dropped += 1;
                }
            }
        }
        None
    }

    /// When [`Router::poll_output`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.underway.first_key_value().map(|((due, _), _)| *due)
    }
}

/// Where an IPv4 packet is to go.
fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let address: [u8; 4] = packet.get(16..20).filter(|_| is_v4)?.try_into().ok()?;
    Some(Ipv4Addr::from(address))
}

#[cfg(test)]
mod tests;
