//! Takes what peers offer: the answer to OFFER, the stream that follows, and another peer when the first one fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_limits::quota::MIN_PROGRESS;
use cairn_limits::{Permit, Quota, Subnet};
use cairn_proto::gossip::{CLAIM_PATIENCE, OfferVerdict, Offerer, answer_offer};
use cairn_proto::limits::Direction;
use cairn_proto::wire::{Accept, AcceptCode, ContentStream, Response};
use content_types::{Form, NodeId};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use super::account::Account;
use super::client::ValueOrCloser;
use super::gossip::GossipItem;
use super::inner::RunningOverlay;
use super::serve::{SLOT_PATIENCE, respond};
use super::{Admitted, ContentSource, Rejection, RequestError, TransferFailure};
use crate::transfer::{Room, Stream};
use crate::transport::TalkRequest;

/// Items of one stream that are validated and stored while the next are received.
const MAX_PENDING_ADMISSIONS: usize = 8;

/// How often it is looked whether a stream brings anything, and its claims are renewed if it does or passed on if not: what is
/// slow and goes on is taken from nobody else.
const CLAIM_CHECK: Duration = Duration::from_millis(CLAIM_PATIENCE.as_millis() as u64 / 4);

/// Keys that are asked of one peer because another, which had offered them too, did not deliver. A sender leaves many at once:
/// those beyond the share wait [`SLOT_PATIENCE`] for it, then they pass on to the next peer. Not more wait than keys are in flight.
pub(super) const FALL_BACKS: Quota = Quota::new(256).of_peer(16).of_newcomer(8);

/// Bytes of new items that wait for the end of their stream to be gossiped together.
const MAX_GOSSIP_BYTES: usize = 4 << 20;

/// How long new items wait for others of their stream: a slow one is not to hold back what has come.
const GOSSIP_DELAY: Duration = Duration::from_secs(2);

impl RunningOverlay {
    /// Answers an OFFER and receives what is accepted.
    pub(super) async fn serve_offer(self: Arc<Self>, request: TalkRequest, keys: Vec<Bytes>, working: Permit) {
        let holder = request.endpoint().holder();
        let offerer = Offerer {
            node_id: request.node_id,
            subnet: holder.subnet(),
            is_proved: self.transfers.is_proved(Direction::Inbound, &holder),
        };
        let now = Instant::now().into_std();
        let allowance = self.credit.lock().allowance(&offerer.node_id, offerer.subnet, offerer.is_proved, now);
        if allowance == 0 {
            // Before anything is looked up for it.
            return self.put_off_offer(request, keys.len());
        }
        let verdicts = self.handler.offer(keys.clone()).await;
        let verdicts = verdicts.into_iter().chain(std::iter::repeat(OfferVerdict::NotVerifiable));
        let offered: Vec<_> = keys.into_iter().zip(verdicts).collect();
        let opened = self.answer_offer(request, &offered, offerer, allowance);
        drop(working);
        if let Some((stream, accepted)) = opened {
            self.receive_items(offerer, stream, accepted).await;
        }
    }

    /// Declines everything that is offered, for now.
    pub(super) fn put_off_offer(&self, request: TalkRequest, keys: usize) {
        let code = AcceptCode::RateLimited;
        (0..keys).for_each(|_| self.observer.offer_answered(code.into()));
        respond(request, &Response::Accept(Accept { connection_id: 0, content_keys: vec![code; keys] }));
    }

    /// Answers an OFFER; the stream to receive the accepted keys on, if there are any.
    fn answer_offer(
        self: &Arc<Self>,
        request: TalkRequest,
        offered: &[(Bytes, OfferVerdict)],
        offerer: Offerer,
        allowance: usize,
    ) -> Option<(Stream, Vec<Bytes>)> {
        let (peer, holder) = (offerer.node_id, request.endpoint().holder());
        let now = Instant::now().into_std();
        let take_slot = || self.transfers.try_slot(Direction::Inbound, holder).ok();
        let answer = answer_offer(offered, offerer, allowance, &mut self.in_flight.lock(), take_slot, now);
        let mut codes = answer.codes;
        let stream = answer.slot.zip(request.contact.clone()).and_then(|(slot, contact)| {
            self.transfers.accept(&contact, slot).inspect_err(|error| tracing::debug!(%error, "offer declined")).ok()
        });
        if stream.is_none() && !answer.accepted.is_empty() {
            // No way back to the peer, or shutting down.
            codes.iter_mut().filter(|code| code.is_accepted()).for_each(|code| *code = AcceptCode::Declined);
            answer.accepted.iter().for_each(|key| self.failed(key, peer));
        }
        codes.iter().for_each(|code| self.observer.offer_answered((*code).into()));
        let connection_id = stream.as_ref().map_or(0, Stream::connection_id);
        respond(request, &Response::Accept(Accept { connection_id, content_keys: codes }));
        stream.map(|stream| (stream, answer.accepted))
    }

