//! Where peers were seen: the record and the address of each peer's last session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use cairn_proto::routing::AddressPolicy;
use content_types::NodeId;
use discv5::IpMode;

use crate::transport::{Contact, Endpoint, Enr, node_id};

/// Peers whose last session is remembered: as many as discv5 keeps sessions with. About 1 kB each.
const MAX_PEERS: usize = super::SESSIONS;

/// A bounded memory of sessions; the peer that was used least recently is forgotten first.
pub(super) struct AddressBook {
    ip_mode: IpMode,
    policy: AddressPolicy,
    peers: HashMap<NodeId, Known>,
    uses: u64,
}

struct Known {
    contact: Contact,
    /// Whether the other side is believed to hold the session keys too.
    session: bool,
    last_use: u64,
    /// When a packet to it was answered last.
    answered: Option<Instant>,
}

impl AddressBook {
    pub(super) fn new(ip_mode: IpMode, policy: AddressPolicy) -> Self {
        Self { ip_mode, policy, peers: HashMap::new(), uses: 0 }
    }

    /// A session was made with the owner of `enr`, seen at `endpoint`.
    pub(super) fn session(&mut self, enr: Enr, endpoint: Endpoint) -> Contact {
        let enr = match self.peers.get(&endpoint.node_id) {
            Some(known) if known.contact.enr().seq() > enr.seq() => Enr::clone(known.contact.enr()),
            _ => enr,
        };
        let contact = Contact::new(enr, endpoint.address);
        self.insert(contact.clone());
        contact
    }

    /// The session is gone, or the other side may have lost it.
    pub(super) fn session_lost(&mut self, endpoint: &Endpoint) {
        if let Some(known) = self.peers.get_mut(&endpoint.node_id)
            && known.contact.address() == endpoint.address
        {
            known.session = false;
            // An address that its owner never announced is worth nothing without the session behind it.
            if self.ip_mode.get_contactable_addr(known.contact.enr()).is_some_and(|address| address != endpoint.address)
            {
                self.peers.remove(&endpoint.node_id);
            }
        }
    }

    /// A peer answered a packet.
    pub(super) fn answered(&mut self, endpoint: &Endpoint, now: Instant) {
        if let Some(known) = self.peers.get_mut(&endpoint.node_id)
            && known.contact.address() == endpoint.address
        {
            known.answered = known.answered.max(Some(now));
        }
    }

    /// A peer did not answer a packet that was sent at `sent`. When it has answered none since, it may have lost the session.
    pub(super) fn unanswered(&mut self, endpoint: &Endpoint, sent: Instant) {
        if let Some(known) = self.peers.get_mut(&endpoint.node_id)
            && known.contact.address() == endpoint.address
            && known.answered.is_none_or(|answered| answered < sent)
        {
            known.session = false;
        }
    }

    pub(super) fn has_session(&self, endpoint: &Endpoint) -> bool {
        self.peers
            .get(&endpoint.node_id)
            .is_some_and(|known| known.session && known.contact.address() == endpoint.address)
    }

    /// A newer record of a known peer may say where the peer is now; while there is a session, that tells.
    pub(super) fn learn(&mut self, enr: &Enr) {
        let announced = self.announced(enr);
        if let Some(known) = self.peers.get_mut(&node_id(enr))
            && known.contact.enr().seq() < enr.seq()
        {
            let address = announced.filter(|_| !known.session).unwrap_or(known.contact.address());
            known.contact = Contact::new(enr.clone(), address);
        }
    }

    /// Where a record says that its peer is, if that can be.
    fn announced(&self, enr: &Enr) -> Option<SocketAddr> {
        self.ip_mode.get_contactable_addr(enr).filter(|address| self.policy.believes(address.ip()))
    }

    pub(super) fn known(&mut self, node_id: &NodeId) -> Option<Contact> {
        self.uses += 1;
        let known = self.peers.get_mut(node_id)?;
        known.last_use = self.uses;
        Some(known.contact.clone())
    }

    /// The address of the session there is, with the newest record; without a session, what the newest record says.
    pub(super) fn contact(&mut self, enr: &Enr) -> Option<Contact> {
        let id = node_id(enr);
        self.learn(enr);
        if let Some(contact) = self.known(&id) {
            return Some(contact);
        }
        Some(Contact::new(enr.clone(), self.announced(enr)?))
    }

    /// Forgets a peer; whether it was known.
    pub(super) fn forget(&mut self, node_id: &NodeId) -> bool {
        self.peers.remove(node_id).is_some()
    }

