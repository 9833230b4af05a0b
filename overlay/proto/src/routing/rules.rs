//! Which records belong to peers that this node may speak to.

use std::net::{IpAddr, SocketAddr};

use super::{AddressPolicy, Subnet};
use crate::record::{self, Enr, Incompatible, PortalFields, Version};

/// What a record has to fulfil before its node is contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRules {
    /// The chain that peers have to be on.
    pub chain_id: u64,
    /// Which addresses peers may have.
    pub addresses: AddressPolicy,
}

/// Why a record's node is not to be contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It speaks no common version or is on another chain.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// Its record has no UDP address.
    #[error("its record has no UDP address")]
    NoAddress,
    /// Its address is not one that a peer can have.
    #[error("its address is not one for peers")]
    Address,
}

/// How a peer stands in the subnet that it counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// It was seen there.
    Seen,
    /// Only its record says so.
    Claimed,
}

impl Standing {
    /// The standing of a peer that was seen at this address, if it ever was.
    pub(super) fn of(seen_at: Option<SocketAddr>) -> Self {
        if seen_at.is_some() { Self::Seen } else { Self::Claimed }
    }
}

/// What the rules say of a peer that fulfils them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// The version to speak with it.
    pub version: Version,
    /// Where it was seen; `None`: it is only known by its record.
    pub seen_at: Option<SocketAddr>,
    /// The subnet that it counts for.
    pub subnet: Option<Subnet>,
}

impl Fit {
    /// The subnet that it counts for, and how it stands there.
    pub(super) fn counted(&self) -> Option<(Subnet, Standing)> {
        self.subnet.map(|subnet| (subnet, Standing::of(self.seen_at)))
    }
}

impl PeerRules {
    /// Checks a record's node, which was seen at `seen_at` or is only known by what the record says. An address that a
    /// record merely claims may be anybody's: one on the local network is not taken from it.
    ///
    /// # Errors
    /// Why it is not to be contacted.
    pub fn check(&self, enr: &Enr, seen_at: Option<SocketAddr>) -> Result<Fit, Unfit> {
        let version = PortalFields::read(enr).negotiate(self.chain_id)?;
        let ip = seen_at.or_else(|| record::udp_socket(enr)).ok_or(Unfit::NoAddress)?.ip();
        if !self.addresses.admits(ip) || (seen_at.is_none() && !self.addresses.believes(ip)) {
            return Err(Unfit::Address);
        }
        Ok(Fit { version, seen_at, subnet: self.addresses.counted(ip) })
    }

    /// The subnets that a record's node counts for by what the record says alone: one for each of its addresses, since
    /// which of them it is contacted at depends on the asking node.
    pub(crate) fn announced_subnets(&self, enr: &Enr) -> [Option<Subnet>; 2] {
        let ips = [enr.udp4_socket().map(|at| IpAddr::V4(*at.ip())), enr.udp6_socket().map(|at| IpAddr::V6(*at.ip()))];
        ips.map(|ip| ip.and_then(|ip| self.addresses.counted(ip)))
    }
}
