//! Opening: brings the index to where the volumes are. An index that can be trusted is replayed from its place on, any
//! other one is built anew; nobody has to repair anything.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use content_types::{Distance, SubNetwork};

use crate::{
    config::StoreConfig,
    error::{IndexError, StoreError},
    events::Event,
    index::{EntryKey, Index, IndexEngine, RecordLocation, bring_in, meta, pages},
    ledger::StoreLedger,
    record::{
        Kind, Marker, Place, RecordError, VOLUME_HEADER_LEN, VolumeHeader, VolumeRecordHeader, decode_dead,
        decode_radius,
    },
    scan::{Scanned, VolumeExtent, scan},
    volumes::Volumes,
};

/// The directory of index engines, in the store's. Each engine has one of its own in it, named by a number; more than one
/// is there only while the index is renewed.
const INDEX_DIR: &str = "index";
const FIRST_ENGINE: u64 = 1;
/// A file that says that the index must not be trusted, because it failed while the store was open.
const DISTRUST_FILE: &str = "REBUILD-INDEX";
/// Entries that are brought into the index together: the more, the more of them share a page.
const BATCH_ENTRIES: usize = 1 << 17;

/// What opening found.
pub(crate) struct Recovered {
    pub(crate) index: Box<dyn Index>,
    /// The directory that the engine has for itself.
    pub(crate) index_dir: PathBuf,
    pub(crate) ledger: StoreLedger,
    /// Where the last volume ends, if it can be written on.
    pub(crate) end: Option<(Place, Marker)>,
    pub(crate) next_volume: u32,
    /// Records that are dead, though nothing in the volumes says so.
    pub(crate) superseded: Vec<Place>,
    pub(crate) events: Vec<Event>,
}

/// Leaves a note that the index is to be rebuilt.
pub(crate) fn distrust_index(dir: &Path) {
    if let Err(error) = fs::write(dir.join(DISTRUST_FILE), b"") {
        tracing::warn!(%error, "cannot leave a note that the index has to be rebuilt");
    }
}

/// Opens the index and brings it up to the volumes.
pub(crate) fn recover<E: IndexEngine>(
    config: &StoreConfig,
    store_id: &[u8; 16],
    volumes: &Arc<Volumes>,
) -> Result<Recovered, StoreError> {
    let files = volumes.list()?;
    let identity = meta::identity(store_id, &config.node_id);
    let next_volume = files.last_key_value().map_or(1, |(number, _)| number + 1);
    let dir = config.dir.join(INDEX_DIR);
    let distrust = config.dir.join(DISTRUST_FILE);

    let mut usable = Err(Unusable::from("it is missing"));
    let mut index_dir = dir.join(FIRST_ENGINE.to_string());
    for candidate in engines(&dir)? {
        if usable.is_err() {
            usable = open_trusted::<E>(config, &candidate, &distrust, &identity, &files);
            index_dir = if usable.is_ok() { candidate.clone() } else { index_dir };
        }
        if index_dir != candidate || usable.is_err() {
            fs::remove_dir_all(&candidate).map_err(StoreError::io("remove", &candidate))?;
        }
    }
    let (index, ledger, from) = match usable {
        Ok((index, ledger, from)) => (index, ledger, Ok(from)),
        Err(reason) => {
            fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
            (E::open(&index_dir, config.index_cache)?, StoreLedger::EMPTY, Err(reason))
        }
    };
    let mut recovery = Recovery {
        config,
        volumes,
        files,
        index,
        ledger,
        added: HashMap::new(),
        removed: HashMap::new(),
        superseded: BTreeSet::new(),
        events: Vec::new(),
    };
    let end = match from {
        Ok(from) => recovery.replay(from)?,
        Err(Unusable { reason, known }) => {
            let is_new = recovery.files.is_empty() && known == 0;
            let end = recovery.rebuild(&identity)?;
            if !is_new {
                let items = recovery.ledger.items();
                let lost = known.saturating_sub(items);
                if lost > 0 {
                    tracing::warn!(lost, items, reason, "values of the store are lost; what is left is served");
                } else {
                    tracing::info!(items, reason, "the store's index was built anew");
                }
                recovery.events.push(Event::IndexRebuilt { reason, items, lost });
            }
            match fs::remove_file(&distrust) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", distrust)(error));
                }
                _ => {}
            }
            end
        }
    };
    let Recovery { index, ledger, superseded, events, .. } = recovery;
    Ok(Recovered { index, index_dir, ledger, end, next_volume, superseded: superseded.into_iter().collect(), events })
}

/// The directories of index engines, the latest first.
fn engines(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = || StoreError::io("list", dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed()(error)),
    };
    let mut engines = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed())?.path();
        if let Some(number) = engine_number(&path) {
            engines.push((number, path));
        }
    }
    engines.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok(engines.into_iter().map(|(_, path)| path).collect())
}

