//! A content key of any sub-network whose content this crate knows.

use bytes::Bytes;

use crate::{ContentId, SubNetwork, history, legacy_history};

/// A content key that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no selector.
    #[error("the content key is empty")]
    Empty,
    /// The first byte stands for no content type of the sub-network.
    #[error("the {network} network has no content type {selector:#04x}")]
    UnknownSelector {
        /// The sub-network whose key it was taken for.
        network: SubNetwork,
        /// The key's first byte.
        selector: u8,
    },
    /// The key is longer or shorter than its type says.
    #[error("a {network} content key of type {selector:#04x} is {expected} bytes long, not {actual}")]
    Length {
        /// The sub-network whose key it was taken for.
        network: SubNetwork,
        /// The key's first byte.
        selector: u8,
        /// Bytes that a key of this type has.
        expected: usize,
        /// Bytes that there are.
        actual: usize,
    },
    /// The sub-network exists, but its content keys are not known here.
    #[error("content keys of the {0} network are not supported")]
    UnsupportedNetwork(SubNetwork),
}

/// What is asked for, offered or stored: a content key together with its sub-network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentKey {
    /// Of the history network, `0x5000`.
    History(history::ContentKey),
    /// Of the legacy history network, `0x500B`.
    LegacyHistory(legacy_history::ContentKey),
}

impl ContentKey {
    /// Decodes a key that came in over `network`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says which rule the bytes break.
    pub fn decode(network: SubNetwork, key: &[u8]) -> Result<Self, KeyError> {
        match network {
            SubNetwork::History => history::ContentKey::decode(key).map(Self::History),
            SubNetwork::LegacyHistory => legacy_history::ContentKey::decode(key).map(Self::LegacyHistory),
            SubNetwork::State | SubNetwork::Beacon => Err(KeyError::UnsupportedNetwork(network)),
        }
    }

    /// The key as it goes over the wire: selector, then the SSZ container.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::History(key) => key.encode(),
            Self::LegacyHistory(key) => key.encode(),
        }
    }

    /// Where the content lies in the key space.
    pub fn content_id(&self) -> ContentId {
        match self {
            Self::History(key) => key.content_id(),
            Self::LegacyHistory(key) => key.content_id(),
        }
    }

    /// The sub-network that the key belongs to.
    pub const fn sub_network(&self) -> SubNetwork {
        match self {
            Self::History(_) => SubNetwork::History,
            Self::LegacyHistory(_) => SubNetwork::LegacyHistory,
        }
    }

    /// Bytes that a value under this key has at most.
    pub const fn max_value_len(&self) -> usize {
        match self {
            Self::History(key) => key.max_value_len(),
            Self::LegacyHistory(key) => key.max_value_len(),
        }
    }
}

impl From<history::ContentKey> for ContentKey {
    fn from(key: history::ContentKey) -> Self {
        Self::History(key)
    }
}

impl From<legacy_history::ContentKey> for ContentKey {
    fn from(key: legacy_history::ContentKey) -> Self {
        Self::LegacyHistory(key)
    }
}
