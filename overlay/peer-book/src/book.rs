//! What peers earned and lost: verified bytes earn, broken promises cost, and one proven lie bars a node ID for a while.
//!
//! Node IDs cost nothing, so a subnet of which several IDs were barred is barred as a whole; addresses of a local network
//! never are, since they are in one hand anyway. Nothing is asked of whoever is barred, nothing is answered, and no
//! connection is kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cairn_limits::Subnet;
use content_types::NodeId;

use crate::offence::Offence;

/// Peers that are noted at most. Who has been heard of least lately makes room, barred peers last.
pub const MAX_NOTED: usize = 4096;

/// Subnets that are noted at most.
pub const MAX_SUBNETS: usize = 1024;

/// For how long the first proven lie bars a peer; each further one doubles it.
pub const LIE_BAR: Duration = Duration::from_secs(10 * 60);

/// The longest that anybody is barred for.
pub const MAX_BAR: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long a peer is barred that lost all of its credit without having lied.
pub const POOR_BAR: Duration = Duration::from_secs(5 * 60);

/// Node IDs of a subnet that are barred for lies at one time before all of it is, for [`LIE_BAR`] and twice as long each time.
pub const BARRED_OF_SUBNET: u32 = 3;

/// A lie is forgotten when its bar has been over for this long.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Verified bytes that earn a point.
const BYTES_PER_POINT: u64 = 1 << 20;

/// More points than these are not kept: past merit buys a peer some failures, not impunity.
const MAX_POINTS: i32 = 100;

/// A peer with so few points is barred.
const LEAST_POINTS: i32 = -30;

/// A peer, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Who {
    /// The node ID that a handshake has proved.
    pub node_id: NodeId,
    /// The address that it was seen at.
    pub ip: IpAddr,
}

impl Who {
    /// A peer at an address.
    pub const fn new(node_id: NodeId, ip: IpAddr) -> Self {
        Self { node_id, ip }
    }
}

/// A bar, and how often there was one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) until: Instant,
    /// Lies of a peer; bars of a subnet.
    pub(crate) times: u32,
}

/// What is known of a peer.
#[derive(Debug, Clone, Copy)]
struct PeerStanding {
    points: i32,
    /// Verified bytes that have not earned a point yet.
    bytes: u64,
    bar: Option<Bar>,
    /// When it was last heard of.
    last: Instant,
}

/// What is known of a subnet.
#[derive(Debug, Clone, Default)]
struct OfSubnet {
    /// Node IDs of it that are barred, and until when.
    barred: BTreeMap<NodeId, Instant>,
    bar: Option<Bar>,
}

/// The standing of peers, by node ID and by subnet.
#[derive(Debug, Clone, Default)]
pub struct Book {
    peers: BTreeMap<NodeId, PeerStanding>,
    subnets: BTreeMap<Subnet, OfSubnet>,
}

impl Book {
    /// Content of so many bytes came from a peer and proved true.
    pub fn handle_verified(&mut self, now: Instant, peer: &NodeId, bytes: u64) {
        let standing = self.standing(now, peer);
        let bytes = standing.bytes.saturating_add(bytes);
        let points = i32::try_from(bytes / BYTES_PER_POINT).unwrap_or(MAX_POINTS);
        standing.points = standing.points.saturating_add(points).min(MAX_POINTS);
        standing.bytes = bytes % BYTES_PER_POINT;
    }

    /// A peer did wrong. If that was too much, for how long it is barred from now on.
    pub fn handle_offence(&mut self, now: Instant, who: &Who, offence: Offence) -> Option<Duration> {
        let standing = self.standing(now, &who.node_id);
        let remembered = standing.bar.filter(|bar| now < bar.until + MEMORY);
        let lies = remembered.map_or(0, |bar| bar.times);
        let (bar, lies) = if let Some(cost) = offence.cost() {
            standing.points = standing.points.saturating_sub(cost);
            if standing.points > LEAST_POINTS {
                return None;
            }
            (POOR_BAR, lies)
        } else {
            (doubled(LIE_BAR, lies), lies.saturating_add(1))
        };
        // Who comes back has half of the way to the next bar before it.
        standing.points = LEAST_POINTS / 2;
        standing.bytes = 0;
        let until = (now + bar).max(remembered.map_or(now, |bar| bar.until));
        standing.bar = Some(Bar { until, times: lies });
        // Only lies: three peers of one hoster that were slow are no reason to shun the others.
        if offence == Offence::Lie
            && let Some(subnet) = Subnet::of_stranger(who.ip)
        {
            self.note_in_subnet(now, subnet, who.node_id, until);
        }
        Some(bar)
    }