fn engine_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

/// The directory for the engine that comes after the one in `dir`.
pub(crate) fn next_engine(dir: &Path) -> PathBuf {
    dir.with_file_name((engine_number(dir).unwrap_or(FIRST_ENGINE) + 1).to_string())
}

/// Why an index is of no use, and how many values it knew.
struct Unusable {
    reason: String,
    known: u64,
}

impl<T: Into<String>> From<T> for Unusable {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), known: 0 }
    }
}

/// The index, its counters and its place, or why it is of no use.
fn open_trusted<E: IndexEngine>(
    config: &StoreConfig,
    dir: &Path,
    distrust: &Path,
    identity: &[u8],
    files: &BTreeMap<u32, u64>,
) -> Result<(Box<dyn Index>, StoreLedger, Place), Unusable> {
    if distrust.exists() {
        return Err("it failed the last time".into());
    }
    let unusable = |error: IndexError| error.to_string();
    let index = E::open(dir, config.index_cache).map_err(unusable)?;
    if index.get(&meta::IDENTITY).map_err(unusable)?.as_deref() != Some(identity) {
        return Err("it was made for another store, another node ID or by another version".into());
    }
    let Some(position) = index.get(&meta::POSITION).map_err(unusable)? else {
        return Err("it was not finished".into());
    };
    let position = RecordLocation::decode(&meta::POSITION, &position).map_err(unusable)?.place;
    let mut ledger = StoreLedger::load(&*index).map_err(unusable)?;
    let known = ledger.items();
    let lacking = |what: String| Err(Unusable { reason: what, known });
    // A volume without anything alive may have been deleted before the index heard of it.
    ledger.volumes.retain(|number, volume| volume.live > 0 || files.contains_key(number));
    for (number, volume) in &ledger.volumes {
        match files.get(number) {
            _ if volume.live == 0 => {}
            None => return lacking(format!("volume {number} is missing")),
            Some(len) if *len < u64::from(volume.len) => return lacking(format!("volume {number} is cut short")),
            Some(_) => {}
        }
    }
    let unknown = files.range(..=position.volume).find(|(number, _)| !ledger.volumes.contains_key(number));
    if let Some((number, _)) = unknown {
        return lacking(format!("it does not know volume {number}"));
    }
    Ok((index, ledger, position))
}

/// Where the last volume ends and with which marker it is written on; `None` when a new one has to be begun.
type LastVolumeEnd = Option<(Place, Marker)>;

struct Recovery<'a> {
    config: &'a StoreConfig,
    volumes: &'a Arc<Volumes>,
    files: BTreeMap<u32, u64>,
    index: Box<dyn Index>,
    ledger: StoreLedger,
    /// Entries that the index does not have yet.
    added: HashMap<EntryKey, (SubNetwork, RecordLocation)>,
    /// Entries that the index still has.
    removed: HashMap<EntryKey, (SubNetwork, RecordLocation)>,
    superseded: BTreeSet<Place>,
    events: Vec<Event>,
}

