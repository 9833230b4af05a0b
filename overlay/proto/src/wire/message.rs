//! The eight messages: the union that travels in the payloads of TALKREQ and TALKRESP.
//!
//! A TALKREQ carries a [`Request`], a TALKRESP a [`Response`]. Both directions check the same limits, so that nothing
//! is sent that the other side has to refuse.

use std::collections::HashSet;

use bytes::Bytes;
use ssz::{DecodeError, SszDecoder, SszDecoderBuilder, SszEncoder};

use super::{
    AcceptCode, MAX_CONTENT_BYTES, MAX_CONTENT_KEY_BYTES, MAX_DISTANCES, MAX_ENR_BYTES, MAX_ENRS, MAX_LOG_DISTANCE,
    MAX_OFFERED_KEYS, MAX_PING_PAYLOAD_BYTES, MAX_RESPONSE_BYTES, MessageType, PayloadError, PingPayload, WireError,
    error::{check_count, check_len},
    layout::{AsByteString, AsByteStrings, ByteString, ByteStrings},
};

/// `Container(enr_seq: uint64, payload_type: uint16, payload: ByteList[1100])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// Sequence number of the sender's ENR.
    pub enr_seq: u64,
    /// The extension that `payload` belongs to.
    pub payload_type: u16,
    /// The extension's bytes; see [`PingPayload::decode`].
    pub payload: Bytes,
}

impl Ping {
    /// A PING or, as [`Response::Pong`], a PONG with this payload.
    ///
    /// # Errors
    /// A field of the payload above its limit.
    pub fn new(enr_seq: u64, payload: &PingPayload) -> Result<Self, PayloadError> {
        Ok(Self { enr_seq, payload_type: payload.payload_type(), payload: payload.encode()? })
    }

    /// The payload as its extension reads.
    ///
    /// # Errors
    /// See [`PingPayload::decode`].
    pub fn decode_payload(&self) -> Result<PingPayload, PayloadError> {
        PingPayload::decode(self.payload_type, &self.payload)
    }
}

/// The answer to PING; the same container.
pub type Pong = Ping;

/// `Container(distances: List[uint16, 256])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindNodes {
    /// Logarithmic distances from the recipient, 0 to 256, none twice; 0 asks for the recipient's own ENR. The
    /// specification wants them sorted and does not say which way: its vector descends, clients in use send any order.
    pub distances: Vec<u16>,
}

/// `Container(total: uint8, enrs: List[ByteList[2048], 32])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// Number of NODES messages of this answer: 1. One client puts the number of ENRs here, so it is not relied upon.
    pub total: u8,
    /// RLP of ENRs; each still has to be decoded and its signature checked.
    pub enrs: Vec<Bytes>,
}

impl Nodes {
    /// An answer with as many of `enrs`, in their order, as fit one packet.
    pub fn pack(enrs: impl IntoIterator<Item = Bytes>) -> Self {
        // Selector, `total`, offset of the list.
        Self { total: 1, enrs: pack_enrs(enrs, MAX_RESPONSE_BYTES - (1 + 1 + 4)) }
    }
}

/// `Container(content_key: ByteList[2048])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindContent {
    /// The encoded content key.
    pub content_key: Bytes,
}

/// `Union[connection_id: Bytes2, content: ByteList[2048], enrs: List[ByteList[2048], 32]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The content comes over the uTP stream with this connection ID, drawn by the sender of the message. On the wire
    /// it is big-endian.
    ConnectionId(u16),
    /// The content itself.
    Inline(Bytes),
    /// RLP of ENRs closest to the content; the sender does not have it. If its own record is among them, it was too busy to
    /// look: the specification has no word for that, and whoever does not know this one passes over a peer that it has just asked.
    Enrs(Vec<Bytes>),
}

impl Content {
    /// An answer with as many of `enrs`, in their order, as fit one packet.
    pub fn pack(enrs: impl IntoIterator<Item = Bytes>) -> Self {
        // The two selectors.
        Content::Enrs(pack_enrs(enrs, MAX_RESPONSE_BYTES - 2))
    }
}

