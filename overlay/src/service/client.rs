//! Requests to one peer: each is sent, its answer checked against the rules of the wire protocol, and the routing table
//! told how it went.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cairn_proto::limits::Direction;
use cairn_proto::record::{self, Enr, PortalFields};
use cairn_proto::routing::log_distance;
use cairn_proto::wire::{
    Accept, AcceptCode, BasicRadius, ClientInfo, Content, ContentStream, FindContent, FindNodes, HistoryRadius,
    MAX_REQUEST_BYTES, Offer, Ping, PingPayload, Request, Response, Varint, WireError, payload_type,
};
use cairn_utp::CloseReason;
use content_types::Form;
use tokio::time::Instant;

use super::account::Account;
use super::inner::RunningOverlay;
use super::serve::SLOT_PATIENCE;
use super::{PingAnswer, RequestError, TransferFailure};
use crate::transfer::{Room, Slot, Stream, TransferError};
use crate::transport::{Contact, TalkError};

impl RunningOverlay {
    /// Sends a request and decodes the answer.
    async fn request(&self, to: &Arc<Enr>, request: &Request) -> Result<(Contact, Response), RequestError> {
        PortalFields::read(to).negotiate(self.config.chain_id)?;
        let Some(contact) = self.transport.contact(to) else {
            // It would stay in the table for ever.
            self.failed_to_answer(&record::node_id(to));
            return Err(TalkError::Unreachable.into());
        };
        let body = request.encode()?;
        if body.len() > MAX_REQUEST_BYTES {
            let message = request.message_type();
            return Err(WireError::TooLarge { message, limit: MAX_REQUEST_BYTES, got: body.len() }.into());
        }
        let answer = self.transport.talk(&contact, &self.config.protocol, body).await.map_err(RequestError::from);
        let answer = answer.and_then(|answer| Ok(Response::decode(&answer)?));
        match answer {
            Ok(response) => {
                self.answered(&contact);
                Ok((contact, response))
            }
            Err(error) => {
                self.failed_to_answer(&contact.node_id());
                Err(error)
            }
        }
    }

    pub(super) async fn ping(
        self: &Arc<Self>,
        to: &Arc<Enr>,
        payload: Option<PingPayload>,
    ) -> Result<PingAnswer, RequestError> {
        let id = record::node_id(to);
        let payload = payload.unwrap_or_else(|| {
            let theirs = self.table.lock().get(&id).map(|peer| peer.extensions());
            let common =
                theirs.map_or(payload_type::CLIENT_INFO, |theirs| self.config.ping_extensions.best_common(theirs));
            self.ping_payload(common)
        });
        let ping = Request::Ping(Ping::new(self.transport.local_enr().seq(), &payload)?);
        let (_, response) = self.request(to, &ping).await?;
        let Response::Pong(pong) = response else { return Err(unexpected(&response)) };
        let payload = pong.decode_payload()?;
        let newer = self.table.lock().handle_pong(&id, pong.enr_seq, &payload, Instant::now().into_std());
        // The next ping may have waited for this one.
        self.table_changed.notify_one();
        if newer {
            self.refetch_record(to.clone());
        }
        match payload {
            PingPayload::Error(error) => Err(RequestError::PingRefused {
                code: error.error_code,
                message: String::from_utf8_lossy(&error.message).into_owned(),
            }),
            payload => Ok(PingAnswer { enr_seq: pong.enr_seq, payload }),
        }
    }

    /// What this node says in a PING or PONG of this type; type 0 for any that it does not know.
    pub(super) fn ping_payload(&self, payload_type: u16) -> PingPayload {
        let data_radius = self.handler.radius();
        match payload_type {
            payload_type::BASIC_RADIUS => PingPayload::BasicRadius(BasicRadius { data_radius }),
            payload_type::HISTORY_RADIUS => PingPayload::HistoryRadius(HistoryRadius {
                data_radius,
                ephemeral_header_count: self.handler.ephemeral_header_count(),
            }),
            _ => PingPayload::ClientInfo(ClientInfo {
                client_info: Bytes::from(self.config.client_info.clone()),
                data_radius,
                capabilities: self.config.ping_extensions.to_capabilities(),
            }),
        }
    }

