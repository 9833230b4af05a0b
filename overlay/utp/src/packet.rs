//! The packet on the wire: BEP 29, "header format", exact to the test vectors of the Portal network.

use bytes::{Buf, Bytes};

use crate::DecodeError;

/// The only version that BEP 29 defines.
pub const VERSION: u8 = 1;

/// Bytes of the header that every packet starts with.
pub const HEADER_LEN: usize = 20;

/// Longest selective acknowledgement in bytes: the greatest multiple of 4 that the extension's length byte can say.
pub const MAX_SELECTIVE_ACK_LEN: usize = 252;

/// Number of the selective acknowledgement among the extensions.
const SELECTIVE_ACK: u8 = 1;

/// BEP 29, "type".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// `ST_DATA`: carries payload and takes a sequence number.
    Data = 0,
    /// `ST_FIN`: the last packet of a stream; takes a sequence number.
    Fin = 1,
    /// `ST_STATE`: an acknowledgement; takes no sequence number.
    State = 2,
    /// `ST_RESET`: the connection is torn down.
    Reset = 3,
    /// `ST_SYN`: opens a connection; takes a sequence number.
    Syn = 4,
}

impl PacketType {
    fn from_nibble(value: u8) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::Data),
            1 => Ok(Self::Fin),
            2 => Ok(Self::State),
            3 => Ok(Self::Reset),
            4 => Ok(Self::Syn),
            other => Err(DecodeError::Type(other)),
        }
    }
}

/// The fields of the header, by the specification's names. Extensions are not among them: see [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is for.
    pub packet_type: PacketType,
    /// The id that the receiver of this packet listens on; in a SYN, the id that its sender listens on.
    pub connection_id: u16,
    /// When the packet was sent, by the sender's clock, in wrapping microseconds.
    pub timestamp_microseconds: u32,
    /// The sender's clock less the timestamp of the last packet it received, in wrapping microseconds.
    pub timestamp_difference_microseconds: u32,
    /// Bytes that the sender of this packet has room for.
    pub wnd_size: u32,
    /// This packet's number; a packet that takes none carries the number that the next one will have.
    pub seq_nr: u16,
    /// The last number that arrived in order.
    pub ack_nr: u16,
}

impl Header {
    /// Reads the header alone, which is enough to find the connection that a packet belongs to.
    ///
    /// # Errors
    /// As [`Packet::decode`], without those about extensions.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::split(bytes).map(|(header, ..)| header)
    }

    /// The [`receive_id`](crate::Connection::receive_id)s of the connections that this packet may be for, most likely
    /// first.
    ///
    /// A SYN carries the opener's own id, one below the acceptor's. A RESET may answer a packet whose connection its
    /// sender does not know, and then it carries the id of that packet, which is the one *we* send on.
    pub fn receive_ids(&self) -> impl Iterator<Item = u16> + use<> {
        let id = self.connection_id;
        let (first, others) = match self.packet_type {
            PacketType::Syn => (id.wrapping_add(1), None),
            PacketType::Reset => (id, Some([id.wrapping_sub(1), id.wrapping_add(1)])),
            PacketType::Data | PacketType::Fin | PacketType::State => (id, None),
        };
        std::iter::once(first).chain(others.into_iter().flatten())
    }

    /// The RESET that answers this packet when its connection is unknown; `None` if it is a RESET itself.
    pub fn refusal(&self) -> Option<Self> {
        (self.packet_type != PacketType::Reset).then_some(Self {
            packet_type: PacketType::Reset,
            connection_id: self.connection_id,
            timestamp_microseconds: 0,
            timestamp_difference_microseconds: 0,
            wnd_size: 0,
            seq_nr: self.ack_nr,
            ack_nr: self.seq_nr,
        })
    }

    /// The header, the first extension's number and what follows the header.
    fn split(bytes: &[u8]) -> Result<(Self, u8, &[u8]), DecodeError> {
        let Some((mut fields, rest)) = bytes.split_at_checked(HEADER_LEN) else {
            return Err(DecodeError::TooShort(bytes.len()));
        };
        let type_and_version = fields.get_u8();
        let extension = fields.get_u8();
        if type_and_version & 0x0f != VERSION {
            return Err(DecodeError::Version(type_and_version & 0x0f));
        }
        let header = Self {
            packet_type: PacketType::from_nibble(type_and_version >> 4)?,
            connection_id: fields.get_u16(),
            timestamp_microseconds: fields.get_u32(),
            timestamp_difference_microseconds: fields.get_u32(),
            wnd_size: fields.get_u32(),
            seq_nr: fields.get_u16(),
            ack_nr: fields.get_u16(),
        };
        Ok((header, extension, rest))
    }

    /// Appends the packet with this header, `selective_ack` and `payload` to `out` and returns its length in bytes.
    pub fn encode(&self, selective_ack: Option<&SelectiveAck>, payload: &[u8], out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.push((self.packet_type as u8) << 4 | VERSION);
        out.push(if selective_ack.is_some() { SELECTIVE_ACK } else { 0 });
        out.extend_from_slice(&self.connection_id.to_be_bytes());
        out.extend_from_slice(&self.timestamp_microseconds.to_be_bytes());
        out.extend_from_slice(&self.timestamp_difference_microseconds.to_be_bytes());
        out.extend_from_slice(&self.wnd_size.to_be_bytes());
        out.extend_from_slice(&self.seq_nr.to_be_bytes());
        out.extend_from_slice(&self.ack_nr.to_be_bytes());
        if let Some(selective_ack) = selective_ack {
            let mask = selective_ack.as_bytes();
            out.extend_from_slice(&[0, mask.len() as u8]);
            out.extend_from_slice(mask);
        }
        out.extend_from_slice(payload);
        out.len() - start
    }
}

