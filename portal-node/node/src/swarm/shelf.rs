//! The folder that eras are fetched into: what is in it, what it may take up, and which era is to come next. No network.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use cairn_archive::write::{Plan, spooled_bytes};
use cairn_archive::{Archive, ArchiveError, ArchiveName, Component, Format};
use cairn_swarm::download::Order;

use crate::seeding::archive_files;

/// What a block takes in an archive's index at the least: a slot.
const SLOT_LEN: u64 = 8;
/// An era is not begun if less of the size that its neighbour has is free, in percent: eras that follow each other are of
/// about one size.
const LEAST_ROOM_PERCENT: u64 = 80;

/// Scatters what it is multiplied with: 2^64 divided by the golden ratio.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What of some eras is in a folder.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// The wanted archives that are there.
    pub(super) there: BTreeMap<u64, PathBuf>,
    /// Eras of which something was fetched before.
    pub(super) begun: Vec<u64>,
    /// Bytes of all archives in the folder.
    pub(super) used: u64,
    /// Sizes of archives of the wanted kind, by era.
    pub(super) sizes: BTreeMap<u64, u64>,
}

impl Shelf {
    /// Looks into the folder. An archive is there if name and content say that it is the one that is wanted; one that is not
    /// whole is fetched anew. Blocks.
    ///
    /// # Errors
    /// What the system says of the folder.
    pub(super) fn look(folder: &Path, network: &str, plans: &[Plan]) -> io::Result<Self> {
        let wanted: BTreeMap<u64, &Plan> = plans.iter().map(|plan| (plan.era(), plan)).collect();
        let mut shelf = Self::default();
        for path in archive_files(folder)? {
            let size = fs::metadata(&path)?.len();
            shelf.used = shelf.used.saturating_add(size);
            let name = path.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse);
            let Some(name) = name.filter(|name| name.network == network) else { continue };
            let Some(plan) = wanted.get(&name.era).filter(|plan| is_named_after(&name, plan)) else { continue };
            match check(&path, &name, plan) {
                Ok(()) => {
                    shelf.sizes.insert(name.era, size);
                    shelf.there.insert(name.era, path);
                }
                Err(why) => {
                    tracing::warn!(archive = %path.display(), %why, "not what its name says: it does not count")
                }
            }
        }
        let is_begun = |era: &u64| !shelf.there.contains_key(era);
        let plans = wanted.into_iter().filter(|(era, _)| is_begun(era));
        shelf.begun = plans.filter(|(_, plan)| spooled_bytes(folder, plan) > 0).map(|(era, _)| era).collect();
        Ok(shelf)
    }
}

/// The archive that `plan` describes, if it is in the folder and whole. Blocks.
///
/// # Errors
/// What the system says of the folder.
pub(crate) fn archive_there(folder: &Path, network: &str, plan: &Plan) -> io::Result<Option<PathBuf>> {
    Ok(Shelf::look(folder, network, std::slice::from_ref(plan))?.there.remove(&plan.era()))
}