    /// A peer mentioned a newer record of its own: gets it.
    pub(super) fn refetch_record(self: &Arc<Self>, peer: Arc<Enr>) {
        if !self.refetches.lock().begin(record::node_id(&peer), Instant::now().into_std()) {
            return;
        }
        let inner = self.clone();
        self.spawn(async move {
            if let Err(error) = inner.find_nodes(&peer, vec![0]).await {
                tracing::debug!(peer = %peer.node_id(), %error, "newer record not fetched");
            }
        });
    }

    pub(super) async fn find_nodes(&self, to: &Arc<Enr>, distances: Vec<u16>) -> Result<Vec<Arc<Enr>>, RequestError> {
        let request = Request::FindNodes(FindNodes { distances: distances.clone() });
        let (contact, response) = self.request(to, &request).await?;
        let Response::Nodes(nodes) = response else { return Err(unexpected(&response)) };
        let peer = contact.node_id();
        let mut enrs = self.valid_records(&nodes.enrs);
        enrs.retain(|enr| distances.contains(&log_distance(&peer, &record::node_id(enr))));
        // Its own newer record.
        enrs.iter().filter(|enr| record::node_id(enr) == peer).for_each(|enr| self.mention(enr));
        Ok(enrs)
    }

    /// The records that are signed, of other nodes, and each node's once.
    pub(super) fn valid_records(&self, encoded: &[Bytes]) -> Vec<Arc<Enr>> {
        let mut seen = vec![self.local_id];
        let decoded = encoded.iter().filter_map(|bytes| record::decode(bytes).ok());
        let fresh = decoded.filter(|enr| {
            let id = record::node_id(enr);
            let new = !seen.contains(&id);
            seen.push(id);
            new
        });
        fresh.map(Arc::new).collect()
    }