    /// Receives the accepted items, admits each as it comes, and gossips what was new.
    async fn receive_items(self: Arc<Self>, offerer: Offerer, mut stream: Stream, keys: Vec<Bytes>) {
        let peer = offerer.node_id;
        let mut content =
            ContentStream::new(keys.iter().map(|key| self.handler.max_value_len(key, Form::Offered)).collect());
        let mut account = Account::open(self.observer.clone(), Direction::Inbound);
        let (mut received, mut counted, mut delivered) = (0, 0, 0);
        let mut missing = keys.iter();
        let mut admissions = FuturesUnordered::new();
        let mut fresh = Fresh::new();
        let mut room = Room::default();
        let mut outcome = None;
        let mut check = Instant::now() + CLAIM_CHECK;
        while outcome.is_none() || !admissions.is_empty() {
            let is_read = admissions.len() < MAX_PENDING_ADMISSIONS;
            tokio::select! {
                chunk = self.transfers.receive(Direction::Inbound, &mut stream, &mut room), if outcome.is_none() && is_read => {
                    outcome = match chunk {
                        Ok(Some(chunk)) => {
                            received += chunk.len() as u64;
                            let mut rest = &chunk[..];
                            let mut read = || -> Result<bool, RequestError> {
                                while let Some(value) = content.next_item(&mut rest)? {
                                    let Some(key) = missing.next() else { break };
                                    let room = room.split_off(value.len()).kept();
                                    admissions.push(self.admit_offered(peer, offerer.subnet, key, value, room));
                                }
                                Ok(content.is_complete())
                            };
                            match read() {
                                Ok(complete) => complete.then_some(Ok(())),
                                Err(error) => Some(Err(error)),
                            }
                        }
                        Ok(None) => Some(content.finish().map_err(RequestError::from)),
                        Err(error) => Some(Err(error.into())),
                    };
                }
                Some(admitted) = admissions.next() => {
                    delivered += usize::from(admitted.is_ok());
                    if let Some(batch) = fresh.add(admitted.ok().flatten()) {
                        self.gossip(batch, Some(peer));
                    }
                    // It may be read again, if it was not.
                    stream.set_yielding(true);
                    room.set_yielding(true);
                }
                () = tokio::time::sleep_until(check) => {
                    check = Instant::now() + CLAIM_CHECK;
                    // While this node has enough to do, it is not the peer that is slow.
                    if !is_read {
                        stream.set_yielding(false);
                        room.set_yielding(false);
                    }
                    let moves = !is_read || received - counted >= MIN_PROGRESS;
                    counted = if moves { received } else { counted };
                    // What has come and is being checked is not late either.
                    let come = keys.len() - missing.len();
                    let renewed = if moves { keys.len() } else { come };
                    self.in_flight.lock().handle_progress(keys.iter().take(renewed), &peer, Instant::now().into_std());
                    self.pass_on(missing.as_slice(), peer);
                }
                () = tokio::time::sleep_until(fresh.since + GOSSIP_DELAY), if !fresh.items.is_empty() => {
                    self.gossip(fresh.take(), Some(peer));
                }
            }
        }
        let failure = match outcome {
            Some(Err(error)) => {
                tracing::debug!(%peer, %error, "offered content not received");
                Some(TransferFailure::from(&error))
            }
            _ => None,
        };
        account.close(received, failure);
        if delivered == keys.len() {
            stream.prove();
        }
        self.judge_offerer(offerer, delivered, keys.len(), failure);
        missing.for_each(|key| self.failed(key, peer));
        if failure.is_none() {
            stream.close();
        }
        self.gossip(fresh.take(), Some(peer));
    }

    /// Keeps account of whether a peer sends what it offered.
    fn judge_offerer(&self, offerer: Offerer, delivered: usize, accepted: usize, failure: Option<TransferFailure>) {
        // No room, or a shutdown: the peer could not help it.
        let is_ours = matches!(failure, Some(TransferFailure::Busy | TransferFailure::Cancelled));
        let mut credit = self.credit.lock();
        if delivered * 2 >= accepted {
            credit.handle_kept(&offerer.node_id, offerer.subnet);
        } else if !is_ours {
            credit.handle_not_kept(
                offerer.node_id,
                offerer.subnet.filter(|_| !offerer.is_proved),
                Instant::now().into_std(),
            );
        }
    }

    /// Admits a value that came on the stream after an offer; the item if it was new here.
    async fn admit_offered(
        self: &Arc<Self>,
        peer: NodeId,
        subnet: Option<Subnet>,
        key: &Bytes,
        value: Bytes,
        room: Room,
    ) -> Result<Option<GossipItem>, NotDelivered> {
        let admitted = self.admit_from(peer, subnet, key, value, room).await;
        match &admitted {
            Ok(_) => self.in_flight.lock().handle_received(key),
            Err(NotDelivered) => self.failed(key, peer),
        }
        admitted
    }

