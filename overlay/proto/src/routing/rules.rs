//! Which records belong to peers that this node may speak to.

use std::net::SocketAddr;

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
    /// The subnet that it counts for, and whether it was seen there.
    pub(super) fn counted(&self) -> Option<(Subnet, bool)> {
        self.subnet.map(|subnet| (subnet, self.seen_at.is_some()))
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
}