/// `Container(content_keys: List[ByteList[2048], 64])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Encoded content keys.
    pub content_keys: Vec<Bytes>,
}

/// `Container(connection_id: Bytes2, content_keys: ByteList[64])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// Where the accepted items are to be sent, drawn by the sender of this message; 0 when none is. On the wire it is
    /// big-endian.
    pub connection_id: u16,
    /// One code for each offered key.
    pub content_keys: Vec<AcceptCode>,
}

/// What a TALKREQ may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the specification's.
pub enum Request {
    Ping(Ping),
    FindNodes(FindNodes),
    FindContent(FindContent),
    Offer(Offer),
}

/// What a TALKRESP may carry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The names are the specification's.
pub enum Response {
    Pong(Pong),
    Nodes(Nodes),
    Content(Content),
    Accept(Accept),
}

impl Request {
    /// Which message it is.
    pub fn message_type(&self) -> MessageType {
        match self {
            Request::Ping(_) => MessageType::Ping,
            Request::FindNodes(_) => MessageType::FindNodes,
            Request::FindContent(_) => MessageType::FindContent,
            Request::Offer(_) => MessageType::Offer,
        }
    }

    /// Reads the payload of a TALKREQ.
    ///
    /// # Errors
    /// Bytes that are no request, or one that breaks a limit. The specification's answer is an empty TALKRESP.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (message, body) = split_selector(bytes)?;
        let layout = |error: DecodeError| WireError::layout(message, &error);
        let request = match message {
            MessageType::Ping => Request::Ping(decode_ping(body).map_err(layout)?),
            MessageType::FindNodes => {
                let distances = single::<Vec<u16>>(body).map_err(layout)?;
                Request::FindNodes(FindNodes { distances })
            }
            MessageType::FindContent => {
                let content_key = single::<ByteString>(body).map_err(layout)?.0;
                Request::FindContent(FindContent { content_key })
            }
            MessageType::Offer => {
                let content_keys = single::<ByteStrings>(body).map_err(layout)?.0;
                Request::Offer(Offer { content_keys })
            }
            other => return Err(WireError::NotARequest(other)),
        };
        request.check()?;
        Ok(request)
    }

    /// The payload of a TALKREQ. Whether it fits the packet is for the sender to see: it depends on the session.
    ///
    /// # Errors
    /// A broken limit.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        self.check()?;
        let mut buf = vec![self.message_type() as u8];
        match self {
            Request::Ping(ping) => encode_ping(&mut buf, ping),
            Request::FindNodes(find_nodes) => append_single(&mut buf, &find_nodes.distances),
            Request::FindContent(find_content) => append_single(&mut buf, &AsByteString(&find_content.content_key)),
            Request::Offer(offer) => append_single(&mut buf, &AsByteStrings(&offer.content_keys)),
        }
        Ok(buf.into())
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Request::Ping(ping) => check_len("payload", ping.payload.len(), MAX_PING_PAYLOAD_BYTES),
            Request::FindNodes(find_nodes) => check_distances(&find_nodes.distances),
            Request::FindContent(find_content) => {
                check_len("content_key", find_content.content_key.len(), MAX_CONTENT_KEY_BYTES)
            }
            Request::Offer(offer) => {
                check_count("content_keys", offer.content_keys.len(), MAX_OFFERED_KEYS)?;
                offer.content_keys.iter().try_for_each(|key| check_len("content_key", key.len(), MAX_CONTENT_KEY_BYTES))
            }
        }
    }
}

impl Response {
    /// Which message it is.
    pub fn message_type(&self) -> MessageType {
        match self {
            Response::Pong(_) => MessageType::Pong,
            Response::Nodes(_) => MessageType::Nodes,
            Response::Content(_) => MessageType::Content,
            Response::Accept(_) => MessageType::Accept,
        }
    }

