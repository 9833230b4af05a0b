//! The socket in the data folder, by which commands of the same user on this machine find the peer that runs on it. Whoever may open
//! it may command the peer, so it belongs to its user alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

/// Who may connect: the user that runs the peer.
const MODE: u32 = 0o600;

/// The user who may do everything.
const ROOT: u32 = 0;

/// The socket, open for its user's programs.
pub(super) struct OwnSocket {
    listener: UnixListener,
    /// The user that this process runs as.
    owner: u32,
}

impl OwnSocket {
    /// Listens. What an earlier peer left there goes: the data folder is locked, so none runs.
    ///
    /// # Errors
    /// When something else has that name, or the socket cannot be made.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        remove_old(path)?;
        // It gets its name when it is closed to others. Whoever opens it before that, under the name that it has meanwhile, is sent
        // away when the connection is taken.
        let hidden = path.with_extension("new");
        remove_old(&hidden)?;
        let listener = UnixListener::bind(&hidden)?;
        let owner = fs::symlink_metadata(&hidden)?.uid();
        fs::set_permissions(&hidden, Permissions::from_mode(MODE))?;
        fs::rename(&hidden, path)?;
        Ok(Self { listener, owner })
    }

    /// The next connection; `None` if it was another user's, and is closed.
    ///
    /// # Errors
    /// When none can be taken.
    pub(super) async fn next(&self) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        // One that has ended already tells nobody whose it was.
        let is_let_in = stream.peer_cred().is_ok_and(|peer| may_command(peer.uid(), self.owner));
        Ok(is_let_in.then_some(stream))
    }
}

/// Whether a user may command a peer of `owner`'s.
const fn may_command(user: u32, owner: u32) -> bool {
    user == owner || user == ROOT
}

/// Takes a socket away that was left there, and nothing else.
fn remove_old(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => {
            let why = format!("{} is there and is no socket", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
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
        drop(OwnSocket::listen(&path).unwrap());
        let socket = OwnSocket::listen(&path).unwrap();
        let made = fs::symlink_metadata(&path).unwrap();
        assert!(made.file_type().is_socket());
        assert_eq!(made.permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let _own = UnixStream::connect(&path).await.unwrap();
        assert!(socket.next().await.unwrap().is_some(), "the same user's");
        remove(&path);
        for taken in [path.clone(), path.with_extension("new")] {
            fs::write(&taken, "something else").unwrap();
            let refused = OwnSocket::listen(&path).err().map(|error| error.kind());
            assert_eq!(refused, Some(io::ErrorKind::AlreadyExists));
            assert_eq!(fs::read_to_string(&taken).unwrap(), "something else");
            fs::remove_file(&taken).unwrap();
        }
    }

    #[test]
    fn nobody_but_its_user_and_root_commands_a_peer() {
        let allowed = |user, owner| may_command(user, owner);
        assert!(allowed(1000, 1000) && allowed(ROOT, 1000) && allowed(ROOT, ROOT));
        assert!(!allowed(1001, 1000) && !allowed(1000, ROOT));
    }
}
