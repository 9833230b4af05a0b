//! Nodes of a way down a trie over discv5, from peers that QUIC does not reach: each answer is a page of them, and the first pages are
//! asked for at once (`content-types/PROTOCOL.md`). So a read takes a round trip for six full nodes there, and not for each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_peer_book::{Offence, PeerBook, Who};
use cairn_proto::record;
use content_types::state::page::{WayPage, nodes_of};
use content_types::state::{SPEC, Way};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use overlay::transport::{Contact, ProtocolId};
use overlay::{Enr, Transport};
use tokio::time::Instant;

/// Pages that are asked for at once. A full node takes half a page, and the leaf of an account a sixth; the way to an account is five nodes
/// where there are fifty thousand accounts, and nine where there are a few hundred million. The upper ones of those are mostly read already.
const PAGES: u8 = 3;

/// Fetches pages of ways. Cheap to clone.
#[derive(Clone)]
pub(super) struct TalkWays {
    transport: Arc<dyn Transport>,
    book: PeerBook,
}

impl TalkWays {
    pub(super) fn new(transport: Arc<dyn Transport>, book: PeerBook) -> Self {
        Self { transport, book }
    }

    /// Where a peer is asked for ways, if it takes such requests.
    pub(super) fn contact(&self, peer: &Enr) -> Option<Contact> {
        record::takes_own_requests(peer).then(|| self.transport.contact(peer)).flatten()
    }

    /// What a peer gives of a way, from its first node on, each linked to the one before; nothing if it has not even that one, or no
    /// time. Who sends what is no part of the way is charged.
    pub(super) async fn fetch(&self, from: &Contact, mut way: Way) -> Vec<Bytes> {
        let protocol = ProtocolId::from(SPEC.protocol_id);
        let ask = |page| self.transport.talk(from, &protocol, WayPage { way, page }.encode().into());
        let mut pages: FuturesOrdered<_> = (0..PAGES).map(ask).collect();
        let asked = Instant::now();
        let (mut nodes, mut patience) = (Vec::new(), None);
        loop {
            // They were asked for together and come together. For a packet that is lost on the way nobody waits: what it had is asked for
            // when the read has come so far.
            let next = match patience {
                None => pages.next().await,
                Some(patience) => tokio::time::timeout(patience, pages.next()).await.unwrap_or_default(),
            };
            let Some(Ok(page)) = next else { return nodes };
            match take(&mut way, &mut nodes, page) {
                PageEnd::More => {}
                PageEnd::Nothing => return nodes,
                PageEnd::Lie => {
                    self.charge(from);
                    return nodes;
                }
            }
            patience.get_or_insert_with(|| asked.elapsed().max(Duration::from_millis(1)));
        }
    }

    fn charge(&self, peer: &Contact) {
        tracing::warn!(peer = %peer.node_id(), "a peer sent what lies on no way down the trie");
        self.book.charge(Instant::now().into_std(), &Who::new(peer.node_id(), peer.address().ip()), Offence::Lie);
    }
}

/// What comes behind a page.
enum PageEnd {
    /// Maybe another one.
    More,
    /// Nothing that is of use.
    Nothing,
    /// It was none of the way.
    Lie,
}

