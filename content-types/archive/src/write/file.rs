//! Files that appear under their name only when they are complete, and files that never have one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

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
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file, path: Some(path.to_owned()), is_kept: true })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Brings the file to the disk, then under `name` in its folder, in the place of any file of that name.
    pub(crate) fn publish(&mut self, name: &str) -> io::Result<PathBuf> {
        self.file.sync_all()?;
        let temporary = self.path.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let path = temporary.with_file_name(name);
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
