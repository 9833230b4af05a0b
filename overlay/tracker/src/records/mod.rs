//! The records kept for others: who provides which era. No I/O and no clock: Unix seconds are passed in.
//!
//! Records are ordered by their distance from this node in the DHT, so that the farthest, which others are better
//! placed to keep, is at hand when room is needed; and by age, for expiry.

pub(crate) mod limits;
pub(crate) mod state_file;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use sha2::{Digest, Sha256};

pub use self::limits::RecordLimits;
pub(crate) use self::limits::RecordRefused;
use crate::{EraKey, PublicKey};

/// A record lasts so long after its last renewal, in seconds. Holders renew every 12 hours, so one renewal may get
/// lost.
pub(crate) const LIFETIME: u64 = 24 * 3600;

/// A record that was not renewed for so many seconds makes room first: its holder missed a renewal.
pub(crate) const STALE_AFTER: u64 = 13 * 3600;

/// A provider is called back again at the first renewal after so many seconds. Less than the time between renewals, so that
/// nobody is ahead of others who renews more often.
const PROVED_AGAIN_AFTER: u64 = 11 * 3600;

/// Addresses in a record: one for each protocol family, and one more.
pub(crate) const MAX_ADDRESSES: usize = 3;

/// XOR of the hashes of key and node, as Kademlia measures it.
type KeyDistance = [u8; 32];

/// Who provides an era.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EraRecord {
    /// The provider's key.
    pub provider: PublicKey,
    /// Where it is reached; the first one is where its announcement came from.
    pub addresses: Vec<SocketAddr>,
    /// When it announced the era last, in Unix seconds.
    pub renewed: u64,
}

impl EraRecord {
    fn has_expired(&self, now: u64) -> bool {
        self.renewed.saturating_add(LIFETIME) <= now
    }

    fn is_stale(&self, now: u64) -> bool {
        self.renewed.saturating_add(STALE_AFTER) <= now
    }
}

/// What is known of a peer that has records here.
#[derive(Debug, Default)]
struct KnownProvider {
    /// How many records it has.
    records: usize,
    /// Where and when we reached it last.
    reached: Option<(SocketAddr, u64)>,
}

/// The records of one era.
#[derive(Debug)]
struct KeptEra {
    key: EraKey,
    providers: Vec<EraRecord>,
}

/// The records kept for others.
#[derive(Debug)]
pub(crate) struct EraRecords {
    /// The hash of this node's peer ID.
    origin: [u8; 32],
    limits: RecordLimits,
    eras: BTreeMap<KeyDistance, KeptEra>,
    by_age: BTreeSet<(u64, KeyDistance, PublicKey)>,
    of_peer: BTreeMap<PublicKey, KnownProvider>,
    revision: u64,
    /// Goes up with every answer.
    turn: AtomicUsize,
}

impl EraRecords {
    /// No records yet. `peer` is the encoding of this node's peer ID.
    pub(crate) fn new(peer: &[u8], limits: RecordLimits) -> Self {
        Self {
            origin: Sha256::digest(peer).into(),
            limits,
            eras: BTreeMap::new(),
            by_age: BTreeSet::new(),
            of_peer: BTreeMap::new(),
            revision: 0,
            turn: AtomicUsize::new(0),
        }
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Goes up with every change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The providers of an era whose records have not expired.
    pub(crate) fn providers(&self, key: &EraKey, now: u64) -> impl Iterator<Item = &EraRecord> {
        let era = self.eras.get(&self.distance(key));
        era.into_iter().flat_map(|era| &era.providers).filter(move |record| !record.has_expired(now))
    }

    /// Those of an era's providers that are named in one answer: first who was reached where its record says, and of either
    /// kind each by turns.
    pub(crate) fn answer(&self, key: &EraKey, now: u64) -> Vec<&EraRecord> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (mut reached, mut others): (Vec<_>, Vec<_>) =
            self.providers(key, now).partition(|record| self.reached_at(record, now).is_some());
        for kind in [&mut reached, &mut others] {
            let first = turn.checked_rem(kind.len()).unwrap_or(0);
            kind.rotate_left(first);
        }
        reached.append(&mut others);
        reached.truncate(self.limits.of_answer);
        reached
    }

    /// The record of one provider of an era.
    pub(crate) fn of_provider(&self, key: &EraKey, provider: &PublicKey, now: u64) -> Option<&EraRecord> {
        self.providers(key, now).find(|record| record.provider == *provider)
    }

    /// A peer was reached at this address, which counts if it has records.
    pub(crate) fn reached(&mut self, provider: &PublicKey, at: SocketAddr, now: u64) {
        if let Some(peer) = self.of_peer.get_mut(provider) {
            peer.reached = Some((at, now));
        }
    }

    /// A peer could not be reached.
    pub(crate) fn not_reached(&mut self, provider: &PublicKey) {
        if let Some(peer) = self.of_peer.get_mut(provider) {
            peer.reached = None;
        }
    }

