//! A search's share of what reads archives.

use content_types::{ContentId, Distance, Form, NodeId, SubNetwork};
use enr::CombinedKey;
use overlay::service::{Admitted, Busy, ContentHandler, ContentSource, OfferVerdict, Reader, Rejection, Unobserved};
use overlay::transport::{ProtocolId, SimulatedNetwork};
use overlay::{Overlay, SubNetworkConfig, Transfers, Transport};

use super::*;
use crate::testing::Fixture;
use crate::workers::PeerRead;

/// A sub-network that reads what is held, as if for a user when it is asked to.
struct Reads(Holdings);

impl ContentHandler for Reads {
    fn content_id(&self, key: &[u8]) -> Option<ContentId> {
        ContentKey::decode(SubNetwork::LegacyHistory, key).ok().map(|key| key.content_id())
    }

    fn max_value_len(&self, _key: &[u8], _form: Form) -> usize {
        0
    }

    fn radius(&self) -> Distance {
        Distance::ZERO
    }

    fn get(&self, key: Bytes, reader: Reader) -> BoxFuture<'_, Result<Option<Bytes>, Busy>> {
        async move {
            let key = ContentKey::decode(SubNetwork::LegacyHistory, &key).unwrap();
            Ok(match reader {
                Reader::Own => self.0.get(&key).await.unwrap(),
                Reader::Peer(peer) => self.0.get_for_peer(peer, &key).await.unwrap(),
            })
        }
        .boxed()
    }

    fn offer(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Vec<OfferVerdict>> {
        async move { vec![OfferVerdict::NotVerifiable; keys.len()] }.boxed()
    }

    fn admit(&self, _: Bytes, _: Bytes, _: ContentSource) -> BoxFuture<'_, Result<Admitted, Rejection>> {
        async move { Err(Rejection::Unverifiable(Stopping.into())) }.boxed()
    }
}

/// While peers read as many archives as they may, a search for what one of them offered reads none by way of the
/// network's own look at home.
#[tokio::test]
async fn a_search_for_a_peer_reads_no_archive_beyond_the_peers_share() {
    let (network, queries) = HeaderNetwork::new();
    let Fixture { dir: _dir, workers, holdings, headers, .. } = Fixture::with_archives_and(Some(network));

    let mut record = overlay::Enr::builder();
    let record = record.ip4([10, 0, 0, 1].into()).udp4(9009).build(&CombinedKey::generate_secp256k1()).unwrap();
    let simulated = SimulatedNetwork::new(Duration::ZERO, 0.0, 1);
    let transport: Arc<dyn Transport> = Arc::new(simulated.join(record).unwrap());
    let transfers = Transfers::start(Arc::clone(&transport)).unwrap();
    let config = SubNetworkConfig::new("test", ProtocolId::from([0x50, 0x77]), 1);
    let overlay =
        Overlay::start(config, transport, transfers, Arc::new(Reads(holdings)), Arc::new(Unobserved)).unwrap();
    let answering = tokio::spawn(crate::networks::answer_header_queries(overlay, queries));

    let (peer, id) = (Asker::Peer { id: NodeId::from([8; 32]), subnet: None }, BlockId::Number(5));
    let busy = workers.all_reads_for_peers(PeerRead::Archive).await;
    let error = headers.get_for(peer, id).await.unwrap_err();
    let [(_, local), (_, network)] = &error.attempts[..] else { panic!("{error}") };
    assert!(matches!(local, NoHeader::Holdings(HoldingsError::Busy)), "{error}");
    assert!(matches!(network, NoHeader::NotFound { asked: 0 }), "{error}");
    assert!(headers.get(id).await.is_ok(), "for a user it is read");
    drop(busy);
    answering.abort();
}
