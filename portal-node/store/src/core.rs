//! What the store's parts share, and reading.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use content_types::{ContentId, SubNetwork};
use parking_lot::{Mutex, RwLock};

use crate::{
    commit::{Committer, Removal, Work},
    config::StoreConfig,
    error::{IndexError, StoreError},
    events::{Event, EventSink},
    index::{EntryKey, Follower, Location, OpenEngine},
    ledger::Ledger,
    queue::Ticket,
    record::{Item, Place, RecordError},
    recovery,
    store::Entry,
    volumes::Volumes,
};

/// Times that a read starts over because the record was moved under it. Moving one twice within a read is unheard of.
const MAX_READ_ATTEMPTS: usize = 4;

/// The open store, without its maintenance thread and its archives.
pub(crate) struct Core {
    pub(crate) config: StoreConfig,
    pub(crate) volumes: Arc<Volumes>,
    pub(crate) index: Follower,
    /// Opens an index engine in a directory.
    pub(crate) open_engine: OpenEngine,
    /// Where the index engine is.
    pub(crate) index_dir: Mutex<PathBuf>,
    /// Changed only by whoever holds the committer.
    pub(crate) ledger: RwLock<Ledger>,
    pub(crate) committer: Mutex<Committer>,
    /// What waits for the next commit.
    pub(crate) queue: Mutex<Vec<Arc<Ticket>>>,
    /// Records that are dead in the index but still take room on the disk.
    pub(crate) graveyard: Mutex<Vec<Location>>,
    /// Bytes in the graveyard.
    pub(crate) buried: AtomicU64,
    /// Bytes that are dead in the checkpoint and about to be given back.
    pub(crate) unpunched: AtomicU64,
    /// The volume that is being written; 0 before the first one.
    pub(crate) current_volume: AtomicU32,
    /// The volume that is being emptied; 0 if none is.
    pub(crate) doomed_volume: AtomicU32,
    /// How much room volumes take, in percent of where puts are slowed down so that the rewriter keeps up.
    pub(crate) overfull_percent: AtomicU64,
    /// Whether something is stored outside a radius and has to go.
    pub(crate) has_leftovers: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) events: EventSink,
}

/// What has happened since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) evicted_items: AtomicU64,
    pub(crate) evicted_bytes: AtomicU64,
    pub(crate) corrupt: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) moved: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Core {
    pub(crate) fn entry_key(&self, network: SubNetwork, id: &ContentId) -> EntryKey {
        EntryKey::new(network, self.config.node_id.distance(id))
    }

    /// Where a value lies.
    pub(crate) fn locate(&self, key: &EntryKey) -> Result<Option<Location>, IndexError> {
        self.index.get(key)
    }

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

    /// What is at a location, without its value.
    pub(crate) fn entry(&self, location: &Location) -> Option<Entry> {
        let (header, key) = self.volumes.read_header(location.place.volume, location.place.offset).ok()?.ok()?;
        Some(Entry { id: header.id, key: key.into(), record_len: location.len.into() })
    }

    fn read(
        &self,
        network: SubNetwork,
        id: &ContentId,
        location: &Location,
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
    pub(crate) fn drop_corrupt(&self, network: SubNetwork, id: ContentId, location: Location, reason: String) {
        Counters::add(&self.counters.corrupt, 1);
        let Place { volume, offset } = location.place;
        tracing::warn!(%network, %id, volume, offset, reason, "dropping a corrupt value");
        let removal = Removal { network, id, location: Some(location) };
        if let Err(error) = self.commit_now(Work { removals: vec![removal], ..Work::default() }) {
            tracing::warn!(%error, "cannot drop a corrupt value for good yet");
        }
        (self.events)(&Event::Corrupt { network, id, reason });
    }

    /// Sees to it that an index that failed is not trusted when the store is opened again.
    pub(crate) fn index_failed(&self, error: IndexError) -> StoreError {
        tracing::error!(%error, "the index failed; it will be rebuilt when the store is opened again");
        recovery::distrust_index(&self.config.dir);
        StoreError::Index(error)
    }
}

/// Whether an error says that the bytes themselves are lost, rather than that reading did not work this time.
fn is_lost(error: &io::Error) -> bool {
    let is_bad_sector = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    is_bad_sector || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}