    /// Reads the payload of a TALKRESP.
    ///
    /// # Errors
    /// [`WireError::Empty`] when the other side could not or would not answer; otherwise bytes that are no response, or
    /// one that breaks a limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (message, body) = split_selector(bytes)?;
        let layout = |error: DecodeError| WireError::layout(message, &error);
        let response = match message {
            MessageType::Pong => Response::Pong(decode_ping(body).map_err(layout)?),
            MessageType::Nodes => {
                let mut decoder = pair::<u8, ByteStrings>(body).map_err(layout)?;
                let total = decoder.decode_next().map_err(layout)?;
                let enrs = decoder.decode_next::<ByteStrings>().map_err(layout)?.0;
                Response::Nodes(Nodes { total, enrs })
            }
            MessageType::Content => Response::Content(decode_content(body)?),
            MessageType::Accept => {
                let mut decoder = pair::<[u8; 2], ByteString>(body).map_err(layout)?;
                let connection_id = u16::from_be_bytes(decoder.decode_next().map_err(layout)?);
                let codes = decoder.decode_next::<ByteString>().map_err(layout)?.0;
                let content_keys = codes.iter().copied().map(AcceptCode::from).collect();
                Response::Accept(Accept { connection_id, content_keys })
            }
            other => return Err(WireError::NotAResponse(other)),
        };
        response.check()?;
        Ok(response)
    }

    /// The payload of a TALKRESP.
    ///
    /// # Errors
    /// A broken limit, or a response that does not fit one packet.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        self.check()?;
        let mut buf = vec![self.message_type() as u8];
        match self {
            Response::Pong(pong) => encode_ping(&mut buf, pong),
            Response::Nodes(nodes) => {
                let mut encoder = SszEncoder::container(&mut buf, 1 + 4);
                encoder.append(&nodes.total);
                encoder.append(&AsByteStrings(&nodes.enrs));
                encoder.finalize();
            }
            Response::Content(content) => encode_content(&mut buf, content),
            Response::Accept(accept) => {
                let codes: Vec<u8> = accept.content_keys.iter().copied().map(u8::from).collect();
                let mut encoder = SszEncoder::container(&mut buf, 2 + 4);
                encoder.append(&accept.connection_id.to_be_bytes());
                encoder.append(&AsByteString(&codes));
                encoder.finalize();
            }
        }
        if buf.len() > MAX_RESPONSE_BYTES {
            return Err(WireError::TooLarge {
                message: self.message_type(),
                limit: MAX_RESPONSE_BYTES,
                got: buf.len(),
            });
        }
        Ok(buf.into())
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Response::Pong(pong) => check_len("payload", pong.payload.len(), MAX_PING_PAYLOAD_BYTES),
            Response::Nodes(nodes) => check_enrs(&nodes.enrs),
            Response::Content(Content::ConnectionId(_)) => Ok(()),
            Response::Content(Content::Inline(content)) => check_len("content", content.len(), MAX_CONTENT_BYTES),
            Response::Content(Content::Enrs(enrs)) => check_enrs(enrs),
            Response::Accept(accept) => check_count("content_keys", accept.content_keys.len(), MAX_OFFERED_KEYS),
        }
    }
}

fn split_selector(bytes: &[u8]) -> Result<(MessageType, &[u8]), WireError> {
    let (&selector, body) = bytes.split_first().ok_or(WireError::Empty)?;
    let message = MessageType::from_selector(selector).ok_or(WireError::UnknownMessage(selector))?;
    Ok((message, body))
}

fn check_distances(distances: &[u16]) -> Result<(), WireError> {
    check_count("distances", distances.len(), MAX_DISTANCES)?;
    let mut seen = HashSet::with_capacity(distances.len());
    for &distance in distances {
        if distance > MAX_LOG_DISTANCE {
            return Err(WireError::DistanceOutOfRange(distance));
        }
        if !seen.insert(distance) {
            return Err(WireError::DuplicateDistance(distance));
        }
    }
    Ok(())
}

