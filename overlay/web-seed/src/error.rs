//! What can go wrong between here and a mirror: one error that names the URL, the block where it is known, and the
//! reason.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_archive::{ArchiveError, Vanished};

/// Why a mirror did not give what was asked of it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{url}: {}{reason}", .block.map(|block| format!("block {block}: ")).unwrap_or_default())]
pub struct Error {
    /// The file, folder or bucket.
    pub url: Arc<str>,
    /// The block that was being read.
    pub block: Option<u64>,
    /// Why.
    #[source]
    pub reason: Reason,
}

impl Error {
    pub(crate) fn new(url: &Arc<str>, reason: impl Into<Reason>) -> Self {
        Self { url: url.clone(), block: None, reason: reason.into() }
    }

    pub(crate) fn of_block(url: &Arc<str>, block: u64, reason: impl Into<Reason>) -> Self {
        Self { block: Some(block), ..Self::new(url, reason) }
    }

    /// Whether the file is not the one any more that was opened: it has to be opened again.
    pub fn is_changed(&self) -> bool {
        match &self.reason {
            Reason::Changed => true,
            Reason::Archive(error) => error.is_vanished(),
            _ => false,
        }
    }

    /// Whether it lies with the file, so that trying again brings nothing until the file is another one.
    pub fn is_of_file(&self) -> bool {
        matches!(&self.reason, Reason::Costly { .. } | Reason::Archive(_))
    }

    /// Whether the server says that there is nothing there.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.reason, Reason::NotFound)
    }

    /// Whether it lies with what was asked for or with the credentials, which do not change by themselves as a rule.
    pub fn is_settled(&self) -> bool {
        matches!(
            &self.reason,
            Reason::Address(_)
                | Reason::BuiltWithoutBuckets
                | Reason::Forbidden(_)
                | Reason::Denied { .. }
                | Reason::NoBucket
                | Reason::NoKey(_)
                | Reason::NotFound
        )
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error.reason {
            Reason::Changed => Vanished.into(),
            Reason::TimeOut => Self::new(io::ErrorKind::TimedOut, error),
            Reason::NotFound => Self::new(io::ErrorKind::NotFound, error),
            _ => Self::other(error),
        }
    }
}

/// The reasons.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The address is no URL this crate can read.
    #[error("not an address of a mirror: {0}")]
    Address(String),
    /// The client cannot be set up, which has nothing to do with the mirror.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Transport(String),
    /// Not a byte came for as long as one waits.
    #[error("nothing came before the time-out")]
    TimeOut,
    /// The server sends from one address to the next.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// The server sends to where one does not go.
    #[error("it is answered with {0}, which is not followed")]
    Redirect(String),
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// The server is busy, and stayed so.
    #[error("the server is busy (status {status}){}", .retry_after.map(|wait| format!(", and asks to come back in {} s", wait.as_secs())).unwrap_or_default())]
    Busy {
        /// The answer's status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// The server refuses.
    #[error("the server answered with status {0}")]
    Status(u16),
    /// The server sends whole files only.
    #[error("the server does not know Range requests: it answered 200 instead of 206")]
    NoRanges,
    /// The server sends another part than the one that was asked for.
    #[error("the server was asked for bytes {asked} and says it sends {found:?}")]
    WrongRange {
        /// First and last byte that were asked for.
        asked: String,
        /// What its Content-Range says.
        found: String,
    },
    /// The body ended too early, again and again.
    #[error("the body ended after {found} of {expected} bytes")]
    Short {
        /// Bytes that were asked for.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// There is more in the body than was asked for.
    #[error("the body is longer than the {expected} bytes that it should have")]
    Long {
        /// Bytes that were asked for.
        expected: u64,
    },
    /// The file is not the one that was opened.
    #[error("the file was changed since it was opened")]
    Changed,
    /// A listing is larger than any would be.
    #[error("the listing is over the limit of {limit} {unit}")]
    Listing {
        /// The limit.
        limit: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// There is a listing, and no archive in it.
    #[error("it lists no archive: {0}")]
    NoArchive(NoArchive),
    /// The mirror has no file of that name.
    #[error("the mirror lists no file {0:?}")]
    Unlisted(String),
    /// Opening an archive takes its index and a few records, not its whole content.
    #[error("opening it takes more than {limit} bytes, as if its index could not be used")]
    Costly {
        /// The limit in bytes.
        limit: u64,
    },
    /// A record is not what the index says, or no record at all.
    #[error("{0}")]
    Record(String),
    /// The file breaks a rule of its format.
    #[error("{}", .0.rule)]
    Archive(#[source] Box<ArchiveError>),
    /// The web server wants credentials, or other ones.
    #[error("access is refused (status {0}): check the user and password, or the query, in its URL")]
    Forbidden(u16),
    /// The bucket wants other credentials.
    #[error(
        "access is refused ({code}): check the credentials AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
         AWS_DEFAULT_REGION; AWS_SKIP_SIGNATURE=true reads a public bucket without any"
    )]
    Denied {
        /// What the server calls it.
        code: String,
    },
    /// The service has no such bucket.
    #[error("there is no such bucket: check its name, and AWS_ENDPOINT_URL if it is not Amazon's")]
    NoBucket,
    /// There are no credentials, and the machine gave none either.
    #[error(
        "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket \
         (this machine's own role: {0})"
    )]
    NoKey(String),
    /// The bucket's own error.
    #[error("{0}")]
    Bucket(String),
    /// This build reads no buckets.
    #[error(
        "this program was built without buckets: build it with `cargo install --path portal-node --features buckets`"
    )]
    BuiltWithoutBuckets,
    /// The runtime is shutting down.
    #[error("the program is ending")]
    Ending,
}

impl From<ArchiveError> for Reason {
    fn from(error: ArchiveError) -> Self {
        if error.is_vanished() { Self::Changed } else { Self::Archive(Box::new(error)) }
    }
}

/// Why a listing lists no archive, as far as it shows that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoArchive {
    /// It was compressed on its way, or is a file.
    #[error("the page is compressed, though nobody asked for that")]
    Compressed,
    /// The answer of an object store.
    #[error("the page is XML, as a bucket lists what is in it: s3://BUCKET/PREFIX reads buckets")]
    Xml,
    /// An interface for programs.
    #[error("the page is JSON, and what is read are the links of an HTML page")]
    Json,
    /// Some other text.
    #[error("there is no link on the page")]
    NoLink,
    /// A page of something else.
    #[error("no link on the page ends in .era1, .ere or .erae")]
    OtherLinks,
    /// Links of one server to another are not followed.
    #[error("its archives lie on another server, {0}: give a URL there")]
    Elsewhere(String),
    /// In a bucket.
    #[error("the bucket has none there")]
    EmptyPrefix,
}

/// The innermost cause: the outer ones only say that a request failed, and repeat its URL.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
