//! What the store's parts share.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use content_types::{ContentId, Distance, SubNetwork};
use parking_lot::{Mutex, RwLock};

use crate::{
    config::StoreConfig,
    error::{IndexError, StoreError},
    events::EventSink,
    index::{EntryKey, Follower, OpenEngine, RecordLocation},
    ledger::StoreLedger,
    recovery,
    refusal::Refusal,
    volumes::Volumes,
    work::Ticket,
    writer::Writer,
};

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
    pub(crate) ledger: RwLock<StoreLedger>,
    pub(crate) committer: Mutex<Committer>,
    /// Whether anything can be put.
    pub(crate) refusal: Refusal,
    /// What waits for the next commit.
    pub(crate) queue: Mutex<Vec<Arc<Ticket>>>,
    /// Records that are dead in the index but still take room on the disk.
    pub(crate) graveyard: Mutex<Vec<RecordLocation>>,
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

/// Whoever holds this may write.
pub(crate) struct Committer {
    pub(crate) writer: Writer,
    /// Beyond this distance nothing is stored. Where it is larger than the radius, something may still have to be evicted.
    pub(crate) horizons: [Distance; SubNetwork::ALL.len()],
    /// Why nothing can be written any more.
    pub(crate) failure: Option<StoreError>,
}

impl Committer {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { writer, horizons: [Distance::MAX; SubNetwork::ALL.len()], failure: None }
    }
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
    pub(crate) fn locate(&self, key: &EntryKey) -> Result<Option<RecordLocation>, IndexError> {
        self.index.get(key)
    }

    /// Remembers dead records until a checkpoint knows that they are.
    pub(crate) fn bury(&self, dead: Vec<RecordLocation>) {
        self.buried.fetch_add(dead.iter().map(|location| u64::from(location.len)).sum(), Ordering::Relaxed);
        self.graveyard.lock().extend(dead);
    }

    /// Sees to it that an index that failed is not trusted when the store is opened again.
    pub(crate) fn index_failed(&self, error: IndexError) -> StoreError {
        tracing::error!(%error, "the index failed; it will be rebuilt when the store is opened again");
        recovery::distrust_index(&self.config.dir);
        StoreError::Index(error)
    }
}
