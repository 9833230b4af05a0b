//! Archives served in place: found by block number through arithmetic, by block hash through the index. They are never
//! evicted and count for no budget. One whose file vanishes drops out, and is back when the file is. An archive that is no
//! file, but lies in a bucket, goes by its name instead of a path, and is back when it is added again.

mod proof;
mod seed;

use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::B256;
use bytes::Bytes;
use cairn_archive::{Archive, Component, EpochCache, Format};
use content_types::{
    BlockId, ContentKey,
    block::{BodyEncoding, ReceiptsEncoding},
    room::{BlockPart, Subject},
};
use parking_lot::RwLock;

pub use self::proof::{HeaderProver, Unproved};
use self::seed::{Seed, SeedRefusal};
use crate::{
    core::Core,
    error::StoreError,
    events::Event,
    index::{Batch, archived},
    reading::ReadCost,
};

/// Trees of epochs' headers that are kept for building proofs from files that came back, about a megabyte each. What an
/// archive that was handed over builds is kept by whoever opened it.
const EPOCH_TREES: usize = 8;
/// Hashes of headers that are brought into the index in one step.
const HASHES_PER_STEP: usize = 512;

/// The archives that were added, whether their files are there or not.
pub(crate) struct AddedArchives {
    core: Arc<Core>,
    epochs: Arc<EpochCache>,
    added: RwLock<BTreeMap<PathBuf, Added>>,
    /// Those that can be served, by their first blocks.
    open: RwLock<BTreeMap<(u64, PathBuf), Arc<Seed>>>,
}

struct Added {
    prover: Arc<dyn HeaderProver>,
    /// Whether it can be opened again by its path.
    is_file: bool,
    /// The file's blocks, whether it is there or not.
    blocks: RangeInclusive<u64>,
    state: ArchiveState,
}

/// How an archive that was added is doing.
enum ArchiveState {
    /// The file is there, and hashes up to this block are still to be indexed.
    Indexing(Arc<Seed>, u64),
    Served(Arc<Seed>),
    Gone,
}

impl ArchiveState {
    fn seed(&self) -> Option<&Arc<Seed>> {
        match self {
            Self::Indexing(seed, _) | Self::Served(seed) => Some(seed),
            Self::Gone => None,
        }
    }
}

