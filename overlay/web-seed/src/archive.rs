//! An archive on a mirror: single records through positioned reads, ranges of blocks in one request.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use cairn_archive::{Archive, Component, Components, Extent, Format};

use crate::download::{RangeDownload, Remote};
use crate::error::{Error, Reason};
use crate::records::{Record, RecordParser};
use crate::source::{BlockingFile, WebFile};

/// An archive file on a mirror that was opened: its index can be used.
#[derive(Debug, Clone)]
pub struct WebArchive {
    archive: Archive,
    file: Arc<WebFile>,
}

impl WebArchive {
    pub(crate) async fn open(remote: Remote) -> Result<Self, Error> {
        let url = remote.url.clone();
        let file = Arc::new(WebFile::open(remote).await?);
        let source = Box::new(BlockingFile(file.clone()));
        let name = url.clone();
        let opened = blocking(&url, move || Archive::from_source(source, &name)).await?;
        let archive = opened.map_err(|error| Error::new(&url, error))?;
        if let Some(damage) = archive.damage() {
            return Err(Error::new(&url, damage.clone()));
        }
        file.opened();
        Ok(Self { archive, file })
    }

    /// The archive, for single records and whatever else [`Archive`] does.
    ///
    /// Its methods that read wait for the mirror. Call them on threads that may block, such as those of
    /// [`tokio::task::spawn_blocking`].
    ///
    /// # Panics
    ///
    /// Those methods panic on a thread that drives asynchronous tasks.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The file's URL.
    pub fn url(&self) -> &str {
        &self.file.remote.url
    }

    /// Whether the mirror has had another version of the file since it was opened. Reading this one fails then.
    pub fn is_changed(&self) -> bool {
        self.file.is_changed()
    }

    /// Begins to read `components` of `blocks`, front to back.
    ///
    /// An ere file has the records of a component one after the other, so each component takes one request, in the order
    /// of the specification's records. An era1 file has block after block: one request brings all components, also those
    /// that nobody wants, so ask for all that are wanted at once.
    ///
    /// # Errors
    ///
    /// When the archive does not hold them all, or the index cannot be read.
    pub async fn read(&self, components: Components, blocks: RangeInclusive<u64>) -> Result<Reading, Error> {
        let archive = self.archive.clone();
        let url = &self.file.remote.url;
        let extents = blocking(url, move || extents(&archive, components, blocks)).await?;
        let extents = extents.map_err(|error| self.file.note(error))?;
        Ok(Reading {
            file: self.file.clone(),
            format: self.archive.format(),
            components,
            extents,
            current: None,
            received: 0,
        })
    }
}

/// Runs what waits for the mirror on a thread that may.
async fn blocking<T: Send + 'static>(url: &Arc<str>, run: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(run).await.map_err(|_| Error::new(url, Reason::Ending))
}

fn extents(archive: &Archive, components: Components, blocks: RangeInclusive<u64>) -> Result<VecDeque<Extent>, Error> {
    let mut extents = VecDeque::new();
    for component in components.iter() {
        let extent = archive.extent(component, blocks.clone()).map_err(|error| {
            let block = error.place.block;
            Error { url: archive.name().into(), block, reason: error.into() }
        })?;
        if archive.format() == Format::Ere || extents.is_empty() {
            extents.push_back(extent);
        }
    }
    Ok(extents)
}

/// Records on their way from a mirror. It takes one of the mirror's places for requests from the first record on, until
/// it is read to its end or dropped, so read it without long pauses.
#[derive(Debug)]
pub struct Reading {
    file: Arc<WebFile>,
    format: Format,
    components: Components,
    extents: VecDeque<Extent>,
    current: Option<(RangeDownload, RecordParser)>,
    received: u64,
}

impl Reading {
    /// Bytes that are still to be asked for: all of them before the first record is read.
    pub fn pending_bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.bytes()).map(|range| range.end - range.start).sum()
    }

    /// Bytes that have come since this was last asked, with what nobody wants of them. Unlike
    /// [`pending_bytes`](Self::pending_bytes) this is nothing that the mirror only claims.
    pub const fn take_received(&mut self) -> u64 {
        std::mem::replace(&mut self.received, 0)
    }

    /// The next record, or `None` when all have been read. After an error there are no more.
    ///
    /// # Errors
    ///
    /// [`Error`] with the block that was being read.
    pub async fn next(&mut self) -> Result<Option<Record>, Error> {
        let next = self.advance().await;
        if next.is_err() {
            self.extents.clear();
            self.current = None;
        }
        next.map_err(|error| self.file.note(error))
    }

    async fn advance(&mut self) -> Result<Option<Record>, Error> {
        loop {
            let Some((download, parser)) = &mut self.current else {
                let Some(extent) = self.extents.pop_front() else { return Ok(None) };
                let download = self.file.remote.download(self.file.version.clone(), extent.bytes()).await?;
                let parser = RecordParser::new(self.format, extent, self.components, &self.file.remote.url);
                self.current = Some((download, parser));
                continue;
            };
            if let Some(record) = parser.pop() {
                return Ok(Some(record));
            }
            if parser.is_complete() && !download.is_complete() {
                // The index claims more than there is.
                self.current = None;
                continue;
            }
            let block = parser.block();
            match download.next().await.map_err(|error| Error { block: Some(block), ..error })? {
                Some(bytes) => {
                    self.received += bytes.len() as u64;
                    parser.push(bytes)?;
                }
                None => self.current = None,
            }
        }
    }

    /// The components that are read.
    pub fn components(&self) -> impl Iterator<Item = Component> {
        self.components.iter()
    }
}
