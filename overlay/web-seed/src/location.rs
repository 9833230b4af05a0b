//! Where a file is, at a URL or in a bucket, and what a listing says about it. Buckets, web servers and what reads from either
//! share these.

#[cfg(feature = "buckets")]
pub(crate) use object_store::path::Path as ObjectPath;
use reqwest::Url;

/// A path in a bucket, of which there is none.
#[cfg(not(feature = "buckets"))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ObjectPath {}

#[cfg(not(feature = "buckets"))]
impl std::fmt::Display for ObjectPath {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

/// Where a file of a mirror is.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    Url(Url),
    #[cfg_attr(not(feature = "buckets"), allow(dead_code, reason = "made out of a bucket's listing"))]
    Object(ObjectPath),
}

impl Location {
    /// What stands for the file in errors and logs, at a mirror whose own URL is `mirror`.
    pub(crate) fn name(&self, mirror: &str) -> String {
        match self {
            Self::Url(url) => without_password(url.as_str()),
            Self::Object(path) => {
                let bucket = mirror.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
                format!("s3://{}/{path}", bucket.unwrap_or_default())
            }
        }
    }
}

/// A file that is listed.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) location: Location,
    /// Tells this state of the file from others, where the listing does.
    pub(crate) stamp: Option<String>,
}

/// A URL as it may appear in errors and logs: what stands between `//` and `@`, or behind `?`, can be a secret.
pub(crate) fn without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    // They fail for URLs that have no place for either.
    let _ = (parsed.set_username(""), parsed.set_password(None));
    parsed.set_query(None);
    parsed.into()
}
