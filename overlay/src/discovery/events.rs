//! Empties discv5's event stream, which drops what does not fit its 100 places.

use std::sync::Arc;
use std::time::Duration;

use discv5::Event;
use tokio::sync::mpsc;

use super::RunningDiscovery;
use crate::transport::{Endpoint, Enr, PeerEvent, TalkRequest, node_id};

/// How often the local record is compared with the published one. discv5 tells when it sets an address, not when it
/// withdraws one.
const RECORD_CHECK: Duration = Duration::from_secs(10);

pub(super) async fn pump(inner: Arc<RunningDiscovery>, mut events: mpsc::Receiver<Event>) {
    let mut record_check = tokio::time::interval(RECORD_CHECK);
    loop {
        tokio::select! {
            biased;
            () = inner.stopping.cancelled() => return,
            event = events.recv() => match event {
                Some(event) => handle(&inner, event),
                None => return,
            },
            _ = record_check.tick() => inner.publish_local_enr(),
        }
    }
}

fn handle(inner: &RunningDiscovery, event: Event) {
    match event {
        Event::TalkRequest(request) => talk_request(inner, request),
        Event::SessionEstablished(enr, address) => {
            let node_id = node_id(&enr);
            session(inner, enr, Endpoint { node_id, address });
        }
        // The session stands all the same: a peer behind NAT, or one that moved, is reached where it was seen.
        Event::UnverifiableEnr { enr, socket: address, node_id: id } if enr.node_id() == id => {
            let node_id = node_id(&enr);
            session(inner, enr, Endpoint { node_id, address });
        }
        Event::SessionsExpired(expired) => {
            let mut book = inner.book.lock();
            for peer in expired {
                book.session_lost(&Endpoint { node_id: peer.node_id.raw().into(), address: peer.socket_addr });
            }
        }
        Event::SocketUpdated(address) => {
            tracing::info!(%address, "peers agree on this node's address");
            inner.publish_local_enr();
        }
        Event::Discovered(enr) => {
            inner.book.lock().learn(&enr);
            publish(inner, PeerEvent::Discovered(enr));
        }
        _ => {}
    }
}

fn talk_request(inner: &RunningDiscovery, request: discv5::TalkRequest) {
    // Checked first, so that what nobody speaks costs no copy. Dropping the request answers empty.
    if !inner.dispatcher.speaks(request.protocol()) {
        return;
    }
    let contact = inner.known(&request.node_id().raw().into());
    let protocol = request.protocol().to_vec();
    let request = TalkRequest::from_discv5(request, contact);
    if let Err(reason) = inner.dispatcher.deliver(&protocol, request) {
        tracing::debug!(?reason, "TALKREQ answered empty");
    }
}

fn session(inner: &RunningDiscovery, enr: Enr, endpoint: Endpoint) {
    let contact = inner.book.lock().session(enr, endpoint);
    publish(inner, PeerEvent::Session(contact));
}

fn publish(inner: &RunningDiscovery, event: PeerEvent) {
    // No sub-network may be listening yet.
    let _ = inner.peer_events.send(event);
}
