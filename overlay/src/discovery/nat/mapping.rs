//! What is asked of a router, what it answers, and what has come of it for each service.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// Longest text of a router that is kept: it goes into the log and to whoever asks for the state.
const MAX_REASON_CHARS: usize = 100;

/// How a router is asked to map a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingProtocol {
    /// The Port Control Protocol (RFC 6887).
    Pcp,
    /// Its forerunner, the NAT Port Mapping Protocol (RFC 6886).
    NatPmp,
    /// UPnP's Internet Gateway Device protocol.
    Upnp,
}

impl MappingProtocol {
    /// The name in lower case, for labels and output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Upnp => "upnp",
        }
    }
}

/// What a service's port has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapping {
    /// `discv5`, or the service's key in the node record.
    pub service: &'static str,
    /// Where the service listens.
    pub local: SocketAddrV4,
    /// What came of asking the router.
    pub state: MappingState,
}

/// What came of asking a router for a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingState {
    /// Nothing yet.
    Asking,
    /// What comes to an outer address is handed on to this node.
    Mapped {
        /// The address that the world sees.
        external: SocketAddrV4,
        /// How the router was asked.
        by: MappingProtocol,
    },
    /// It is not, and the router is asked again after a pause.
    NotMapped(MappingFailure),
}

/// Why a port is not mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingFailure {
    /// Nobody answers who could map a port.
    NoGateway,
    /// The router's own outer address is none of the Internet: it is behind NAT itself, its own or a carrier's.
    BehindNat(Ipv4Addr),
    /// The outer address is another one than that of discv5, which is the one that the node record names.
    OtherAddress(Ipv4Addr),
    /// The router says no, in its words or ours.
    Refused(String),
    /// Every outer port that was asked for leads to somebody else.
    Taken,
}

impl MappingFailure {
    /// A refusal, with what counts of its reason.
    pub(super) fn refused(reason: impl fmt::Display) -> Self {
        let text: String = reason.to_string().chars().filter(|c| !c.is_control()).take(MAX_REASON_CHARS).collect();
        Self::Refused(text)
    }

    /// One word for it, as a label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoGateway => "no_gateway",
            Self::BehindNat(_) => "behind_nat",
            Self::OtherAddress(_) => "other_address",
            Self::Refused(_) => "refused",
            Self::Taken => "taken",
        }
    }

    /// How much it tells: of what several protocols have brought, the most telling is kept.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::NoGateway => 0,
            Self::Refused(_) => 1,
            Self::Taken => 2,
            Self::OtherAddress(_) => 3,
            Self::BehindNat(_) => 4,
        }
    }
}

impl fmt::Display for MappingFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGateway => f.write_str("no gateway answered"),
            Self::BehindNat(address) => {
                write!(f, "the router's outer address {address} is not one of the Internet: it is behind NAT itself")
            }
            Self::OtherAddress(address) => write!(f, "the router maps it to another address, {address}, than discv5"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Taken => f.write_str("the outer ports that were asked for are taken"),
        }
    }
}

/// A mapping that is asked for: to be made, or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MapRequest {
    pub(super) by: MappingProtocol,
    pub(super) local: SocketAddrV4,
    /// The outer address that is wanted, which few routers have a choice of.
    pub(super) outer_address: Option<Ipv4Addr>,
    /// The outer port that is wanted. PCP and NAT-PMP give another one by themselves if it is taken.
    pub(super) outer_port: u16,
    pub(super) lease: Duration,
}

/// A mapping that a router says it has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) external: SocketAddrV4,
    pub(super) lease: Duration,
}

/// A mapping that is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) by: MappingProtocol,
    pub(super) local: SocketAddrV4,
    pub(super) external: SocketAddrV4,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_says_is_cut_and_goes_on_one_line() {
        let refused = MappingFailure::refused(format!("no\nway\u{1b}[2J {}", "é".repeat(1000)));
        let MappingFailure::Refused(reason) = &refused else { panic!("{refused:?}") };
        assert!(reason.starts_with("noway[2J é"), "{reason}");
        assert_eq!(reason.chars().count(), MAX_REASON_CHARS);
        assert_eq!(refused.to_string().lines().count(), 1);
    }
}