    /// For how long nobody with this node ID, or at this address, is spoken to.
    pub fn barred_for(&self, now: Instant, node_id: &NodeId, ip: Option<IpAddr>) -> Option<Duration> {
        let of_peer = self.peers.get(node_id).and_then(|standing| standing.bar);
        let of_subnet = ip.and_then(|ip| self.subnets.get(&Subnet::of_stranger(ip)?)?.bar);
        let left = |bar: Bar| bar.until.saturating_duration_since(now);
        of_peer.into_iter().chain(of_subnet).map(left).max().filter(|left| !left.is_zero())
    }

    /// A peer's points: 0 for a stranger, at most 100; it is barred at -30.
    pub fn points(&self, peer: &NodeId) -> i32 {
        self.peers.get(peer).map_or(0, |standing| standing.points)
    }

    /// How many peers are barred now.
    pub fn barred(&self, now: Instant) -> usize {
        self.bars(now).count()
    }

    /// How many peers are noted.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether nobody is noted.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The peers that are barred now.
    pub(crate) fn bars(&self, now: Instant) -> impl Iterator<Item = (NodeId, Bar)> {
        let bar =
            move |(id, standing): (&NodeId, &PeerStanding)| Some((*id, standing.bar.filter(|bar| bar.until > now)?));
        self.peers.iter().filter_map(bar)
    }

    /// The subnets that are barred now.
    pub(crate) fn subnet_bars(&self, now: Instant) -> impl Iterator<Item = (Subnet, Bar)> {
        let bar = move |(subnet, of): (&Subnet, &OfSubnet)| Some((*subnet, of.bar.filter(|bar| bar.until > now)?));
        self.subnets.iter().filter_map(bar)
    }

    /// Bars a peer as it was before a restart.
    pub(crate) fn restore(&mut self, now: Instant, peer: NodeId, bar: Bar) {
        let standing = self.standing(now, &peer);
        standing.points = LEAST_POINTS / 2;
        standing.bar = Some(bar);
    }

    /// Bars a subnet as it was before a restart.
    pub(crate) fn restore_subnet(&mut self, subnet: Subnet, bar: Bar) {
        if self.subnets.len() < MAX_SUBNETS {
            self.subnets.entry(subnet).or_default().bar = Some(bar);
        }
    }

    fn note_in_subnet(&mut self, now: Instant, subnet: Subnet, peer: NodeId, until: Instant) {
        if self.subnets.len() >= MAX_SUBNETS && !self.subnets.contains_key(&subnet) {
            let least = self.subnets.iter().min_by_key(|(_, of)| {
                (of.bar.map(|bar| bar.until).filter(|until| *until > now), of.barred.values().max().copied())
            });
            if let Some(least) = least.map(|(subnet, _)| *subnet) {
                self.subnets.remove(&least);
            }
        }
        let of = self.subnets.entry(subnet).or_default();
        of.barred.retain(|_, until| *until > now);
        of.barred.insert(peer, until);
        if of.barred.len() >= BARRED_OF_SUBNET as usize {
            of.barred.clear();
            let times = of.bar.filter(|bar| now < bar.until + MEMORY).map_or(0, |bar| bar.times);
            of.bar = Some(Bar { until: now + doubled(LIE_BAR, times), times: times.saturating_add(1) });
        }
    }

    fn standing(&mut self, now: Instant, peer: &NodeId) -> &mut PeerStanding {
        if self.peers.len() >= MAX_NOTED && !self.peers.contains_key(peer) {
            let until = |standing: &PeerStanding| standing.bar.map(|bar| bar.until).filter(|until| *until > now);
            let least = self.peers.iter().min_by_key(|(_, standing)| (until(standing), standing.last));
            if let Some(id) = least.map(|(id, _)| *id) {
                self.peers.remove(&id);
            }
        }
        let standing = self.peers.entry(*peer).or_insert(PeerStanding { points: 0, bytes: 0, bar: None, last: now });
        standing.last = now;
        standing
    }
}

