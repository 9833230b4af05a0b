//! Files named on the command line: finding archives, writing results without leaving half of one.

use std::{
    fs,
    io::Write,
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

/// Writes `bytes` to `path` by way of a temporary file beside it, so that a kill leaves the old file or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    let temporary = PathBuf::from(temporary);
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error: std::io::Error| Failure::io(path, error))
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
    fn a_folder_without_archives_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = archives(&[folder.path().to_path_buf()]).unwrap_err();
        assert!(error.to_string().contains("no .era1"), "{error}");
    }
}
