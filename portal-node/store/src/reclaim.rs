//! Gives room back to the file system: punches holes where evicted values lay, and rewrites volumes of which little is
//! left. Both only after the checkpoint has the eviction, and in small steps, because the file system's journal makes
//! commits wait for what is done here.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;

use crate::{
    commit::{Move, Work},
    core::{Core, Counters},
    error::StoreError,
    index::{Batch, EntryKey, Location, meta},
    ledger::VolumeUse,
    maintenance::Signal,
    record::{Item, Kind, Place, VOLUME_HEADER_LEN, decode_dead},
    scan::{Extent, Found, scan},
};

/// Pause between two steps.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);
/// Holes punched in one step.
const PUNCHES_PER_STEP: usize = 16;
/// Bytes rewritten in one step.
const REWRITE_STEP: u64 = 256 << 10;
/// Share of what is held, in percent, that volumes may take on the disk before one is rewritten. The index comes on top,
/// and the whole has to stay under 120.
const MAX_ALLOCATED_PERCENT: u64 = 110;
/// Share of a volume's room, in percent, that has to be waste for it to be worth rewriting.
const MIN_WASTE_PERCENT: u64 = 10;

/// Gives back the room of records that a checkpoint knows to be dead. Those in the volume being written have to wait: how
/// much of it survives a crash is found out by reading it whole.
pub(crate) fn punch(core: &Core, signal: &Signal, buried: Vec<Location>) -> Result<(), StoreError> {
    let Some(current) = core.committer.lock().writer.current_volume() else {
        core.graveyard.lock().extend(buried);
        return Ok(());
    };
    let (sealed, in_current): (Vec<_>, Vec<_>) = buried.into_iter().partition(|dead| dead.place.volume < current);
    core.graveyard.lock().extend(in_current);
    for step in sealed.chunks(PUNCHES_PER_STEP) {
        for dead in step {
            match core.volumes.punch(dead) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("punch a hole into", core.volumes.path(dead.place.volume))(error));
                }
                _ => {}
            }
        }
        if signal.wait(PAUSE) {
            return Ok(());
        }
    }
    Ok(())
}

/// Chooses volumes and rewrites them.
#[derive(Debug, Default)]
pub(crate) struct Reclaimer {
    /// Volumes that could not be emptied; not tried again until the store is opened again.
    stuck: BTreeSet<u32>,
}

impl Reclaimer {
    /// Rewrites the volume with the largest share of waste, if there is too much of it in all.
    pub(crate) fn rewrite_one(&mut self, core: &Core, signal: &Signal) -> Result<(), StoreError> {
        let Some((number, volume)) = self.choose(core) else { return Ok(()) };
        if !empty(core, signal, number, volume)? {
            return Ok(());
        }
        core.checkpoint()?;
        if core.ledger.read().volumes.get(&number).is_some_and(|volume| volume.live > 0) {
            tracing::warn!(number, "a volume has values that cannot be moved; it stays");
            self.stuck.insert(number);
            return Ok(());
        }
        core.volumes.delete(number).map_err(StoreError::io("remove", core.volumes.path(number)))?;
        core.forget_volume(number)
    }

    fn choose(&self, core: &Core) -> Option<(u32, VolumeUse)> {
        let current = core.committer.lock().writer.current_volume()?;
        let volumes = core.ledger.read().volumes.clone();
        let mut allocated_in_all = 0;
        let mut live_in_all = 0;
        let mut worst: Option<(u64, u32, VolumeUse)> = None;
        for (number, volume) in volumes {
            let live = u64::from(volume.live);
            let allocated = core.volumes.allocated(number).unwrap_or(0).max(live);
            allocated_in_all += allocated;
            live_in_all += live;
            if number >= current || self.stuck.contains(&number) {
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
        (allocated_in_all * 100 > live_in_all * MAX_ALLOCATED_PERCENT).then_some((number, volume))
    }
}

/// Moves everything that is alive out of a volume; returns `false` when stopped before the end.
fn empty(core: &Core, signal: &Signal, number: u32, volume: VolumeUse) -> Result<bool, StoreError> {
    let path = || core.volumes.path(number);
    let file = core.volumes.file(number).map_err(StoreError::io("open", path()))?;
    let Ok(header) = core.volumes.header(number).map_err(StoreError::io("read", path()))? else {
        return Ok(true);
    };
    let mut values: Vec<(EntryKey, Location)> = Vec::new();
    let mut dead_again = Vec::new();
    let extent =
        Extent { from: VOLUME_HEADER_LEN as u32, until: volume.len, marker: header.marker, check_values: false };
    let scanned = scan(&*file, extent, |found| {
        match found {
            Found::Record { offset, header, .. } if header.kind == Kind::Value => {
                let location = Location { place: Place { volume: number, offset }, len: header.record_len() };
                values.push((core.entry_key(header.network, &header.id), location));
            }
            Found::Record { header, value, .. } if header.kind == Kind::Dead => {
                dead_again.extend(decode_dead(value).into_iter().flatten());
            }
            _ => {}
        }
        Ok::<_, std::io::Error>(())
    });
    scanned.map_err(StoreError::io("read", path()))?;
    {
        let ledger = core.ledger.read();
        dead_again.retain(|place| place.volume != number && ledger.volumes.contains_key(&place.volume));
    }
    if !dead_again.is_empty() {
        core.commit_now(Work { dead_again, ..Work::default() })?;
    }
    let mut values = values.into_iter().peekable();
    while values.peek().is_some() {
        let mut moves = Vec::new();
        let mut bytes = 0;
        while bytes < REWRITE_STEP
            && let Some((key, from)) = values.next()
        {
            if core.locate(&key).map_err(|error| core.index_failed(error))? != Some(from) {
                continue;
            }
            let record = core.volumes.read(&from).map_err(StoreError::io("read", path()))?;
            match Item::decode(&Bytes::from(record)) {
                Ok(item) => {
                    bytes += u64::from(from.len);
                    moves.push(Move { item, from });
                }
                Err(error) => {
                    if let Ok(Ok((header, _))) = core.volumes.read_header(number, from.place.offset) {
                        core.drop_corrupt(header.network, &header.id, from, error.to_string());
                    }
                }
            }
        }
        if !moves.is_empty() {
            core.commit_now(Work { moves, ..Work::default() })?;
            Counters::add(&core.counters.moved, bytes);
        }
        if signal.wait(PAUSE) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Core {
    fn forget_volume(&self, number: u32) -> Result<(), StoreError> {
        let _committer = self.committer.lock();
        let mut batch = Batch::default();
        batch.remove(meta::volume(number));
        self.index.apply(batch).map_err(|error| self.index_failed(error))?;
        self.ledger.write().volumes.remove(&number);
        Ok(())
    }
}
