//! HTTP requests with a time-out and a limit on what is read: to trust list mirrors, execution clients, running peers. What is on this
//! machine is asked without a proxy, whatever the environment says: one elsewhere would ask its own.

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cairn_web_seed::{redirects, without_secrets};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, Url};

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an HTTP request brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection, or it broke, or the time-out passed.
    #[error("{}", reason(.0))]
    Transport(#[from] reqwest::Error),
    /// The server answered with a status other than success.
    #[error("the server answered {0}")]
    Status(reqwest::StatusCode),
    /// The answer is larger than what is asked for can be.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes that are read.
        limit: usize,
    },
}

/// The innermost cause: the outer ones of reqwest's errors only say that a request failed, and repeat its URL. Where there is
/// none behind it the URL is shown without what is secret in it.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let mut cause = cause.to_string();
    if let Some(url) = error.url() {
        cause = cause.replace(url.as_str(), &without_secrets(url.as_str()));
    }
    if error.is_timeout() { format!("time-out ({cause})") } else { cause }
}

/// A client for the JSON-RPC at a URL: what is asked there is asked nowhere else.
///
/// # Errors
/// [`HttpError::Transport`] if TLS cannot be set up.
pub(crate) fn rpc_client(url: &Url) -> Result<Client, HttpError> {
    Ok(builder_for(url).redirect(Policy::none()).build()?)
}

/// A client for files on the mirror at a URL, which may be elsewhere within the rule for mirrors of archives.
///
/// # Errors
/// [`HttpError::Transport`] if TLS cannot be set up.
pub(crate) fn mirror_client(url: &Url) -> Result<Client, HttpError> {
    Ok(builder_for(url).redirect(redirects::policy()).build()?)
}

/// A client for the JSON-RPC over a socket on this machine, whatever a request's URL says.
///
/// # Errors
/// [`HttpError::Transport`] if TLS cannot be set up.
pub(crate) fn client_over(socket: &Path) -> Result<Client, HttpError> {
    Ok(builder().no_proxy().redirect(Policy::none()).unix_socket(socket).build()?)
}

fn builder_for(url: &Url) -> ClientBuilder {
    if redirects::is_loopback(url) { builder().no_proxy() } else { builder() }
}

/// With the time-outs above. TLS takes the process's cryptography provider; if none is installed, ring becomes it.
fn builder() -> ClientBuilder {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when another thread was quicker, and then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT)
}

/// Reads a successful answer of at most `limit` bytes. Nothing is reserved for a length that the server only claims.
///
/// # Errors
/// [`HttpError`].
pub async fn read_bounded(mut response: Response, limit: usize) -> Result<Bytes, HttpError> {
    if !response.status().is_success() {
        return Err(HttpError::Status(response.status()));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(HttpError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