    /// Whether it is time to find out if a provider can be reached: places are running short, and it was not reached there
    /// since its last renewal.
    pub(crate) fn wants_proof(&self, key: &EraKey, provider: &PublicKey, now: u64) -> bool {
        let era = self.eras.get(&self.distance(key));
        let record = era.and_then(|era| Some((era, era.providers.iter().find(|record| record.provider == *provider)?)));
        record.is_some_and(|(era, record)| {
            limits::is_filling(&era.providers, record, &self.limits)
                && self.reached_at(record, now).is_none_or(|at| at.saturating_add(PROVED_AGAIN_AFTER) <= now)
        })
    }

    /// When the provider of a record was reached at an address of that, if that still counts.
    fn reached_at(&self, record: &EraRecord, now: u64) -> Option<u64> {
        let (at, when) = self.of_peer.get(&record.provider)?.reached?;
        let counts = record.addresses.contains(&at) && when.saturating_add(limits::REACHED_FOR) > now;
        counts.then_some(when)
    }

    /// All records, those nearest to this node first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&EraKey, &EraRecord)> {
        self.eras.values().flat_map(|era| era.providers.iter().map(|record| (&era.key, record)))
    }

    /// Adds or renews a record, at the cost of others if there is no room.
    ///
    /// # Errors
    ///
    /// When all those whose place it could have are worth more.
    pub(crate) fn insert(&mut self, key: EraKey, mut record: EraRecord, now: u64) -> Result<(), RecordRefused> {
        // The clock may have gone backwards since the record was written.
        record.renewed = record.renewed.min(now);
        record.addresses.truncate(MAX_ADDRESSES);
        if record.has_expired(now) {
            return Err(RecordRefused::Expired);
        }
        self.expire(now);
        let place = self.distance(&key);
        let providers = self.eras.get(&place).map_or(&[][..], |era| &era.providers);
        let is_known = providers.iter().any(|other| other.provider == record.provider);
        let of_peer = self.of_peer.get(&record.provider);
        if !is_known && of_peer.is_some_and(|peer| peer.records >= self.limits.of_peer) {
            return Err(RecordRefused::PeerFull);
        }
        let reached = |record: &EraRecord| self.reached_at(record, now);
        let victim = limits::admit(providers, &record, &self.limits, now, reached)?;
        let mut victim = victim.map(|provider| (place, provider));
        if victim.is_none() && !is_known && self.len() >= self.limits.total {
            victim = Some(self.make_room(place, &record, now)?);
        }
        // Before its predecessor goes, so that it is not forgotten where the peer was reached.
        self.of_peer.entry(record.provider).or_default().records += 1;
        for (place, provider) in victim.into_iter().chain(is_known.then_some((place, record.provider))) {
            self.remove(place, &provider);
        }
        self.by_age.insert((record.renewed, place, record.provider));
        self.eras.entry(place).or_insert_with(|| KeptEra { key, providers: Vec::new() }).providers.push(record);
        self.revision += 1;
        Ok(())
    }

    /// Drops what has expired.
    pub(crate) fn expire(&mut self, now: u64) {
        while let Some(&(renewed, place, provider)) = self.by_age.first()
            && renewed.saturating_add(LIFETIME) <= now
        {
            self.remove(place, &provider);
        }
    }

    /// Whose record goes when there are too many: the one that missed its renewal, or else one of the farthest era.
    fn make_room(
        &self,
        place: KeyDistance,
        record: &EraRecord,
        now: u64,
    ) -> Result<(KeyDistance, PublicKey), RecordRefused> {
        let &(renewed, stalest, provider) = self.by_age.first().ok_or(RecordRefused::Full)?;
        if renewed.saturating_add(STALE_AFTER) <= now {
            return Ok((stalest, provider));
        }
        let (&farthest, era) = self.eras.last_key_value().ok_or(RecordRefused::Full)?;
        let victim = match farthest.cmp(&place) {
            std::cmp::Ordering::Greater => limits::of_heaviest_subnet(&era.providers),
            std::cmp::Ordering::Equal => limits::of_heavier_subnet(&era.providers, record),
            std::cmp::Ordering::Less => None,
        };
        victim.map(|victim| (farthest, victim)).ok_or(RecordRefused::Full)
    }

    fn remove(&mut self, place: KeyDistance, provider: &PublicKey) {
        let Some(era) = self.eras.get_mut(&place) else { return };
        let Some(index) = era.providers.iter().position(|record| record.provider == *provider) else { return };
        let record = era.providers.swap_remove(index);
        if era.providers.is_empty() {
            self.eras.remove(&place);
        }
        self.by_age.remove(&(record.renewed, place, record.provider));
        if let Some(peer) = self.of_peer.get_mut(provider) {
            peer.records = peer.records.saturating_sub(1);
            if peer.records == 0 {
                self.of_peer.remove(provider);
            }
        }
        self.revision += 1;
    }

    fn distance(&self, key: &EraKey) -> KeyDistance {
        let mut distance: KeyDistance = Sha256::digest(key).into();
        for (byte, own) in distance.iter_mut().zip(self.origin) {
            *byte ^= own;
        }
        distance
    }
}

#[cfg(test)]
mod tests;
