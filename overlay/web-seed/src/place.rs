//! What a URL stands for: a folder on a web server, a bucket or a part of one, or a single file on either; and what is there
//! now.

use std::collections::BTreeMap;

use reqwest::Url;

use crate::bucket::Bucket;
use crate::download::Attempts;
use crate::error::{NoArchive, Reason};
use crate::listing::{self, MAX_PAGE};
use crate::location::{ListedFile, Location, ObjectPath, lend_credentials};
use crate::mirror::Mirror;
use crate::options::Options;

/// Where archives are listed.
#[derive(Debug)]
pub(crate) enum ArchiveListing {
    Page(Url),
    Prefix(ObjectPath),
}

impl ArchiveListing {
    /// What a URL stands for, and how the server is spoken to. No request is made.
    pub(crate) fn of(url: &str, options: Options) -> Result<(Self, Mirror), Reason> {
        let parsed = Url::parse(url).map_err(|error| Reason::Address(error.to_string()))?;
        match parsed.scheme() {
            "http" | "https" => Ok((Self::Page(parsed), Mirror::new(None, options)?)),
            "s3" => {
                let (bucket, prefix) = Bucket::open(&parsed, &options)?;
                Ok((Self::Prefix(prefix), Mirror::new(Some(bucket), options)?))
            }
            _ => Err(Reason::Address("it has to start with https://, http:// or s3://".to_owned())),
        }
    }

    /// The archives that are there now, by name.
    ///
    /// # Errors
    /// [`Reason::NoArchive`] when there is none, and what the server answers.
    pub(crate) async fn list(&self, mirror: &Mirror) -> Result<BTreeMap<String, ListedFile>, Reason> {
        match (self, &mirror.bucket) {
            (Self::Page(url), _) => {
                let files = listed(mirror, url).await?.into_iter();
                let found = |url| ListedFile { location: Location::Url(url), stamp: None };
                Ok(files.map(|(name, url)| (name, found(url))).collect())
            }
            (Self::Prefix(prefix), Some(bucket)) => {
                let files = bucket.archives(prefix).await?;
                if files.is_empty() { Err(Reason::NoArchive(NoArchive::EmptyPrefix)) } else { Ok(files) }
            }
            (Self::Prefix(_), None) => Err(Reason::NotFound),
        }
    }
}

/// The archives at a URL: itself, or what the listing there links to.
async fn listed(mirror: &Mirror, url: &Url) -> Result<BTreeMap<String, Url>, Reason> {
    if let Some(name) = listing::archive_name(url) {
        return Ok([(name, url.clone())].into());
    }
    let mut attempts = Attempts::default();
    loop {
        let failure = match mirror.page(url, MAX_PAGE).await {
            Ok((page, base)) => {
                let mut files = listing::archives(&page, &base)?;
                if files.is_empty() {
                    return Err(Reason::NoArchive(listing::why_none(&page, &base)));
                }
                files.values_mut().for_each(|file| lend_credentials(url, file));
                return Ok(files);
            }
            Err(failure) => failure,
        };
        tokio::time::sleep(attempts.after(failure, &mirror.options)?).await;
    }
}
