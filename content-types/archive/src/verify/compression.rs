//! Whether a record's compressed bytes are those that its content gives.
//!
//! Snappy streams have checksums over the content only. Within a repetition, a changed offset can decode to the same
//! bytes, so a flipped byte may leave no trace in the content. The encoders of Go and of Rust write the same streams,
//! and archives made with either can be told byte by byte by compressing again. Other encoders exist, and whoever sends a record
//! may have compressed it otherwise. The content is right in each case, and it is what the chain proves: so what differs is
//! counted and told, and is no damage.

use crate::error::ArchiveRule;
use crate::snappy::{self, Encoder, SnappyError};

/// Compares streams with what the encoder makes of their content.
#[derive(Default)]
pub(super) struct Compression {
    encoder: Encoder,
    stream: Vec<u8>,
    different: u64,
}

impl Compression {
    /// Looks at the stream of one record.
    ///
    /// # Errors
    ///
    /// [`ArchiveRule::SkippableChunk`] when the stream holds bytes that no checksum covers.
    pub(super) fn compare(&mut self, stream: &[u8], content: &[u8]) -> Result<(), ArchiveRule> {
        self.encoder.encode(content, &mut self.stream).map_err(|reason| SnappyError::Chunk { offset: 0, reason })?;
        if self.stream == stream {
            return Ok(());
        }
        if !snappy::is_plain(stream) {
            return Err(ArchiveRule::SkippableChunk);
        }
        self.different += 1;
        Ok(())
    }

    /// How many differed.
    pub(super) const fn different(&self) -> u64 {
        self.different
    }
}
