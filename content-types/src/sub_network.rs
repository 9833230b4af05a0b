//! The registry of sub-networks. Each has a room: a folder of this crate with its keys, its values and how they are checked,
//! and its [`Spec`] (see [`room`](crate::room)). One line in `registry!` below lets everybody else know of it: the store, the
//! overlay, the swarm, the node and its JSON-RPC ask a [`SubNetwork`] or a [`ContentKey`] and name no sub-network where they
//! mean all.
//!
//! To add one: a folder with `SPEC` and `ContentKey`, and a line below. Whoever means one sub-network in particular (the swarm,
//! which moves ranges of blocks; the source of headers) uses that room's own types.

use std::fmt;

use bytes::Bytes;

use crate::room::{Evidence, Form, Key as _, KeyError, Spec, Subject};
use crate::verify::{Examined, Unverified};
use crate::{ContentId, capsules, history, legacy_history, state};

macro_rules! registry {
    ($($(#[$doc:meta])* $network:ident => $room:ident,)+) => {
        /// A sub-network of the Portal Network that this crate knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum SubNetwork {
            $($(#[$doc])* $network,)+
        }

        impl SubNetwork {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($network)),+].len()] = [$(Self::$network),+];

            /// What tells it from others.
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$network => &$room::SPEC,)+
                }
            }
        }

        /// What is asked for, offered or stored: a content key together with its sub-network.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ContentKey {
            $($(#[$doc])* $network($room::ContentKey),)+
        }

        impl ContentKey {
            /// Decodes a key that came in over `network`.
            ///
            /// # Errors
            ///
            /// [`KeyError`] says which rule the bytes break.
            pub fn decode(network: SubNetwork, key: &[u8]) -> Result<Self, KeyError> {
                match network {
                    $(SubNetwork::$network => $room::ContentKey::decode(key).map(Self::$network),)+
                }
            }

            /// The key as it goes over the wire: selector, then the SSZ container.
            pub fn encode(&self) -> Bytes {
                match self {
                    $(Self::$network(key) => key.encode(),)+
                }
            }

            /// Where the content lies in the key space.
            pub fn content_id(&self) -> ContentId {
                match self {
                    $(Self::$network(key) => key.content_id(),)+
                }
            }

            /// The sub-network that the key belongs to.
            pub const fn sub_network(&self) -> SubNetwork {
                match self {
                    $(Self::$network(_) => SubNetwork::$network,)+
                }
            }

            /// Bytes that a value under this key has at most.
            pub fn max_value_len(&self, form: Form) -> usize {
                match self {
                    $(Self::$network(key) => key.max_value_len(form),)+
                }
            }

            /// What the key stands for.
            pub fn subject(&self) -> Subject {
                match self {
                    $(Self::$network(key) => key.subject(),)+
                }
            }

            /// The content type's name in metrics.
            pub fn label(&self) -> &'static str {
                match self {
                    $(Self::$network(key) => key.label(),)+
                }
            }

            /// What it takes to judge a value under this key.
            ///
            /// # Errors
            ///
            /// [`Unverified`] when the value is so malformed that it does not say what it takes.
            pub fn evidence(&self, form: Form, value: &[u8]) -> Result<Evidence, Unverified> {
                match self {
                    $(Self::$network(key) => key.evidence(form, value),)+
                }
            }

            /// Looks at a value by itself; see [`Key::examine`](crate::room::Key::examine). Hashes.
            ///
            /// # Errors
            ///
            /// [`Unverified`] says which rule it breaks.
            pub fn examine(&self, form: Form, value: Bytes) -> Result<Examined, Unverified> {
                match self {
                    $(Self::$network(key) => key.examine(form, value),)+
                }
            }
        }

        $(impl From<$room::ContentKey> for ContentKey {
            fn from(key: $room::ContentKey) -> Self {
                Self::$network(key)
            }
        })+
    };
}

registry! {
    /// Block bodies and receipts by block number, `0x5000`.
    History => history,
    /// Headers by hash and by number, block bodies and receipts by block hash, `0x500B`.
    LegacyHistory => legacy_history,
    /// Nodes of the tries of accounts and storage, and code, `0x500A`.
    State => state,
    /// Proof capsules, accounts of a block with everything that proves them, `0xCA01`: Cairn's own.
    Capsules => capsules,
}

impl SubNetwork {
    /// The `protocol` field of the TALKREQ packets of this sub-network (Portal wire protocol, "Protocol identifiers").
    pub const fn protocol_id(self) -> [u8; 2] {
        self.spec().protocol_id
    }

    /// Its label in metrics.
    pub const fn label(self) -> &'static str {
        self.spec().label
    }

    /// Its place in [`ALL`](Self::ALL), for arrays that have one element for each.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The sub-network that a `protocol` field stands for.
    pub fn from_protocol_id(id: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.protocol_id() == id)
    }

    /// The sub-network that goes by this name in flags and configuration.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.spec().name == name)
    }

    /// The sub-network whose content is stored under this code.
    pub fn from_store_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.spec().store_code == code)
    }
}

impl fmt::Display for SubNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_names_and_codes_go_both_ways() {
        for network in SubNetwork::ALL {
            assert_eq!(SubNetwork::from_protocol_id(&network.protocol_id()), Some(network));
            assert_eq!(SubNetwork::from_name(network.spec().name), Some(network));
            assert_eq!(SubNetwork::from_store_code(network.spec().store_code), Some(network));
            assert_eq!(SubNetwork::ALL[network.index()], network);
        }
        assert_eq!(SubNetwork::from_protocol_id(b"utp"), None);
        assert_eq!(SubNetwork::from_protocol_id(&[0x50]), None);
        assert_eq!(SubNetwork::from_protocol_id(&[0x50, 0x01]), None);
    }

    #[test]
    fn a_room_of_the_portal_network_is_stored_under_the_second_byte_of_its_identifier() {
        // Stores of older versions have it so.
        for network in SubNetwork::ALL {
            let [prefix, rest] = network.protocol_id();
            assert!(prefix != 0x50 || network.spec().store_code == rest, "{network}");
        }
    }
}
