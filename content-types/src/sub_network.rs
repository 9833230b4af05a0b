//! The sub-networks and the protocol identifiers that mark their packets.

use std::fmt;

/// A sub-network of the Portal Network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubNetwork {
    /// Block bodies and receipts by block number.
    History,
    /// Account trie nodes, storage trie nodes and bytecode.
    State,
    /// Headers by hash and by number, block bodies and receipts by block hash.
    LegacyHistory,
    /// Light client data and historical summaries.
    Beacon,
}

impl SubNetwork {
    /// All of them, in the order of their protocol identifiers.
    pub const ALL: [Self; 4] = [Self::History, Self::State, Self::LegacyHistory, Self::Beacon];

    /// The `protocol` field of the TALKREQ packets of this sub-network (Portal wire protocol, "Protocol identifiers").
    pub const fn protocol_id(self) -> [u8; 2] {
        match self {
            Self::History => [0x50, 0x00],
            Self::State => [0x50, 0x0a],
            Self::LegacyHistory => [0x50, 0x0b],
            Self::Beacon => [0x50, 0x0c],
        }
    }

    /// Its label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::State => "state",
            Self::LegacyHistory => "legacy_history",
            Self::Beacon => "beacon",
        }
    }

    /// The sub-network that a `protocol` field stands for.
    pub fn from_protocol_id(id: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.protocol_id() == id)
    }
}

impl fmt::Display for SubNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::History => "history",
            Self::State => "state",
            Self::LegacyHistory => "legacy-history",
            Self::Beacon => "beacon",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_go_both_ways() {
        for network in SubNetwork::ALL {
            assert_eq!(SubNetwork::from_protocol_id(&network.protocol_id()), Some(network));
        }
        assert_eq!(SubNetwork::from_protocol_id(b"utp"), None);
        assert_eq!(SubNetwork::from_protocol_id(&[0x50]), None);
        assert_eq!(SubNetwork::from_protocol_id(&[0x50, 0x01]), None);
    }
}
