//! Sub-network services on a simulated network with a paused clock: hours pass in moments, and the same things happen in
//! every run.
#![allow(clippy::unwrap_used)] // A test that fails to set up has failed.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_proto::gossip::CLAIM_PATIENCE;
use cairn_proto::limits::{Direction, TransferLimits};
use cairn_proto::routing::log_distance;
use cairn_proto::wire::{Accept, AcceptCode, Offer, Request, Response, Varint};
use cairn_utp::CloseReason;
use common::{CHAIN_ID, DOUBTFUL, Peer, Setup, data, enr, key, protocol, soon, value};
use content_types::{ContentId, Distance};
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use overlay::service::{ContentSource, LookupError, TracedAnswer};
use overlay::transfer::{Stream, TransferError};
use overlay::transport::{SimulatedNetwork, SimulatedTransport};
use overlay::{Transfers, Transport};

const DELAY: Duration = Duration::from_millis(20);
const LONG: usize = 70_000;

fn network() -> Arc<SimulatedNetwork> {
    SimulatedNetwork::new(DELAY, 0.0, 1)
}

/// A peer that does only what a test makes it do.
async fn offer_only(from: &SimulatedTransport, to: &Peer, key: &Bytes) -> Accept {
    let contact = from.contact(&to.enr()).unwrap();
    let offer = Request::Offer(Offer { content_keys: vec![key.clone()] }).encode().unwrap();
    let answer = from.talk(&contact, &protocol(), offer).await.unwrap();
    let Response::Accept(accept) = Response::decode(&answer).unwrap() else { panic!("ACCEPT expected") };
    accept
}

