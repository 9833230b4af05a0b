//! Files named on the command line: finding archives, writing results without leaving half of one.

use std::{
    fs::{self, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use cairn_node::seeding::archive_files;
use tempfile::NamedTempFile;

use crate::{failure::Failure, output};

/// The archives that `paths` name: files as they are, of a folder every archive directly in it, sorted by name.
///
/// # Errors
/// When a path does not exist, or a folder holds no archive.
pub(crate) fn archives(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        let mut files = archive_files(path).map_err(|error| Failure::io(path, error))?;
        if files.is_empty() {
            return Err(Failure::Io(format!(
                "{}: no .era1, .ere or .erae file in this folder: check the path",
                path.display()
            )));
        }
        found.append(&mut files);
    }
    Ok(found)
}

/// Where a result goes, by the name that a person gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output.
    Output,
    /// A pipe or a device: what comes is written into it as it comes.
    Stream(PathBuf),
    /// A file, there or not: it has its name when it is whole. Where a link was named, this is what it leads to.
    File(PathBuf),
}

/// Names of standard output: as a file they would be replaced.
const OUTPUT_NAMES: [&str; 4] = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

impl Destination {
    /// What `path` names.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        if OUTPUT_NAMES.iter().any(|name| path == Path::new(name)) {
            return Ok(Self::Output);
        }
        let wrong = |why: &str| Err(Failure::Io(format!("{}: {why}", path.display())));
        let kind = match fs::metadata(path) {
            Ok(there) => there.file_type(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::io(path, error)),
            Err(_) if fs::symlink_metadata(path).is_ok() => {
                return wrong("is a link that leads nowhere: remove it, or give another name");
            }
            Err(error) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                return match folder {
                    Some(folder) if !folder.is_dir() => Err(Failure::io(folder, error)),
                    _ => Ok(Self::File(path.to_owned())),
                };
            }
        };
        if kind.is_file() {
            return path.canonicalize().map(Self::File).map_err(|error| Failure::io(path, error));
        }
        match () {
            () if kind.is_fifo() || kind.is_char_device() => Ok(Self::Stream(path.to_owned())),
            () if kind.is_dir() => wrong("is a folder: name a file in it"),
            () => wrong("is neither a file nor a pipe: give another name"),
        }
    }
}

/// A result that is being written. A file is written under a temporary name beside its own, which nobody else has, so that
/// neither a kill nor another who writes to the same name leaves anything but an old file or a new one. Dropped before its end
/// it goes away.
pub(crate) struct OutFile {
    path: PathBuf,
    to: BufWriter<Sink>,
}

enum Sink {
    File(NamedTempFile),
    Stream(fs::File),
}

impl OutFile {
    /// Begins the file that will be at `path`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut temporary = tempfile::Builder::new();
        // As any new file has them; of them the system takes away what the user does not want.
        temporary.prefix(".cairn-").suffix(".part").permissions(Permissions::from_mode(0o666));
        let file = temporary.tempfile_in(folder)?;
        Ok(Self { path: path.to_owned(), to: BufWriter::new(Sink::File(file)) })
    }

    /// Writes into the pipe or device at `path`. Waits until somebody reads from a pipe.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn into_stream(path: &Path) -> io::Result<Self> {
        let stream = fs::OpenOptions::new().write(true).open(path)?;
        Ok(Self { path: path.to_owned(), to: BufWriter::new(Sink::Stream(stream)) })
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// What the system says; the file is not there then.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.to.into_inner().map_err(io::IntoInnerError::into_error)? {
            Sink::Stream(_) => Ok(()),
            Sink::File(file) => {
                // One that replaces another may be read by whoever could read that.
                if let Ok(there) = fs::metadata(&self.path) {
                    file.as_file().set_permissions(there.permissions())?;
                }
                file.as_file().sync_all()?;
                file.persist(&self.path)?;
                Ok(())
            }
        }
    }
}

/// Writes `bytes` to a file by way of an [`OutFile`].
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || {
        let mut file = OutFile::create(path)?;
        file.write_all(bytes)?;
        file.finish()
    };
    write().map_err(|error| Failure::io(path, error))
}

/// Writes a result that is whole to wherever a person wants it.
pub(crate) fn deliver(to: &Destination, bytes: &[u8]) -> Result<(), Failure> {
    match to {
        Destination::Output => output::raw(bytes),
        Destination::File(path) => write_whole(path, bytes),
        Destination::Stream(path) => {
            let write = || {
                let mut stream = OutFile::into_stream(path)?;
                stream.write_all(bytes)?;
                stream.finish()
            };
            write().map_err(|error| Failure::io(path, error))
        }
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let mut half = OutFile::create(&path).unwrap();
        half.write_all(b"new").unwrap();
        assert_eq!((names().len(), fs::read(&path).unwrap()), (2, b"old".to_vec()));
        drop(half);
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["blocks.json".into()], b"old".to_vec()));
        write_whole(&path, b"new").unwrap();
        assert_eq!((names(), fs::read(&path).unwrap()), (vec!["blocks.json".into()], b"new".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn two_who_write_to_one_name_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocks.json");
        let [mut first, mut second] = [0, 1].map(|_| OutFile::create(&path).unwrap());
        for _ in 0..3 {
            first.write_all(b"first").unwrap();
            second.write_all(b"second").unwrap();
        }
        first.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first".repeat(3));
        second.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second".repeat(3));
    }

    #[test]
    fn nothing_that_is_no_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        fs::write(at("file"), b"").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("nothing"), at("loose")).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let of = |name: &str| Destination::of(&at(name)).map_err(|error| error.to_string());
        assert_eq!(of("new"), Ok(Destination::File(at("new"))));
        assert_eq!(of("link"), Ok(Destination::File(at("file"))), "what is written goes through the link");
        assert!(of("loose").unwrap_err().contains("leads nowhere"));
        assert!(of("socket").unwrap_err().contains("neither a file nor a pipe"));
        assert!(of("").unwrap_err().contains("is a folder"));
        assert_eq!(Destination::of(Path::new("/dev/null")).unwrap(), Destination::Stream("/dev/null".into()));
        for name in ["-", "/dev/stdout"] {
            assert_eq!(Destination::of(Path::new(name)).unwrap(), Destination::Output);
        }
        drop(listener);
    }

    #[test]
    fn a_folder_without_archives_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = archives(&[folder.path().to_path_buf()]).unwrap_err();
        assert!(error.to_string().contains("no .era1"), "{error}");
    }
}
