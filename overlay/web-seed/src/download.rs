//! The bytes of a range, one piece after the other, whatever it takes: an answer that breaks is taken up again where it
//! broke, a busy server is asked again later, all of it up to a bound.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Error, Reason};
use crate::location::Location;
use crate::mirror::{Again, AttemptFailure, FileVersion, Mirror};
use crate::options::{MAX_BACK_OFF, Options, PROGRESS};

/// A file of a mirror.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) location: Location,
    /// Stands for the file in errors.
    pub(crate) url: Arc<str>,
}

/// Counts the attempts for one thing, and tells how long to wait before the next.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: u32,
}

impl Attempts {
    /// The wait after one more failure.
    ///
    /// # Errors
    /// The failure's reason when it was one too many, or of a kind that does not pass.
    pub(crate) fn after(&mut self, failure: AttemptFailure, options: &Options) -> Result<Duration, Reason> {
        self.failed = self.failed.saturating_add(1);
        if self.failed >= options.attempts {
            return Err(failure.reason);
        }
        let doubled = 2_u32.saturating_pow(self.failed - 1);
        let wait = match failure.again {
            Again::Never => return Err(failure.reason),
            Again::Later => options.back_off.saturating_mul(doubled).min(MAX_BACK_OFF),
            Again::After(wait) => wait,
        };
        options.waiting.begin(&failure.reason);
        Ok(wait)
    }
}

impl Remote {
    /// The file's version, and its first bytes: up to `length`, fewer when the file is shorter.
    pub(crate) async fn open(&self, length: u64) -> Result<(FileVersion, Bytes), Error> {
        let _slot = self.slot().await?;
        let mut attempts = Attempts::default();
        loop {
            let failure = match self.head(length).await {
                Ok(head) => return Ok(head),
                Err(failure) => failure,
            };
            let wait = attempts.after(failure, &self.mirror.options);
            tokio::time::sleep(wait.map_err(|reason| Error::new(&self.url, reason))?).await;
        }
    }

    async fn head(&self, length: u64) -> Result<(FileVersion, Bytes), AttemptFailure> {
        let mut answer = self.mirror.request(&self.location, 0..length, None).await?;
        let expected = answer.range.end - answer.range.start;
        let mut head = BytesMut::new();
        while let Some(bytes) = self.mirror.chunk(&mut answer.body).await? {
            head.extend_from_slice(&bytes);
            if head.len() as u64 > expected {
                return Err(Reason::Long { expected }.into());
            }
        }
        if (head.len() as u64) < expected {
            return Err(AttemptFailure {
                reason: Reason::Short { expected, found: head.len() as u64 },
                again: Again::Later,
            });
        }
        Ok((answer.version, head.freeze()))
    }

    /// Begins to read the bytes `range` of the file, which has to be `version` still. No request is made before the
    /// first bytes are asked for.
    pub(crate) async fn download(&self, version: FileVersion, range: Range<u64>) -> Result<RangeDownload, Error> {
        let slot = self.slot().await?;
        Ok(RangeDownload {
            remote: self.clone(),
            version,
            next: range.start,
            range,
            body: None,
            attempts: Attempts::default(),
            counted_from: 0,
            _slot: slot,
        })
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        let slots = self.mirror.slots.clone();
        slots.acquire_owned().await.map_err(|_| Error::new(&self.url, Reason::Ending))
    }
}

/// A range that is being read. It takes one of the mirror's places for requests until it is dropped.
#[derive(Debug)]
pub(crate) struct RangeDownload {
    remote: Remote,
    version: FileVersion,
    range: Range<u64>,
    /// Offset of the next byte.
    next: u64,
    body: Option<Response>,
    attempts: Attempts,
    /// Bytes read when the attempts were last counted from nought.
    counted_from: u64,
    _slot: OwnedSemaphorePermit,
}

impl RangeDownload {
    /// The next bytes, or `None` at the end of the range.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let failure = match self.step().await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => failure,
            };
            self.body = None;
            let read = self.next - self.range.start;
            if read - self.counted_from >= PROGRESS {
                self.counted_from = read;
                self.attempts = Attempts::default();
            }
            let wait = self.attempts.after(failure, &self.remote.mirror.options);
            tokio::time::sleep(wait.map_err(|reason| Error::new(&self.remote.url, reason))?).await;
        }
    }

    /// Whether all bytes have come.
    pub(crate) fn is_complete(&self) -> bool {
        self.next >= self.range.end
    }

    async fn step(&mut self) -> Result<Option<Bytes>, AttemptFailure> {
        let mirror = &self.remote.mirror;
        if self.next >= self.range.end {
            return match self.body.take() {
                // What came is what was asked for; only if there is more at once is there something to say.
                Some(mut body) => match mirror.chunk(&mut body).await {
                    Ok(Some(bytes)) if !bytes.is_empty() => Err(self.too_long().into()),
                    _ => Ok(None),
                },
                None => Ok(None),
            };
        }
        let body = match &mut self.body {
            Some(body) => body,
            none => {
                let rest = self.next..self.range.end;
                let answer = mirror.request(&self.remote.location, rest, Some(&self.version)).await?;
                none.insert(answer.body)
            }
        };
        let Some(bytes) = mirror.chunk(body).await? else {
            let (expected, found) = (self.range.end - self.range.start, self.next - self.range.start);
            return Err(AttemptFailure { reason: Reason::Short { expected, found }, again: Again::Later });
        };
        let next = self.next + bytes.len() as u64;
        if next > self.range.end {
            return Err(self.too_long().into());
        }
        self.next = next;
        Ok(Some(bytes))
    }

    fn too_long(&self) -> Reason {
        Reason::Long { expected: self.range.end - self.range.start }
    }
}