    /// FINDCONTENT, up to the peer's message. A stream that it announces is to be opened or declined. Of a peer that should
    /// have the value it is first asked for by the handler's own way, if there is one.
    pub(super) async fn ask_content(&self, to: &Arc<Enr>, key: Bytes) -> Result<AskedContent, RequestError> {
        if let Some(express) = self.handler.express(to, &key).filter(|_| self.should_have(to, &key))
            && let Some(contact) = self.transport.contact(to)
            && let Some(value) = express.await
        {
            return Ok(AskedContent { contact, content: Content::Inline(value) });
        }
        let (contact, response) = self.request(to, &Request::FindContent(FindContent { content_key: key })).await?;
        match response {
            Response::Content(content) => Ok(AskedContent { contact, content }),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether a peer's radius covers a key. Others are asked for their neighbours rather.
    fn should_have(&self, peer: &Enr, key: &[u8]) -> bool {
        let (id, Some(content)) = (record::node_id(peer), self.handler.content_id(key)) else { return false };
        let radius = self.table.lock().get(&id).and_then(|peer| peer.radius());
        radius.is_some_and(|radius| id.distance(&content) <= radius)
    }

    /// FINDCONTENT with whatever follows it.
    pub(super) async fn find_content(&self, to: &Arc<Enr>, key: Bytes) -> Result<ValueOrCloser, RequestError> {
        // Taken before the question: whoever wants much of one peer waits here, and lets no announced stream grow stale.
        let contact = self.transport.contact(to).ok_or(TalkError::Unreachable)?;
        let slot = self.transfers.slot(Direction::Fetch, &contact).await?;
        self.find_content_with(slot, to, key).await
    }

    /// FINDCONTENT with whatever follows it, on a slot that was taken for it.
    pub(super) async fn find_content_with(
        &self,
        slot: Slot,
        to: &Arc<Enr>,
        key: Bytes,
    ) -> Result<ValueOrCloser, RequestError> {
        let limit = self.handler.max_value_len(&key, Form::Stored);
        let AskedContent { contact, content } = self.ask_content(to, key).await?;
        match content {
            Content::Inline(value) => Ok(ValueOrCloser::Found { value, utp: false, room: Room::default() }),
            Content::Enrs(enrs) => Ok(ValueOrCloser::Closer(self.valid_records(&enrs))),
            Content::ConnectionId(id) => {
                let (value, room) = self.receive_value(&contact, id, Some(slot), limit, &AtomicU64::new(0)).await?;
                Ok(ValueOrCloser::Found { value, utp: true, room })
            }
        }
    }

    /// Opens the stream that was announced in CONTENT and reads its one value. Without a slot it takes one, or declines the
    /// stream. `received` counts the bytes as they come.
    pub(super) async fn receive_value(
        &self,
        from: &Contact,
        connection_id: u16,
        slot: Option<Slot>,
        limit: usize,
        received: &AtomicU64,
    ) -> Result<(Bytes, Room), RequestError> {
        let mut account = Account::open(self.observer.clone(), Direction::Fetch);
        let reading = async {
            let slot = match slot {
                None => self.transfers.slot_within(Direction::Fetch, from, SLOT_PATIENCE).await,
                Some(taken) => Ok(taken),
            };
            let slot = slot.inspect_err(|_| self.transfers.decline(from, connection_id))?;
            let mut stream = self.transfers.connect(from, connection_id, slot)?;
            let mut content = ContentStream::single(limit);
            let mut room = Room::default();
            while let Some(chunk) = self.transfers.receive(Direction::Fetch, &mut stream, &mut room).await? {
                received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                if let Some(value) = content.next_item(&mut &chunk[..])? {
                    // All that was announced is here: nothing later on the stream is worth waiting for.
                    stream.close();
                    return Ok((value, room.kept()));
                }
            }
            Err(content.finish().err().map_or(TransferError::Closed(CloseReason::Finished).into(), RequestError::from))
        };
        let result = reading.await;
        account.close(received.load(Ordering::Relaxed), result.as_ref().err().map(TransferFailure::from));
        result
    }

    /// Sends OFFER for keys that fit one message, a transfer slot taken before.
    pub(super) async fn offer_keys(&self, to: &Arc<Enr>, keys: Vec<Bytes>) -> Result<Offered, RequestError> {
        let contact = self.transport.contact(to).ok_or(TalkError::Unreachable)?;
        let slot = self.transfers.slot(Direction::Outbound, &contact).await?;
        let count = keys.len();
        let (contact, response) = self.request(to, &Request::Offer(Offer { content_keys: keys })).await?;
        let Response::Accept(Accept { connection_id, content_keys: codes }) = response else {
            return Err(unexpected(&response));
        };
        if codes.len() != count {
            return Err(RequestError::AcceptCount { keys: count, codes: codes.len() });
        }
        Ok(Offered { contact, connection_id, codes, slot })
    }

    /// Sends the values that a peer accepted, each after its length, and waits until it has them.
    pub(super) async fn send_values(
        &self,
        to: &Contact,
        connection_id: u16,
        slot: Slot,
        values: Vec<Bytes>,
    ) -> Result<(), TransferError> {
        let stream = self.transfers.connect(to, connection_id, slot)?;
        self.write_values(stream, values).await
    }

    /// Writes values, each after its length, and waits until the peer has them.
    pub(super) async fn write_values(&self, mut stream: Stream, values: Vec<Bytes>) -> Result<(), TransferError> {
        let mut account = Account::open(self.observer.clone(), Direction::Outbound);
        let mut written = 0;
        let writing = async {
            for value in values {
                let len =
                    u32::try_from(value.len()).map_err(|_| TransferError::TooLong { limit: u32::MAX as usize })?;
                stream.write_all(Bytes::copy_from_slice(Varint::new(len).as_bytes())).await?;
                written += value.len() as u64;
                stream.write_all(value).await?;
            }
            stream.finish().await
        };
        let result = writing.await;
        account.close(written, result.err().map(TransferFailure::from));
        result
    }
}

/// A peer's answer to FINDCONTENT, and where it came from.
pub(super) struct AskedContent {
    pub(super) contact: Contact,
    pub(super) content: Content,
}

/// A value, unverified, with the room that it takes, or records of peers that lie closer.
pub(super) enum ValueOrCloser {
    Found { value: Bytes, utp: bool, room: Room },
    Closer(Vec<Arc<Enr>>),
}

/// A peer's answer to OFFER, the slot for the stream still held.
pub(super) struct Offered {
    pub(super) contact: Contact,
    pub(super) connection_id: u16,
    pub(super) codes: Vec<AcceptCode>,
    pub(super) slot: Slot,
}

fn unexpected(response: &Response) -> RequestError {
    RequestError::UnexpectedAnswer(response.message_type())
}