/// `first`, doubled so often, up to [`MAX_BAR`].
fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(MAX_BAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u64) -> NodeId {
        let mut bytes = [0; 32];
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        bytes.into()
    }

    fn at(number: u64, ip: [u8; 4]) -> Who {
        Who::new(peer(number), ip.into())
    }

    fn who(number: u64) -> Who {
        at(number, [127, 0, 0, 1])
    }

    #[test]
    fn a_lie_bars_whatever_was_earned_and_the_next_one_for_longer() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.handle_verified(now, &peer(1), 1 << 40);
        assert_eq!(book.points(&peer(1)), MAX_POINTS);
        assert_eq!(book.handle_offence(now, &who(1), Offence::Lie), Some(LIE_BAR));
        assert_eq!(book.barred_for(now + LIE_BAR / 6, &peer(1), None), Some(LIE_BAR * 5 / 6));
        assert_eq!(book.barred_for(now + LIE_BAR, &peer(1), None), None);
        assert_eq!(book.handle_offence(now + LIE_BAR, &who(1), Offence::Lie), Some(2 * LIE_BAR));
        let bars = (0..100).map(|_| book.handle_offence(now, &who(1), Offence::Lie).unwrap());
        assert_eq!(bars.max(), Some(MAX_BAR));
        assert_eq!(book.barred_for(now, &peer(2), None), None);
    }

    #[test]
    fn lies_are_forgotten_in_the_end() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.handle_offence(now, &who(1), Offence::Lie);
        let later = now + LIE_BAR + MEMORY;
        assert_eq!(book.handle_offence(later, &who(1), Offence::Lie), Some(LIE_BAR));
    }

    #[test]
    fn broken_promises_bar_who_delivers_nothing_and_not_who_delivers() {
        let (mut book, now) = (Book::default(), Instant::now());
        let until_barred = (1..).find(|_| book.handle_offence(now, &who(1), Offence::NotHeld).is_some());
        assert_eq!(until_barred, Some(30));
        assert_eq!(book.barred_for(now, &peer(1), None), Some(POOR_BAR));
        for _ in 0..1000 {
            book.handle_verified(now, &peer(2), BYTES_PER_POINT / 2);
            book.handle_verified(now, &peer(2), BYTES_PER_POINT / 2);
            assert_eq!(book.handle_offence(now, &who(2), Offence::NotHeld), None);
        }
    }

    #[test]
    fn a_subnet_of_liars_is_barred_as_a_whole_and_a_house_is_not() {
        let (mut book, now) = (Book::default(), Instant::now());
        let honest = |ip: [u8; 4]| (peer(99), Some(IpAddr::from(ip)));
        for liar in 0..3 {
            let (id, ip) = honest([8, 8, 8, 200]);
            assert_eq!(book.barred_for(now, &id, ip), None, "after {liar}");
            // The same node ID twice is one.
            for _ in 0..2 {
                book.handle_offence(now, &at(liar, [8, 8, 8, liar as u8]), Offence::Lie);
                book.handle_offence(now, &at(10 + liar, [192, 168, 0, liar as u8]), Offence::Lie);
            }
        }
        let (id, ip) = honest([8, 8, 8, 200]);
        assert_eq!(book.barred_for(now, &id, ip), Some(LIE_BAR));
        let (id, ip) = honest([192, 168, 0, 200]);
        assert_eq!(book.barred_for(now, &id, ip), None);
        assert_eq!(book.barred_for(now + LIE_BAR, &peer(99), Some([8, 8, 8, 200].into())), None);
    }

    #[test]
    fn a_crowd_of_strangers_neither_grows_the_notes_nor_frees_who_is_barred() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.handle_offence(now, &who(0), Offence::Lie);
        for stranger in 1..3 * MAX_NOTED as u64 {
            let now = now + Duration::from_millis(stranger);
            let [.., a, b, c, d] = stranger.to_be_bytes();
            book.handle_offence(now, &at(stranger, [9 + a, b, c, d]), Offence::Broken);
            assert!(book.len() <= MAX_NOTED);
        }
        assert!(book.barred_for(now, &peer(0), None).is_some());
        assert_eq!(book.points(&peer(3 * MAX_NOTED as u64 - 1)), -2);
        for liar in 0..3 * MAX_SUBNETS as u64 {
            let [.., a, b] = liar.to_be_bytes();
            book.handle_offence(now, &at(liar, [9, a, b, 1]), Offence::Lie);
        }
        assert!(book.subnets.len() <= MAX_SUBNETS);
    }
}