    fn insert(&mut self, contact: Contact) {
        self.uses += 1;
        let known = Known { contact, session: true, last_use: self.uses, answered: None };
        self.peers.insert(known.contact.node_id(), known);
        if self.peers.len() > MAX_PEERS
            && let Some(oldest) = self.peers.iter().min_by_key(|(_, known)| known.last_use).map(|(id, _)| *id)
        {
            self.peers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use enr::CombinedKey;

    use super::*;

    fn enr(key: &CombinedKey, seq: u64, port: u16) -> Enr {
        Enr::builder().seq(seq).ip4([127, 0, 0, 1].into()).udp4(port).build(key).unwrap()
    }

    fn endpoint(enr: &Enr, port: u16) -> Endpoint {
        Endpoint { node_id: node_id(enr), address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    fn port(contact: Option<Contact>) -> Option<u16> {
        contact.map(|contact| contact.address().port())
    }

    #[test]
    fn a_session_beats_the_record_until_it_is_lost() {
        let key = CombinedKey::generate_secp256k1();
        let mut book = AddressBook::new(IpMode::Ip4, AddressPolicy::Local);
        let announced = enr(&key, 1, 1000);
        assert_eq!(port(book.contact(&announced)), Some(1000));

        book.session(announced.clone(), endpoint(&announced, 2000));
        assert_eq!(port(book.contact(&announced)), Some(2000));
        assert!(book.has_session(&endpoint(&announced, 2000)));

        let moved = enr(&key, 2, 3000);
        assert_eq!(port(book.contact(&moved)), Some(2000), "whoever wrote it, the session is there");
        assert!(book.has_session(&endpoint(&announced, 2000)));
        book.session_lost(&endpoint(&announced, 2000));
        assert_eq!(port(book.contact(&moved)), Some(3000));
    }

    #[test]
    fn a_session_is_doubted_when_nothing_is_answered_any_more() {
        let mut book = AddressBook::new(IpMode::Ip4, AddressPolicy::Local);
        let announced = enr(&CombinedKey::generate_secp256k1(), 1, 1000);
        let at = endpoint(&announced, 2000);
        book.session(announced.clone(), at);
        let sent = Instant::now();
        book.answered(&at, sent);
        book.unanswered(&at, sent);
        assert!(book.has_session(&at), "another was answered meanwhile");
        book.unanswered(&at, sent + std::time::Duration::from_secs(1));
        assert!(!book.has_session(&at));
        assert_eq!(port(book.contact(&announced)), Some(2000), "it is still there, as far as is known");
    }

    #[test]
    fn an_old_record_in_a_new_session_does_not_replace_a_newer_one() {
        let key = CombinedKey::generate_secp256k1();
        let mut book = AddressBook::new(IpMode::Ip4, AddressPolicy::Local);
        let new = enr(&key, 2, 2000);
        book.session(new.clone(), endpoint(&new, 2000));
        let contact = book.session(enr(&key, 1, 1000), endpoint(&new, 1000));
        assert_eq!((contact.enr().seq(), contact.address().port()), (2, 1000));
    }

    #[test]
    fn a_lost_session_falls_back_to_the_announced_address() {
        let key = CombinedKey::generate_secp256k1();
        let mut book = AddressBook::new(IpMode::Ip4, AddressPolicy::Local);
        let announced = enr(&key, 1, 1000);
        book.session(announced.clone(), endpoint(&announced, 2000));
        book.session_lost(&endpoint(&announced, 2000));
        assert_eq!(port(book.contact(&announced)), Some(1000));

        let hidden = Enr::builder().seq(1).build(&CombinedKey::generate_secp256k1()).unwrap();
        assert_eq!(port(book.contact(&hidden)), None);
        book.session(hidden.clone(), endpoint(&hidden, 4000));
        book.session_lost(&endpoint(&hidden, 4000));
        assert_eq!(port(book.contact(&hidden)), Some(4000), "nothing better is known");
    }

    #[test]
    fn the_least_recently_used_peer_is_forgotten() {
        let mut book = AddressBook::new(IpMode::Ip4, AddressPolicy::Local);
        let mut ids = Vec::new();
        for _ in 0..3 {
            let enr = enr(&CombinedKey::generate_secp256k1(), 1, 1000);
            ids.push(node_id(&enr));
            book.session(enr.clone(), endpoint(&enr, 1000));
        }
        assert!(book.known(&ids[0]).is_some());
        let filler = enr(&CombinedKey::generate_secp256k1(), 1, 1000);
        let filler = Contact::new(filler, SocketAddr::from(([127, 0, 0, 1], 1)));
        for number in 0..MAX_PEERS as u32 {
            // Only the count matters here: one record stands for all.
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            book.uses += 1;
            let last_use = book.uses;
            book.peers
                .insert(NodeId::from(id), Known { contact: filler.clone(), session: true, last_use, answered: None });
            if book.peers.len() == MAX_PEERS {
                break;
            }
        }
        book.insert(filler);
        assert!(book.known(&ids[1]).is_none());
        assert!(book.known(&ids[0]).is_some() && book.known(&ids[2]).is_some());
    }
}
