//! What a user may set about a mirror, and the limits that nobody sets.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::Reason;

/// Redirects that are followed: a mirror behind a CDN takes one or two.
pub(crate) const MAX_REDIRECTS: usize = 5;
/// Longest wait for a TCP connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait that a server's Retry-After is followed for; one that asks for more is given up on for now.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest wait between two attempts that no server asked for.
pub(crate) const MAX_BACK_OFF: Duration = Duration::from_secs(20);
/// Bytes after which a download that broke counts as going on, so that its attempts are counted anew.
pub(crate) const PROGRESS: u64 = 4 << 20;

/// How a mirror is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Requests at a time; mirrors are other people's machines.
    pub concurrency: usize,
    /// Longest wait for the next bytes of an answer.
    pub stall: Duration,
    /// Attempts for one request, the first included.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles with each further one.
    pub back_off: Duration,
    /// How buckets are reached.
    pub s3: S3Options,
    /// Where it stands why a request is made again later.
    pub waiting: Waiting,
}

/// Why a web server is waited for: it was asked, and is to be asked again. Whoever loses patience can tell that. Cheap to clone; clones
/// are one.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<Option<Reason>>>);

impl Waiting {
    /// Why, if anything is waited for.
    pub fn reason(&self) -> Option<Reason> {
        self.0.lock().clone()
    }

    pub(crate) fn begin(&self, reason: &Reason) {
        *self.0.lock() = Some(reason.clone());
    }

    pub(crate) fn end(&self) {
        *self.0.lock() = None;
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Waiting {}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 4,
            stall: Duration::from_secs(30),
            attempts: 5,
            back_off: Duration::from_millis(500),
            s3: S3Options::Environment,
            waiting: Waiting::default(),
        }
    }
}

impl Options {
    /// For a place of one's own that others are served from: they do not wait long, and ask again.
    pub fn serving() -> Self {
        Self {
            concurrency: 32,
            stall: Duration::from_secs(8),
            attempts: 3,
            back_off: Duration::from_millis(200),
            s3: S3Options::Environment,
            waiting: Waiting::default(),
        }
    }
}

/// How buckets are reached.
#[derive(Clone, PartialEq, Eq)]
pub enum S3Options {
    /// As the `AWS_*` environment variables say, among them `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL`, and `AWS_SKIP_SIGNATURE` for public buckets.
    Environment,
    /// As said here, whatever the environment.
    Explicit {
        /// The endpoint's URL, for services other than Amazon's: requests go to `{endpoint}/{bucket}/{key}`.
        endpoint: Option<String>,
        /// The region.
        region: String,
        /// Access key and secret key; without, requests are not signed.
        keys: Option<(String, String)>,
    },
}

impl std::fmt::Debug for S3Options {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment => f.write_str("Environment"),
            Self::Explicit { endpoint, region, keys } => f
                .debug_struct("Explicit")
                .field("endpoint", endpoint)
                .field("region", region)
                .field("signed", &keys.is_some())
                .finish(),
        }
    }
}
