//! The records as `libp2p-kad` wants to see them.
//!
//! Records of others do not come in through this interface: an announcement is stored together with the address that it
//! came from, which only [`Dht`](crate::behaviour::Dht) knows.

use std::{borrow::Cow, collections::BTreeSet, iter};

use libp2p_identity::PeerId;
use libp2p_kad::{
    ProviderRecord, Record, RecordKey,
    store::{Error, RecordStore, Result},
};

use crate::{Clock, EraKey, addresses, identity, records::EraRecords};

/// Records of others, and the keys that this node provides itself.
pub(crate) struct DhtStore {
    local: PeerId,
    own: BTreeSet<EraKey>,
    /// The keys of the chain's eras. Others would be free of choice, and near to this node by choice.
    known: BTreeSet<EraKey>,
    clock: Clock,
    pub(crate) records: EraRecords,
}

impl DhtStore {
    pub(crate) fn new(local: PeerId, records: EraRecords, known: BTreeSet<EraKey>, clock: Clock) -> Self {
        Self { local, own: BTreeSet::new(), known, clock, records }
    }

    /// Whether a key is that of an era.
    pub(crate) fn is_known(&self, key: &EraKey) -> bool {
        self.known.contains(key)
    }

    /// The keys that this node provides itself: whoever asks it learns that, even if no peer has taken the record yet.
    pub(crate) fn set_own(&mut self, keys: BTreeSet<EraKey>) {
        self.own = keys;
    }

    /// Unix time in seconds.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }
}

/// The key, if it is as long as ours.
pub(crate) fn era_key(key: &RecordKey) -> Option<EraKey> {
    key.as_ref().try_into().ok()
}

impl RecordStore for DhtStore {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        let own = era_key(&record.key).filter(|_| record.provider == self.local);
        self.own.insert(own.ok_or(Error::MaxProvidedKeys)?);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let Some(era) = era_key(key) else { return Vec::new() };
        let record = |provider, addresses| ProviderRecord { key: key.clone(), provider, expires: None, addresses };
        // Without addresses, `libp2p-kad` fills in those announced.
        let own = self.own.contains(&era).then(|| record(self.local, Vec::new()));
        let others = self.records.answer(&era, self.now()).into_iter().filter_map(|other| {
            let addresses = other.addresses.iter().map(|address| addresses::multiaddr(*address)).collect();
            Some(record(identity::peer_id(&other.provider)?, addresses))
        });
        own.into_iter().chain(others).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if let Some(era) = era_key(key)
            && *provider == self.local
        {
            self.own.remove(&era);
        }
    }
}
