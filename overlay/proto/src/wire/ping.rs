//! Payloads of PING and PONG: the extensions 0, 1, 2 and 65535.
//!
//! Specification: `ping-extensions/`.

use std::borrow::Cow;

use bytes::Bytes;
use content_types::Distance;
use ssz::{Decode, DecodeError, SszDecoderBuilder, SszEncoder};

use super::{
    MAX_CAPABILITIES, MAX_CLIENT_INFO_BYTES, MAX_ERROR_BYTES,
    error::{check_count, check_len},
    layout::{AsByteString, ByteString},
};
use crate::wire::WireError;

pub use content_types::room::ping_extension as payload_type;

/// A decoded payload of PING or PONG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PingPayload {
    /// Type 0.
    ClientInfo(ClientInfo),
    /// Type 1.
    BasicRadius(BasicRadius),
    /// Type 2.
    HistoryRadius(HistoryRadius),
    /// Type 65535.
    Error(ErrorPayload),
}

/// Type 0: `Container(client_info: ByteList[200], data_radius: U256, capabilities: List[u16, 400])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// Name, version, platform and compiler, as UTF-8. A peer may send anything, or nothing.
    pub client_info: Bytes,
    /// The sender's radius in this sub-network.
    pub data_radius: Distance,
    /// Numbers of the extensions that the sender speaks.
    pub capabilities: Vec<u16>,
}

impl ClientInfo {
    /// The description as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.client_info)
    }
}

/// Type 1: `Container(data_radius: U256)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasicRadius {
    /// The sender's radius in this sub-network.
    pub data_radius: Distance,
}

/// Type 2: `Container(data_radius: U256, ephemeral_header_count: u16)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRadius {
    /// The sender's radius in this sub-network.
    pub data_radius: Distance,
    /// Recent headers without a final proof that the sender holds.
    pub ephemeral_header_count: u16,
}

/// Type 65535: `Container(error_code: u16, message: ByteList[300])`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPayload {
    /// What kind of error it is.
    pub error_code: ErrorCode,
    /// A text for people, as UTF-8. A peer may send anything.
    pub message: Bytes,
}

impl ErrorPayload {
    /// An error with a text; longer than allowed, it is cut.
    pub fn new(error_code: ErrorCode, message: &'static str) -> Self {
        let message = message.as_bytes();
        Self { error_code, message: Bytes::from_static(&message[..message.len().min(MAX_ERROR_BYTES)]) }
    }
}

/// Why a PING could not be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 0: the extension is neither spoken nor required.
    ExtensionNotSupported,
    /// 1: the data for the answer is missing.
    RequestedDataNotFound,
    /// 2: the payload of the PING could not be read.
    FailedToDecodePayload,
    /// 3: something broke.
    SystemError,
    /// A code that the specification does not name.
    Unknown(u16),
}

impl From<u16> for ErrorCode {
    fn from(code: u16) -> Self {
        match code {
            0 => ErrorCode::ExtensionNotSupported,
            1 => ErrorCode::RequestedDataNotFound,
            2 => ErrorCode::FailedToDecodePayload,
            3 => ErrorCode::SystemError,
            other => ErrorCode::Unknown(other),
        }
    }
}

impl From<ErrorCode> for u16 {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::ExtensionNotSupported => 0,
            ErrorCode::RequestedDataNotFound => 1,
            ErrorCode::FailedToDecodePayload => 2,
            ErrorCode::SystemError => 3,
            ErrorCode::Unknown(other) => other,
        }
    }
}

/// A payload that cannot be read. The answer to such a PING is a PONG with [`ErrorPayload`] and [`PayloadError::code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// An extension that Cairn does not speak.
    #[error("ping extension {0} is not supported")]
    Unsupported(u16),
    /// The bytes do not have the layout of the extension's container.
    #[error("ping extension {payload_type}: not the SSZ of its container: {reason}")]
    Layout {
        /// The extension.
        payload_type: u16,
        /// What the SSZ decoder found.
        reason: String,
    },
    /// A field is longer than the extension allows.
    #[error("ping extension {payload_type}: {source}")]
    Limit {
        /// The extension.
        payload_type: u16,
        /// Which field, and its limit.
        source: WireError,
    },
}

