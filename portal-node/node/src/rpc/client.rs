//! Asks a peer that runs: over the socket in its data folder, or over TCP.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::calls::Call;
use crate::http::{self, HttpError};

/// The socket's name in a data folder.
pub const SOCKET_FILE: &str = "cairn.sock";

/// Belongs to the user that this process runs as.
const OWN_PROCESS: &str = "/proc/self";

/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 72 << 20;

/// Why a running peer gave no result.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers there, or not in time.
    #[error(transparent)]
    Unreachable(#[from] HttpError),
    /// The peer answers with an error.
    #[error("{} ({})", .0.message, .0.code)]
    Refused(RpcRefusal),
    /// The answer is none that is known here.
    #[error("an answer that is not known: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// An error of the JSON-RPC, as a caller gets it; the codes are in [`error`](super::error).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RpcRefusal {
    /// Its code.
    pub code: i32,
    /// What is wrong.
    pub message: String,
    /// More about it; `null` if there is nothing.
    #[serde(default)]
    pub data: Value,
}

/// Calls of one running peer's JSON-RPC.
#[derive(Clone, Debug)]
pub struct PeerClient {
    http: Client,
    url: Url,
}

impl PeerClient {
    /// The peer that listens at a URL.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn at(url: Url) -> Result<Self, HttpError> {
        Ok(Self { http: http::rpc_client(&url)?, url })
    }

    /// The peer that runs on a data folder; `None` if there is no socket of this user's. Whether somebody listens there tells a
    /// call. What a peer answers is not proved anew, so a socket that another user has put there is not asked.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn on_folder(data_dir: &Path) -> Result<Option<Self>, HttpError> {
        let socket: PathBuf = data_dir.join(SOCKET_FILE);
        let is_asked = |socket: Metadata| {
            let own = fs::metadata(OWN_PROCESS).map(|process| process.uid());
            socket.file_type().is_socket() && own.is_ok_and(|own| is_ours(socket.uid(), own))
        };
        if !fs::symlink_metadata(&socket).is_ok_and(is_asked) {
            return Ok(None);
        }
        // The host is for the request's head only: a socket has no name.
        let Ok(url) = Url::parse("http://localhost/") else { return Ok(None) };
        Ok(Some(Self { http: http::client_over(&socket)?, url }))
    }

    /// Calls a method, for `limit` at most.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask<C: Call>(&self, call: &C, limit: Duration) -> Result<C::Answer, AskError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": C::NAME, "params": call.params() });
        let sent = self.http.post(self.url.clone()).timeout(limit).json(&request).send().await;
        let body = http::read_bounded(sent.map_err(HttpError::from)?, MAX_ANSWER_BYTES).await?;
        let RpcResponse { result, error } = serde_json::from_slice(&body)?;
        match error {
            Some(refusal) => Err(AskError::Refused(refusal)),
            None => Ok(serde_json::from_str(result.map_or("null", RawValue::get))?),
        }
    }
}

/// Whether a socket's user is the one that this process runs as. Root's is another's, too: what it serves need not be this user's.
const fn is_ours(socket: u32, own: u32) -> bool {
    socket == own
}

/// What a server answers to a call: a result or an error.
#[derive(Deserialize)]
struct RpcResponse<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<RpcRefusal>,
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_socket_of_the_same_user_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let is_asked = || PeerClient::on_folder(folder.path()).unwrap().is_some();
        assert!(!is_asked(), "there is none");
        let socket = folder.path().join(SOCKET_FILE);
        fs::write(&socket, "no socket").unwrap();
        assert!(!is_asked());
        fs::remove_file(&socket).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(is_asked());
        assert!(is_ours(1000, 1000) && is_ours(0, 0));
        assert!(!is_ours(1001, 1000) && !is_ours(0, 1000) && !is_ours(1000, 0));
    }
}
