//! One request to a mirror, and what its answer has to say before a byte of its body is taken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::bucket::Bucket;
use crate::cryptography;
use crate::error::{Reason, innermost};
use crate::location::Location;
use crate::options::{CONNECT_TIMEOUT, MAX_REDIRECTS, MAX_RETRY_AFTER, Options};
use crate::redirects::{self, RefusedRedirect};

/// A server, and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Mirror {
    client: Client,
    pub(crate) bucket: Option<Bucket>,
    pub(crate) options: Options,
    /// A place for each request at a time.
    pub(crate) slots: Arc<Semaphore>,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileVersion {
    pub(crate) len: u64,
    etag: Option<String>,
    modified: Option<String>,
}

/// An answer whose head is in order.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    /// The file as it is now.
    pub(crate) version: FileVersion,
    /// First byte of the body, and the byte behind its last.
    pub(crate) range: std::ops::Range<u64>,
    pub(crate) body: Response,
}

/// Why an attempt failed, and whether another may go better.
#[derive(Debug)]
pub(crate) struct AttemptFailure {
    pub(crate) reason: Reason,
    pub(crate) again: Again,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    Later,
    After(Duration),
}

impl From<Reason> for AttemptFailure {
    fn from(reason: Reason) -> Self {
        Self { reason, again: Again::Never }
    }
}

impl AttemptFailure {
    fn passing(reason: Reason) -> Self {
        Self { reason, again: Again::Later }
    }
}

impl FileVersion {
    fn of(headers: &HeaderMap, len: u64) -> Self {
        Self { len, etag: text(headers, ETAG), modified: text(headers, LAST_MODIFIED) }
    }

    /// Whether `other` can be the same file, unchanged.
    fn matches(&self, other: &Self) -> bool {
        let same = match (&self.etag, &other.etag) {
            (Some(one), Some(other)) => one == other,
            _ => match (&self.modified, &other.modified) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            },
        };
        same && self.len == other.len
    }

    /// What makes the server send nothing of another version. Weak tags are not allowed there.
    fn if_range(&self) -> Option<&str> {
        self.strong_tag().or_else(|| self.modified.as_deref().filter(|_| self.etag.is_none()))
    }

    fn strong_tag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !tag.starts_with("W/"))
    }
}

impl Mirror {
    /// A mirror that no request was made to yet. TLS takes the process's cryptography provider; if none is installed,
    /// ring becomes it.
    pub(crate) fn new(bucket: Option<Bucket>, options: Options) -> Result<Self, Reason> {
        cryptography::install();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirects::policy())
            // Parallel requests over one HTTP/2 connection would share its window, and gain nothing from each other.
            .http1_only()
            .build()
            .map_err(|error| Reason::Client(innermost(&error)))?;
        let slots = Arc::new(Semaphore::new(options.concurrency.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Self { client, bucket, options, slots })
    }

    /// Asks once for the bytes `range` of a file, the last of which may lie behind its end unless `known` tells where
    /// that is.
    pub(crate) async fn request(
        &self,
        location: &Location,
        range: std::ops::Range<u64>,
        known: Option<&FileVersion>,
    ) -> Result<HttpAnswer, AttemptFailure> {
        let last = range.end.saturating_sub(1);
        let url = match (location, &self.bucket) {
            (Location::Url(url), _) => url.clone(),
            (Location::Object(path), Some(bucket)) => bucket.address(path).await?,
            (Location::Object(_), None) => return Err(Reason::NotFound.into()),
        };
        let asked = format!("{}-{last}", range.start);
        let mut request = self.client.get(url).header(RANGE, format!("bytes={asked}"));
        // A server that compresses on its way would count the bytes of something else.
        request = request.header(ACCEPT_ENCODING, "identity");
        // A bucket knows If-Match, which costs no whole file when it does not match; for others If-Range does better,
        // because servers that know neither are told by the 200 that they answer.
        if let Some(known) = known {
            request = match (location, known.strong_tag(), known.if_range()) {
                (Location::Object(_), Some(tag), _) => request.header(IF_MATCH, tag),
                (_, _, Some(validator)) => request.header(IF_RANGE, validator),
                _ => request,
            };
        }
        let body = self.send(request).await?;
        if body.status() == StatusCode::OK {
            let found = FileVersion::of(body.headers(), known.map_or(0, |known| known.len));
            let changed = known.is_some_and(|known| !known.matches(&found));
            return Err(if changed { Reason::Changed } else { Reason::NoRanges }.into());
        }
        if body.status() != StatusCode::PARTIAL_CONTENT {
            return Err(refusal(&body, known.is_some(), self.bucket.is_some()));
        }
        let found = text(body.headers(), CONTENT_RANGE).unwrap_or_default();
        let Some((sent, len)) = content_range(&found) else { return Err(Reason::WrongRange { asked, found }.into()) };
        let version = FileVersion::of(body.headers(), len);
        if known.is_some_and(|known| !known.matches(&version)) {
            return Err(Reason::Changed.into());
        }
        if sent != (range.start..range.end.min(len)) {
            return Err(Reason::WrongRange { asked, found }.into());
        }
        let expected = sent.end - sent.start;
        match body.content_length() {
            Some(length) if length > expected => Err(Reason::Long { expected }.into()),
            Some(length) if length < expected => Err(Reason::Short { expected, found: length }.into()),
            _ => Ok(HttpAnswer { version, range: sent, body }),
        }
    }

