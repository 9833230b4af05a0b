//! Files that appear under their name only when they are complete, and files that never have one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Attempts to find a temporary name that is free, before giving up.
const MAX_ATTEMPTS: u32 = 1000;

/// A file under a temporary name in its folder. Dropped, it is removed, unless it is to be kept.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    file: File,
    /// `None` once the file has its final name: the temporary one may by then be another file's.
    path: Option<PathBuf>,
    is_kept: bool,
}

impl TemporaryFile {
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        let process = std::process::id();
        for attempt in 0..MAX_ATTEMPTS {
            let path = dir.join(format!(".cairn-{process}-{attempt}.tmp"));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path: Some(path), is_kept: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no temporary file name is free in the folder"))
    }

    /// One under a name that nobody else uses, with what an earlier attempt left there. It stays until somebody removes it.
    pub(crate) fn keep(path: &Path) -> io::Result<Self> {
        let file = open_own(path)?;
        Ok(Self { file, path: Some(path.to_owned()), is_kept: true })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Brings the file to the disk, then under `name` in its folder, in the place of any regular file of that name. What is
    /// there and is something else stays: a pipe, a device or a link was not put there to be replaced by an archive.
    pub(crate) fn publish(&mut self, name: &str) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        let temporary = self.path.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let path = temporary.with_file_name(name);
        if fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
            let why = format!("{} is there and no regular file: give another name, or remove it", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        fs::rename(temporary, &path)?;
        self.path = None;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()?;
        Ok(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A file that cannot be removed is only litter.
        let _ = self.path.as_deref().filter(|_| !self.is_kept).map(fs::remove_file);
    }
}

/// Opens a file whose name others can foretell, made if there is none. Where others may write to the folder, one of them could
/// have put something there: a link to a file of this user's, to have it overwritten, or a file of their own, to read along. So
/// it has to be a regular file of this user's, with no other name.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    // Neither follows a link nor waits for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).custom_flags(flags.cast_signed());
    let foreign = || {
        let why = "it is no file of this user's alone: remove it, or choose a folder that nobody else writes to";
        io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {why}", path.display()))
    };
    let file = match options.open(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => return Err(foreign()),
        opened => opened?,
    };
    let there = file.metadata()?;
    if !there.is_file() || there.uid() != rustix::process::geteuid().as_raw() || there.nlink() > 1 {
        return Err(foreign());
    }
    Ok(file)
}

/// A file without a name, gone when it is closed however the process ends.
pub(crate) fn unnamed(dir: &Path) -> io::Result<File> {
    let temporary = TemporaryFile::create(dir)?;
    temporary.file.try_clone()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_that_somebody_else_may_have_put_there_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        drop(open_own(&at("own")).unwrap());
        open_own(&at("own")).unwrap().write_all(b"again").unwrap();
        fs::write(at("victim"), b"precious").unwrap();
        std::os::unix::fs::symlink(at("victim"), at("link")).unwrap();
        fs::hard_link(at("victim"), at("other name")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for name in ["link", "other name", "pipe"] {
            let error = open_own(&at(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
        }
        assert_eq!(fs::read(at("victim")).unwrap(), b"precious");
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("target"), b"old").unwrap();
        std::os::unix::fs::symlink(at("target"), at("final")).unwrap();
        let error = TemporaryFile::create(dir.path()).unwrap().publish("final").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(fs::symlink_metadata(at("final")).unwrap().is_symlink());
        assert_eq!(fs::read(at("target")).unwrap(), b"old");
    }

    #[test]
    fn only_what_is_published_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = unnamed(dir.path()).unwrap();
        kept.write_all(b"still writable").unwrap();
        drop(TemporaryFile::create(dir.path()).unwrap());
        assert!(names(dir.path()).is_empty());

        let mut published = TemporaryFile::create(dir.path()).unwrap();
        let other = TemporaryFile::create(dir.path()).unwrap();
        published.file().write_all(b"content").unwrap();
        let path = published.publish("final").unwrap();
        drop(other);
        assert_eq!(names(dir.path()), ["final"]);
        assert_eq!(fs::read(path).unwrap(), b"content");
    }
}
