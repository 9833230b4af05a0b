//! Reading what is stored: an item by its ID, checked, or what is known of it without its value. What does not pass is dropped.

use std::io;

use bytes::Bytes;
use content_types::{ContentId, SubNetwork};

use crate::{
    core::{Core, Counters},
    error::{IndexError, StoreError},
    events::Event,
    index::{EntryKey, RecordLocation},
    record::{Item, Place, RecordError},
    work::{Removal, Work},
};

/// Times that a read starts over because the record was moved under it. Moving one twice within a read is unheard of.
const MAX_READ_ATTEMPTS: usize = 4;

/// What was stored, beside its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its ID.
    pub id: ContentId,
    /// Its encoded content key.
    pub key: Bytes,
    /// Bytes of its record.
    pub record_len: u64,
}

/// What it takes to read a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadCost {
    /// A read of the store.
    Stored,
    /// A few reads of an archive's file, and decompression.
    Archive,
    /// All headers of an archive are read first, for the tree that its proofs are built from.
    EpochTree,
}

impl Core {
    /// The item with an ID, checked against its checksums.
    pub(crate) fn get(&self, network: SubNetwork, id: &ContentId) -> Result<Option<Item>, StoreError> {
        let key = self.entry_key(network, id);
        let mut last = None;
        for _ in 0..MAX_READ_ATTEMPTS {
            let Some(location) = self.locate(&key).map_err(|error| self.index_failed(error))? else {
                return Ok(None);
            };
            match self.read(network, id, &location)? {
                Ok(item) => return Ok(Some(item)),
                // A record that was moved or evicted between the two look-ups is gone from its place: look again.
                Err(reason) if last == Some(location) => {
                    self.drop_corrupt(network, *id, location, reason);
                    return Ok(None);
                }
                Err(_) => last = Some(location),
            }
        }
        Ok(None)
    }

    /// What the index has under a key, without its value. `location` is where that was a moment ago; a record that was moved
    /// since is found where it is now, and `None` is one that is gone.
    pub(crate) fn entry(
        &self,
        network: SubNetwork,
        key: &EntryKey,
        location: &RecordLocation,
    ) -> Result<Option<Entry>, IndexError> {
        let mut location = *location;
        for _ in 0..MAX_READ_ATTEMPTS {
            let read = self.volumes.read_header(location.place.volume, location.place.offset).ok().and_then(Result::ok);
            if let Some((header, content_key)) = read
                && self.entry_key(network, &header.id) == *key
            {
                let entry = Entry { id: header.id, key: content_key.into(), record_len: location.len.into() };
                return Ok(Some(entry));
            }
            match self.locate(key)? {
                Some(now) if now != location => location = now,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn read(
        &self,
        network: SubNetwork,
        id: &ContentId,
        location: &RecordLocation,
    ) -> Result<Result<Item, String>, StoreError> {
        let bytes = match self.volumes.read(location) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if is_lost(&error) => return Ok(Err(error.to_string())),
            Err(error) => return Err(StoreError::io("read", self.volumes.path(location.place.volume))(error)),
        };
        Ok(match Item::decode(&bytes) {
            Ok(item) if item.network == network && item.id == *id => Ok(item),
            Ok(_) => Err(RecordError::Field("content ID").to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Forgets a value, if it still lies at `location`, and says so.
    pub(crate) fn drop_corrupt(&self, network: SubNetwork, id: ContentId, location: RecordLocation, reason: String) {
        Counters::add(&self.counters.corrupt, 1);
        let Place { volume, offset } = location.place;
        tracing::warn!(%network, %id, volume, offset, reason, "dropping a corrupt value");
        let removal = Removal { network, id, location: Some(location) };
        if let Err(error) = self.commit_now(Work { removals: vec![removal], ..Work::default() }) {
            tracing::warn!(%error, "cannot drop a corrupt value for good yet");
        }
        (self.events)(&Event::Corrupt { network, id, reason });
    }
}

/// Whether an error says that the bytes themselves are lost, rather than that reading did not work this time.
fn is_lost(error: &io::Error) -> bool {
    let is_bad_sector = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    is_bad_sector || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}