fn check_enrs(enrs: &[Bytes]) -> Result<(), WireError> {
    check_count("enrs", enrs.len(), MAX_ENRS)?;
    enrs.iter().try_for_each(|enr| check_len("enr", enr.len(), MAX_ENR_BYTES))
}

/// The first of `enrs` that fit `budget` bytes as an SSZ list.
fn pack_enrs(enrs: impl IntoIterator<Item = Bytes>, mut budget: usize) -> Vec<Bytes> {
    enrs.into_iter()
        .take(MAX_ENRS)
        .map_while(|enr| {
            budget = budget.checked_sub(4 + enr.len())?;
            Some(enr)
        })
        .collect()
}

/// The only field, of variable length, of a container.
fn single<T: ssz::Decode>(body: &[u8]) -> Result<T, DecodeError> {
    let mut builder = SszDecoderBuilder::new(body);
    builder.register_type::<T>()?;
    builder.build()?.decode_next()
}

/// A container of two fields.
fn pair<A: ssz::Decode, B: ssz::Decode>(body: &[u8]) -> Result<SszDecoder<'_>, DecodeError> {
    let mut builder = SszDecoderBuilder::new(body);
    builder.register_type::<A>()?;
    builder.register_type::<B>()?;
    builder.build()
}

fn append_single<T: ssz::Encode>(buf: &mut Vec<u8>, field: &T) {
    let mut encoder = SszEncoder::container(buf, 4);
    encoder.append(field);
    encoder.finalize();
}

fn decode_ping(body: &[u8]) -> Result<Ping, DecodeError> {
    let mut builder = SszDecoderBuilder::new(body);
    builder.register_type::<u64>()?;
    builder.register_type::<u16>()?;
    builder.register_type::<ByteString>()?;
    let mut decoder = builder.build()?;
    Ok(Ping {
        enr_seq: decoder.decode_next()?,
        payload_type: decoder.decode_next()?,
        payload: decoder.decode_next::<ByteString>()?.0,
    })
}

fn encode_ping(buf: &mut Vec<u8>, ping: &Ping) {
    let mut encoder = SszEncoder::container(buf, 8 + 2 + 4);
    encoder.append(&ping.enr_seq);
    encoder.append(&ping.payload_type);
    encoder.append(&AsByteString(&ping.payload));
    encoder.finalize();
}

const CONNECTION_ID: u8 = 0;
const INLINE: u8 = 1;
const ENRS: u8 = 2;

fn decode_content(body: &[u8]) -> Result<Content, WireError> {
    let layout = |error: DecodeError| WireError::layout(MessageType::Content, &error);
    let (&selector, body) = body.split_first().ok_or_else(|| layout(DecodeError::OutOfBoundsByte { i: 0 }))?;
    match selector {
        CONNECTION_ID => {
            let id = <[u8; 2] as ssz::Decode>::from_ssz_bytes(body).map_err(layout)?;
            Ok(Content::ConnectionId(u16::from_be_bytes(id)))
        }
        INLINE => Ok(Content::Inline(Bytes::copy_from_slice(body))),
        ENRS => Ok(Content::Enrs(<ByteStrings as ssz::Decode>::from_ssz_bytes(body).map_err(layout)?.0)),
        other => Err(WireError::UnknownContent(other)),
    }
}

fn encode_content(buf: &mut Vec<u8>, content: &Content) {
    match content {
        Content::ConnectionId(id) => {
            buf.push(CONNECTION_ID);
            buf.extend_from_slice(&id.to_be_bytes());
        }
        Content::Inline(content) => {
            buf.push(INLINE);
            buf.extend_from_slice(content);
        }
        Content::Enrs(enrs) => {
            buf.push(ENRS);
            ssz::Encode::ssz_append(&AsByteStrings(enrs), buf);
        }
    }
}
