//! A place of archives that a peer serves from where they lie: a bucket, or a folder on a web server. What is there is
//! listed again and again, and each file is read piece by piece as it is asked for.

use std::sync::Arc;
use std::time::Instant;

use cairn_archive::{Archive, EpochCache};

use crate::download::Remote;
use crate::error::{Error, Reason};
use crate::health::Health;
use crate::location::{Location, without_secrets};
use crate::mirror::Mirror;
use crate::object::{BlockingObject, OPENING_LIMIT, Object};
use crate::options::Options;
use crate::pieces::PieceCache;
use crate::place::ArchiveListing;

/// A bucket, or a folder on a web server.
#[derive(Debug)]
pub struct Depot {
    mirror: Arc<Mirror>,
    listing: ArchiveListing,
    url: Arc<str>,
    cache: Arc<PieceCache>,
    health: Arc<Health>,
}

/// An archive that a depot lists.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The file's name.
    pub name: String,
    /// Its URL.
    pub url: Arc<str>,
    /// Tells this state of the file from others, where the listing does: buckets' do.
    pub stamp: Option<String>,
    location: Location,
}

impl Depot {
    /// The depot at a URL: `s3://bucket/prefix`, `https://host/folder/`, or one file. No request is made.
    ///
    /// # Errors
    ///
    /// [`Error`] when that is no such URL.
    pub fn new(url: &str, options: Options, cache: Arc<PieceCache>) -> Result<Self, Error> {
        let name: Arc<str> = without_secrets(url).into();
        let (listing, mirror) = ArchiveListing::of(url, options).map_err(|reason| Error::new(&name, reason))?;
        Ok(Self { mirror: mirror.into(), listing, url: name, cache, health: Arc::default() })
    }

    /// The depot's URL, without what may be a secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it has been out of reach for a minute or longer.
    pub fn is_down(&self) -> bool {
        self.health.is_down(Instant::now())
    }

    /// Whether a request failed since this was asked last. What was given up then may be tried again.
    pub fn had_trouble(&self) -> bool {
        self.health.had_trouble()
    }

    /// The archives that are there now.
    ///
    /// # Errors
    ///
    /// [`Error`], when the listing cannot be had or lists too much. An empty one is no error.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let found = match self.listing.list(&self.mirror).await {
            Ok(found) => {
                self.health.answered();
                found
            }
            Err(Reason::NoArchive(_)) => {
                self.health.answered();
                return Ok(Vec::new());
            }
            Err(reason) => {
                self.health.failed(&reason, Instant::now());
                return Err(Error::new(&self.url, reason));
            }
        };
        let listed = found.into_iter().map(|(name, found)| {
            let url = found.location.name(&self.url).into();
            Listed { name, url, stamp: found.stamp, location: found.location }
        });
        Ok(listed.collect())
    }

    /// Opens an archive: some 25 short reads. Reading it waits for the server, so its methods that read belong on threads
    /// that may block; a file that changes or is removed has vanished for them.
    ///
    /// # Errors
    ///
    /// What the server answers, and [`Reason::Archive`] when the index cannot be used. The file would have to be read whole
    /// then.
    ///
    /// # Panics
    ///
    /// The archive's methods that read panic on a thread that drives asynchronous tasks.
    pub async fn open(&self, listed: &Listed, epochs: Arc<EpochCache>) -> Result<Archive, Error> {
        let remote = Remote { mirror: self.mirror.clone(), location: listed.location.clone(), url: listed.url.clone() };
        let object = Arc::new(Object::open(remote, self.cache.clone(), self.health.clone()).await?);
        let (source, name) = (Box::new(BlockingObject(object.clone())), listed.url.clone());
        let opened = tokio::task::spawn_blocking(move || Archive::from_source_with(source, &name, epochs)).await;
        let opened = opened.map_err(|_| Error::new(&listed.url, Reason::Ending))?;
        if !object.opened() {
            return Err(Error::new(&listed.url, Reason::Costly { limit: OPENING_LIMIT }));
        }
        let archive = opened.map_err(|error| Error::new(&listed.url, error))?;
        match archive.damage() {
            Some(damage) => Err(Error::new(&listed.url, damage.clone())),
            None => Ok(archive),
        }
    }
}
