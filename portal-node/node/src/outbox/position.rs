//! How far a chain's blocks were handed out, in a file.

use std::path::{Path, PathBuf};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use super::OutboxError;
use crate::files::{read_bounded, write_atomically};
use crate::workers::blocking;

/// Two numbers and their names.
const MAX_FILE_BYTES: u64 = 4096;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    /// The hash of the chain's first block.
    chain: B256,
    /// Everything that blocks before this one bring has had its end.
    next: u64,
}

/// The position, and its file.
#[derive(Debug)]
pub(super) struct OutboxPosition {
    path: PathBuf,
    saved: Saved,
}

impl OutboxPosition {
    /// The position in the file. One of another chain counts as none. A file that cannot be understood is an error: whoever asks is
    /// told what was not handed out, which nobody could tell then.
    pub(super) async fn load(path: PathBuf, chain: B256) -> Result<Self, OutboxError> {
        let file = path.clone();
        let read = move || match read_bounded(&file, MAX_FILE_BYTES)? {
            None => Ok(None),
            Some(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(std::io::Error::from),
        };
        let saved: Option<Saved> = blocking(read).await.map_err(|_| OutboxError::Stopping)?.map_err(at(&path))?;
        let saved = saved.filter(|saved| saved.chain == chain).unwrap_or(Saved { chain, next: 0 });
        Ok(Self { path, saved })
    }

    /// The first block that was not handed out yet, as far as the file says.
    pub(super) const fn next(&self) -> u64 {
        self.saved.next
    }

    /// Everything before `next` has had its end.
    pub(super) async fn save(&mut self, next: u64) -> Result<(), OutboxError> {
        if next <= self.saved.next {
            return Ok(());
        }
        let (path, saved) = (self.path.clone(), Saved { next, ..self.saved });
        let write = move || write_atomically(&path, &serde_json::to_vec(&saved)?);
        blocking(write).await.map_err(|_| OutboxError::Stopping)?.map_err(at(&self.path))?;
        self.saved = saved;
        Ok(())
    }
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> OutboxError {
    move |source| OutboxError::Position { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_position_goes_on_and_never_back_and_is_one_chains_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("position.json");
        let load = |chain: u8| OutboxPosition::load(path.clone(), B256::repeat_byte(chain));
        let mut position = load(1).await.unwrap();
        assert_eq!(position.next(), 0);
        position.save(9).await.unwrap();
        position.save(3).await.unwrap();
        assert_eq!((load(1).await.unwrap().next(), load(2).await.unwrap().next()), (9, 0));
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(load(1).await, Err(OutboxError::Position { .. })));
    }
}