#[tokio::test(start_paused = true)]
async fn content_arrives_over_a_link_that_loses_packets() {
    let network = SimulatedNetwork::new(DELAY, 0.02, 7);
    let a = Peer::simulated(&network, 1, Setup::default());
    let b = Peer::simulated(&network, 2, Setup::default());
    let key = key("lossy");
    b.memory.put(&key, value(&key, 500_000));
    a.overlay.add_enr(b.enr());
    let found = loop {
        // A request may be lost for good: then the lookup finds nothing, and is begun again.
        if let Ok(found) = a.overlay.lookup_content(key.clone()).await {
            break found;
        }
    };
    assert_eq!(found.value, value(&key, 500_000));
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_first_sender_fails_is_taken_from_the_second() {
    let network = network();
    let peer = Peer::simulated(&network, 1, Setup::default());
    let silent = network.join(enr(2, 1, CHAIN_ID)).unwrap();
    let honest = Peer::simulated(&network, 3, Setup::default());
    let key = key("contested");
    honest.memory.put(&key, value(&key, LONG));

    // The first offers, is told to send, and never opens the stream.
    assert_eq!(offer_only(&silent, &peer, &key).await.content_keys, [AcceptCode::Accepted]);
    let codes = honest.overlay.offer(peer.enr(), vec![(key.clone(), value(&key, LONG))]).await.unwrap();
    assert_eq!(codes, [AcceptCode::InboundKeyLimited]);
    assert_eq!(peer.memory.arrival(&key).await, ContentSource::Offer { peer: honest.id(), subnet: None });
}

/// Sends an accepted value in pieces of so many bytes, with a pause after each, while another peer offers the same key again and
/// again; what the other was answered. The value has to arrive all the same.
async fn sent_in_pieces(piece: usize, pause: Duration) -> Vec<AcceptCode> {
    const PIECES: usize = 20;
    let network = network();
    let peer = Peer::simulated(&network, 1, Setup::default());
    let slow = Arc::new(network.join(enr(2, 1, CHAIN_ID)).unwrap());
    let other = network.join(enr(3, 1, CHAIN_ID)).unwrap();
    let (sending, contact) = (transfers(slow.clone(), 1), slow.contact(&peer.enr()).unwrap());
    let key = key("slow");
    let whole = value(&key, piece * PIECES);

    let accept = offer_only(&slow, &peer, &key).await;
    assert_eq!(accept.content_keys, [AcceptCode::Accepted]);
    let slot = sending.slot(Direction::Outbound, &contact).await.unwrap();
    let mut stream = sending.connect(&contact, accept.connection_id, slot).unwrap();
    stream.write_all(Bytes::copy_from_slice(Varint::new(whole.len() as u32).as_bytes())).await.unwrap();
    let mut codes = Vec::new();
    for start in (0..whole.len()).step_by(piece) {
        stream.write_all(whole.slice(start..start + piece)).await.unwrap();
        codes.extend(offer_only(&other, &peer, &key).await.content_keys);
        // A line that is slow, in simulated time.
        tokio::time::sleep(pause).await;
    }
    stream.finish().await.unwrap();
    assert_eq!(
        peer.memory.arrival(&key).await,
        ContentSource::Offer { peer: cairn_proto::record::node_id(&slow.local_enr()), subnet: None }
    );
    codes
}

#[tokio::test(start_paused = true)]
async fn what_comes_slowly_is_taken_from_nobody_else_meanwhile() {
    let codes = sent_in_pieces(20_000, CLAIM_PATIENCE / 2).await;
    assert!(codes.iter().all(|code| *code == AcceptCode::InboundKeyLimited), "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trickle_does_not_keep_a_key_from_others() {
    let codes = sent_in_pieces(2_000, CLAIM_PATIENCE / 2).await;
    assert!(codes.contains(&AcceptCode::Accepted), "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_accepts_goes_on_to_its_neighbours() {
    let network = network();
    let peers: Vec<_> = (1..=6).map(|seed| Peer::simulated(&network, seed, Setup::default())).collect();
    // Radii are known by pings: each knows the next.
    for pair in peers.windows(2) {
        pair[0].overlay.ping(pair[1].enr(), None).await.unwrap();
    }
    let key = key("news");
    let codes = peers[0].overlay.offer(peers[1].enr(), vec![(key.clone(), value(&key, LONG))]).await.unwrap();
    assert_eq!(codes, [AcceptCode::Accepted]);
    for peer in &peers[1..] {
        peer.memory.arrival(&key).await;
    }
}

#[tokio::test(start_paused = true)]
async fn put_content_reports_who_answered() {
    let network = network();
    let peer = Peer::simulated(&network, 1, Setup::default());
    let others: Vec<_> = (2..=4).map(|seed| Peer::simulated(&network, seed, Setup::default())).collect();
    let key = key("put");
    others[2].memory.put(&key, value(&key, LONG));
    for other in &others {
        peer.overlay.ping(other.enr(), None).await.unwrap();
    }
    let report = peer.overlay.put_content(key.clone(), value(&key, LONG)).await.unwrap();
    assert_eq!(report.peer_count, 3);
    let accepted = report.codes.iter().filter(|code| code.is_accepted()).count();
    let stored = report.codes.iter().filter(|code| **code == AcceptCode::AlreadyStored).count();
    assert_eq!((accepted, stored), (2, 1));
    for other in &others[..2] {
        other.memory.arrival(&key).await;
    }
    // Nobody is asked again what it just answered, once it has what it asked for.
    while peer.transfers.running(Direction::Outbound) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(peer.overlay.put_content(key.clone(), value(&key, LONG)).await.unwrap().codes, []);
}

#[tokio::test(start_paused = true)]
async fn content_that_was_found_is_offered_to_those_on_the_way_that_want_it() {
    let network = network();
    let key = key("poked");
    let seeker = Peer::simulated(&network, 1, Setup { radius: Distance::ZERO, ..Setup::default() });
    let holder = Peer::simulated(&network, 2, Setup { radius: Distance::ZERO, ..Setup::default() });
    let lacking = Peer::simulated(&network, 3, Setup::default());
    holder.memory.put(&key, value(&key, LONG));
    // The one that lacks it knows the one that has it, and the seeker knows only the former.
    lacking.overlay.ping(holder.enr(), None).await.unwrap();
    seeker.overlay.ping(lacking.enr(), None).await.unwrap();
    let found = seeker.overlay.lookup_content(key.clone()).await.unwrap();
    assert_eq!((found.from, found.trace.hops), (holder.id(), 2));
    assert_eq!(lacking.memory.arrival(&key).await, ContentSource::Offer { peer: seeker.id(), subnet: None });
}

#[tokio::test(start_paused = true)]
async fn peers_that_no_longer_answer_are_not_named_to_others() {
    let network = network();
    let setup = || Setup { ping_interval: Duration::from_secs(30), ..Setup::default() };
    let asker = Peer::simulated(&network, 1, setup());
    let peer = Peer::simulated(&network, 2, setup());
    let dying = Peer::simulated(&network, 3, setup());
    peer.overlay.ping(dying.enr(), None).await.unwrap();
    let distance = log_distance(&peer.id(), &dying.id());
    assert_eq!(asker.overlay.find_nodes(peer.enr(), vec![distance]).await.unwrap(), [dying.enr()]);

    let enr = dying.enr();
    dying.overlay.shutdown().await;
    dying.transfers.shutdown().await;
    drop(dying);
    let is_live = || peer.overlay.routing_table().buckets.iter().flatten().any(|entry| *entry.enr == enr && entry.live);
    soon("the dead peer to be noticed", async {
        while is_live() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    assert!(asker.overlay.find_nodes(peer.enr(), vec![distance]).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_does_not_keep_a_lookup_from_a_faster_peer() {
    let network = network();
    let key = key("two sources");
    let id = ContentId::sha256(&key);
    let seeker = Peer::simulated(&network, 1, Setup { radius: Distance::ZERO, ..Setup::default() });
    // The nearer one announces a stream and never serves it.
    let mut two: Vec<u64> = vec![2, 3];
    two.sort_by_key(|seed| cairn_proto::record::node_id(&enr(*seed, 1, CHAIN_ID)).distance(&id));
    let trap = network.join(enr(two[0], 1, CHAIN_ID)).unwrap();
    let mut requests = trap.register(protocol(), 16).unwrap();
    tokio::spawn(async move {
        use cairn_proto::wire::{ClientInfo, Content, Extensions, Nodes, Ping, PingPayload};
        while let Some(request) = requests.recv().await {
            let response = match Request::decode(&request.body).unwrap() {
                Request::FindContent(_) => Response::Content(Content::ConnectionId(77)),
                Request::Ping(_) => {
                    let payload = PingPayload::ClientInfo(ClientInfo {
                        client_info: Bytes::new(),
                        data_radius: Distance::MAX,
                        capabilities: Extensions::STANDARD.to_capabilities(),
                    });
                    Response::Pong(Ping::new(1, &payload).unwrap())
                }
                _ => Response::Nodes(Nodes::pack([])),
            };
            request.respond(response.encode().unwrap());
        }
    });
    let honest = Peer::simulated(&network, two[1], Setup::default());
    honest.memory.put(&key, value(&key, LONG));
    for enr in [trap.local_enr(), honest.enr()] {
        seeker.overlay.ping(enr, None).await.unwrap();
    }
    let started = tokio::time::Instant::now();
    let found = seeker.overlay.lookup_content(key).await.unwrap();
    assert_eq!(found.from, honest.id());
    assert!(started.elapsed() < Duration::from_secs(3), "simulated time: {:?}", started.elapsed());
}

/// Streams of a node with as many slots as `streams` need.
fn transfers(transport: Arc<SimulatedTransport>, streams: usize) -> Transfers {
    let limits = TransferLimits {
        inbound: streams,
        inbound_per_peer: streams,
        fetches: streams,
        fetches_per_peer: streams,
        outbound: streams,
        // A newcomer has a quarter.
        outbound_per_peer: 4 * streams,
    };
    Transfers::with_limits(transport, limits).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_more_streams_at_both_ends_than_packets_leave_at_once() {
    const STREAMS: usize = 60;
    let network = network();
    let [a, b] = [1, 2].map(|seed| Arc::new(network.join(enr(seed, 1, CHAIN_ID)).unwrap()));
    let (to_a, to_b) = (b.contact(&a.local_enr()).unwrap(), a.contact(&b.local_enr()).unwrap());
    let (at_a, at_b) = (transfers(a, STREAMS), transfers(b, STREAMS));
    let pair = |_| async {
        let mut accepted = at_b.accept(&to_a, at_b.slot(Direction::Outbound, &to_a).await.unwrap()).unwrap();
        let slot = at_a.slot(Direction::Fetch, &to_b).await.unwrap();
        let mut opened = at_a.connect(&to_b, accepted.connection_id(), slot).unwrap();
        opened.write_all(Bytes::from_static(b"?")).await.unwrap();
        assert_eq!(accepted.read_chunk().await.unwrap().as_deref(), Some(&b"?"[..]));
        (opened, accepted)
    };
    let (opened, accepted): (Vec<_>, Vec<_>) = join_all((0..STREAMS).map(pair)).await.into_iter().unzip();
    let ends = |streams: Vec<Stream>| {
        join_all(streams.into_iter().map(|mut stream| async move { stream.read_chunk().await.unwrap_err() }))
    };
    let shutdown = async {
        // Both ends read by now: they are polled first.
        at_a.shutdown().await;
    };
    let (at_a, at_b, ()) = tokio::join!(ends(opened), ends(accepted), shutdown);
    assert_eq!(at_a, [TransferError::Closed(CloseReason::LocalReset); STREAMS]);
    assert_eq!(at_b, [TransferError::Closed(CloseReason::PeerReset); STREAMS]);
}

#[tokio::test(start_paused = true)]
async fn all_streams_that_a_lookup_leaves_are_declined() {
    const PEERS: u64 = 32;
    let network = network();
    let seeker = Arc::new(network.join(enr(1, 1, CHAIN_ID)).unwrap());
    let declining = transfers(seeker.clone(), 1);
    let peers: Vec<_> = (2..2 + PEERS).map(|seed| Arc::new(network.join(enr(seed, 1, CHAIN_ID)).unwrap())).collect();
    let announced = peers.iter().map(|peer| {
        let announcing = transfers(peer.clone(), 1);
        let stream = announcing.announce(&peer.contact(&seeker.local_enr()).unwrap()).unwrap();
        (announcing, stream)
    });
    let (_announcing, mut streams): (Vec<_>, Vec<_>) = announced.unzip();
    for (peer, stream) in peers.iter().zip(&streams) {
        declining.decline(&seeker.contact(&peer.local_enr()).unwrap(), stream.connection_id());
    }
    let ends = join_all(streams.iter_mut().map(Stream::opened)).await;
    assert_eq!(ends, [Err(TransferError::Closed(CloseReason::PeerReset)); PEERS as usize]);
}

/// A peer that seeks, and others that it knows, the nearest to a key first.
async fn seeker_and_others(key: &Bytes, others: u64) -> (Peer, Vec<Peer>) {
    let network = network();
    let seeker = Peer::simulated(&network, 1, Setup { radius: Distance::ZERO, ..Setup::default() });
    let mut others: Vec<_> = (2..2 + others).map(|seed| Peer::simulated(&network, seed, Setup::default())).collect();
    others.sort_by_key(|peer| peer.id().distance(&ContentId::sha256(key)));
    for other in &others {
        seeker.overlay.ping(other.enr(), None).await.unwrap();
    }
    (seeker, others)
}

/// Who serves an archive has no radius that covers it, and may be farther from a piece of it than all others.
#[tokio::test(start_paused = true)]
async fn content_that_only_a_far_peer_has_is_found() {
    let (network, key) = (network(), key("in an archive"));
    let setup = || Setup { radius: Distance::ZERO, ..Setup::default() };
    let seeker = Peer::simulated(&network, 1, setup());
    let mut others: Vec<_> = (2..=21).map(|seed| Peer::simulated(&network, seed, setup())).collect();
    others.sort_by_key(|peer| peer.id().distance(&ContentId::sha256(&key)));
    for other in &others {
        seeker.overlay.ping(other.enr(), None).await.unwrap();
    }
    let holder = others.last().unwrap();
    holder.memory.put(&key, value(&key, LONG));
    assert_eq!(seeker.overlay.lookup_content(key).await.unwrap().from, holder.id());
}

#[tokio::test(start_paused = true)]
async fn a_search_asks_the_network_only() {
    let key = key("here and there");
    let (seeker, holders) = seeker_and_others(&key, 1).await;
    seeker.memory.put(&key, value(&key, LONG));
    let error = seeker.overlay.search_content(key.clone()).await.unwrap_err();
    assert!(matches!(error, LookupError::NotFound(_)), "{error}");
    assert_eq!(seeker.overlay.lookup_content(key.clone()).await.unwrap().from, seeker.id());
    holders[0].memory.put(&key, value(&key, LONG));
    assert_eq!(seeker.overlay.search_content(key).await.unwrap().from, holders[0].id());
}

#[tokio::test(start_paused = true)]
async fn what_no_copy_of_could_be_verified_is_downloaded_once() {
    let key = key("unverifiable");
    let (seeker, holders) = seeker_and_others(&key, 3).await;
    for holder in &holders {
        holder.memory.put(&key, data(LONG, 1));
    }
    let error = seeker.overlay.lookup_content(key).await.unwrap_err();
    let LookupError::Unverifiable(error) = error else { panic!("{error}") };
    assert_eq!(error.reason.to_string(), "no header");
    let rejected = error.trace.responses.iter().filter(|it| matches!(it.answer, TracedAnswer::Rejected(_)));
    assert_eq!(rejected.count(), 1);
    assert_eq!(seeker.overlay.peer_count(), holders.len(), "nobody is to blame");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_told_from_invalid_does_not_hide_a_good_one() {
    let key = key("doubted");
    let (seeker, holders) = seeker_and_others(&key, 2).await;
    let doubtful = [DOUBTFUL, &data(LONG, 1)].concat();
    holders[0].memory.put(&key, doubtful.into());
    holders[1].memory.put(&key, value(&key, LONG));
    let found = seeker.overlay.lookup_content(key).await.unwrap();
    assert_eq!(found.from, holders[1].id());
    let rejected = found.trace.responses.iter().filter(|it| matches!(it.answer, TracedAnswer::Rejected(_)));
    assert_eq!(rejected.map(|it| it.peer).collect::<Vec<_>>(), [holders[0].id()]);
    assert_eq!(seeker.overlay.peer_count(), holders.len(), "nobody is to blame");
}

#[tokio::test(start_paused = true)]
async fn a_newer_record_is_fetched_when_a_peer_mentions_it() {
    let network = network();
    let peer = Peer::simulated(&network, 1, Setup::default());
    let other = Peer::simulated(&network, 2, Setup::default());
    peer.overlay.ping(other.enr(), None).await.unwrap();
    let old = other.enr();
    other.overlay.shutdown().await;
    other.transfers.shutdown().await;
    drop(other);
    // The same node, back with a newer record under the same address.
    let other = Peer::start(Arc::new(network.join(enr(2, 2, CHAIN_ID)).unwrap()), Setup::default());
    peer.overlay.ping(old, None).await.unwrap();
    soon("the newer record", async {
        while peer.overlay.get_enr(&other.id()).unwrap().seq() < 2 {
            tokio::time::sleep(DELAY).await;
        }
    })
    .await;
}

/// Who asks several peers at once opens one stream and leaves the others. Those who announced them keep places for them until
/// they are told, and a third, from whom no answer ever comes, must not keep that from them.
#[tokio::test(start_paused = true)]
async fn streams_that_a_lookup_leaves_are_declined_although_another_peer_is_silent() {
    const ITEMS: usize = 600;
    // So near that hundreds of lookups end while an answer that does not come is waited for.
    let network = SimulatedNetwork::new(Duration::from_millis(1), 0.0, 1);
    let seeker = Peer::simulated(&network, 1, Setup { radius: Distance::ZERO, ..Setup::default() });
    let holders = [2, 3].map(|seed| Peer::simulated(&network, seed, Setup::default()));
    let dying = Peer::simulated(&network, 4, Setup::default());
    for holder in &holders {
        seeker.overlay.ping(holder.enr(), None).await.unwrap();
        // So it names it, as long as it has not noticed.
        holder.overlay.ping(dying.enr(), None).await.unwrap();
    }
    dying.overlay.shutdown().await;
    dying.transfers.shutdown().await;
    drop(dying);
    let keys: Vec<_> = (0..ITEMS).map(|item| key(format!("item {item}"))).collect();
    for (key, holder) in keys.iter().flat_map(|key| holders.iter().map(move |holder| (key, holder))) {
        holder.memory.put(key, value(key, 1400));
    }
    let look_up = |key: &Bytes| seeker.overlay.lookup_content(key.clone());
    let found: Vec<_> = stream::iter(keys.iter().map(look_up)).buffer_unordered(16).collect().await;
    let traces = found.into_iter().map(|found| found.unwrap().trace);
    let answers: Vec<_> = traces.flat_map(|trace| trace.responses).map(|response| response.answer).collect();
    assert_eq!(answers.iter().filter(|answer| matches!(answer, TracedAnswer::Content)).count(), ITEMS);
    let refused = answers.iter().filter(|answer| matches!(answer, TracedAnswer::Nodes(_))).count();
    assert_eq!(refused, 0, "holders that had no place left for a stream");
}

/// Who says that it is busy may have it: it is asked again, and told apart from who lacks it.
#[tokio::test(start_paused = true)]
async fn who_is_too_busy_to_look_is_asked_again() {
    let network = network();
    let seeker = Peer::simulated(&network, 1, Setup { radius: Distance::ZERO, ..Setup::default() });
    let holder = Peer::simulated(&network, 2, Setup::default());
    seeker.overlay.ping(holder.enr(), None).await.unwrap();
    let key = key("sought");
    holder.memory.put(&key, value(&key, LONG));
    holder.memory.be_busy_for(2);
    let found = seeker.overlay.lookup_content(key.clone()).await.unwrap();
    assert_eq!((found.from, found.value.len()), (holder.id(), LONG));

    holder.memory.be_busy_for(usize::MAX);
    let Err(LookupError::NotFound(missing)) = seeker.overlay.lookup_content(key).await else { panic!("found") };
    let [response] = &missing.trace.responses[..] else { panic!("{:?}", missing.trace.responses) };
    assert!(matches!(&response.answer, TracedAnswer::Failed(why) if why.contains("busy")), "{response:?}");
}
