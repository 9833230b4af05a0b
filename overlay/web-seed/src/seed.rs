//! A mirror: the archives that it has, and those of them that were opened.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use cairn_archive::{ArchiveName, MAX_BLOCKS};
use hashlink::LruCache;
use parking_lot::Mutex;

use crate::archive::WebArchive;
use crate::download::Remote;
use crate::error::{Error, Reason};
use crate::location::{Location, without_secrets};
use crate::mirror::Mirror;
use crate::options::Options;
use crate::place::ArchiveListing;

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
    /// [`Error`], when there is no such listing, or it lists too much or no archive at all.
    pub async fn open(url: &str, options: Options) -> Result<Self, Error> {
        let name: Arc<str> = without_secrets(url).into();
        let fail = |reason| Error::new(&name, reason);
        let (listing, mirror) = ArchiveListing::of(url, options).map_err(fail)?;
        let files = listing.list(&mirror).await.map_err(fail)?;
        let files = files.into_iter().map(|(name, found)| (name, found.location)).collect();
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
        let url = location.name(&self.url);
        let remote = Remote { mirror: self.mirror.clone(), location: location.clone(), url: url.into() };
        let archive = Arc::new(WebArchive::open(remote).await?);
        self.open.lock().insert(name.to_owned(), archive.clone());
        Ok(archive)
    }
}
