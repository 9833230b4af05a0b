//! Whether a record's compressed bytes are those that its content gives.
//!
//! Snappy streams have checksums over the content only. Within a repetition, a changed offset can decode to the same
//! bytes, so a flipped byte may leave no trace in the content. The encoders of Go and of Rust write the same streams,
//! and archives made with either can be told byte by byte by compressing again. Other encoders exist, and equal blocks
//! may lie in unequal files; so the file itself shows which case it is: where nearly all records come out the same,
//! the few that do not were changed, and where many do not, another encoder was at work.

use crate::error::{ArchivePlace, ArchiveRule};
use crate::snappy::{self, Encoder, SnappyError};

use super::report::Report;

/// More than one record in so many that differ, and more than one at all, make the file one of another encoder.
const CHANGED_AT_MOST_ONE_IN: u64 = 8;
/// Places of differing records that are kept.
const MAX_PLACES: usize = 256;

/// Compares streams with what the encoder makes of their content.
#[derive(Default)]
pub(super) struct Compression {
    encoder: Encoder,
    stream: Vec<u8>,
    tally: CompressionTally,
}

/// How many records came out the same, and which did not.
#[derive(Default)]
pub(super) struct CompressionTally {
    /// Only records that left the encoder a choice.
    same: u64,
    different: u64,
    places: Vec<ArchivePlace>,
}

impl Compression {
    /// Looks at the stream of one record.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::SkippableChunk`] when the stream holds bytes that no checksum covers.
    pub(super) fn compare(&mut self, place: &ArchivePlace, stream: &[u8], content: &[u8]) -> Result<(), ArchiveRule> {
        let chosen = self
            .encoder
            .encode(content, &mut self.stream)
            .map_err(|reason| SnappyError::Chunk { offset: 0, reason })?;
        if self.stream == stream {
            self.tally.same += u64::from(chosen);
            return Ok(());
        }
        if !snappy::is_plain(stream) {
            return Err(ArchiveRule::SkippableChunk);
        }
        self.tally.different += 1;
        if self.tally.places.len() < MAX_PLACES {
            self.tally.places.push(place.clone());
        }
        Ok(())
    }

    pub(super) fn into_tally(self) -> CompressionTally {
        self.tally
    }
}

impl CompressionTally {
    pub(super) fn join(&mut self, other: Self) {
        self.same += other.same;
        self.different += other.different;
        let room = MAX_PLACES - self.places.len();
        self.places.extend(other.places.into_iter().take(room));
    }

    /// Enters the outcome for the whole file.
    pub(super) fn judge(self, report: &mut Report) {
        let few = self.different.saturating_mul(CHANGED_AT_MOST_ONE_IN) <= self.same;
        if !(few || self.different == 1 && self.same > 0) {
            report.foreign_compression = self.different;
            return;
        }
        report.add_unlisted(self.different - self.places.len() as u64);
        self.places.into_iter().for_each(|place| report.add(place.broken(ArchiveRule::Compression)));
    }
}
