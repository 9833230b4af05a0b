//! Commits: append to the volume, sync, tell the index. What goes into one is the [`queue`](crate::queue)'s to say.

use std::{collections::BTreeMap, ops::ControlFlow, sync::atomic::Ordering};

use content_types::room::RadiusSteps;
use content_types::{Distance, SubNetwork};

use crate::{
    core::{Committer, Core, Counters},
    error::{IndexError, StoreError},
    events::Event,
    eviction::{Eviction, ItemFate, grown_radius, steps},
    index::{EntryKey, KeyOrder, RecordLocation},
    ledger::{LedgerEdit, Usage},
    record::{Item, PLACE_LEN, Place, RECORD_HEADER_LEN, encode_dead, encode_radius},
    work::{Move, Placement, Work},
};

/// Items that one commit evicts at most; what is over then goes with the next one. Bounds how long a commit takes.
const MAX_EVICTIONS: usize = 512;

/// Bytes that may be dead and still take room in any case.
pub(crate) const MIN_UNRECLAIMED: u64 = 64 << 20;

/// An item on its way into the volume.
struct Staged<'a> {
    item: &'a Item,
    /// Its place among the puts; `None` for an item that is moved.
    put: Option<usize>,
}

/// The items on their way, by the entries that they get in the index.
type StagedItems<'a> = BTreeMap<EntryKey, Staged<'a>>;

/// What a commit evicts of one sub-network.
#[derive(Clone, Copy, Default)]
struct Evicted {
    items: u64,
    bytes: u64,
    /// The radius, if it has shrunk.
    radius: Option<Distance>,
}

/// What a commit has decided so far.
struct CommitPlan<'a> {
    edit: LedgerEdit<'a>,
    stage: StagedItems<'a>,
    dead: Vec<RecordLocation>,
    placements: Vec<Placement>,
    evicted: [Evicted; SubNetwork::ALL.len()],
}

impl Core {
    /// Commits; returns what became of the puts.
    pub(crate) fn commit(&self, committer: &mut Committer, work: &Work) -> Result<Vec<Placement>, StoreError> {
        if let Some(failure) = &committer.failure {
            return Err(failure.clone());
        }
        let ledger = self.ledger.read();
        let mut plan = CommitPlan {
            edit: ledger.edit(),
            stage: BTreeMap::new(),
            dead: Vec::new(),
            placements: Vec::with_capacity(work.puts.len()),
            evicted: Default::default(),
        };
        let horizons = self.plan(committer, work, &mut plan).map_err(|error| self.index_failed(error))?;

        let CommitPlan { mut edit, stage, dead, placements, evicted } = plan;
        let radii = edit.networks.map(|usage| usage.radius);
        let dead_places: Vec<_> = dead.iter().map(|dead| dead.place).chain(work.dead_again.iter().copied()).collect();
        let new_radii: Vec<_> = SubNetwork::ALL
            .into_iter()
            .filter(|network| edit.networks[network.index()].radius != ledger.networks[network.index()].radius)
            .collect();
        let mut followed_by = None;
        if !(stage.is_empty() && dead_places.is_empty() && new_radii.is_empty()) {
            let networks = edit.networks;
            let node_id = &self.config.node_id;
            let mut locations = Vec::with_capacity(stage.len());
            let values: u64 = stage.values().map(|staged| staged.item.record_len()).sum();
            // The lists of the dead and of radii are small; what they take is counted from above.
            let lists = (1 + new_radii.len()) * (RECORD_HEADER_LEN + 64) + dead_places.len() * PLACE_LEN;
            let end = committer.writer.append(values as usize + lists, &networks, |start, marker, bytes| {
                for staged in stage.values() {
                    let place = Place { volume: start.volume, offset: start.offset + bytes.len() as u32 };
                    staged.item.encode(marker, bytes);
                    locations.push(RecordLocation { place, len: staged.item.record_len() as u32 });
                }
                if !dead_places.is_empty() {
                    encode_dead(marker, &dead_places, bytes);
                }
                for network in &new_radii {
                    encode_radius(marker, *network, node_id, networks[network.index()].radius, bytes);
                }
            })?;
            for ((key, staged), location) in stage.iter().zip(&locations) {
                edit.add(staged.item.network, key, location);
            }
            edit.written_to(end);
            self.current_volume.store(end.volume, Ordering::Relaxed);
            Counters::add(&self.counters.written, values + lists as u64);
            followed_by = Some(edit.finish(Some(end)));
        }
        committer.horizons = horizons;
        let has_leftovers = horizons.iter().zip(&radii).any(|(horizon, radius)| horizon > radius);
        self.has_leftovers.store(has_leftovers, Ordering::Relaxed);
        drop(ledger);
        if let Some((entries, counters, change)) = followed_by {
            // What the volumes have and the index has not is replayed when the store is opened again, not before.
            if let Err(error) = self.index.commit(entries, counters) {
                let failure = self.index_failed(error);
                committer.failure = Some(failure.clone());
                return Err(failure);
            }
            self.ledger.write().apply(change);
            self.bury(dead);
            self.report_evictions(&evicted);
        }
        Ok(placements)
    }

