//! Where an archive's bytes are read from: positioned reads (`pread`) that share one source between threads.
//!
//! [`FileSource`] opens its file for each read and compares what it opened with the file that it first saw. A peer can
//! so serve thousands of archives without holding a descriptor for each, and a file that was deleted, replaced, cut or
//! rewritten is noticed by the very next read instead of being served from a deleted inode.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::OFlags;

/// Bytes that can be read at any offset, from any thread.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when the source ends before `buf` is full; an error that wraps [`Vanished`]
    /// when the source is no longer the one that was opened; otherwise what the operating system says.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The source's length in bytes.
    ///
    /// # Errors
    ///
    /// As [`ReadAt::read_exact_at`].
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing to read.
    ///
    /// # Errors
    ///
    /// As [`ReadAt::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The same bytes for many reads in a row, if this source can give them more cheaply than one read at a time.
    ///
    /// # Errors
    ///
    /// As [`ReadAt::read_exact_at`].
    fn pinned(&self) -> io::Result<Option<Box<dyn ReadAt>>> {
        Ok(None)
    }
}

/// The reason inside an [`io::Error`] when a file is not the one any more that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file was removed, replaced or changed since it was opened")]
pub struct Vanished;

impl From<Vanished> for io::Error {
    fn from(vanished: Vanished) -> Self {
        Self::new(io::ErrorKind::NotFound, vanished)
    }
}

/// What tells one file, and one state of it, from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl FileIdentity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// A file by its path, opened for each read.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    identity: FileIdentity,
}

impl FileSource {
    /// Remembers the regular file at `path` as it is now.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let metadata = open_at_once(path)?.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { path: path.to_owned(), identity: FileIdentity::of(&metadata) })
    }

    fn reopen(&self) -> io::Result<File> {
        let file = match open_at_once(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Vanished.into()),
            Err(error) => return Err(error),
        };
        if FileIdentity::of(&file.metadata()?) != self.identity {
            return Err(Vanished.into());
        }
        Ok(file)
    }
}

/// Opens a file without waiting for the other end of what may be a pipe: what it is can be told only when it is open.
fn open_at_once(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

impl ReadAt for FileSource {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(&self.reopen()?, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.reopen()?;
        Ok(self.identity.length)
    }

    fn pinned(&self) -> io::Result<Option<Box<dyn ReadAt>>> {
        Ok(Some(Box::new(self.reopen()?)))
    }
}

impl ReadAt for File {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for Bytes {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.as_ref().len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_vanished(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Vanished>())
    }

    #[test]
    fn reads_at_offsets_and_refuses_to_pass_the_end() {
        let source = Bytes::from_static(b"0123456789");
        let mut buf = [0; 4];
        source.read_exact_at(&mut buf, 6).unwrap();
        assert_eq!(&buf, b"6789");
        for offset in [7, 10, u64::MAX] {
            assert_eq!(source.read_exact_at(&mut buf, offset).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn a_deleted_or_replaced_file_has_vanished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"abcd").unwrap();
        let source = FileSource::open(&path).unwrap();
        let mut buf = [0; 2];
        source.read_exact_at(&mut buf, 1).unwrap();
        assert_eq!(&buf, b"bc");

        let other = dir.path().join("other");
        std::fs::write(&other, b"abcd").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(is_vanished(&source.read_exact_at(&mut buf, 1).unwrap_err()));

        std::fs::remove_file(&path).unwrap();
        assert!(is_vanished(&source.len().unwrap_err()));
    }

    #[test]
    fn a_folder_or_a_pipe_is_no_source() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [dir.path(), &pipe] {
            let error = FileSource::open(path).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file");
        }
    }
}
