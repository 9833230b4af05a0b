//! Answers the requests of peers.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_limits::{Holder, Permit, Quota};
use cairn_proto::limits::Direction;
use cairn_proto::record::{self, PortalFields};
use cairn_proto::routing::K;
use cairn_proto::wire::{
    Content, ErrorCode, ErrorPayload, FindContent, FindNodes, MAX_INLINE_CONTENT_BYTES, Nodes, Ping, PingPayload,
    Request, Response,
};
use cairn_utp::CloseReason;
use content_types::{ContentId, Form, NodeId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::inner::RunningOverlay;
use super::{Busy, Reader, RequestKind};
use crate::transfer::{Stream, StreamAnnouncement, TransferError};
use crate::transport::{Contact, TalkRequest};

/// Requests that wait to be looked at. What does not fit is answered empty.
pub(super) const REQUEST_QUEUE: usize = 256;

/// Requests that are being worked on; of one peer twice the streams that it may have unless told otherwise. Those that only
/// wait for their peer's other streams to end make room for others.
pub(super) const REQUESTS: Quota =
    Quota::new(512).of_peer(128).of_newcomer(32).yields_after(Duration::from_millis(100));

/// Values of keys that never stand for more, in bytes, are read before it is known whether there is a slot for them: reading
/// costs microseconds, and most fit into the answer. Headers are such.
const MAX_SHORT_VALUE: usize = 4096;

/// How long a request for long content waits until a slot is free for its stream; discv5 repeats it after a second.
const ANNOUNCE_PATIENCE: Duration = Duration::from_millis(500);

/// How long a stream that was announced may wait for a transfer slot.
pub(super) const SLOT_PATIENCE: Duration = Duration::from_secs(2);

/// Largest value kept in memory until a peer opens the stream that it was announced on, in bytes.
const MAX_KEPT_VALUE: usize = 64 << 10;

/// Takes requests in the order they came.
pub(super) async fn serve(inner: Arc<RunningOverlay>, mut requests: mpsc::Receiver<TalkRequest>) {
    while let Some(request) = requests.recv().await {
        if !inner.is_spoken_to(&request) {
            continue;
        }
        match Request::decode(&request.body) {
            Ok(Request::Ping(ping)) => {
                inner.observer.request_received(RequestKind::Ping);
                let response = inner.answer_ping(&request, &ping);
                respond(request, &response);
            }
            Ok(Request::FindNodes(FindNodes { distances })) => {
                inner.observer.request_received(RequestKind::FindNodes);
                let response = inner.answer_find_nodes(&request, &distances);
                respond(request, &response);
            }
            Ok(Request::FindContent(FindContent { content_key })) => {
                inner.observer.request_received(RequestKind::FindContent);
                let serving = inner.clone();
                match inner.busy.try_take(request.endpoint().holder(), 1) {
                    Ok(working) => {
                        working.set_yielding(false);
                        inner.spawn(async move { serving.serve_content(request, content_key, working).await });
                    }
                    Err(_) => {
                        if let Some(id) = inner.handler.content_id(&content_key) {
                            let busy = inner.busy(&id, &request.node_id);
                            respond(request, &busy);
                        }
                    }
                }
            }
            Ok(Request::Offer(offer)) => {
                inner.observer.request_received(RequestKind::Offer);
                let (serving, keys) = (inner.clone(), offer.content_keys);
                match inner.busy.try_take(request.endpoint().holder(), 1) {
                    Ok(working) => {
                        working.set_yielding(false);
                        inner.spawn(async move { serving.serve_offer(request, keys, working).await });
                    }
                    Err(_) => inner.put_off_offer(request, keys.len()),
                }
            }
            Err(error) => match inner.handler.own_request(request.endpoint().holder(), &request.body) {
                Some(answer) => {
                    inner.observer.request_received(RequestKind::Own);
                    // Without a place it is answered empty: whoever asks has the specification's requests.
                    if let Ok(working) = inner.busy.try_take(request.endpoint().holder(), 1) {
                        working.set_yielding(false);
                        inner.spawn(async move {
                            request.respond(answer.await);
                            drop(working);
                        });
                    }
                }
                None => {
                    inner.observer.request_received(RequestKind::Malformed);
                    tracing::debug!(peer = %request.node_id, %error, "request answered empty");
                }
            },
        }
    }
}

/// Sends a response. One that breaks a limit is a fault of this node: the peer gets an empty answer.
pub(super) fn respond(request: TalkRequest, response: &Response) {
    match response.encode() {
        Ok(bytes) => request.respond(bytes),
        Err(error) => tracing::error!(%error, "response not sent"),
    }
}

impl RunningOverlay {
    /// Whether the asking peer gets more than an empty answer; if so, it is mentioned to the table.
    fn is_spoken_to(&self, request: &TalkRequest) -> bool {
        if self.is_barred(&request.node_id) {
            return false;
        }
        let Some(contact) = &request.contact else { return true };
        let compatible = PortalFields::read(contact.enr()).negotiate(self.config.chain_id).is_ok();
        if compatible {
            self.mention_contact(contact);
        }
        compatible
    }

    fn answer_ping(self: &Arc<Self>, request: &TalkRequest, ping: &Ping) -> Response {
        let payload = match ping.decode_payload() {
            Ok(payload) => {
                let newer =
                    self.table.lock().handle_ping(&request.node_id, ping.enr_seq, &payload, Instant::now().into_std());
                if let Some(contact) = request.contact.as_ref().filter(|_| newer) {
                    self.refetch_record(contact.enr().clone());
                }
                if self.config.ping_extensions.contains(ping.payload_type) {
                    self.ping_payload(ping.payload_type)
                } else {
                    let error = ErrorPayload::new(ErrorCode::ExtensionNotSupported, "ping extension not listed");
                    PingPayload::Error(error)
                }
            }
            Err(error) => PingPayload::Error(ErrorPayload::new(error.code(), "ping payload not read")),
        };
        let enr_seq = self.transport.local_enr().seq();
        Response::Pong(Ping::new(enr_seq, &payload).unwrap_or_else(|error| {
            // Only a client description that is too long gets here.
            tracing::error!(%error, "PONG without payload");
            Ping { enr_seq, payload_type: payload.payload_type(), payload: Bytes::new() }
        }))
    }

    fn answer_find_nodes(&self, request: &TalkRequest, distances: &[u16]) -> Response {
        let own = distances.contains(&0).then(|| record::encode(&self.transport.local_enr()));
        let others = self.table.lock().nodes_at(distances, &request.node_id);
        Response::Nodes(Nodes::pack(own.into_iter().chain(others.iter().map(|enr| record::encode(enr)))))
    }

    async fn serve_content(&self, request: TalkRequest, key: Bytes, working: Permit) {
        // A malformed key is an undecodable request: answered empty.
        let Some(id) = self.handler.content_id(&key) else { return };
        let peer = request.node_id;
        let may_be_long = self.handler.max_value_len(&key, Form::Stored) > MAX_SHORT_VALUE;
        let contact = request.contact.clone();
        let mut announcement = None;
        // What is long may cost milliseconds to read. Others may have it, and a slot.
        if may_be_long && let Some(contact) = &contact {
            match self.announcement(contact, &working).await {
                Some(taken) => announcement = Some(taken),
                None => return respond(request, &self.busy(&id, &peer)),
            }
        }
        let reader = contact.as_ref().map_or_else(|| Holder::id(*peer.as_bytes()), Contact::holder);
        let value = match self.handler.get(key.clone(), Reader::Peer(reader)).await {
            Err(Busy) => return respond(request, &self.busy(&id, &peer)),
            Ok(None) => return respond(request, &self.closer(&id, &peer)),
            Ok(Some(value)) if value.len() <= MAX_INLINE_CONTENT_BYTES => {
                return respond(request, &Response::Content(Content::Inline(value)));
            }
            Ok(Some(value)) => value,
        };
        let Some(contact) = contact else { return };
        if announcement.is_none() {
            announcement = self.announcement(&contact, &working).await;
        }
        let Some(announcement) = announcement else { return respond(request, &self.busy(&id, &peer)) };
        match self.transfers.announce_with(announcement, &contact) {
            Err(error) => {
                tracing::debug!(%peer, %error, "content not announced");
                respond(request, &self.busy(&id, &peer));
            }
            Ok(stream) => {
                drop(working);
                respond(request, &Response::Content(Content::ConnectionId(stream.connection_id())));
                match self.deliver_content(stream, &contact, key, value).await {
                    Ok(()) => {
                        self.busy.prove(contact.holder());
                        self.transfers.prove(&contact);
                    }
                    Err(error) => tracing::debug!(%peer, %error, "content not delivered"),
                }
            }
        }
    }

    /// Waits until a stream may be announced to a peer. Who asks for more than it takes is not to keep others from being
    /// answered meanwhile.
    async fn announcement(&self, peer: &Contact, working: &Permit) -> Option<StreamAnnouncement> {
        working.set_yielding(true);
        let waited = tokio::select! {
            waited = self.transfers.announcement_within(peer, ANNOUNCE_PATIENCE) => waited.ok(),
            () = working.revoked() => None,
        };
        working.set_yielding(false);
        waited
    }

    /// Sends a value on a stream that was announced, if the peer opens it. It may have asked others too.
    async fn deliver_content(
        &self,
        mut stream: Stream,
        peer: &Contact,
        key: Bytes,
        value: Bytes,
    ) -> Result<(), TransferError> {
        // What is large is read anew when it is wanted, rather than kept for whoever asks and does not come.
        let len = value.len();
        let kept = (value.len() <= MAX_KEPT_VALUE).then_some(value);
        stream.opened().await?;
        let slot = self.transfers.slot_within(Direction::Outbound, peer, SLOT_PATIENCE).await;
        stream.hold(slot?);
        self.transfers.room_to_send(&mut stream, len).await?;
        let value = match kept {
            Some(value) => Some(value),
            None => self.handler.get(key, Reader::Peer(peer.holder())).await.unwrap_or_default(),
        };
        match value {
            Some(value) => self.write_values(stream, vec![value]).await,
            // It was evicted meanwhile, or cannot be read now; dropping the stream tells the peer.
            None => Err(TransferError::Closed(CloseReason::LocalReset)),
        }
    }

    /// The answer to FINDCONTENT of who has not looked: the peers nearest to the content, who may have it, behind this node's
    /// own record, which says that it may be asked again.
    fn busy(&self, id: &ContentId, asker: &NodeId) -> Response {
        let own = record::encode(&self.transport.local_enr());
        Response::Content(Content::pack(iter::once(own).chain(self.nearest_records(id, asker))))
    }

    /// The answer of who lacks the content.
    fn closer(&self, id: &ContentId, asker: &NodeId) -> Response {
        Response::Content(Content::pack(self.nearest_records(id, asker)))
    }

    /// The peers nearest to the content that this node knows to be alive, without the one that asks.
    fn nearest_records(&self, id: &ContentId, asker: &NodeId) -> Vec<Bytes> {
        let table = self.table.lock();
        let nearest = table.closest(*id, K, |peer| peer.is_presentable() && peer.node_id() != *asker);
        nearest.into_iter().map(|peer| record::encode(peer.enr())).collect()
    }
}