    /// Asks once for a whole page: its bytes, and its address after redirects.
    pub(crate) async fn page(&self, url: &Url, limit: usize) -> Result<(Bytes, Url), AttemptFailure> {
        let request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        let mut body = self.send(request).await?;
        if body.status() != StatusCode::OK {
            return Err(refusal(&body, false, self.bucket.is_some()));
        }
        let mut page = bytes::BytesMut::new();
        while let Some(bytes) = self.chunk(&mut body).await? {
            if page.len().saturating_add(bytes.len()) > limit {
                return Err(Reason::Listing { limit, unit: "bytes" }.into());
            }
            page.extend_from_slice(&bytes);
        }
        Ok((page.freeze(), body.url().clone()))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, AttemptFailure> {
        let answer = match timeout(self.options.stall, request.send()).await {
            Ok(sent) => sent.map_err(transport)?,
            Err(_) => return Err(AttemptFailure::passing(Reason::TimeOut)),
        };
        if answer.status().is_success() {
            self.options.waiting.end();
        }
        Ok(answer)
    }

    /// The next bytes of a body.
    pub(crate) async fn chunk(&self, body: &mut Response) -> Result<Option<Bytes>, AttemptFailure> {
        match timeout(self.options.stall, body.chunk()).await {
            Ok(chunk) => chunk.map_err(transport),
            Err(_) => Err(AttemptFailure::passing(Reason::TimeOut)),
        }
    }
}

fn transport(error: reqwest::Error) -> AttemptFailure {
    // An error without a cause would say the URL with all that is in it.
    let error = error.without_url();
    if let Some(refused) = redirects::refused(&error) {
        match refused {
            RefusedRedirect::TooMany => Reason::Redirects(MAX_REDIRECTS).into(),
            RefusedRedirect::Inwards | RefusedRedirect::Unencrypted => Reason::Redirect(refused.to_string()).into(),
        }
    } else if error.is_builder() {
        Reason::Address(innermost(&error)).into()
    } else {
        AttemptFailure::passing(Reason::Transport(innermost(&error)))
    }
}

/// What a status stands for that is neither 200 nor 206.
fn refusal(answer: &Response, is_known: bool, is_bucket: bool) -> AttemptFailure {
    let status = answer.status();
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Reason::NotFound.into(),
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED if is_known => Reason::Changed.into(),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            let status = status.as_u16();
            if is_bucket { Reason::Denied { code: format!("status {status}") } } else { Reason::Forbidden(status) }
                .into()
        }
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            // The header may also be a date; then the usual wait has to do.
            let seconds = text(answer.headers(), RETRY_AFTER).and_then(|text| text.trim().parse().ok());
            let retry_after = seconds.map(Duration::from_secs);
            let again = match retry_after {
                Some(wait) if wait > MAX_RETRY_AFTER => Again::Never,
                Some(wait) => Again::After(wait),
                None => Again::Later,
            };
            AttemptFailure { reason: Reason::Busy { status: status.as_u16(), retry_after }, again }
        }
        StatusCode::REQUEST_TIMEOUT => AttemptFailure::passing(Reason::Status(status.as_u16())),
        status if status.is_server_error() => AttemptFailure::passing(Reason::Status(status.as_u16())),
        status => Reason::Status(status.as_u16()).into(),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// A `Content-Range`: which bytes are sent, and how many the file has. One that does not know the latter is of no use.
fn content_range(text: &str) -> Option<(std::ops::Range<u64>, u64)> {
    let (range, len) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, len): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, len.parse().ok()?);
    (first <= last && last < len).then(|| (first..last + 1, len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_content_range_says_which_bytes_of_how_many() {
        assert_eq!(content_range("bytes 0-0/1"), Some((0..1, 1)));
        assert_eq!(content_range("bytes 5-9/100"), Some((5..10, 100)));
        for text in ["", "bytes */10", "bytes 0-9/*", "bytes 9-5/100", "bytes 0-10/10", "0-1/2", "bytes 0-/2"] {
            assert_eq!(content_range(text), None, "{text}");
        }
        assert_eq!(content_range(&format!("bytes 0-{}/{}", u64::MAX, u64::MAX)), None);
    }

    #[test]
    fn weak_tags_do_not_go_into_if_range() {
        let version = |etag: Option<&str>, modified: Option<&str>| FileVersion {
            len: 1,
            etag: etag.map(str::to_owned),
            modified: modified.map(str::to_owned),
        };
        assert_eq!(version(Some("\"a\""), Some("date")).if_range(), Some("\"a\""));
        assert_eq!(version(Some("W/\"a\""), Some("date")).if_range(), None);
        assert_eq!(version(None, Some("date")).if_range(), Some("date"));
    }

    proptest! {
        #[test]
        fn any_content_range_is_within_the_file(text in "bytes [0-9]{0,20}-[0-9]{0,20}/[0-9]{0,20}") {
            if let Some((range, len)) = content_range(&text) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
