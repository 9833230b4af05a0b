//! Peer exchange: connected peers are told of others that this node reached, and those that they tell of are dialled when nobody else
//! is left to dial.
//!
//! A record is signed by its node and by nobody else: that it was told says nothing but that the node once wrote it. So only what this
//! node reached itself, at the address that the record names, is told on; and of what is heard few are dialled at a time, after those that
//! the overlays know. Who tells of many nodes that are none so costs a few first datagrams.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::record;
use cairn_proto::routing::AddressPolicy;
use cairn_swarm::quic::{PeerAddress, Swarm};
use content_types::NodeId;

use crate::quic_address::address_of;

/// How often it is looked at who is connected.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Records that are read in one look, at most: each has a signature to check. The others are read in the next ones.
const READ_AT_ONCE: usize = 64;

/// Records as peers tell of them.
type Records = Arc<Vec<Vec<u8>>>;

/// Tells peers of others, for ever.
pub(crate) async fn keep_telling(swarm: Swarm, addresses: AddressPolicy) {
    let mut told = Told::default();
    loop {
        let dialled = swarm.sessions().into_iter().filter(|session| session.was_dialled());
        let reached: Vec<_> =
            dialled.map(|of| (of.number(), of.node_id(), of.address(), of.hello().enr.clone())).collect();
        swarm.tell_of_peers(told.look(&reached, addresses));
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A session's number, its peer, where it was reached, and its record as it told it.
type Reached = (u64, NodeId, SocketAddr, Vec<u8>);

/// Whose records are told on, by session.
#[derive(Default)]
struct Told {
    read: HashMap<u64, bool>,
}

impl Told {
    /// The records of those that were reached where their records say, the sessions that began last first.
    fn look(&mut self, reached: &[Reached], addresses: AddressPolicy) -> Vec<Vec<u8>> {
        let present: HashSet<_> = reached.iter().map(|(number, ..)| *number).collect();
        self.read.retain(|number, _| present.contains(number));
        let new = reached.iter().filter(|(number, ..)| !self.read.contains_key(number)).take(READ_AT_ONCE);
        let new: Vec<_> = new.map(|of| (of.0, is_of(of, addresses))).collect();
        self.read.extend(new);
        let mut told: Vec<_> = reached.iter().filter(|of| self.read.get(&of.0) == Some(&true)).collect();
        told.sort_unstable_by_key(|(number, ..)| std::cmp::Reverse(*number));
        told.into_iter().map(|(.., enr)| enr.clone()).collect()
    }
}

/// Whether a record is the peer's, and names the address at which it was reached.
fn is_of((_, node_id, address, enr): &Reached, addresses: AddressPolicy) -> bool {
    let Ok(enr) = record::decode(enr) else { return false };
    NodeId::from(enr.node_id().raw()) == *node_id
        && address_of(&enr, addresses).is_some_and(|named| named.address == *address)
}

/// Peers that others told of.
#[derive(Default)]
pub(super) struct Heard {
    of: HashMap<NodeId, (Records, Vec<PeerAddress>)>,
}

impl Heard {
    /// Takes note of what connected peers tell of now, each with its records, and says whom one could dial: each peer tells of one,
    /// then each of another one, so that who tells of many keeps no other's from being dialled.
    pub(super) fn look(
        &mut self,
        telling: impl IntoIterator<Item = (NodeId, Records)>,
        addresses: AddressPolicy,
    ) -> Vec<PeerAddress> {
        let (mut now, mut left) = (HashMap::new(), READ_AT_ONCE);
        for (node_id, records) in telling {
            let known = self.of.remove(&node_id).filter(|(before, _)| Arc::ptr_eq(before, &records));
            let known = known.or_else(|| {
                left = left.checked_sub(records.len())?;
                let read = records.iter().filter_map(|enr| address_of(&record::decode(enr).ok()?, addresses));
                Some((Arc::clone(&records), read.collect()))
            });
            now.extend(known.map(|known| (node_id, known)));
        }
        self.of = now;
        let mut lists: Vec<_> = self.of.iter().map(|(of, (_, peers))| (*of, peers.iter())).collect();
        lists.sort_unstable_by_key(|(of, _)| *of);
        let mut heard = Vec::new();
        while !lists.is_empty() {
            lists.retain_mut(|(_, peers)| peers.next().map(|peer| heard.push(*peer)).is_some());
        }
        let mut seen = HashSet::new();
        heard.retain(|peer| seen.insert(peer.key));
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enr(number: u8, port: u16) -> (NodeId, Vec<u8>) {
        let key = enr::CombinedKey::secp256k1_from_bytes(&mut [number; 32]).unwrap();
        let mut builder = enr::Enr::builder();
        builder.ip4([127, 0, 0, 1].into()).udp4(port).add_value(crate::quic_address::QUIC_KEY, &port);
        let enr = builder.build(&key).unwrap();
        (NodeId::from(enr.node_id().raw()), record::encode(&enr).to_vec())
    }

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn what_was_reached_where_its_record_says_is_told_on_and_nothing_else() {
        let ((one, first), (two, second), (_, third)) = (enr(1, 1000), enr(2, 2000), enr(3, 3000));
        let reached = [
            (1, one, at(1000), first.clone()),
            (2, two, at(2001), second.clone()),
            (3, two, at(3000), third),
            (4, one, at(1000), vec![1, 2, 3]),
            (5, two, at(2000), second.clone()),
        ];
        let mut told = Told::default();
        assert_eq!(told.look(&reached, AddressPolicy::Local), [second, first]);
        assert_eq!(told.look(&reached, AddressPolicy::Internet).len(), 2, "each is read once");
        assert!(told.look(&[], AddressPolicy::Local).is_empty() && told.read.is_empty());
        assert!(told.look(&reached, AddressPolicy::Internet).is_empty(), "no address of the internet");
    }

    #[test]
    fn what_is_heard_is_read_once_and_nobody_is_passed_over() {
        let ports = |peers: Vec<PeerAddress>| peers.into_iter().map(|peer| peer.address.port()).collect::<Vec<_>>();
        let records = |numbers: std::ops::Range<u8>| -> Records {
            Arc::new(numbers.map(|number| enr(number, 1000 + u16::from(number)).1).chain([vec![0; 9]]).collect())
        };
        let (one, two) = (NodeId::from([1; 32]), NodeId::from([2; 32]));
        let (many, few) = (records(1..9), records(20..21));
        let mut heard = Heard::default();
        let look = |heard: &mut Heard, telling: &[(NodeId, &Records)]| {
            let telling = telling.iter().map(|(of, records)| (*of, Arc::clone(records)));
            ports(heard.look(telling.collect::<Vec<_>>(), AddressPolicy::Local))
        };
        assert_eq!(look(&mut heard, &[(one, &many), (two, &few)])[..3], [1001, 1020, 1002]);
        // The same one, told by both, is one.
        assert_eq!(look(&mut heard, &[(one, &few), (two, &few)]), [1020]);
        // Who has gone tells of nobody.
        assert_eq!(look(&mut heard, &[(two, &many)]).len(), 8);
        // More than can be read at once is read the next time.
        let lists: Vec<_> = (1..10_u8).map(|of| (NodeId::from([of; 32]), records(of * 20..of * 20 + 15))).collect();
        let lists: Vec<_> = lists.iter().map(|(of, records)| (*of, records)).collect();
        let first = look(&mut heard, &lists).len();
        let all = (0..4).map(|_| look(&mut heard, &lists).len()).last();
        assert!(first < 9 * 15 - 1 && all > Some(first), "{first} {all:?}");
    }
}
