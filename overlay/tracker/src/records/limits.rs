//! How many records there may be, and whose record makes room for another.
//!
//! Anybody can make keys and announce anything. What is dear is addresses: so within an era a subnet has few places,
//! and when room is needed it is the most crowded subnet that gives it.
//!
//! A full era does not keep newcomers out. In their favour goes, in this order: who missed a renewal; who could not be
//! reached where its record says, or was not tried yet; the oldest of a more crowded subnet; and of those that were all
//! reached, the one that was reached longest ago. So to keep others out takes as many hosts that answer as an era has
//! places, each in a subnet of its own, and even those lose their places by turns.

use super::{EraRecord, STALE_AFTER};
use crate::{PublicKey, addresses::AddressSubnet};

/// How many records are kept for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimits {
    /// In all. One takes some 250 bytes.
    pub total: usize,
    /// Of one era: more than are named at a time, so that no few false ones fill it.
    pub of_era: usize,
    /// Of one era in one answer, by turns: what fits into 16 KiB beside the nearer peers.
    pub of_answer: usize,
    /// Of one era from one subnet, a /24 or /48.
    pub of_subnet: usize,
    /// Of one peer, in eras. Mainnet has about 3,000.
    pub of_peer: usize,
}

impl Default for RecordLimits {
    fn default() -> Self {
        Self { total: 65_536, of_era: 64, of_answer: 20, of_subnet: 5, of_peer: 8_192 }
    }
}

/// Why a record is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordRefused {
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

/// A provider that was reached so many seconds ago, or less, keeps its place if all others were reached too. Those who come
/// in at the expense of others in turn so have some time.
pub(super) const PLACE_AFTER_REACHED: u64 = 3600;

/// For so many seconds it counts that a provider was reached: a renewal and some.
pub(super) const REACHED_FOR: u64 = STALE_AFTER;

fn subnet(record: &EraRecord) -> Option<AddressSubnet> {
    record.addresses.first().and_then(|address| AddressSubnet::of(address.ip()))
}

/// How many records are of a subnet. What is in none counts as alone.
fn weight(providers: &[EraRecord], of: Option<AddressSubnet>) -> usize {
    of.map_or(0, |of| providers.iter().filter(|record| subnet(record) == Some(of)).count())
}

/// Whether an era has half as many providers as it may, or of this one's subnet: then it is of use to know who of them can
/// be reached.
pub(super) fn is_filling(providers: &[EraRecord], record: &EraRecord, limits: &RecordLimits) -> bool {
    providers.len() * 2 >= limits.of_era || weight(providers, subnet(record)) * 2 >= limits.of_subnet
}

/// Whether `record` may join `providers` of its era (or replace its predecessor there), and who of them goes for it.
/// `reached` says when one was reached at an address of its record last.
pub(super) fn admit(
    providers: &[EraRecord],
    record: &EraRecord,
    limits: &RecordLimits,
    now: u64,
    reached: impl Fn(&EraRecord) -> Option<u64>,
) -> Result<Option<PublicKey>, RecordRefused> {
    let others = || providers.iter().filter(|other| other.provider != record.provider);
    let stalest = |of: Option<AddressSubnet>| {
        let stale = others().filter(|other| other.is_stale(now) && (of.is_none() || subnet(other) == of));
        stale.min_by_key(|other| other.renewed).map(|other| other.provider)
    };
    let own = subnet(record);
    // Nobody gives way to a subnet that would then have more than the own one.
    let of_newcomer = own.map_or(1, |own| weight(providers, Some(own)) + 1);
    let is_as_crowded = |other: &&EraRecord| weight(providers, subnet(other)).max(1) >= of_newcomer;
    // Of several, the oldest of the most crowded subnet.
    let unproved = |of: Option<AddressSubnet>| {
        let unproved = others().filter(|other| reached(other).is_none() && (of.is_none() || subnet(other) == of));
        let unproved = unproved.filter(|other| of.is_some() || is_as_crowded(other));
        let key = |other: &&EraRecord| (std::cmp::Reverse(weight(providers, subnet(other))), other.renewed);
        unproved.min_by_key(key).map(|other| other.provider)
    };
    let longest_ago = || {
        let proved = others().filter(is_as_crowded).map(|other| (reached(other).unwrap_or(0), other.provider));
        let (at, provider) = proved.min()?;
        (at.saturating_add(PLACE_AFTER_REACHED) <= now).then_some(provider)
    };
    if own.is_some() && others().filter(|other| subnet(other) == own).count() >= limits.of_subnet {
        return stalest(own).or_else(|| unproved(own)).map(Some).ok_or(RecordRefused::SubnetFull);
    }
    let is_known = others().count() < providers.len();
    if is_known || providers.len() < limits.of_era {
        return Ok(None);
    }
    let victim =
        stalest(None).or_else(|| unproved(None)).or_else(|| of_heavier_subnet(providers, record)).or_else(longest_ago);
    victim.map(Some).ok_or(RecordRefused::EraFull)
}

/// The oldest record of the subnet that has most.
pub(super) fn of_heaviest_subnet(providers: &[EraRecord]) -> Option<PublicKey> {
    let heaviest = providers
        .iter()
        .max_by_key(|record| (weight(providers, subnet(record)), std::cmp::Reverse(record.renewed), record.provider));
    heaviest.map(|record| record.provider)
}

/// The oldest record of the subnet that has most, if that would still have as many records as that of `record`. Otherwise
/// two subnets could drive each other out for ever.
pub(super) fn of_heavier_subnet(providers: &[EraRecord], record: &EraRecord) -> Option<PublicKey> {
    let victim = of_heaviest_subnet(providers)?;
    let heaviest = providers.iter().find(|other| other.provider == victim)?;
    let is_heavier = weight(providers, subnet(heaviest)) > weight(providers, subnet(record)) + 1;
    is_heavier.then_some(victim)
}