    /// Decides what is written, what dies and where the radii end; returns the horizons.
    fn plan<'a>(
        &self,
        committer: &Committer,
        work: &'a Work,
        plan: &mut CommitPlan<'a>,
    ) -> Result<[Distance; SubNetwork::ALL.len()], IndexError> {
        for (i, item) in work.puts.iter().enumerate() {
            let placement = self.plan_put(i, item, plan)?;
            plan.placements.push(placement);
        }
        // What a put has replaced is gone already, in spite of what the index says.
        for removal in &work.removals {
            let key = self.entry_key(removal.network, &removal.id);
            if let Some(found) = self.locate(&key)?.filter(|found| !plan.dead.contains(found))
                && removal.location.is_none_or(|location| location == found)
            {
                plan.bury(removal.network, &key, found);
            }
        }
        for Move { item, from } in &work.moves {
            let key = self.entry_key(item.network, &item.id);
            if self.locate(&key)? == Some(*from) && !plan.dead.contains(from) {
                plan.bury(item.network, &key, *from);
                plan.stage.insert(key, Staged { item, put: None });
            }
        }
        let mut horizons = committer.horizons;
        for network in SubNetwork::ALL {
            // What is not kept by distance is not kept here.
            let Some(steps) = steps(network) else { continue };
            let place = network.index();
            if work.grow {
                let usage = &mut plan.edit.networks[place];
                let budget = self.config.budgets.get(network);
                usage.radius = grown_radius(steps, budget, usage.bytes, usage.radius);
            }
            horizons[place] = self.plan_eviction(network, steps, horizons[place], plan)?;
        }
        Ok(horizons)
    }

    fn plan_put<'a>(&self, i: usize, item: &'a Item, plan: &mut CommitPlan<'a>) -> Result<Placement, IndexError> {
        let key = self.entry_key(item.network, &item.id);
        let budget = self.config.budgets.get(item.network);
        if budget == 0 || key.distance() > plan.edit.networks[item.network.index()].radius {
            return Ok(Placement::OutsideRadius);
        }
        if item.record_len() > budget {
            return Ok(Placement::OverBudget);
        }
        if plan.stage.get(&key).is_some_and(|staged| staged.item.value == item.value) {
            return Ok(Placement::AlreadyStored);
        }
        if !plan.stage.contains_key(&key)
            && let Some(location) = self.locate(&key)?
        {
            if self.holds(&location, item) {
                return Ok(Placement::AlreadyStored);
            }
            plan.bury(item.network, &key, location);
        }
        plan.stage.insert(key, Staged { item, put: Some(i) });
        Ok(Placement::Stored)
    }

    /// Whether the record at `location` was written for the same value.
    fn holds(&self, location: &RecordLocation, item: &Item) -> bool {
        let header = self.volumes.read_header(location.place.volume, location.place.offset);
        header.is_ok_and(|header| {
            header.is_ok_and(|(header, _)| header.id == item.id && header.check_value(&item.value).is_ok())
        })
    }

    /// Chooses what goes from one sub-network, farthest first, among what is stored and what is about to be; returns the
    /// new horizon.
    fn plan_eviction(
        &self,
        network: SubNetwork,
        steps: RadiusSteps,
        horizon: Distance,
        plan: &mut CommitPlan<'_>,
    ) -> Result<Distance, IndexError> {
        let Usage { bytes, radius, .. } = plan.edit.networks[network.index()];
        let incoming = |(key, staged): (&EntryKey, &Staged<'_>)| (*key, staged.item.record_len());
        let mut staged: Vec<_> =
            plan.stage.iter().filter(|(_, staged)| staged.item.network == network).map(incoming).collect();
        let used = bytes + staged.iter().map(|(_, len)| len).sum::<u64>();
        let mut eviction = Eviction::new(steps, self.config.budgets.get(network), used, radius);
        if !eviction.is_over_budget() && horizon <= radius {
            return Ok(radius);
        }

        let mut dropped = Vec::new();
        let mut victims: Vec<(EntryKey, RecordLocation)> = Vec::new();
        let mut next_horizon = None;
        // The nearest of what is staged comes first, so that the farthest can be taken from the end.
        let mut drop_staged = |eviction: &mut Eviction, down_to: Option<&EntryKey>| {
            while let Some((key, len)) = staged.pop_if(|(key, _)| down_to.is_none_or(|limit| *key > *limit)) {
                match eviction.decide(key.distance(), len) {
                    ItemFate::Evict => dropped.push(key),
                    ItemFate::Keep => return ItemFate::Keep,
                }
            }
            ItemFate::Evict
        };
        let bounds = EntryKey::bounds(network, Distance::ZERO, horizon);
        let mut kept_one = false;
        self.index.scan(bounds, KeyOrder::Falling, |key, location| {
            if victims.len() == MAX_EVICTIONS {
                next_horizon = Some(key.distance());
                return ControlFlow::Break(());
            }
            kept_one = drop_staged(&mut eviction, Some(&key)) == ItemFate::Keep;
            // What was replaced, moved or removed is dead already and still in the index.
            let is_buried = plan.dead.contains(&location);
            if !kept_one && !is_buried {
                match eviction.decide(key.distance(), u64::from(location.len)) {
                    ItemFate::Evict => victims.push((key, location)),
                    ItemFate::Keep => kept_one = true,
                }
            }
            if kept_one { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if !kept_one && next_horizon.is_none() {
            drop_staged(&mut eviction, None);
        }

        for key in dropped {
            if let Some(Staged { put: Some(i), .. }) = plan.stage.remove(&key) {
                plan.placements[i] = Placement::OutsideRadius;
            }
        }
        let evicted = &mut plan.evicted[network.index()];
        evicted.items += victims.len() as u64;
        evicted.bytes += victims.iter().map(|(_, location)| u64::from(location.len)).sum::<u64>();
        for (key, location) in victims {
            plan.bury(network, &key, location);
        }
        let before = std::mem::replace(&mut plan.edit.networks[network.index()].radius, eviction.radius());
        let radius = eviction.radius();
        plan.evicted[network.index()].radius = (radius < before).then_some(radius);
        Ok(next_horizon.unwrap_or(radius).max(radius))
    }

    fn report_evictions(&self, evicted: &[Evicted]) {
        for network in SubNetwork::ALL {
            let Evicted { items, bytes, radius } = evicted[network.index()];
            if items > 0 || radius.is_some() {
                Counters::add(&self.counters.evicted_items, items);
                Counters::add(&self.counters.evicted_bytes, bytes);
                tracing::debug!(%network, items, bytes, "evicted the farthest");
                (self.events)(&Event::Evicted { network, items, bytes, radius });
            }
        }
    }
}

impl CommitPlan<'_> {
    /// The record at `location` is dead, and the index forgets it.
    fn bury(&mut self, network: SubNetwork, key: &EntryKey, location: RecordLocation) {
        self.edit.subtract(network, key, &location);
        self.dead.push(location);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Budgets, Store, StoreConfig, work::Removal};

    const NETWORK: SubNetwork = SubNetwork::LegacyHistory;

    fn item(id: u8, value: &'static [u8]) -> Item {
        Item { network: NETWORK, id: [id; 32].into(), key: Bytes::from_static(b"key"), value: value.into() }
    }

    #[test]
    fn what_a_put_replaces_is_neither_moved_nor_removed_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let budgets = Budgets::NONE.with(NETWORK, 1 << 20);
        let open = || Store::open(StoreConfig::new(dir.path(), [7; 32].into(), budgets), Box::new(|_| ())).unwrap();
        let store = open();
        let (old, new, other) = (item(3, b"old"), item(3, b"newer"), item(4, b"other"));
        let held = new.record_len() + other.record_len();
        store.put_batch(vec![old.clone(), other]).unwrap();
        let (key, id) = (store.core.entry_key(NETWORK, &old.id), old.id);
        let from = store.core.locate(&key).unwrap().unwrap();
        let work = Work {
            puts: vec![new.clone()],
            removals: vec![Removal { network: NETWORK, id, location: None }],
            moves: vec![Move { item: old, from }],
            ..Work::default()
        };
        store.core.commit_now(work).unwrap();
        let check = |store: Store| {
            assert_eq!(store.get_by_id(NETWORK, &id).unwrap(), Some(new.value.clone()));
            assert_eq!((store.usage(NETWORK).items, store.usage(NETWORK).bytes), (2, held));
        };
        check(store);
        check(open());
    }
}
