//! How many records there may be, and whose record makes room for another.
//!
//! Anybody can make keys and announce anything. What is dear is addresses: so within an era a subnet has few places,
//! and when room is needed it is the most crowded subnet that gives it.

use super::Record;
use crate::{PublicKey, addresses::Subnet};

/// How many records are kept for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimits {
    /// In all. One takes some 250 bytes.
    pub total: usize,
    /// Of one era: what fits into an answer of 16 KiB beside the nearer peers.
    pub of_era: usize,
    /// Of one era from one subnet, a /24 or /48.
    pub of_subnet: usize,
    /// Of one peer, in eras. Mainnet has about 3,000.
    pub of_peer: usize,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self { total: 65_536, of_era: 20, of_subnet: 5, of_peer: 8_192 }
    }
}

/// Why a record is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is older than a day.
    #[error("the record has expired")]
    Expired,
    /// There are too many records of eras that are nearer to this node.
    #[error("there are too many records")]
    Full,
    /// The era has enough providers.
    #[error("the era has enough providers")]
    EraFull,
    /// The era has enough providers from this subnet.
    #[error("the era has enough providers from this subnet")]
    SubnetFull,
    /// The peer announces too many eras.
    #[error("the peer announces too many eras")]
    PeerFull,
}

fn subnet(record: &Record) -> Option<Subnet> {
    record.addresses.first().and_then(|address| Subnet::of(address.ip()))
}

/// How many records are of a subnet. What is in none counts as alone.
fn weight(providers: &[Record], of: Option<Subnet>) -> usize {
    of.map_or(0, |of| providers.iter().filter(|record| subnet(record) == Some(of)).count())
}

/// Whether `record` may join `providers` of its era (or replace its predecessor there), and who of them goes for it.
pub(super) fn admit(
    providers: &[Record],
    record: &Record,
    limits: &RecordLimits,
    now: u64,
) -> Result<Option<PublicKey>, Refused> {
    let others = || providers.iter().filter(|other| other.provider != record.provider);
    let stalest = |of: Option<Subnet>| {
        let stale = others().filter(|other| other.is_stale(now) && (of.is_none() || subnet(other) == of));
        stale.min_by_key(|other| other.renewed).map(|other| other.provider)
    };
    let own = subnet(record);
    if own.is_some() && others().filter(|other| subnet(other) == own).count() >= limits.of_subnet {
        return stalest(own).map(Some).ok_or(Refused::SubnetFull);
    }
    let is_known = others().count() < providers.len();
    if is_known || providers.len() < limits.of_era {
        return Ok(None);
    }
    stalest(None).or_else(|| of_heavier_subnet(providers, record)).map(Some).ok_or(Refused::EraFull)
}

/// The oldest record of the subnet that has most.
pub(super) fn of_heaviest_subnet(providers: &[Record]) -> Option<PublicKey> {
    let heaviest = providers
        .iter()
        .max_by_key(|record| (weight(providers, subnet(record)), std::cmp::Reverse(record.renewed), record.provider));
    heaviest.map(|record| record.provider)
}

/// The same, if its subnet would still have as many records as that of `record`. Otherwise two subnets could drive each
/// other out for ever.
pub(super) fn of_heavier_subnet(providers: &[Record], record: &Record) -> Option<PublicKey> {
    let victim = of_heaviest_subnet(providers)?;
    let heaviest = providers.iter().find(|other| other.provider == victim)?;
    let is_heavier = weight(providers, subnet(heaviest)) > weight(providers, subnet(record)) + 1;
    is_heavier.then_some(victim)
}