/// Which packets beyond the first missing one have arrived: bit `i`, the least significant of each byte first, stands
/// for `ack_nr + 2 + i` (BEP 29, "selective ack").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectiveAck(Bytes);

impl SelectiveAck {
    /// Wraps a mask.
    ///
    /// # Errors
    /// [`DecodeError::SelectiveAckLen`] unless the length is a multiple of 4 from 4 to [`MAX_SELECTIVE_ACK_LEN`].
    pub fn new(mask: Bytes) -> Result<Self, DecodeError> {
        if mask.is_empty() || !mask.len().is_multiple_of(4) || mask.len() > MAX_SELECTIVE_ACK_LEN {
            return Err(DecodeError::SelectiveAckLen(mask.len()));
        }
        Ok(Self(mask))
    }

    /// The mask as it is on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The mask in words of 32 bits, the least significant bit of the first word standing for `ack_nr + 2`.
    pub fn words(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word))
    }
}

/// A decoded packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The header's fields.
    pub header: Header,
    /// The selective acknowledgement, the only extension that is known; others are skipped.
    pub selective_ack: Option<SelectiveAck>,
    /// What follows the extensions; shares memory with the bytes decoded.
    pub payload: Bytes,
}

impl Packet {
    /// Decodes one datagram.
    ///
    /// # Errors
    /// Says which rule of the packet format was broken.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let (header, mut extension, _) = Header::split(&bytes)?;
        let mut selective_ack = None;
        let mut offset = HEADER_LEN;
        while extension != 0 {
            let beyond_end = DecodeError::Extension { extension, offset, len: bytes.len() };
            let Some(&[next, len]) = bytes.get(offset..).and_then(|rest| rest.first_chunk()) else {
                return Err(beyond_end);
            };
            let (start, end) = (offset + 2, offset + 2 + usize::from(len));
            if end > bytes.len() {
                return Err(beyond_end);
            }
            if extension == SELECTIVE_ACK {
                let mask = SelectiveAck::new(bytes.slice(start..end))?;
                if selective_ack.replace(mask).is_some() {
                    return Err(DecodeError::RepeatedSelectiveAck);
                }
            }
            extension = next;
            offset = end;
        }
        Ok(Self { header, selective_ack, payload: bytes.slice(offset..) })
    }
}