/// Why an archive that is named after a plan is not the one it describes.
#[derive(Debug, thiserror::Error)]
enum NotThere {
    #[error("{}{}", .0.place, .0.rule)]
    Archive(#[from] ArchiveError),
    #[error("it holds blocks {} to {}", .0.start(), .0.end())]
    Blocks(RangeInclusive<u64>),
    #[error("it holds no {0}")]
    Lacks(Component),
    #[error("its last block or its accumulator is not the one in its name")]
    Hash,
}

/// Whether the archive at `path`, which is named after `plan`, is whole as far as its two ends tell: index, blocks, components,
/// and the hash of the last block or the accumulator that its name begins with. What is in the blocks is not looked at.
fn check(path: &Path, name: &ArchiveName, plan: &Plan) -> Result<(), NotThere> {
    let archive = Archive::open(path)?;
    if let Some(damage) = archive.damage() {
        return Err(damage.clone().into());
    }
    if archive.blocks() != plan.blocks() {
        return Err(NotThere::Blocks(archive.blocks()));
    }
    if let Some(lacking) = plan.components().iter().find(|component| !archive.components().has(*component)) {
        return Err(NotThere::Lacks(lacking));
    }
    let last = *archive.blocks().end();
    let named = match archive.format() {
        Format::Era1 => archive.accumulator_root()?,
        Format::Ere => Some(archive.decoded_header(last)?.hash()),
    };
    if named.is_none_or(|hash| !hash.starts_with(&name.short_hash)) {
        return Err(NotThere::Hash);
    }
    // The parts of the last block lie at the ends of the file's sections.
    archive.body(last)?;
    archive.receipts(last)?;
    Ok(())
}

fn is_named_after(name: &ArchiveName, plan: &Plan) -> bool {
    let holds = |component| plan.components().has(component);
    let is_profile = || name.proofs == holds(Component::Proof) && name.receipts == holds(Component::Receipts);
    name.format == plan.format() && (name.format == Format::Era1 || is_profile())
}

/// About what the archive takes at the least that is being put together in `folder`. Blocks.
pub(super) fn least_size(folder: &Path, plan: &Plan) -> u64 {
    let blocks = plan.blocks().end() - plan.blocks().start() + 1;
    spooled_bytes(folder, plan).saturating_add(blocks * SLOT_LEN)
}

/// A budget of disk for a folder's archives.
#[derive(Clone, Debug)]
pub(super) struct DiskRoom {
    capacity: Option<u64>,
    used: u64,
    sizes: BTreeMap<u64, u64>,
}

impl DiskRoom {
    pub(super) const fn new(capacity: Option<u64>, used: u64, sizes: BTreeMap<u64, u64>) -> Self {
        Self { capacity, used, sizes }
    }

    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    /// Bytes that are free beside some that are on their way.
    fn left(&self, coming: u64) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used).saturating_sub(coming))
    }

    /// Whether an era could fit, going by the nearest one whose size is known.
    pub(super) fn may_take(&self, era: u64, coming: u64) -> bool {
        self.left(coming) >= self.expected(era).max(1)
    }

    /// About what an era takes at the least.
    pub(super) fn expected(&self, era: u64) -> u64 {
        let nearest = self.sizes.iter().min_by_key(|(of, _)| of.abs_diff(era));
        nearest.map_or(0, |(_, size)| size / 100 * LEAST_ROOM_PERCENT)
    }

    /// The first of the archives on their way, in this order, for which there is no room.
    pub(super) fn first_too_much(&self, coming: impl IntoIterator<Item = (u64, u64)>) -> Option<u64> {
        let mut before = 0_u64;
        for (era, size) in coming {
            before = before.saturating_add(size);
            if self.capacity.is_some_and(|capacity| self.used.saturating_add(before) > capacity) {
                return Some(era);
            }
        }
        None
    }

    /// Takes an archive in; false if there is no room for it.
    pub(super) fn take(&mut self, era: u64, size: u64) -> bool {
        if self.left(0) < size {
            return false;
        }
        self.used = self.used.saturating_add(size);
        self.sizes.insert(era, size);
        true
    }

    /// What was taken in is of another size, 0 if it is not there after all; false if there is no room for that.
    pub(super) fn correct(&mut self, era: u64, size: u64) -> bool {
        let before = self.sizes.remove(&era).unwrap_or(0);
        self.used = self.used.saturating_sub(before).saturating_add(size);
        if size > 0 {
            self.sizes.insert(era, size);
        }
        self.capacity.is_none_or(|capacity| self.used <= capacity)
    }
}

/// An era that could be fetched now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EraCandidate {
    pub(super) era: u64,
    /// How many peers hold its scarcest run.
    pub(super) holders: u32,
    /// Whether something of it was fetched before.
    pub(super) is_begun: bool,
}

/// The era to fetch next: one that was begun, then by the order. Among eras that are equally rare `random` decides, so that
/// not everybody fetches the same.
pub(super) fn next(order: Order, candidates: &[EraCandidate], random: u64) -> Option<u64> {
    let key = |of: &EraCandidate| match order {
        Order::Sequential => (false, 0, 0),
        // What lacks a run cannot be whole yet, however rare it is.
        Order::RarestFirst => (of.holders == 0, of.holders, (of.era ^ random).wrapping_mul(SCATTER)),
    };
    candidates.iter().min_by_key(|of| (!of.is_begun, key(of), of.era)).map(|of| of.era)
}

#[cfg(test)]
mod tests {
    use cairn_archive::Components;
    use cairn_archive::convert::{Target, convert};

    use super::*;

    fn candidate(era: u64, holders: u32) -> EraCandidate {
        EraCandidate { era, holders, is_begun: false }
    }

    #[test]
    fn the_rarest_era_comes_first_and_what_was_begun_before_it() {
        let eras = [candidate(3, 4), candidate(4, 2), candidate(5, 9), candidate(6, 0)];
        assert_eq!(next(Order::Sequential, &eras, 7), Some(3));
        assert_eq!(next(Order::RarestFirst, &eras, 7), Some(4));
        assert_eq!(next(Order::RarestFirst, &eras[3..], 7), Some(6));
        let begun = [eras[0], EraCandidate { is_begun: true, ..eras[2] }, eras[1]];
        assert_eq!(next(Order::Sequential, &begun, 7), Some(5));
        assert_eq!(next(Order::RarestFirst, &begun, 7), Some(5));
        assert_eq!(next(Order::RarestFirst, &[], 7), None);
    }

    #[test]
    fn equally_rare_eras_come_in_another_order_for_each() {
        let eras: Vec<_> = (0..16).map(|era| candidate(era, 1)).collect();
        let firsts: std::collections::BTreeSet<_> =
            (0..64_u64).filter_map(|seed| next(Order::RarestFirst, &eras, seed.wrapping_mul(SCATTER))).collect();
        assert!(firsts.len() > 4, "{firsts:?}");
    }