impl PayloadError {
    /// The code that tells the sender.
    pub fn code(&self) -> ErrorCode {
        match self {
            PayloadError::Unsupported(_) => ErrorCode::ExtensionNotSupported,
            PayloadError::Layout { .. } | PayloadError::Limit { .. } => ErrorCode::FailedToDecodePayload,
        }
    }
}

impl PingPayload {
    /// The number of the extension.
    pub fn payload_type(&self) -> u16 {
        match self {
            PingPayload::ClientInfo(_) => payload_type::CLIENT_INFO,
            PingPayload::BasicRadius(_) => payload_type::BASIC_RADIUS,
            PingPayload::HistoryRadius(_) => payload_type::HISTORY_RADIUS,
            PingPayload::Error(_) => payload_type::ERROR,
        }
    }

    /// The radius that the payload announces.
    pub fn data_radius(&self) -> Option<Distance> {
        match self {
            PingPayload::ClientInfo(payload) => Some(payload.data_radius),
            PingPayload::BasicRadius(payload) => Some(payload.data_radius),
            PingPayload::HistoryRadius(payload) => Some(payload.data_radius),
            PingPayload::Error(_) => None,
        }
    }

    /// Reads the payload of extension `payload_type`.
    ///
    /// # Errors
    /// An extension that is not spoken here, bytes that are not its container, or a field above its limit.
    pub fn decode(payload_type: u16, bytes: &[u8]) -> Result<Self, PayloadError> {
        let layout = |error: DecodeError| PayloadError::Layout { payload_type, reason: format!("{error:?}") };
        let payload = match payload_type {
            payload_type::CLIENT_INFO => decode_client_info(bytes).map(PingPayload::ClientInfo),
            payload_type::BASIC_RADIUS => {
                decode_radius(bytes).map(|data_radius| PingPayload::BasicRadius(BasicRadius { data_radius }))
            }
            payload_type::HISTORY_RADIUS => decode_history_radius(bytes).map(PingPayload::HistoryRadius),
            payload_type::ERROR => decode_error(bytes).map(PingPayload::Error),
            other => return Err(PayloadError::Unsupported(other)),
        }
        .map_err(layout)?;
        payload.check()?;
        Ok(payload)
    }

    /// The payload's bytes.
    ///
    /// # Errors
    /// A field above its limit.
    pub fn encode(&self) -> Result<Bytes, PayloadError> {
        self.check()?;
        let mut buf = Vec::new();
        match self {
            PingPayload::ClientInfo(payload) => {
                let mut encoder = SszEncoder::container(&mut buf, 4 + 32 + 4);
                encoder.append(&AsByteString(&payload.client_info));
                encoder.append(&payload.data_radius.to_le_bytes());
                encoder.append(&payload.capabilities);
                encoder.finalize();
            }
            PingPayload::BasicRadius(payload) => buf.extend_from_slice(&payload.data_radius.to_le_bytes()),
            PingPayload::HistoryRadius(payload) => {
                buf.extend_from_slice(&payload.data_radius.to_le_bytes());
                buf.extend_from_slice(&payload.ephemeral_header_count.to_le_bytes());
            }
            PingPayload::Error(payload) => {
                let mut encoder = SszEncoder::container(&mut buf, 2 + 4);
                encoder.append(&u16::from(payload.error_code));
                encoder.append(&AsByteString(&payload.message));
                encoder.finalize();
            }
        }
        Ok(buf.into())
    }

