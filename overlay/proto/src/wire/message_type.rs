//! Which messages there are.

use std::fmt;

/// The messages, with the selectors of the union as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the specification's.
pub enum MessageType {
    Ping = 0,
    Pong = 1,
    FindNodes = 2,
    Nodes = 3,
    FindContent = 4,
    Content = 5,
    Offer = 6,
    Accept = 7,
}

impl MessageType {
    pub(super) fn from_selector(selector: u8) -> Option<Self> {
        Some(match selector {
            0 => MessageType::Ping,
            1 => MessageType::Pong,
            2 => MessageType::FindNodes,
            3 => MessageType::Nodes,
            4 => MessageType::FindContent,
            5 => MessageType::Content,
            6 => MessageType::Offer,
            7 => MessageType::Accept,
            _ => return None,
        })
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessageType::Ping => "PING",
            MessageType::Pong => "PONG",
            MessageType::FindNodes => "FINDNODES",
            MessageType::Nodes => "NODES",
            MessageType::FindContent => "FINDCONTENT",
            MessageType::Content => "CONTENT",
            MessageType::Offer => "OFFER",
            MessageType::Accept => "ACCEPT",
        })
    }
}