/// Goes on with the nodes of a page.
fn take(way: &mut Way, nodes: &mut Vec<Bytes>, page: Bytes) -> PageEnd {
    let Some(of_page) = nodes_of(page) else { return PageEnd::Lie };
    if of_page.is_empty() {
        return PageEnd::Nothing;
    }
    // A page is laid out when it is asked for. If a node has come to the peer since the page before was, it may lie between the two:
    // then they do not join, and nobody lies.
    let may_begin_later = !nodes.is_empty();
    let last = of_page.len() - 1;
    for (nth, node) in of_page.into_iter().enumerate() {
        match way.handle_node(&node) {
            Ok(goes_on) => {
                nodes.push(node);
                match (goes_on, nth == last) {
                    (true, _) => {}
                    (false, true) => return PageEnd::Nothing,
                    (false, false) => return PageEnd::Lie,
                }
            }
            Err(_) if nth == 0 && may_begin_later => return PageEnd::Nothing,
            Err(_) => return PageEnd::Lie,
        }
    }
    PageEnd::More
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use cairn_synthetic::{SyntheticChain, SyntheticConfig};
    use content_types::state::{Part, StateRead};
    use enr::CombinedKey;
    use overlay::transport::{SimulatedNetwork, SimulatedTransport};

    use super::*;

    const DELAY: Duration = Duration::from_millis(25);

    fn join(network: &Arc<SimulatedNetwork>, last: u8, entries: usize) -> Arc<SimulatedTransport> {
        let key = CombinedKey::secp256k1_from_bytes(&mut [last; 32]).unwrap();
        let mut record = Enr::builder();
        record.ip4(Ipv4Addr::new(192, 0, 2, last)).udp4(9009);
        for (name, value) in record::portal_entries(1, "test").into_iter().take(entries) {
            record.add_value_rlp(name, value);
        }
        Arc::new(network.join(record.build(&key).unwrap()).unwrap())
    }

    /// The nodes on the way to an account, three at least.
    fn proof() -> (Way, Vec<Bytes>) {
        let chain = SyntheticChain::new(SyntheticConfig { accounts: 200, ..SyntheticConfig::small() }).unwrap();
        let state = chain.state(3);
        let address = state.accounts()[0].address;
        let nodes = state.account_proof(&address);
        assert!(nodes.len() > 2);
        (StateRead::new(state.root(), &address, Part::Account).way().unwrap(), nodes)
    }

    fn page(nodes: &[Bytes]) -> Option<Bytes> {
        Some(nodes.iter().flat_map(|node| [&(node.len() as u16).to_be_bytes()[..], node].concat()).collect())
    }

    /// What a peer that answers each page with these bytes, or never, gives, whether it is barred then, and how long that takes.
    async fn given(way: Way, pages: Vec<Option<Bytes>>) -> (Vec<Bytes>, bool, Duration) {
        let network = SimulatedNetwork::new(DELAY, 0.0, 1);
        let (reader, peer) = (join(&network, 1, 4), join(&network, 2, 4));
        let mut requests = peer.register(SPEC.protocol_id.into(), 8).unwrap();
        let answering = tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Some(request) = requests.recv().await {
                let asked = WayPage::decode(&request.body).unwrap();
                assert_eq!(asked.way, way);
                match pages.get(usize::from(asked.page)).cloned() {
                    Some(Some(page)) => request.respond(page),
                    Some(None) => unanswered.push(request),
                    None => {}
                }
            }
        });
        let book = PeerBook::default();
        let ways = TalkWays::new(reader, book.clone());
        let contact = ways.contact(&peer.local_enr()).unwrap();
        let begun = Instant::now();
        let nodes = ways.fetch(&contact, way).await;
        let took = begun.elapsed();
        answering.abort();
        (nodes, book.barred_for(Instant::now().into_std(), &contact.node_id(), None).is_some(), took)
    }

    #[tokio::test(start_paused = true)]
    async fn pages_come_in_one_round_trip_and_what_does_not_come_is_not_waited_for() {
        let (way, proof) = proof();
        let all = vec![page(&proof[..1]), page(&proof[1..2]), page(&proof[2..])];
        let (nodes, is_barred, took) = given(way, all.clone()).await;
        assert_eq!(nodes, proof);
        assert!(!is_barred && took < DELAY * 3, "{took:?}");

        let (nodes, is_barred, _) = given(way, all[..1].to_vec()).await;
        assert!(nodes == proof[..1] && !is_barred, "it ends where nothing comes");
        let (nodes, is_barred, took) = given(way, vec![all[0].clone(), None, all[2].clone()]).await;
        assert!(nodes == proof[..1] && !is_barred && took < DELAY * 5, "{took:?}");
        // Behind the end of the way nothing is waited for.
        let (nodes, is_barred, took) = given(way, vec![page(&proof), None, None]).await;
        assert!(nodes == proof && !is_barred && took < DELAY * 3, "{took:?}");
        assert_eq!(given(way, Vec::new()).await.0, Vec::<Bytes>::new());
        assert_eq!(given(way, vec![None, all[1].clone()]).await.0, Vec::<Bytes>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_what_is_none_of_the_way_is_barred() {
        let (way, proof) = proof();
        let beyond = [&proof[..], &proof[..1]].concat();
        for (pages, right) in [
            (vec![page(&proof[1..])], 0),
            (vec![page(&[&proof[..1], &proof[2..]].concat())], 1),
            (vec![page(&beyond)], proof.len()),
            (vec![page(&proof[..1]), Some(vec![0, 9].into())], 1),
            (vec![page(&proof[..1]), page(&[&proof[1..2], &proof[1..2]].concat())], 2),
        ] {
            let (nodes, is_barred, _) = given(way, pages).await;
            assert!(nodes == proof[..right] && is_barred, "{right}");
        }
    }

    /// A node came to the peer after its first page was laid out, so that the second begins one later.
    #[tokio::test(start_paused = true)]
    async fn pages_that_do_not_join_are_no_lie() {
        let (way, proof) = proof();
        let (nodes, is_barred, _) = given(way, vec![page(&proof[..1]), page(&proof[2..])]).await;
        assert!(nodes == proof[..1] && !is_barred);
    }

    #[test]
    fn only_who_takes_them_is_asked() {
        let network = SimulatedNetwork::new(DELAY, 0.0, 1);
        let (reader, without) = (join(&network, 1, 4), join(&network, 2, 3));
        assert!(TalkWays::new(reader, PeerBook::default()).contact(&without.local_enr()).is_none());
    }
}