    fn check(&self) -> Result<(), PayloadError> {
        match self {
            PingPayload::ClientInfo(payload) => {
                check_len("client_info", payload.client_info.len(), MAX_CLIENT_INFO_BYTES)
                    .and_then(|()| check_count("capabilities", payload.capabilities.len(), MAX_CAPABILITIES))
            }
            PingPayload::Error(payload) => check_len("message", payload.message.len(), MAX_ERROR_BYTES),
            PingPayload::BasicRadius(_) | PingPayload::HistoryRadius(_) => Ok(()),
        }
        .map_err(|source| PayloadError::Limit { payload_type: self.payload_type(), source })
    }
}

fn decode_client_info(bytes: &[u8]) -> Result<ClientInfo, DecodeError> {
    let mut builder = SszDecoderBuilder::new(bytes);
    builder.register_type::<ByteString>()?;
    builder.register_type::<[u8; 32]>()?;
    builder.register_type::<Vec<u16>>()?;
    let mut decoder = builder.build()?;
    Ok(ClientInfo {
        client_info: decoder.decode_next::<ByteString>()?.0,
        data_radius: Distance::from_le_bytes(decoder.decode_next()?),
        capabilities: decoder.decode_next()?,
    })
}

fn decode_radius(bytes: &[u8]) -> Result<Distance, DecodeError> {
    <[u8; 32]>::from_ssz_bytes(bytes).map(Distance::from_le_bytes)
}

fn decode_history_radius(bytes: &[u8]) -> Result<HistoryRadius, DecodeError> {
    let mut builder = SszDecoderBuilder::new(bytes);
    builder.register_type::<[u8; 32]>()?;
    builder.register_type::<u16>()?;
    let mut decoder = builder.build()?;
    Ok(HistoryRadius {
        data_radius: Distance::from_le_bytes(decoder.decode_next()?),
        ephemeral_header_count: decoder.decode_next()?,
    })
}

fn decode_error(bytes: &[u8]) -> Result<ErrorPayload, DecodeError> {
    let mut builder = SszDecoderBuilder::new(bytes);
    builder.register_type::<u16>()?;
    builder.register_type::<ByteString>()?;
    let mut decoder = builder.build()?;
    Ok(ErrorPayload {
        error_code: decoder.decode_next::<u16>()?.into(),
        message: decoder.decode_next::<ByteString>()?.0,
    })
}

/// Which of the extensions known to Cairn somebody speaks. Numbers unknown here are forgotten: they could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    basic_radius: bool,
    history_radius: bool,
}

impl Extensions {
    /// What every node speaks, and all that may be assumed of a peer that has not answered a PING of type 0.
    pub const STANDARD: Self = Self { basic_radius: false, history_radius: false };

    /// The known ones among `capabilities`.
    pub fn from_capabilities(capabilities: &[u16]) -> Self {
        Self {
            basic_radius: capabilities.contains(&payload_type::BASIC_RADIUS),
            history_radius: capabilities.contains(&payload_type::HISTORY_RADIUS),
        }
    }

    /// The list to announce in [`ClientInfo`].
    pub fn to_capabilities(self) -> Vec<u16> {
        let mut capabilities = vec![payload_type::CLIENT_INFO];
        capabilities.extend(self.basic_radius.then_some(payload_type::BASIC_RADIUS));
        capabilities.extend(self.history_radius.then_some(payload_type::HISTORY_RADIUS));
        capabilities.push(payload_type::ERROR);
        capabilities
    }

    /// The extension for the next PING between the owners of two lists: the one that carries most beside the radius,
    /// and if they share none, type 0.
    pub fn best_common(self, other: Self) -> u16 {
        if self.history_radius && other.history_radius {
            payload_type::HISTORY_RADIUS
        } else if self.basic_radius && other.basic_radius {
            payload_type::BASIC_RADIUS
        } else {
            payload_type::CLIENT_INFO
        }
    }

    /// Whether a PING of this type may be answered in kind by the owner of the list.
    pub fn contains(self, payload_type: u16) -> bool {
        match payload_type {
            payload_type::CLIENT_INFO | payload_type::ERROR => true,
            payload_type::BASIC_RADIUS => self.basic_radius,
            payload_type::HISTORY_RADIUS => self.history_radius,
            _ => false,
        }
    }
}