/// What stops a scan.
enum Stop {
    Io(io::Error),
    Index(IndexError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<IndexError> for Stop {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl Stop {
    fn at(self, path: PathBuf) -> StoreError {
        match self {
            Self::Io(error) => StoreError::io("read", path)(error),
            Self::Index(error) => error.into(),
        }
    }
}

impl Recovery<'_> {
    /// Brings in what was written after `from`, in the order in which it was written.
    fn replay(&mut self, from: Place) -> Result<LastVolumeEnd, StoreError> {
        let mut end = None;
        let mut position = from;
        let numbers: Vec<_> = self.files.range(from.volume..).map(|(number, len)| (*number, *len)).collect();
        for (i, (number, file_len)) in numbers.iter().copied().enumerate() {
            let start = if number == from.volume { from.offset } else { VOLUME_HEADER_LEN as u32 };
            let header = self.header(number, file_len, number == from.volume)?;
            let Some(header) = header else {
                end = None;
                continue;
            };
            let next = numbers.get(i + 1).map(|(next, _)| *next);
            let until = self.valid_len(number, file_len, next)?;
            let extent = VolumeExtent { from: start, until, marker: header.marker, check_values: true };
            let path = self.volumes.path(number);
            let file = self.volumes.file_to_scan(number).map_err(StoreError::io("open", &path))?;
            let found = scan(&file, extent, |found| self.replay_found(number, found));
            let valid = found.map_err(|stop: Stop| stop.at(path))?;
            position = Place { volume: number, offset: valid };
            self.finish_volume(position, file_len, next.is_none(), u64::from(until))?;
            self.flush(Some(position))?;
            end = Some((position, header.marker));
        }
        self.flush(Some(position))?;
        Ok(end)
    }

    fn replay_found(&mut self, volume: u32, found: Scanned<'_>) -> Result<(), Stop> {
        match found {
            Scanned::Damage { from, until } => self.report_damage(volume, from, until),
            Scanned::Record { offset, header, value, .. } => match header.kind {
                Kind::Value => {
                    let (key, location) = self.entry(Place { volume, offset }, &header);
                    match self.locate(&key)? {
                        Some(found) if found == location => return Ok(()),
                        Some(old) => {
                            self.superseded.insert(old.place);
                            self.remove(header.network, &key, old);
                        }
                        None => {}
                    }
                    self.add(header.network, key, location);
                }
                Kind::Dead => {
                    for place in decode_dead(value).into_iter().flatten() {
                        self.superseded.remove(&place);
                        let Ok(Ok((header, _))) = self.volumes.read_header(place.volume, place.offset) else {
                            continue;
                        };
                        let (key, location) = self.entry(place, &header);
                        if self.locate(&key)? == Some(location) {
                            self.remove(header.network, &key, location);
                        }
                    }
                }
                Kind::Radius => {
                    if let Some(radius) = self.radius(value) {
                        self.ledger.networks[header.network.index()].radius = radius;
                    }
                }
            },
        }
        if self.added.len() + self.removed.len() >= BATCH_ENTRIES {
            // Without a new position: should this be cut off, the same is replayed once more, to the same end.
            self.apply(None)?;
        }
        Ok(())
    }

    /// Brings in everything, the last volume first: what a later record declares dead or holds too is passed over.
    fn rebuild(&mut self, identity: &[u8]) -> Result<LastVolumeEnd, StoreError> {
        let mut dead: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut radii = [None; SubNetwork::ALL.len()];
        let mut end: Option<LastVolumeEnd> = None;
        let mut next = None;
        let files: Vec<_> = self.files.iter().rev().map(|(number, len)| (*number, *len)).collect();
        for (number, file_len) in files {
            let Some(header) = self.header(number, file_len, false)? else {
                end.get_or_insert(None);
                continue;
            };
            let until = self.valid_len(number, file_len, next)?;
            let is_last = end.is_none();
            let start = VOLUME_HEADER_LEN as u32;
            // Values that are dead may have been punched out, but never in the last volume.
            let extent = VolumeExtent { from: start, until, marker: header.marker, check_values: is_last };
            let mut entries = Vec::new();
            let mut last_radii = [None; SubNetwork::ALL.len()];
            let path = self.volumes.path(number);
            let file = self.volumes.file_to_scan(number).map_err(StoreError::io("open", &path))?;
            let valid = scan(&file, extent, |found| {
                match found {
                    Scanned::Damage { from, until } => self.report_damage(number, from, until),
                    Scanned::Record { offset, header, value, .. } => match header.kind {
                        Kind::Value => {
                            let place = Place { volume: number, offset };
                            entries.push((header.network, self.entry(place, &header)));
                        }
                        Kind::Dead => {
                            for place in decode_dead(value).into_iter().flatten() {
                                dead.entry(place.volume).or_default().insert(place.offset);
                            }
                        }
                        Kind::Radius => last_radii[header.network.index()] = self.radius(value),
                    },
                }
                Ok::<_, Stop>(())
            });
            let valid = Place { volume: number, offset: valid.map_err(|stop| stop.at(path))? };
            let dead = dead.remove(&number).unwrap_or_default();
            for (network, (key, location)) in entries.into_iter().rev() {
                if dead.contains(&location.place.offset) {
                    continue;
                }
                if self.locate(&key)?.is_some() {
                    self.superseded.insert(location.place);
                    continue;
                }
                self.add(network, key, location);
                if self.added.len() >= BATCH_ENTRIES {
                    self.apply(None)?;
                }
            }
            for (radius, last) in radii.iter_mut().zip(last_radii) {
                *radius = radius.or(last);
            }
            self.finish_volume(valid, file_len, is_last, u64::from(until))?;
            end.get_or_insert(Some((valid, header.marker)));
            next = Some(number);
        }
        for (usage, radius) in self.ledger.networks.iter_mut().zip(radii) {
            usage.radius = radius.unwrap_or(Distance::MAX);
        }
        let end = end.flatten();
        // Counters and radii go along with the position; only then can the index be trusted.
        self.apply(None)?;
        let mut batch = self.ledger.full_batch();
        batch.put(meta::IDENTITY, identity);
        batch.put(meta::POSITION, position_value(end.map_or(Place::NOWHERE, |(place, _)| place)));
        self.index.apply(batch)?;
        self.index.flush()?;
        Ok(end)
    }

    /// The header of a volume. One that cannot be used is deleted if there is nothing in it, else left where it is if the
    /// index knows it, else set aside.
    fn header(&mut self, number: u32, file_len: u64, is_known: bool) -> Result<Option<VolumeHeader>, StoreError> {
        let path = self.volumes.path(number);
        let error = match self.volumes.header(number).map_err(StoreError::io("read", &path))? {
            Ok(header) => return Ok(Some(header)),
            Err(RecordError::NewerFormat(found)) => {
                let dir = self.config.dir.clone();
                return Err(StoreError::NewerFormat { dir, found, known: crate::record::FORMAT });
            }
            Err(error) => error,
        };
        if is_known {
            return Ok(None);
        }
        if file_len < VOLUME_HEADER_LEN as u64 {
            self.volumes.delete(number).map_err(StoreError::io("remove", path))?;
            return Ok(None);
        }
        tracing::error!(path = %path.display(), %error, "setting aside a volume that cannot be read");
        self.volumes.set_aside(number).map_err(StoreError::io("rename", &path))?;
        self.events.push(Event::VolumeDamaged { path, from: 0, until: file_len });
        Ok(None)
    }

    /// Up to where a volume was acknowledged, as the next one knows it.
    fn valid_len(&self, number: u32, file_len: u64, next: Option<u32>) -> Result<u32, StoreError> {
        let file_len = u32::try_from(file_len).unwrap_or(u32::MAX);
        let Some(next) = next else { return Ok(file_len) };
        let header = self.volumes.header(next).map_err(StoreError::io("read", self.volumes.path(next)))?;
        Ok(match header {
            Ok(VolumeHeader { previous_end: Place { volume, offset }, .. }) if volume == number => file_len.min(offset),
            _ => file_len,
        })
    }

    /// Cuts the tail of the last volume, and reports what is damaged at the end of any other.
    fn finish_volume(&mut self, valid: Place, file_len: u64, is_last: bool, until: u64) -> Result<(), StoreError> {
        let Place { volume, offset } = valid;
        if is_last && u64::from(offset) < file_len {
            let failed = StoreError::io("cut", self.volumes.path(volume));
            self.volumes.truncate(volume, u64::from(offset)).map_err(failed)?;
            let bytes = file_len - u64::from(offset);
            tracing::info!(volume, bytes, "cut off what a crash had left unfinished");
            self.events.push(Event::TailCut { volume, bytes });
        } else if !is_last && u64::from(offset) < until {
            self.report_damage(volume, offset, u32::try_from(until).unwrap_or(u32::MAX));
        }
        self.ledger.volumes.entry(volume).or_default().len = offset;
        Ok(())
    }

    fn report_damage(&mut self, volume: u32, from: u32, until: u32) {
        let path = self.volumes.path(volume);
        tracing::warn!(path = %path.display(), from, until, "a volume is damaged; what lay there is lost");
        self.events.push(Event::VolumeDamaged { path, from: from.into(), until: until.into() });
    }

    fn entry(&self, place: Place, header: &VolumeRecordHeader) -> (EntryKey, RecordLocation) {
        let key = EntryKey::new(header.network, self.config.node_id.distance(&header.id));
        (key, RecordLocation { place, len: header.record_len() })
    }

    /// The radius that a record gives, if it is this node's.
    fn radius(&self, value: &[u8]) -> Option<Distance> {
        let (node_id, radius) = decode_radius(value).ok()?;
        (node_id == self.config.node_id).then_some(radius)
    }

    fn locate(&self, key: &EntryKey) -> Result<Option<RecordLocation>, IndexError> {
        if let Some((_, location)) = self.added.get(key) {
            return Ok(Some(*location));
        }
        if self.removed.contains_key(key) {
            return Ok(None);
        }
        pages::get(&*self.index, key)
    }

    fn add(&mut self, network: SubNetwork, key: EntryKey, location: RecordLocation) {
        // An index that was ahead of its position had it before what came before it.
        self.superseded.remove(&location.place);
        self.added.insert(key, (network, location));
    }

    fn remove(&mut self, network: SubNetwork, key: &EntryKey, location: RecordLocation) {
        if self.added.remove(key).is_none() {
            self.removed.insert(*key, (network, location));
        }
    }

    fn flush(&mut self, position: Option<Place>) -> Result<(), StoreError> {
        self.apply(position).map_err(StoreError::from)
    }

    fn apply(&mut self, position: Option<Place>) -> Result<(), IndexError> {
        let mut edit = self.ledger.edit();
        for (key, (network, location)) in self.removed.drain() {
            edit.subtract(network, &key, &location);
        }
        for (key, (network, location)) in self.added.drain() {
            edit.add(network, &key, &location);
        }
        let (entries, mut batch, change) = edit.finish(None);
        self.ledger.apply(change);
        if let Some(position) = position {
            batch.append(self.ledger.full_batch());
            batch.put(meta::POSITION, position_value(position));
        }
        bring_in(&*self.index, &entries, batch)
    }
}

fn position_value(place: Place) -> [u8; 12] {
    RecordLocation { place, len: 0 }.encode()
}