    /// The keys of which nothing comes are taken from those who offered them meanwhile.
    fn pass_on(self: &Arc<Self>, keys: &[Bytes], peer: NodeId) {
        let passed = self.in_flight.lock().handle_timeout(keys, &peer, Instant::now().into_std());
        for (key, next) in passed {
            let inner = self.clone();
            self.spawn(async move { inner.fall_back(key, next).await });
        }
    }

    /// Admits what `peer` sent under a key that it had offered; the item if it was new here. What cannot be judged or stored
    /// here would not be better from another peer.
    async fn admit_from(
        &self,
        peer: NodeId,
        subnet: Option<Subnet>,
        key: &Bytes,
        value: Bytes,
        room: Room,
    ) -> Result<Option<GossipItem>, NotDelivered> {
        let verdict = self.handler.admit(key.clone(), value.clone(), ContentSource::Offer { peer, subnet }).await;
        drop(room);
        match verdict {
            Ok(Admitted { stored }) => {
                let id = self.handler.content_id(key).filter(|_| stored);
                Ok(id.and_then(|id| self.gossip_item(key.clone(), id, value)))
            }
            // What other clients send for an item that they lost after offering it. Some values are rightly empty: the
            // SSZ of no receipts at all.
            Err(Rejection::Invalid(_)) if value.is_empty() => Err(NotDelivered),
            Err(Rejection::Invalid(reason)) => {
                tracing::info!(%peer, %reason, "peer sent invalid content");
                self.punish(peer);
                Err(NotDelivered)
            }
            Err(Rejection::Doubtful(reason)) => {
                tracing::debug!(%peer, %reason, "offered content not judged");
                Err(NotDelivered)
            }
            Err(rejection) => {
                tracing::debug!(%peer, %rejection, "offered content not admitted");
                Ok(None)
            }
        }
    }

    /// A key did not come from `peer`: it is taken from the next one that offered it meanwhile.
    fn failed(self: &Arc<Self>, key: &Bytes, peer: NodeId) {
        let next = self.in_flight.lock().handle_failed(key, &peer, Instant::now().into_std());
        if let Some(next) = next {
            let (inner, key) = (self.clone(), key.clone());
            self.spawn(async move { inner.fall_back(key, next).await });
        }
    }

    /// Gets a key by FINDCONTENT from those that offered it in vain, until one delivers.
    async fn fall_back(self: Arc<Self>, key: Bytes, first: NodeId) {
        let mut next = Some(first);
        while let Some(peer) = next {
            let delivered = match self.find_offered(peer, key.clone()).await {
                Some((value, room, subnet)) => self.admit_from(peer, subnet, &key, value, room).await,
                None => Err(NotDelivered),
            };
            next = match delivered {
                Ok(item) => {
                    self.in_flight.lock().handle_received(&key);
                    self.gossip(item.into_iter().collect(), Some(peer));
                    None
                }
                Err(NotDelivered) => self.in_flight.lock().handle_failed(&key, &peer, Instant::now().into_std()),
            };
        }
    }

    /// What a peer has of a key that it offered, if it may be asked now, and the subnet that it counts for. Nobody waits long for whoever has much to do.
    async fn find_offered(&self, peer: NodeId, key: Bytes) -> Option<(Bytes, Room, Option<Subnet>)> {
        let contact = self.transport.known(&peer).filter(|_| !self.is_barred(&peer))?;
        let _asking = self.falling_back.take_within(contact.holder(), 1, SLOT_PATIENCE).await.ok()?;
        let slot = self.transfers.slot_within(Direction::Fetch, &contact, SLOT_PATIENCE).await.ok()?;
        match self.find_content_with(slot, contact.enr(), key).await {
            Ok(ValueOrCloser::Found { value, room, .. }) => {
                self.falling_back.prove(contact.holder());
                Some((value, room, contact.holder().subnet()))
            }
            Ok(ValueOrCloser::Closer(_)) | Err(_) => None,
        }
    }
}

/// A peer did not deliver what it had offered: another may.
struct NotDelivered;

/// New items that wait to be gossiped together.
struct Fresh {
    items: Vec<GossipItem>,
    bytes: usize,
    /// When the first of them came.
    since: Instant,
}

impl Fresh {
    fn new() -> Self {
        Self { items: Vec::new(), bytes: 0, since: Instant::now() }
    }

    /// Adds an item; what is to be gossiped now because it has grown too much.
    fn add(&mut self, item: Option<GossipItem>) -> Option<Vec<GossipItem>> {
        let item = item?;
        if self.items.is_empty() {
            self.since = Instant::now();
        }
        self.bytes += item.value.len();
        self.items.push(item);
        (self.bytes >= MAX_GOSSIP_BYTES).then(|| self.take())
    }

    fn take(&mut self) -> Vec<GossipItem> {
        self.bytes = 0;
        std::mem::take(&mut self.items)
    }
}
