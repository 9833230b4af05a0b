//! Which records belong to peers that this node may speak to.

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

impl PeerRules {
    /// The version to speak with the record's node, and the subnet it counts for.
    ///
    /// # Errors
    /// Why it is not to be contacted.
    pub fn check(&self, enr: &Enr) -> Result<(Version, Option<Subnet>), Unfit> {
        let version = PortalFields::read(enr).negotiate(self.chain_id)?;
        let ip = record::udp_socket(enr).ok_or(Unfit::NoAddress)?.ip();
        if !self.addresses.admits(ip) {
            return Err(Unfit::Address);
        }
        Ok((version, self.addresses.counted(ip)))
    }
}