impl AddedArchives {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let epochs = Arc::new(EpochCache::new(EPOCH_TREES));
        Self { core, epochs, added: RwLock::default(), open: RwLock::default() }
    }

    pub(crate) fn add(&self, archive: Archive, prover: Arc<dyn HeaderProver>) -> Result<(), StoreError> {
        let is_file = archive.path().is_some();
        let path = archive.path().map_or_else(|| archive.name().into(), Path::to_owned);
        // What was added by this name before may begin elsewhere.
        self.close(&path);
        let (state, blocks) = self.serve(&path, archive, &prover)?;
        self.added.write().insert(path.clone(), Added { prover, is_file, blocks, state });
        (self.core.events)(&Event::ArchiveAdded { path });
        Ok(())
    }

    pub(crate) fn remove(&self, path: &Path) {
        self.added.write().remove(path);
        self.close(path);
    }

    pub(crate) fn paths(&self) -> Vec<(PathBuf, bool)> {
        let is_served = |added: &Added| added.state.seed().is_some();
        self.added.read().iter().map(|(path, added)| (path.clone(), is_served(added))).collect()
    }

    /// The archives, whether their files are there or not, and their blocks.
    pub(crate) fn blocks(&self) -> Vec<(PathBuf, RangeInclusive<u64>)> {
        self.added.read().iter().map(|(path, added)| (path.clone(), added.blocks.clone())).collect()
    }

    /// A value in the wire's encoding, from the first archive that has it and can prove it.
    pub(crate) fn get(&self, key: &ContentKey) -> Result<Option<Bytes>, StoreError> {
        let Some((number, hash, piece)) = self.find(key)? else { return Ok(None) };
        for seed in self.holding(number) {
            match seed.read(number, piece, hash.as_ref()) {
                Ok(value) => return Ok(Some(value)),
                Err(refusal) => self.refused(&seed, number, piece, refusal),
            }
        }
        Ok(None)
    }

    /// Pieces of consecutive blocks in snappy's framing format, as an ere file has them, from the first block on: as many as
    /// come to `max_bytes`, and one at least. None where the first does not lie in an archive in this way.
    pub(crate) fn compressed(&self, component: Component, blocks: Range<u64>, max_bytes: usize) -> Vec<Bytes> {
        self.first(component, blocks.start, |seed, piece| seed.compressed(piece, blocks.clone(), max_bytes))
    }

    /// Pieces of consecutive blocks like [`compressed`](Self::compressed), but in the encodings of the wire.
    pub(crate) fn plain(&self, component: Component, blocks: Range<u64>, max_bytes: usize) -> Vec<Bytes> {
        self.first(component, blocks.start, |seed, piece| seed.plain(piece, blocks.clone(), max_bytes))
    }

    /// What the first archive gives that has a block and does not refuse.
    fn first(
        &self,
        component: Component,
        number: u64,
        read: impl Fn(&Seed, BlockPart) -> Result<Vec<Bytes>, SeedRefusal>,
    ) -> Vec<Bytes> {
        let piece = match component {
            Component::Header => BlockPart::Header,
            Component::Body => BlockPart::Body(BodyEncoding::Rlp),
            Component::Receipts => BlockPart::Receipts(ReceiptsEncoding::Slim),
            Component::TotalDifficulty | Component::Proof => return Vec::new(),
        };
        for seed in self.holding(number) {
            match read(&seed, piece) {
                Ok(pieces) => return pieces,
                Err(refusal) => self.refused(&seed, number, piece, refusal),
            }
        }
        Vec::new()
    }

    /// What it takes to read a value; `None` where no archive has it.
    pub(crate) fn cost(&self, key: &ContentKey) -> Result<Option<ReadCost>, StoreError> {
        let Some((number, _, piece)) = self.find(key)? else { return Ok(None) };
        let seed = self.holding(number).into_iter().find(|seed| seed.has(number, piece.into()));
        Ok(seed.map(|seed| if seed.needs_tree(number, piece) { ReadCost::EpochTree } else { ReadCost::Archive }))
    }

    /// Acts on the reason why an archive does not serve a piece.
    fn refused(&self, seed: &Seed, number: u64, piece: BlockPart, refusal: SeedRefusal) {
        match refusal {
            SeedRefusal::Gone(reason) => self.gone(seed, reason),
            SeedRefusal::NotNow(reason) => {
                tracing::debug!(path = %seed.path.display(), number, ?piece, reason, "not served from the archive");
            }
            SeedRefusal::Corrupt(reason) => {
                let path = seed.path.clone();
                tracing::warn!(path = %path.display(), number, ?piece, reason, "an archive is corrupt");
                (self.core.events)(&Event::ArchiveCorrupt { path, block: number, reason });
            }
        }
    }

    /// Whether some archive has a value, as far as can be told without reading it.
    pub(crate) fn contains(&self, key: &ContentKey) -> Result<bool, StoreError> {
        let Some((number, _, piece)) = self.find(key)? else { return Ok(false) };
        Ok(self.has(number, piece.into()))
    }

    pub(crate) fn has(&self, number: u64, component: Component) -> bool {
        self.holding(number).iter().any(|seed| seed.has(number, component))
    }

    /// The block that a key is about, the hash that it must have, and what of it is asked for.
    fn find(&self, key: &ContentKey) -> Result<Option<(u64, Option<B256>, BlockPart)>, StoreError> {
        let Subject::Part { block, part } = key.subject() else { return Ok(None) };
        let hash = match block {
            BlockId::Number(number) => return Ok(Some((number, None, part))),
            BlockId::Hash(hash) => hash,
        };
        if self.open.read().is_empty() {
            return Ok(None);
        }
        let number =
            self.core.index.engine().get(&archived::by_hash(&hash)).map_err(|error| self.core.index_failed(error))?;
        Ok(number.and_then(|number| archived::number(&number)).map(|number| (number, Some(hash), part)))
    }

    /// The archives with a block, the one that begins last first.
    fn holding(&self, number: u64) -> Vec<Arc<Seed>> {
        let open = self.open.read();
        let before = open.range(..=(number, PathBuf::from("\u{10ffff}"))).rev();
        // No archive is longer, so none that begins earlier has the block.
        before
            .take_while(|((first, _), _)| number - first < cairn_archive::MAX_BLOCKS)
            .filter(|(_, seed)| seed.blocks().contains(&number))
            .map(|(_, seed)| seed.clone())
            .collect()
    }

    fn serve(
        &self,
        path: &Path,
        archive: Archive,
        prover: &Arc<dyn HeaderProver>,
    ) -> Result<(ArchiveState, RangeInclusive<u64>), StoreError> {
        // The headers of an ere file lie in a row, those of an era1 file all over it: one in a bucket would be read whole, so
        // its blocks are found by number alone.
        let is_cheap = archive.path().is_some() || archive.format() == Format::Ere;
        let seed = Arc::new(Seed::new(path.to_owned(), archive, prover.clone()));
        let known =
            self.core.index.engine().get(&archived::of_file(path)).map_err(|error| self.core.index_failed(error))?;
        let is_indexed = known.is_some() && seed.fingerprint().ok() == known;
        let blocks = seed.blocks();
        self.open.write().insert((*blocks.start(), path.to_owned()), seed.clone());
        let state = if is_indexed || !is_cheap {
            ArchiveState::Served(seed)
        } else {
            ArchiveState::Indexing(seed, *blocks.start())
        };
        Ok((state, blocks))
    }

    fn close(&self, path: &Path) {
        self.open.write().retain(|(_, of), _| of != path);
    }

    fn gone(&self, seed: &Seed, reason: String) {
        if let Some(added) = self.added.write().get_mut(&seed.path)
            && added.state.seed().is_some()
        {
            added.state = ArchiveState::Gone;
            self.close(&seed.path);
            tracing::warn!(path = %seed.path.display(), reason, "an archive drops out until its file is back");
            (self.core.events)(&Event::ArchiveGone { path: seed.path.clone(), reason });
        }
    }

    /// Looks after the files and indexes some hashes; returns whether there is more to index.
    pub(crate) fn step(&self) -> Result<bool, StoreError> {
        let mut to_index = None;
        for (path, is_served) in self.paths() {
            if !is_served {
                self.reopen(&path);
            }
            let added = self.added.read();
            let Some(state) = added.get(&path).map(|added| &added.state) else { continue };
            if let ArchiveState::Indexing(seed, from) = state {
                to_index = Some((seed.clone(), *from));
            }
            let identity = state.seed().map(|seed| (seed.clone(), seed.check_identity()));
            drop(added);
            if let Some((seed, Err(reason))) = identity {
                self.gone(&seed, reason);
            }
        }
        let Some((seed, from)) = to_index else { return Ok(false) };
        self.index_hashes(&seed, from)?;
        Ok(true)
    }

    fn reopen(&self, path: &Path) {
        let prover = self.added.read().get(path).filter(|added| added.is_file).map(|added| added.prover.clone());
        let Some(prover) = prover else { return };
        // Not there yet, or not readable: it is looked for again.
        let Ok(archive) = Archive::open_with(path, self.epochs.clone()) else { return };
        let Ok((state, blocks)) = self.serve(path, archive, &prover) else { return };
        if let Some(added) = self.added.write().get_mut(path) {
            (added.state, added.blocks) = (state, blocks);
            (self.core.events)(&Event::ArchiveAdded { path: path.to_owned() });
        }
    }

    fn index_hashes(&self, seed: &Arc<Seed>, from: u64) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let mut next = from;
        for number in (from..=*seed.blocks().end()).take(HASHES_PER_STEP) {
            // Only hashes that lead somewhere: a header that cannot be read is found corrupt when it is asked for.
            if let Ok(hash) = seed.hash(number) {
                batch.put(archived::by_hash(&hash), number.to_le_bytes());
            }
            next = number + 1;
        }
        let is_done = next > *seed.blocks().end();
        if is_done && let Ok(fingerprint) = seed.fingerprint() {
            batch.put(archived::of_file(&seed.path), fingerprint);
        }
        self.core.index.apply_beside(batch).map_err(|error| self.core.index_failed(error))?;
        if let Some(added) = self.added.write().get_mut(&seed.path)
            && added.state.seed().is_some_and(|of| Arc::ptr_eq(of, seed))
        {
            added.state =
                if is_done { ArchiveState::Served(seed.clone()) } else { ArchiveState::Indexing(seed.clone(), next) };
        }
        Ok(())
    }
}
