//! Requests to one peer: each is sent, its answer checked against the rules of the wire protocol, and the routing table
//! told how it went.

use std::sync::Arc;

use bytes::Bytes;
use cairn_proto::record::{self, Enr, PortalFields};
use cairn_proto::routing::{Acquaintance, log_distance};
use cairn_proto::wire::{
    Accept, BasicRadius, ClientInfo, Content, ContentStream, FindContent, FindNodes, HistoryRadius, MAX_REQUEST_BYTES,
    MessageType, Offer, Ping, PingPayload, Request, Response, Varint, WireError, payload_type,
};
use content_types::NodeId;
use tokio::time::Instant;

use super::inner::Inner;
use super::{Direction, FindContentAnswer, Pong, RequestError};
use crate::transfer::{Stream, TransferError};
use crate::transport::{Contact, TalkError};

impl Inner {
    /// Sends a request and decodes the answer.
    async fn request(&self, to: &Arc<Enr>, request: &Request) -> Result<(Contact, Response), RequestError> {
        PortalFields::read(to).negotiate(self.config.chain_id)?;
        let contact = self.transport.contact(to).ok_or(TalkError::Unreachable)?;
        let body = request.encode()?;
        if body.len() > MAX_REQUEST_BYTES {
            let message = request.message_type();
            return Err(WireError::TooLarge { message, limit: MAX_REQUEST_BYTES, got: body.len() }.into());
        }
        let answer = self.transport.talk(&contact, &self.config.protocol, body).await.map_err(RequestError::from);
        let answer = answer.and_then(|answer| Ok(Response::decode(&answer)?));
        let now = Instant::now().into_std();
        match answer {
            Ok(response) => {
                // A peer that is not fit for the table may still answer.
                let _ = self.table.lock().insert(contact.enr().clone(), Acquaintance::Answered, now);
                self.table_changed.notify_one();
                Ok((contact, response))
            }
            Err(error) => {
                self.table.lock().on_failure(&contact.node_id(), now);
                Err(error)
            }
        }
    }

    pub(super) async fn ping(&self, to: &Arc<Enr>, payload: Option<PingPayload>) -> Result<Pong, RequestError> {
        let id = record::node_id(to);
        let payload = payload.unwrap_or_else(|| {
            let theirs = self.table.lock().get(&id).map(|peer| peer.extensions());
            let common = theirs.map_or(payload_type::CLIENT_INFO, |theirs| self.config.ping_extensions.best_common(theirs));
            self.ping_payload(common)
        });
        let ping = Request::Ping(Ping::new(self.transport.local_enr().seq(), &payload)?);
        let (_, response) = self.request(to, &ping).await?;
        let Response::Pong(pong) = response else { return Err(unexpected(&response)) };
        let payload = pong.decode_payload()?;
        let newer = self.table.lock().on_pong(&id, pong.enr_seq, &payload, Instant::now().into_std());
        if newer {
            self.refetch_record(to.clone());
        }
        match payload {
            PingPayload::Error(error) => Err(RequestError::PingRefused {
                code: error.error_code,
                message: String::from_utf8_lossy(&error.message).into_owned(),
            }),
            payload => Ok(Pong { enr_seq: pong.enr_seq, payload }),
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
        let now = Instant::now().into_std();
        for enr in &enrs {
            if record::node_id(enr) == peer {
                let _ = self.table.lock().insert(enr.clone(), Acquaintance::Answered, now);
            }
        }
        Ok(enrs)
    }

    /// The records that are signed, of other nodes, and each node's once.
    fn valid_records(&self, encoded: &[Bytes]) -> Vec<Arc<Enr>> {
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

    /// FINDCONTENT, up to the peer's message.
    pub(super) async fn ask_content(&self, to: &Arc<Enr>, key: Bytes) -> Result<(Contact, Content), RequestError> {
        let (contact, response) = self.request(to, &Request::FindContent(FindContent { content_key: key })).await?;
        match response {
            Response::Content(content) => Ok((contact, content)),
            other => Err(unexpected(&other)),
        }
    }

    /// FINDCONTENT with whatever follows it.
    pub(super) async fn find_content(&self, to: &Arc<Enr>, key: Bytes) -> Result<FindContentAnswer, RequestError> {
        let limit = self.handler.max_value_len(&key);
        match self.ask_content(to, key).await? {
            (_, Content::Inline(value)) => Ok(FindContentAnswer::Content { value, utp: false }),
            (_, Content::Enrs(enrs)) => Ok(FindContentAnswer::Enrs(self.valid_records(&enrs))),
            (contact, Content::ConnectionId(id)) => {
                let value = self.receive_value(&contact, id, limit).await?;
                Ok(FindContentAnswer::Content { value, utp: true })
            }
        }
    }
}

fn unexpected(response: &Response) -> RequestError {
    RequestError::UnexpectedAnswer(response.message_type())
}
