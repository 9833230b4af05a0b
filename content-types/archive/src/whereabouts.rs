//! What tells where the blocks of a file lie: its own index, or a walk over its records where that cannot be relied on.
//!
//! An index may look right and hide good blocks all the same: writers put offsets from the file's start into it, or the
//! count of a full era over fewer blocks. So a few of its slots are looked at when a file is opened, and where they do not
//! point at headers the records themselves are asked. Whichever of the two finds more blocks is used.

use crate::component::{Component, Format};
use crate::content;
use crate::e2store::{RecordType, Records};
use crate::error::ArchiveRule;
use crate::index::{self, ArchiveIndex};
use crate::scan::{self, Scan};

/// Slots looked at, of which so many may point elsewhere before the index is doubted: a record may be damaged.
const MAX_STRANGE: usize = 1;

/// Where the blocks of a file lie.
pub(crate) struct Whereabouts {
    pub(crate) index: ArchiveIndex,
    /// Why the file's own index is not used, and at what offset that lies, if at one.
    pub(crate) damage: Option<(Option<u64>, ArchiveRule)>,
}

/// Finds the blocks.
///
/// # Errors
///
/// What the system says, or [`ArchiveRule::NotAnArchive`].
pub(crate) fn find(records: Records<'_>) -> Result<Whereabouts, ArchiveRule> {
    let own = match ArchiveIndex::read(records).and_then(|index| check_start(records, index)) {
        Ok(index) => match doubt(records, &index)? {
            None => return Ok(Whereabouts { index, damage: None }),
            Some(doubt) => Ok((index, doubt)),
        },
        Err(rule @ (ArchiveRule::Io(_) | ArchiveRule::Vanished)) => return Err(rule),
        Err(unusable) => Err(unusable),
    };
    match (own, scan::rebuild(records)) {
        (Ok((index, doubt)), Ok(scan)) if finds_more(&scan, &index, records) => Ok(walked(scan, doubt)),
        (Ok((index, _)), _) => Ok(Whereabouts { index, damage: None }),
        (Err(unusable), scan) => Ok(walked(scan?, unusable)),
    }
}

fn walked(Scan { index, stopped }: Scan, unusable: ArchiveRule) -> Whereabouts {
    let damage = stopped.map_or((None, unusable), |(offset, rule)| (Some(offset), rule));
    Whereabouts { index, damage: Some(damage) }
}

/// Compares the starting number with a header that can be read: the first or else the last.
fn check_start(records: Records<'_>, index: ArchiveIndex) -> Result<ArchiveIndex, ArchiveRule> {
    for number in [*index.blocks().start(), *index.blocks().end()] {
        let header =
            index.locate(records, number, Component::Header).and_then(|at| content::read_header(records, at.offset));
        if let Ok(header) = header {
            if header.number() != number {
                return Err(ArchiveRule::Index("its starting number is not that of the first block"));
            }
            break;
        }
    }
    Ok(index)
}

/// What speaks against an index, going by a few of its blocks.
fn doubt(records: Records<'_>, index: &ArchiveIndex) -> Result<Option<ArchiveRule>, ArchiveRule> {
    let mut strange = 0;
    let mut ends_strangely = false;
    for nth in index::probes(index.count) {
        match index.locate(records, index.start + nth, Component::Header) {
            Ok(_) => {}
            Err(rule @ (ArchiveRule::Io(_) | ArchiveRule::Vanished)) => return Err(rule),
            Err(_) => {
                strange += 1;
                ends_strangely |= nth + 1 == index.count;
            }
        }
    }
    // The last one is what tells a count that is too high.
    if ends_strangely || strange > MAX_STRANGE {
        return Ok(Some(ArchiveRule::Index("its slots do not point to the headers of as many blocks as it counts")));
    }
    Ok(goes_on(records, index).then_some(ArchiveRule::Index("there are more blocks than it counts")))
}

/// Whether another header follows where the last block should end, or in an ere file the last header.
fn goes_on(records: Records<'_>, index: &ArchiveIndex) -> bool {
    let last = match index.format {
        Format::Era1 => Component::TotalDifficulty,
        Format::Ere => Component::Header,
    };
    let end = index.locate(records, *index.blocks().end(), last).map(|at| at.offset + at.header.record_len());
    end.is_ok_and(|end| records.header_of(end, RecordType::HEADER).is_ok())
}

/// Whether a walk finds more headers than an index, or as many without counting blocks that are not there.
fn finds_more(scan: &Scan, index: &ArchiveIndex, records: Records<'_>) -> bool {
    let count = |index: &ArchiveIndex| {
        index.blocks().filter(|number| index.locate(records, *number, Component::Header).is_ok()).count()
    };
    let (walked, indexed) = (count(&scan.index), count(index));
    walked > indexed || walked == indexed && scan.stopped.is_none() && scan.index.count < index.count
}
