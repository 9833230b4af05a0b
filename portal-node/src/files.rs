//! Files named on the command line: finding archives, writing results without leaving half of one.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use cairn_node::seeding::archive_files;

use crate::failure::Failure;

/// The archives that `paths` name: files as they are, of a folder every archive directly in it, sorted by name.
///
/// # Errors
/// When a path does not exist, or a folder holds no archive.
pub(crate) fn archives(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let mut files = archive_files(path).map_err(|error| Failure::io(path, error))?;
        if files.is_empty() {
            return Err(Failure::Io(format!("{}: no .era1, .ere or .erae file in this folder", path.display())));
        }
        found.append(&mut files);
    }
    Ok(found)
}

/// A file that is being written under a temporary name beside its own, so that a kill leaves the old file or the new one.
/// Dropped before its end it goes away.
pub(crate) struct PartFile {
    file: BufWriter<fs::File>,
    temporary: Option<PathBuf>,
    path: PathBuf,
}

impl PartFile {
    /// Begins the file that will be at `path`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let file = BufWriter::new(fs::File::create(&temporary)?);
        Ok(Self { file, temporary: Some(temporary), path: path.to_owned() })
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// What the system says; the file is not there then.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path)?;
        }
        self.temporary = None;
        Ok(())
    }
}

/// Writes `bytes` to `path` by way of a [`PartFile`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || {
        let mut file = PartFile::create(path)?;
        file.write_all(bytes)?;
        file.finish()
    };
    write().map_err(|error| Failure::io(path, error))
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Nobody waits for it any more, and the next one by this name takes its place.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_archives_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.era1", "a.ere", "c.erae", "notes.txt"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let names: Vec<_> = archives(&[folder.path().to_path_buf()])
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.ere", "b.era1", "c.erae"]);
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole_and_half_of_one_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocks.json");
        let names = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        fs::write(&path, b"old").unwrap();
        let mut half = PartFile::create(&path).unwrap();
        half.write_all(b"new").unwrap();
        assert_eq!((names().len(), fs::read(&path).unwrap()), (2, b"old".to_vec()));
        drop(half);
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["blocks.json".into()], b"old".to_vec()));
        write_whole(&path, b"new").unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["blocks.json".into()], b"new".to_vec()));
    }

    #[test]
    fn a_folder_without_archives_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = archives(&[folder.path().to_path_buf()]).unwrap_err();
        assert!(error.to_string().contains("no .era1"), "{error}");
    }
}
