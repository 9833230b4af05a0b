//! A mirror: the archives that it has, and those of them that were opened.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use cairn_archive::{ArchiveName, MAX_BLOCKS};
use hashlink::LruCache;
use parking_lot::Mutex;
use reqwest::Url;

use crate::archive::WebArchive;
use crate::bucket::Bucket;
use crate::download::{Attempts, Remote};
use crate::error::{Error, Reason};
use crate::listing::{self, MAX_PAGE};
use crate::mirror::{Location, Mirror};
use crate::options::Options;

/// Archives of one mirror that are kept open: a megabyte each at most, and 64 eras are half a million blocks.
const MAX_OPEN: usize = 64;

/// A mirror of archive files.
#[derive(Debug)]
pub struct WebSeed {
    mirror: Arc<Mirror>,
    url: Arc<str>,
    files: BTreeMap<String, Location>,
    open: Mutex<LruCache<String, Arc<WebArchive>>>,
}

/// A file that a mirror lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    /// The file's name.
    pub name: String,
    /// What the name says, if it follows the specifications.
    pub parsed: Option<ArchiveName>,
}

impl SeedFile {
    /// The blocks of the era that the name speaks of. The chain's last era may have fewer.
    pub fn blocks(&self) -> Option<RangeInclusive<u64>> {
        let first = self.parsed.as_ref()?.era.checked_mul(MAX_BLOCKS)?;
        Some(first..=first.checked_add(MAX_BLOCKS - 1)?)
    }
}

impl WebSeed {
    /// Opens what is at `url`: one archive (`https://host/mainnet-00000-5ec1ffb8.era1`), a directory listing
    /// (`https://host/eras/`), or a bucket (`s3://bucket/prefix`). No archive is opened yet.
    ///
    /// # Errors
    ///
    /// [`Error`], when there is no such listing or it lists too much. An empty one is no error.
    pub async fn open(url: &str, options: Options) -> Result<Self, Error> {
        let name: Arc<str> = without_password(url).into();
        let fail = |reason| Error::new(&name, reason);
        let parsed = Url::parse(url).map_err(|error| fail(Reason::Address(error.to_string())))?;
        let (mirror, files) = match parsed.scheme() {
            "http" | "https" => {
                let mirror = Mirror::new(None, options).map_err(fail)?;
                let files = listed(&mirror, parsed).await.map_err(fail)?;
                (mirror, files.into_iter().map(|(name, url)| (name, Location::Url(url))).collect())
            }
            "s3" => {
                let (bucket, prefix) = Bucket::open(&parsed, &options).map_err(fail)?;
                let files = bucket.archives(&prefix).await.map_err(fail)?;
                let mirror = Mirror::new(Some(bucket), options).map_err(fail)?;
                (mirror, files.into_iter().map(|(name, path)| (name, Location::Object(path))).collect())
            }
            _ => return Err(fail(Reason::Address("it has to start with https://, http:// or s3://".to_owned()))),
        };
        Ok(Self { mirror: mirror.into(), url: name, files, open: Mutex::new(LruCache::new(MAX_OPEN)) })
    }

    /// The mirror's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The files, by name.
    pub fn files(&self) -> impl Iterator<Item = SeedFile> {
        self.files.keys().map(|name| SeedFile { name: name.clone(), parsed: ArchiveName::parse(name) })
    }

    /// An archive by its name: opened now, or the one that was opened before unless it changed.
    ///
    /// # Errors
    ///
    /// [`Reason::Unlisted`], what the mirror answers, and [`Reason::Archive`] when its index cannot be used.
    pub async fn archive(&self, name: &str) -> Result<Arc<WebArchive>, Error> {
        if let Some(archive) = self.open.lock().get(name).filter(|archive| !archive.is_changed()) {
            return Ok(archive.clone());
        }
        let location = self.files.get(name);
        let location = location.ok_or_else(|| Error::new(&self.url, Reason::Unlisted(name.to_owned())))?;
        let url = match location {
            Location::Url(url) => without_password(url.as_str()),
            Location::Object(path) => {
                let bucket = self.url.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
                format!("s3://{}/{path}", bucket.unwrap_or_default())
            }
        };
        let remote = Remote { mirror: self.mirror.clone(), location: location.clone(), url: url.into() };
        let archive = Arc::new(WebArchive::open(remote).await?);
        self.open.lock().insert(name.to_owned(), archive.clone());
        Ok(archive)
    }
}

/// The archives at a URL: itself, or what the listing there links to.
async fn listed(mirror: &Mirror, url: Url) -> Result<BTreeMap<String, Url>, Reason> {
    if let Some(name) = listing::archive_name(&url) {
        return Ok([(name, url)].into());
    }
    let mut attempts = Attempts::default();
    loop {
        let failure = match mirror.page(&url, MAX_PAGE).await {
            Ok((page, base)) => return listing::archives(&page, &base),
            Err(failure) => failure,
        };
        tokio::time::sleep(attempts.after(failure, &mirror.options)?).await;
    }
}

/// A URL as it may appear in errors and logs: what stands between `//` and `@`, or behind `?`, can be a secret.
fn without_password(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    // They fail for URLs that have no place for either.
    let _ = (parsed.set_username(""), parsed.set_password(None));
    parsed.set_query(None);
    parsed.into()
}
