//! Gives room back to the file system: punches holes where evicted values lay, and rewrites volumes of which little is
//! left. Both only after the checkpoint has the eviction, and one small step at a time.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::{Arc, atomic::Ordering},
    thread,
};

use bytes::Bytes;
use content_types::{ContentId, SubNetwork};

use crate::{
    commit::MIN_UNRECLAIMED,
    core::{Core, Counters},
    error::StoreError,
    index::{Batch, EntryChanges, RecordLocation, meta},
    ledger::VolumeUse,
    record::{Item, Kind, Place, VOLUME_HEADER_LEN, decode_dead},
    scan::{Scanned, VolumeExtent, scan},
    volumes::Hole,
    work::{Move, Work},
};

/// Share of the waiting holes that are punched in one step, so that they are spread over the time until the next
/// checkpoint brings more; and the bounds of their number. Commits wait for the file system's journal meanwhile.
const SHARE_PER_STEP: usize = 32;
const LEAST_PER_STEP: usize = 8;
const MOST_PER_STEP: usize = 64;
/// Threads that punch them. Where freed blocks are discarded at once, each hole is some milliseconds of waiting.
const PUNCHING_THREADS: usize = 4;
/// Bytes rewritten in one step: puts wait for it.
const REWRITE_STEP: u64 = 128 << 10;
/// Share of what is held, in percent, that volumes may take on the disk before one is rewritten. The index comes on top,
/// and the whole has to stay under 120.
const MAX_ALLOCATED_PERCENT: u64 = 105;
/// Share at which puts are slowed down, so that rewriting catches up.
const OVERFULL_PERCENT: u64 = 113;
/// Share of a volume's room, in percent, that has to be waste for it to be worth rewriting.
const MIN_WASTE_PERCENT: u64 = 8;

/// Knows which holes are still to be punched.
#[derive(Debug, Default)]
pub(crate) struct Puncher {
    holes: VecDeque<Hole>,
}

impl Puncher {
    /// Takes over records that a checkpoint knows to be dead. Those in the volume being written have to wait: how much of
    /// it survives a crash is found out by reading it whole.
    pub(crate) fn take_over(&mut self, core: &Core, dead: Vec<RecordLocation>) {
        let current = core.current_volume.load(Ordering::Relaxed);
        let (sealed, in_current): (Vec<_>, Vec<_>) = dead.into_iter().partition(|dead| dead.place.volume < current);
        core.graveyard.lock().extend(in_current);
        self.holes.extend(sealed.iter().filter_map(Hole::of));
        core.unpunched.store(self.unpunched(), Ordering::Relaxed);
        core.buried.fetch_sub(bytes_of(&sealed), Ordering::Relaxed);
    }

    fn unpunched(&self) -> u64 {
        self.holes.iter().map(|hole| hole.len).sum()
    }

    /// Punches some holes; returns whether there were any.
    pub(crate) fn step(&mut self, core: &Core) -> Result<bool, StoreError> {
        // What is about to be deleted needs no holes, and while it is being deleted they would have to wait for that.
        let doomed = core.doomed_volume.load(Ordering::Relaxed);
        self.holes.retain(|hole| hole.volume != doomed);
        let waiting = self.holes.len();
        if waiting == 0 {
            core.unpunched.store(0, Ordering::Relaxed);
            return Ok(false);
        }
        let count = (waiting / SHARE_PER_STEP).clamp(LEAST_PER_STEP, MOST_PER_STEP).min(waiting);
        let (step, _) = self.holes.make_contiguous().split_at(count);
        punch(core, step)?;
        self.holes.drain(..count);
        core.unpunched.store(self.unpunched(), Ordering::Relaxed);
        Ok(true)
    }
}

/// Rewrites volumes, one after another.
pub(crate) struct Rewriter {
    core: Arc<Core>,
    rewrite: Option<Rewrite>,
    /// Bytes that had been written when there was nothing to rewrite.
    settled: Option<u64>,
    /// Volumes that could not be emptied; not tried again until the store is opened again.
    stuck: BTreeSet<u32>,
}

