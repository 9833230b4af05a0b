//! Node IDs and content IDs: 256-bit big-endian numbers in one key space.

use std::{fmt, str::FromStr};

use alloy_primitives::hex;
use sha2::{Digest, Sha256};

use crate::Distance;

/// Text that is not a 32-byte identifier in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identifier is 32 bytes in hexadecimal, with or without 0x: {0}")]
pub struct ParseIdError(#[from] hex::FromHexError);

macro_rules! identifier {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The identifier as 32 big-endian bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for [u8; 32] {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

identifier! {
    /// A node's place in the key space: the ID in its node record (EIP-778).
    NodeId
}

identifier! {
    /// A piece of content's place in the key space, derived from its content key.
    ContentId
}

impl NodeId {
    /// How far `content` lies from this node.
    pub fn distance(&self, content: &ContentId) -> Distance {
        Distance::between(&self.0, &content.0)
    }

    /// How far another node lies from this one.
    pub fn distance_to_node(&self, other: &NodeId) -> Distance {
        Distance::between(&self.0, &other.0)
    }
}

impl ContentId {
    /// The content ID of every sub-network without a derivation of its own: SHA-256 of the encoded content key
    /// (Portal wire protocol, "SHA256 Content ID Derivation Function").
    pub fn sha256(content_key: &[u8]) -> Self {
        Self(Sha256::digest(content_key).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let text = format!("0x{}", "0f".repeat(32));
        let id: NodeId = text.parse().unwrap();
        assert_eq!(id, NodeId::from([0x0f; 32]));
        assert_eq!(id.to_string(), text);
        assert_eq!(text[2..].parse::<NodeId>().unwrap(), id);
        assert!("0x0f".parse::<ContentId>().is_err());
        assert!("zz".repeat(32).parse::<ContentId>().is_err());
    }
}