    #[test]
    fn a_budget_is_never_exceeded() {
        let mut room = DiskRoom::new(Some(1000), 300, BTreeMap::from([(7, 300)]));
        assert!(room.may_take(8, 0) && room.may_take(8, 460) && !room.may_take(8, 500));
        assert_eq!(room.first_too_much([(8, 400), (9, 300)]), None);
        assert_eq!(room.first_too_much([(8, 400), (9, 301)]), Some(9));
        assert_eq!(room.first_too_much([(8, 701)]), Some(8));
        assert!(room.take(8, 600) && !room.take(9, 101));
        assert!(room.correct(8, 550));
        assert_eq!(room.used(), 850);
        assert!(room.take(9, 150));
        assert!(!room.correct(9, 151) && room.correct(9, 0));
        assert_eq!(room.used(), 850);
        let mut boundless = DiskRoom::new(None, u64::MAX, BTreeMap::new());
        assert!(boundless.may_take(1, u64::MAX) && boundless.take(1, u64::MAX));
        assert_eq!(boundless.first_too_much([(1, u64::MAX)]), None);
    }

    #[test]
    fn an_archive_is_there_if_it_is_what_its_name_says() {
        let chain = cairn_synthetic::SyntheticChain::new(cairn_synthetic::SyntheticConfig::small()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (network, dir) = (chain.spec().name(), folder.path());
        let path = chain.write_archive(0, Format::Ere, dir).unwrap();
        let whole = Plan::ere(network, 0..=95, Component::ALL.into_iter().collect());
        let look = |plan: &Plan| Shelf::look(dir, network, std::slice::from_ref(plan)).unwrap();
        let size = fs::metadata(&path).unwrap().len();
        let shelf = look(&whole);
        assert_eq!((shelf.there.get(&0), shelf.used, shelf.sizes.get(&0)), (Some(&path), size, Some(&size)));
        assert!(look(&Plan::ere(network, 0..=94, whole.components())).there.is_empty());
        assert!(look(&Plan::ere(network, 0..=95, whole.components().without(Component::Proof))).there.is_empty());
        assert!(look(&Plan::era1(network, 0..=95)).there.is_empty());
        assert!(Shelf::look(dir, "other", std::slice::from_ref(&whole)).unwrap().there.is_empty());

        let bytes = fs::read(&path).unwrap();
        for length in [0, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            let cut = look(&whole);
            assert!(cut.there.is_empty() && cut.used == length as u64 && cut.begun.is_empty(), "{length}");
        }
        fs::write(&path, &bytes).unwrap();
        let named = |name: &str| {
            let renamed = dir.join(name);
            fs::rename(&path, &renamed).unwrap();
            let is_there = look(&whole).there.contains_key(&0);
            fs::rename(renamed, &path).unwrap();
            is_there
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!named(&format!("{network}-00000-deadbeef.ere")), "another last block");
        assert!(named(&name.replace(".ere", ".erae")), "the older suffix");
        // Whose name claims no profile either.
        let receipts_only = Components::default().with(Component::Receipts).with(Component::TotalDifficulty);
        let target = Target::Ere { proofs: false, receipts: true };
        let bare = convert(&Archive::open(&path).unwrap(), 0..=95, network, target, dir, |_| {}).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(look(&Plan::ere(network, 0..=95, receipts_only)).there.contains_key(&0));
        fs::rename(bare, dir.join(name.replace(".ere", ".erae"))).unwrap();
        assert!(look(&whole).there.is_empty(), "no proofs in it");
    }

    #[test]
    fn an_era1_file_is_told_by_its_accumulator() {
        let chain = cairn_synthetic::SyntheticChain::new(cairn_synthetic::SyntheticConfig {
            bellatrix_blocks: 0,
            capella_blocks: 0,
            deneb_blocks: 0,
            ..cairn_synthetic::SyntheticConfig::small()
        })
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (network, dir) = (chain.spec().name(), folder.path());
        let path = chain.write_archive(0, Format::Era1, dir).unwrap();
        let there = || archive_there(dir, network, &Plan::era1(network, 0..=47)).unwrap();
        assert_eq!(there().as_ref(), Some(&path));
        let renamed = dir.join(format!("{network}-00000-deadbeef.era1"));
        fs::rename(&path, &renamed).unwrap();
        assert_eq!(there(), None);
    }

    #[test]
    fn what_was_put_aside_is_found_and_tells_the_size() {
        let chain = cairn_synthetic::SyntheticChain::new(cairn_synthetic::SyntheticConfig::small()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan::era1(chain.spec().name(), 0..=47);
        let mut writer = cairn_archive::write::ArchiveWriter::resume(folder.path(), plan.clone()).unwrap();
        for number in 0..48 {
            let block = chain.block(number).unwrap();
            writer.put_header(block.header.rlp()).unwrap();
            writer.put_body(number, &block.body).unwrap();
            let encoding = content_types::block::ReceiptsEncoding::Slim;
            let receipts = cairn_archive::Receipts { encoding, bytes: block.receipts.clone() };
            writer.put_receipts(number, &receipts).unwrap();
            writer.put_total_difficulty(number, block.total_difficulty).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(Shelf::look(folder.path(), chain.spec().name(), std::slice::from_ref(&plan)).unwrap().begun, [0]);
        let least = least_size(folder.path(), &plan);
        let size = fs::metadata(writer.finish().unwrap()).unwrap().len();
        assert!(least <= size && least > size / 3, "{least} {size}");
    }
}