/// A volume that is being emptied.
#[derive(Debug)]
struct Rewrite {
    number: u32,
    values: VecDeque<(SubNetwork, ContentId, RecordLocation)>,
}

impl Rewriter {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, rewrite: None, settled: None, stuck: BTreeSet::new() }
    }

    /// Rewrites a part of a volume; returns whether there was anything to do.
    pub(crate) fn step(&mut self) -> Result<bool, StoreError> {
        let core = self.core.clone();
        match &mut self.rewrite {
            Some(rewrite) if !rewrite.values.is_empty() => {
                if let Err(error) = rewrite.step(&core) {
                    // It is begun again: what was read and not moved still has to be.
                    self.rewrite = None;
                    core.doomed_volume.store(0, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Some(rewrite) => {
                let number = rewrite.number;
                self.rewrite = None;
                let deleted = self.delete(&core, number);
                core.doomed_volume.store(0, Ordering::Relaxed);
                deleted?;
            }
            None => {
                let written = core.counters.written.load(Ordering::Relaxed);
                let is_settled = self.settled == Some(written) && core.unpunched.load(Ordering::Relaxed) == 0;
                if is_settled {
                    return Ok(false);
                }
                let chosen = self.choose(&core);
                if chosen.is_none() {
                    core.overfull_percent.store(0, Ordering::Relaxed);
                }
                match chosen {
                    Some((number, volume)) => {
                        self.rewrite = Some(Rewrite::begin(&core, number, volume)?);
                        core.doomed_volume.store(number, Ordering::Relaxed);
                    }
                    None => {
                        self.settled = Some(written);
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// The volume with the largest share of waste, if there is too much of it in all; or one that is empty.
    fn choose(&self, core: &Core) -> Option<(u32, VolumeUse)> {
        let current = core.current_volume.load(Ordering::Relaxed);
        let volumes = core.ledger.read().volumes.clone();
        let mut allocated_in_all = 0_u64;
        let mut live_in_all = 0;
        let mut worst: Option<(u64, u32, VolumeUse)> = None;
        for (number, volume) in volumes {
            let live = u64::from(volume.live);
            let is_sealed = number < current;
            let measured =
                if is_sealed { core.volumes.allocated_sealed(number) } else { core.volumes.allocated(number) };
            let allocated = measured.unwrap_or(0).max(live);
            allocated_in_all += allocated;
            live_in_all += live;
            if !is_sealed || self.stuck.contains(&number) {
                continue;
            }
            if live == 0 {
                return Some((number, volume));
            }
            let waste = (allocated - live) * 100 / allocated;
            if waste >= MIN_WASTE_PERCENT && worst.is_none_or(|(largest, ..)| waste > largest) {
                worst = Some((waste, number, volume));
            }
        }
        let (_, number, volume) = worst?;
        // What is about to be punched is no reason to rewrite anything.
        let allocated_in_all = allocated_in_all.saturating_sub(core.unpunched.load(Ordering::Relaxed));
        let waste = allocated_in_all.saturating_sub(live_in_all);
        let limit = live_in_all / 100 * (OVERFULL_PERCENT - 100);
        core.overfull_percent.store(waste * 100 / limit.max(MIN_UNRECLAIMED), Ordering::Relaxed);
        (allocated_in_all * 100 > live_in_all * MAX_ALLOCATED_PERCENT).then_some((number, volume))
    }

    /// Deletes a volume that was emptied, once the checkpoint knows where its values are now.
    fn delete(&mut self, core: &Core, number: u32) -> Result<(), StoreError> {
        core.checkpoint()?;
        if core.ledger.read().volumes.get(&number).is_some_and(|volume| volume.live > 0) {
            tracing::warn!(number, "a volume has values that cannot be moved; it stays");
            self.stuck.insert(number);
            return Ok(());
        }
        core.volumes.delete(number).map_err(StoreError::io("remove", core.volumes.path(number)))?;
        core.forget_volume(number)
    }
}

/// Punches holes, those of one volume one after another, because its file lets only one through at a time.
fn punch(core: &Core, holes: &[Hole]) -> Result<(), StoreError> {
    let mut shares: [Vec<&Hole>; PUNCHING_THREADS] = Default::default();
    for hole in holes {
        shares[hole.volume as usize % PUNCHING_THREADS].push(hole);
    }
    let punch_share = |share: Vec<&Hole>| {
        share.into_iter().try_for_each(|hole| match core.volumes.punch(hole) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("punch a hole into", core.volumes.path(hole.volume))(error))
            }
            _ => Ok(()),
        })
    };
    thread::scope(|scope| {
        let mut shares = shares.into_iter().filter(|share| !share.is_empty());
        let own = shares.next().unwrap_or_default();
        let threads: Vec<_> = shares.map(|share| scope.spawn(|| punch_share(share))).collect();
        let result = punch_share(own);
        // A thread that panicked has punched nothing it should not have; its room comes back when the volume is rewritten.
        threads.into_iter().filter_map(|thread| thread.join().ok()).fold(result, Result::and)
    })
}

impl Rewrite {
    /// Finds what is in a volume, and passes on what it says about other volumes.
    fn begin(core: &Core, number: u32, volume: VolumeUse) -> Result<Self, StoreError> {
        let path = || core.volumes.path(number);
        let file = core.volumes.file_to_scan(number).map_err(StoreError::io("open", path()))?;
        let mut values = VecDeque::new();
        let mut dead_again = Vec::new();
        if let Ok(header) = core.volumes.header(number).map_err(StoreError::io("read", path()))? {
            let from = VOLUME_HEADER_LEN as u32;
            let extent = VolumeExtent { from, until: volume.len, marker: header.marker, check_values: false };
            let scanned = scan(&file, extent, |found| {
                match found {
                    Scanned::Record { offset, header, .. } if header.kind == Kind::Value => {
                        let location =
                            RecordLocation { place: Place { volume: number, offset }, len: header.record_len() };
                        values.push_back((header.network, header.id, location));
                    }
                    Scanned::Record { header, value, .. } if header.kind == Kind::Dead => {
                        dead_again.extend(decode_dead(value).into_iter().flatten());
                    }
                    _ => {}
                }
                Ok::<_, io::Error>(())
            });
            scanned.map_err(StoreError::io("read", path()))?;
        }
        {
            let ledger = core.ledger.read();
            dead_again.retain(|place| place.volume != number && ledger.volumes.contains_key(&place.volume));
        }
        if !dead_again.is_empty() {
            core.commit_now(Work { dead_again, ..Work::default() })?;
        }
        Ok(Self { number, values })
    }

    /// Moves the next values that are alive.
    fn step(&mut self, core: &Core) -> Result<(), StoreError> {
        let mut moves = Vec::new();
        let mut bytes = 0;
        while bytes < REWRITE_STEP
            && let Some((network, id, from)) = self.values.pop_front()
        {
            let key = core.entry_key(network, &id);
            if core.locate(&key).map_err(|error| core.index_failed(error))? != Some(from) {
                continue;
            }
            let failed = StoreError::io("read", core.volumes.path(self.number));
            match Item::decode(&Bytes::from(core.volumes.read(&from).map_err(failed)?)) {
                Ok(item) => {
                    bytes += u64::from(from.len);
                    moves.push(Move { item, from });
                }
                Err(error) => core.drop_corrupt(network, id, from, error.to_string()),
            }
        }
        if !moves.is_empty() {
            core.commit_now(Work { moves, ..Work::default() })?;
            Counters::add(&core.counters.moved, bytes);
        }
        Ok(())
    }
}

fn bytes_of(locations: &[RecordLocation]) -> u64 {
    locations.iter().map(|location| u64::from(location.len)).sum()
}

impl Core {
    fn forget_volume(&self, number: u32) -> Result<(), StoreError> {
        let _committer = self.committer.lock();
        let mut batch = Batch::default();
        batch.remove(meta::volume(number));
        self.index.commit(EntryChanges::new(), batch).map_err(|error| self.index_failed(error))?;
        self.ledger.write().volumes.remove(&number);
        Ok(())
    }
}
