//! The store as its callers see it.

use std::{
    fs::{self, File, TryLockError},
    ops::{ControlFlow, Range, RangeInclusive},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use cairn_archive::{Archive, Component};
use content_types::{ContentId, ContentKey, Distance, Key as _, SubNetwork, history};
use parking_lot::{Mutex, RwLock};

use crate::{
    archives::{AddedArchives, HeaderProver},
    config::StoreConfig,
    core::{Committer, Core, Counters},
    error::StoreError,
    events::EventSink,
    format,
    index::{EntryKey, Follower, IndexEngine, KeyOrder, RecordLocation, SledEngine},
    ledger::Usage,
    maintenance::Maintenance,
    reading::{Entry, ReadCost},
    record::Item,
    recovery::{self, Recovered},
    refusal::Refusal,
    volumes::Volumes,
    work::{Placement, Removal, Work},
    writer::Writer,
};

const LOCK_FILE: &str = "LOCK";
/// Entries that are listed in one go; commits wait meanwhile.
const ENTRIES_PER_SCAN: usize = 1_000;
const VOLUMES_DIR: &str = "volumes";

/// Content on disk: bounded, safe from crashes, checked on every read. Calls block; make them from threads that may.
pub struct Store {
    // Dropped first: the thread must not outlive the lock.
    maintenance: Option<Maintenance>,
    archives: Arc<AddedArchives>,
    pub(crate) core: Arc<Core>,
    _lock: File,
}

/// Which blocks of an aligned run of 256 there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunBits([u64; 4]);

impl RunBits {
    /// Whether there is the block at `place`, counted from the run's first.
    pub fn has(&self, place: u8) -> bool {
        self.0[usize::from(place / 64)] >> (place % 64) & 1 == 1
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the run is whole.
    pub fn is_whole(&self) -> bool {
        self.0 == [u64::MAX; 4]
    }
}

/// What a store holds and has done since it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// What each sub-network holds.
    pub networks: Vec<(SubNetwork, Usage)>,
    /// Volumes that there are.
    pub volumes: usize,
    /// Bytes that they take on the disk, without their holes and without the index.
    pub allocated: u64,
    /// Bytes written to volumes.
    pub written: u64,
    /// Bytes of them that were moved from volumes of which little was left.
    pub moved: u64,
    /// Values evicted.
    pub evicted_items: u64,
    /// Bytes of their records.
    pub evicted_bytes: u64,
    /// Values that did not match their checksums, and were dropped.
    pub corrupt: u64,
}

impl Store {
    /// Opens the store in `config.dir`, or creates it, with sled as its index.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the directory is in use, of a newer format, or cannot be read or written. A damaged index is no
    /// error: it is rebuilt, and `events` is told.
    pub fn open(config: StoreConfig, events: EventSink) -> Result<Self, StoreError> {
        Self::open_with::<SledEngine>(config, events)
    }

    /// Opens a store with another index engine.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with<E: IndexEngine>(config: StoreConfig, events: EventSink) -> Result<Self, StoreError> {
        let dir = &config.dir;
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let lock = lock(dir)?;
        let store_id = format::identify(dir, config.chain)?;
        let volumes = Arc::new(Volumes::new(dir.join(VOLUMES_DIR))?);
        let recovered = recovery::recover::<E>(&config, &store_id, &volumes)?;
        let Recovered { index, index_dir, ledger, end, next_volume, superseded, events: happened } = recovered;
        for event in &happened {
            events(event);
        }
        let mut writer = Writer::new(volumes.clone(), config.node_id, config.volume_len, next_volume);
        if let Some((end, marker)) = end {
            writer.resume(end, marker)?;
        }
        let core = Arc::new(Core {
            config,
            volumes,
            index: Follower::new(index),
            open_engine: E::open,
            index_dir: Mutex::new(index_dir),
            ledger: RwLock::new(ledger),
            committer: Mutex::new(Committer::new(writer)),
            refusal: Refusal::default(),
            queue: Mutex::default(),
            graveyard: Mutex::default(),
            buried: AtomicU64::new(0),
            unpunched: AtomicU64::new(0),
            current_volume: AtomicU32::new(end.map_or(0, |(end, _)| end.volume)),
            doomed_volume: AtomicU32::new(0),
            overfull_percent: AtomicU64::new(0),
            has_leftovers: AtomicBool::new(true),
            counters: Counters::default(),
            events,
        });
        // Also makes room at once where a budget has shrunk, and announces a larger radius where it has grown.
        core.commit_now(Work { dead_again: superseded, grow: true, ..Work::default() })?;
        let archives = Arc::new(AddedArchives::new(core.clone()));
        let maintenance = Some(Maintenance::start(&core, &archives)?);
        core.watch_room();
        Ok(Self { maintenance, archives, core, _lock: lock })
    }

    /// Stores items; on return each one that is [`Stored`](Placement::Stored) is safe from a crash. Callers that wait at
    /// the same time share one write and one sync. The answers are in the order of the items.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; none of the items then counts as stored, and everything else stays as it was.
    pub fn put_batch(&self, items: Vec<Item>) -> Result<Vec<Placement>, StoreError> {
        self.core.put(items)
    }

    /// Why nothing can be put now, if nothing can: the disk is full, or nearly so, or fails. Costs next to nothing, so it can be
    /// asked before anything is taken in that could not be kept.
    pub fn refusal(&self) -> Option<StoreError> {
        self.core.refusal()
    }

    /// The value under a content key, in the wire's encoding: what is stored, checked against its checksum, or else what an
    /// archive has, checked against the chain. What does not pass is reported and not found.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the disk or the index fails.
    pub fn get(&self, key: &ContentKey) -> Result<Option<Bytes>, StoreError> {
        match self.get_by_id(key.sub_network(), &key.content_id())? {
            Some(value) => Ok(Some(value)),
            None => self.archives.get(key),
        }
    }

    /// The stored value with a content ID. Archives are not searched.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_by_id(&self, network: SubNetwork, id: &ContentId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.core.get(network, id)?.map(|item| item.value))
    }

    /// Whether there is a value under a content key, stored or in an archive; answered by the index alone.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index fails.
    pub fn contains(&self, key: &ContentKey) -> Result<bool, StoreError> {
        Ok(self.contains_id(key.sub_network(), &key.content_id())? || self.archives.contains(key)?)
    }

    /// Whether a value with a content ID is stored. Archives are not searched.
    ///
    /// # Errors
    ///
    /// As for [`contains`](Self::contains).
    pub fn contains_id(&self, network: SubNetwork, id: &ContentId) -> Result<bool, StoreError> {
        let key = self.core.entry_key(network, id);
        Ok(self.core.locate(&key).map_err(|error| self.core.index_failed(error))?.is_some())
    }

    /// Forgets the value with a content ID, for good on return.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the disk or the index fails.
    pub fn remove(&self, network: SubNetwork, id: &ContentId) -> Result<(), StoreError> {
        let removal = Removal { network, id: *id, location: None };
        self.core.commit_now(Work { removals: vec![removal], ..Work::default() })
    }

    /// Serves an archive in place, from now on. Bodies, receipts and headers are found by number at once and by hash as
    /// soon as the headers have been read in the background. Each piece is checked against a header that `prover` proved
    /// before it is served for the first time; a file that vanishes or changes drops out until it is back.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index fails.
    pub fn add_archive(&self, archive: Archive, prover: Arc<dyn HeaderProver>) -> Result<(), StoreError> {
        self.archives.add(archive, prover)
    }

    /// Serves an archive no longer.
    pub fn remove_archive(&self, path: &Path) {
        self.archives.remove(path);
    }

    /// What it takes to read the value under a key, told by the index; `None` where it is neither stored nor in an archive.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index fails.
    pub fn cost(&self, key: &ContentKey) -> Result<Option<ReadCost>, StoreError> {
        if self.contains_id(key.sub_network(), &key.content_id())? {
            return Ok(Some(ReadCost::Stored));
        }
        self.archives.cost(key)
    }

    /// Bodies as RLP or slim receipts of consecutive blocks out of archives, from the first on, each in snappy's framing
    /// format as an ere file has it: as many as come to `max_bytes`, and one at least. Empty where the first does not lie in
    /// an archive so. Each was checked against the chain, like what [`get`](Self::get) returns.
    pub fn compressed(&self, component: Component, blocks: Range<u64>, max_bytes: usize) -> Vec<Bytes> {
        self.archives.compressed(component, blocks, max_bytes)
    }

    /// Pieces of consecutive blocks like [`compressed`](Self::compressed), but in the encodings of the wire, headers with their
    /// proofs among them. The archive's file is opened once.
    pub fn from_archive(&self, component: Component, blocks: Range<u64>, max_bytes: usize) -> Vec<Bytes> {
        self.archives.plain(component, blocks, max_bytes)
    }

    /// The archives that were added, and whether their files are there.
    pub fn archives(&self) -> Vec<(PathBuf, bool)> {
        self.archives.paths()
    }

    /// Which blocks of an aligned run of 256, `run` from 0, there are of one component, stored or in archives.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index fails.
    pub fn run(&self, content_type: history::ContentType, run: u64) -> Result<RunBits, StoreError> {
        let mut bits = RunBits::default();
        let component = component_of(content_type);
        let Some(first) = run.checked_mul(history::BLOCKS_PER_RUN) else { return Ok(bits) };
        for (place, number) in (first..=first | (history::BLOCKS_PER_RUN - 1)).enumerate() {
            let id = history::ContentKey::new(content_type, number).content_id();
            if self.archives.has(number, component) || self.contains_id(SubNetwork::History, &id)? {
                bits.0[place / 64] |= 1 << (place % 64);
            }
        }
        Ok(bits)
    }

    /// What is stored at some distances from the own node, nearest first, `limit` entries at most.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index fails.
    pub fn entries(
        &self,
        network: SubNetwork,
        distances: RangeInclusive<Distance>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        if distances.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let mut entries = Vec::new();
        let (mut first, last) = EntryKey::bounds(network, *distances.start(), *distances.end());
        loop {
            let mut page = Vec::new();
            let scanned = self.core.index.scan((first, last), KeyOrder::Rising, |key, location| {
                page.push((key, location));
                if page.len() < ENTRIES_PER_SCAN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            scanned.map_err(|error| self.core.index_failed(error))?;
            for (key, location) in &page {
                if entries.len() == limit {
                    break;
                }
                let found = self.entry(network, key, location)?;
                let is_within = |entry: &Entry| distances.contains(&self.core.config.node_id.distance(&entry.id));
                entries.extend(found.filter(is_within));
            }
            match page.last().and_then(|(key, _)| key.next()) {
                Some(next) if next <= last && page.len() == ENTRIES_PER_SCAN && entries.len() < limit => first = next,
                _ => return Ok(entries),
            }
        }
    }

    /// What is stored farthest from the own node, farthest first, `limit` entries at most: what goes next.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index fails.
    pub fn farthest(&self, network: SubNetwork, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let bounds = EntryKey::bounds(network, Distance::ZERO, Distance::MAX);
        let scanned = self.core.index.scan(bounds, KeyOrder::Falling, |key, location| {
            if found.len() == limit {
                return ControlFlow::Break(());
            }
            found.push((key, location));
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| self.core.index_failed(error))?;
        let entries = found.iter().map(|(key, location)| self.entry(network, key, location));
        entries.filter_map(Result::transpose).collect()
    }

    /// What the index has under a key; `None` if it was evicted or removed meanwhile.
    fn entry(
        &self,
        network: SubNetwork,
        key: &EntryKey,
        location: &RecordLocation,
    ) -> Result<Option<Entry>, StoreError> {
        self.core.entry(network, key, location).map_err(|error| self.core.index_failed(error))
    }

    /// How far from the own node content is kept: everything up to this distance that was stored and not removed is
    /// there. [`Distance::ZERO`] without a budget.
    pub fn radius(&self, network: SubNetwork) -> Distance {
        match self.core.config.budgets.get(network) {
            0 => Distance::ZERO,
            _ => self.usage(network).radius,
        }
    }

    /// What a sub-network holds.
    pub fn usage(&self, network: SubNetwork) -> Usage {
        self.core.ledger.read().networks[network.index()]
    }

    /// What the store holds and has done.
    pub fn stats(&self) -> Stats {
        let ledger = self.core.ledger.read().clone();
        let counters = &self.core.counters;
        Stats {
            networks: SubNetwork::ALL.into_iter().map(|network| (network, ledger.networks[network.index()])).collect(),
            volumes: ledger.volumes.len(),
            allocated: ledger.volumes.keys().filter_map(|number| self.core.volumes.allocated(*number).ok()).sum(),
            written: counters.written.load(Ordering::Relaxed),
            moved: counters.moved.load(Ordering::Relaxed),
            evicted_items: counters.evicted_items.load(Ordering::Relaxed),
            evicted_bytes: counters.evicted_bytes.load(Ordering::Relaxed),
            corrupt: counters.corrupt.load(Ordering::Relaxed),
        }
    }

    /// Closes the store with a checkpoint, so that opening it again has nothing to replay. Dropping it does without.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index fails; nothing is lost by that.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.maintenance = None;
        self.core.checkpoint()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("config", &self.core.config).finish_non_exhaustive()
    }
}

const fn component_of(content_type: history::ContentType) -> Component {
    match content_type {
        history::ContentType::BlockBody => Component::Body,
        history::ContentType::BlockReceipts => Component::Receipts,
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(StoreError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { dir: dir.into() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}
