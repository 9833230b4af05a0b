//! A mirror's file as positioned reads. What `cairn-archive` reads of an index and of records' headers is a few bytes
//! here and there; they come from blocks that are fetched whole and kept for a while.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use cairn_archive::ReadAt;
use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::download::Remote;
use crate::error::{Error, Reason};
use crate::mirror::FileVersion;

/// Bytes of a block: what a mirror sends in little more than the time that it takes to answer at all.
pub(crate) const BLOCK_LEN: u64 = 64 << 10;
/// Blocks kept of a file, one megabyte: the whole index of a full era is six.
const KEPT_BLOCKS: usize = 16;
/// Bytes that opening an archive may take: four records for each of five components to tell the slots apart, the ends of
/// the file, and as much again. A file whose index cannot be used would be read whole.
pub(crate) const OPENING_LIMIT: u64 = 48 * BLOCK_LEN;

/// A file of a mirror, in the version that was opened.
#[derive(Debug)]
pub(crate) struct WebFile {
    pub(crate) remote: Remote,
    pub(crate) version: FileVersion,
    runtime: Handle,
    blocks: Mutex<LruCache<u64, Bytes>>,
    /// Bytes that may still be fetched while the archive is opened.
    allowance: AtomicU64,
    changed: AtomicBool,
}

impl WebFile {
    pub(crate) async fn open(remote: Remote) -> Result<Self, Error> {
        let (version, head) = remote.open(BLOCK_LEN).await?;
        let mut blocks = LruCache::new(KEPT_BLOCKS);
        blocks.insert(0, head);
        Ok(Self {
            remote,
            version,
            runtime: Handle::current(),
            blocks: Mutex::new(blocks),
            allowance: AtomicU64::new(OPENING_LIMIT),
            changed: AtomicBool::new(false),
        })
    }

    /// Ends the limit on what opening may take.
    pub(crate) fn opened(&self) {
        self.allowance.store(u64::MAX, Ordering::Relaxed);
    }

    /// Whether the server had another version of the file when it was last asked.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, error: Error) -> Error {
        if error.is_changed() {
            self.changed.store(true, Ordering::Relaxed);
        }
        error
    }

    /// A block of the file, from memory or from the mirror.
    async fn block(&self, nth: u64) -> Result<Bytes, Error> {
        if let Some(block) = self.blocks.lock().get(&nth) {
            return Ok(block.clone());
        }
        let start = nth.saturating_mul(BLOCK_LEN);
        let block = self.fetch(start, BLOCK_LEN.min(self.version.len.saturating_sub(start))).await?;
        self.blocks.lock().insert(nth, block.clone());
        Ok(block)
    }

    async fn fetch(&self, start: u64, length: u64) -> Result<Bytes, Error> {
        let allowed = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(length) };
        if self.allowance.try_update(Ordering::Relaxed, Ordering::Relaxed, allowed).is_err() {
            return Err(Error::new(&self.remote.url, Reason::Costly { limit: OPENING_LIMIT }));
        }
        let range = start..start.saturating_add(length);
        let mut download = self.remote.download(self.version.clone(), range).await?;
        let mut fetched = BytesMut::new();
        while let Some(bytes) = download.next().await.map_err(|error| self.note(error))? {
            fetched.extend_from_slice(&bytes);
        }
        Ok(fetched.freeze())
    }

    async fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let length = buf.len() as u64;
        if self.version.len.checked_sub(offset).is_none_or(|left| left < length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A large read would drive everything else out of memory.
        if length > BLOCK_LEN {
            buf.copy_from_slice(exactly(&self.fetch(offset, length).await?, 0, buf.len())?);
            return Ok(());
        }
        let mut rest = buf;
        let mut offset = offset;
        while !rest.is_empty() {
            let block = self.block(offset / BLOCK_LEN).await?;
            // Less than a block's length.
            let within = usize::try_from(offset % BLOCK_LEN).map_err(|_| io::ErrorKind::UnexpectedEof)?;
            let count = rest.len().min(block.len().saturating_sub(within));
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (part, behind) = rest.split_at_mut(count);
            part.copy_from_slice(exactly(&block, within, count)?);
            rest = behind;
            offset += count as u64;
        }
        Ok(())
    }
}

fn exactly(bytes: &Bytes, start: usize, length: usize) -> io::Result<&[u8]> {
    let found = bytes.get(start..).and_then(|bytes| bytes.get(..length));
    found.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The file for `cairn-archive`, on threads that may block.
pub(crate) struct BlockingFile(pub(crate) Arc<WebFile>);

impl ReadAt for BlockingFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.runtime.block_on(self.0.read(buf, offset))
    }

    fn len(&self) -> io::Result<u64> {
        if self.0.is_changed() {
            return Err(cairn_archive::Vanished.into());
        }
        Ok(self.0.version.len)
    }
}
