//! The socket in the data folder, by which commands of the same user on this machine find the peer that runs on it. Whoever may open
//! it may command the peer, so it belongs to its user alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;

/// Who may connect: the user that runs the peer.
const MODE: u32 = 0o600;

/// Listens. What an earlier peer left there goes: the data folder is locked, so none runs.
///
/// # Errors
/// When something else has that name, or the socket cannot be made.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // It is made under another name, which nobody knows before it is closed to others.
    let hidden = path.with_extension("new");
    match fs::remove_file(&hidden) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, Permissions::from_mode(MODE))?;
    fs::rename(&hidden, path)?;
    Ok(listener)
}

/// Takes the socket away.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "socket not removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_users_alone_and_takes_the_place_of_an_old_one_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cairn.sock");
        drop(listen(&path).unwrap());
        let _listener = listen(&path).unwrap();
        let made = fs::symlink_metadata(&path).unwrap();
        assert!(made.file_type().is_socket());
        assert_eq!(made.permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path);
        fs::write(&path, "something else").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "something else");
    }
}
