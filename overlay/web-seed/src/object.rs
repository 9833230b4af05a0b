//! A remote file as positioned reads, for archives that are served from where they lie.
//!
//! What an index, a header or a lone record takes is a few bytes here and there, so a small piece is fetched round them. A
//! read that a small piece does not hold, or one behind a large piece that is here, takes a large one; the longer the row of
//! large pieces that were read, the more of those that follow are fetched beside it. A run of blocks is so read at the
//! network's speed and not at that of one answer after the other, and a lone block does not bring its neighbours.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cairn_archive::{ReadAt, Vanished};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::download::Remote;
use crate::error::{Error, Reason};
use crate::health::Health;
use crate::mirror::FileVersion;
use crate::pieces::{FilePiece, LARGE, PieceCache, SMALL, Size, WantedPiece, arrival};

/// Longest wait for a piece, whatever is tried meanwhile: those who wait are threads, and peers of a peer.
const PIECE_TIME: Duration = Duration::from_secs(20);
/// Large pieces that are fetched ahead of a reader at most: with a round trip of 30 ms they come to 130 MB a second for each
/// reader, and what sixteen readers have ahead of them fits into the cache. More is driven out before it is read.
const AHEAD: u64 = 4;
/// Small pieces in one large one, from which on the large one is fetched: an era1 file is read so when its headers, which
/// lie between the bodies, are all wanted.
const DENSE: usize = 8;
/// Bytes that opening an archive may take: four records for each of five components to tell the slots apart, the ends of
/// the file, and much again. A file whose index cannot be used would be read whole.
pub(crate) const OPENING_LIMIT: u64 = 4 << 20;

/// A file of a mirror or a bucket, in the version that was opened.
pub(crate) struct Object {
    remote: Remote,
    version: FileVersion,
    /// Its number in the cache.
    file: u64,
    cache: Arc<PieceCache>,
    health: Arc<Health>,
    runtime: Handle,
    /// Bytes that may still be fetched while the archive is opened.
    allowance: AtomicU64,
    /// The server has another version now, or none.
    vanished: AtomicBool,
}

impl Object {
    pub(crate) async fn open(remote: Remote, cache: Arc<PieceCache>, health: Arc<Health>) -> Result<Self, Error> {
        let opened = remote.open(SMALL).await;
        match &opened {
            Err(error) if !matches!(error.reason, Reason::NotFound) => health.failed(&error.reason, Instant::now()),
            _ => health.answered(),
        }
        let (version, head) = opened?;
        let file = cache.new_file();
        // A file without a byte is no archive, and its reader says so.
        cache.keep(FilePiece::at(file, Size::Small, 0), head);
        Ok(Self {
            remote,
            version,
            file,
            cache,
            health,
            runtime: Handle::current(),
            allowance: AtomicU64::new(OPENING_LIMIT),
            vanished: AtomicBool::new(false),
        })
    }

    /// Ends the limit on what opening may take. Returns whether it was kept.
    pub(crate) fn opened(&self) -> bool {
        self.allowance.swap(u64::MAX, Ordering::Relaxed) > 0
    }

    fn piece(&self, size: Size, offset: u64) -> FilePiece {
        FilePiece::at(self.file, size, offset)
    }

    /// The piece to read the bytes from `at` on from, `end` being where the reader stops.
    fn choose(&self, at: u64, end: u64) -> FilePiece {
        let (large, small) = (self.piece(Size::Large, at), self.piece(Size::Small, at));
        let reaches_on = end > small.range(self.version.len).end;
        if reaches_on || self.cache.has(&large) {
            return large;
        }
        if self.cache.has(&small) {
            return small;
        }
        let follows =
            large.nth.checked_sub(1).is_some_and(|before| self.cache.has(&FilePiece { nth: before, ..large }));
        let first = large.nth * (LARGE / SMALL);
        let neighbours = (first..first + LARGE / SMALL).map(|nth| FilePiece { nth, ..small });
        if follows || self.cache.count(neighbours) >= DENSE { large } else { small }
    }

    /// Asks for large pieces that follow one which is read now, twice as many as were read before it in a row. Never for
    /// the last places for requests: those are for what somebody waits for.
    fn read_ahead(self: &Arc<Self>, piece: FilePiece) {
        let at = |nth| FilePiece { nth, ..piece };
        let behind =
            (1..=AHEAD / 2).take_while(|back| piece.nth.checked_sub(*back).is_some_and(|nth| self.cache.has(&at(nth))));
        let behind = behind.count() as u64;
        let places = self.remote.mirror.options.concurrency / 2;
        for next in (1..=behind * 2).map(|on| at(piece.nth.saturating_add(on))) {
            if next.range(self.version.len).is_empty() || self.remote.mirror.slots.available_permits() <= places {
                return;
            }
            // A failure is told to who wants the piece when it is wanted.
            let _ = self.begin(next);
        }
    }

    /// A piece, or what brings it; it is fetched if nobody does so yet.
    fn begin(self: &Arc<Self>, piece: FilePiece) -> Result<WantedPiece, Error> {
        let wanted = self.cache.want(piece);
        let WantedPiece::Missing(fetching, coming) = wanted else { return Ok(wanted) };
        self.health.check(Instant::now()).map_err(|reason| Error::new(&self.remote.url, reason))?;
        let range = piece.range(self.version.len);
        let length = range.end - range.start;
        let allowed = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(length) };
        if self.allowance.try_update(Ordering::Relaxed, Ordering::Relaxed, allowed).is_err() {
            self.allowance.store(0, Ordering::Relaxed);
            return Err(Error::new(&self.remote.url, Reason::Costly { limit: OPENING_LIMIT }));
        }
        let object = Arc::clone(self);
        self.runtime.spawn(async move { fetching.done(object.fetch(range).await) });
        Ok(WantedPiece::Coming(coming))
    }

    async fn fetch(&self, range: std::ops::Range<u64>) -> Result<Bytes, Error> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut download = self.remote.download(self.version.clone(), range).await?;
        let read = async {
            // Of a length that this crate chose.
            let mut fetched = BytesMut::with_capacity(length);
            while let Some(bytes) = download.next().await? {
                fetched.extend_from_slice(&bytes);
            }
            Ok(fetched.freeze())
        };
        let fetched = timeout(PIECE_TIME, read).await;
        let fetched = fetched.unwrap_or_else(|_| Err(Error::new(&self.remote.url, Reason::TimeOut)));
        match &fetched {
            Ok(_) => self.health.answered(),
            Err(error) if error.is_changed() || matches!(error.reason, Reason::NotFound) => {
                self.vanished.store(true, Ordering::Relaxed);
                self.health.answered();
            }
            Err(error) => self.health.failed(&error.reason, Instant::now()),
        }
        fetched
    }

    fn check(&self) -> io::Result<()> {
        if self.vanished.load(Ordering::Relaxed) { Err(Vanished.into()) } else { Ok(()) }
    }

    fn read(self: &Arc<Self>, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.version.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        // All of them are asked for before the first is waited for.
        let (mut pieces, mut at) = (Vec::new(), offset);
        while at < end {
            let piece = self.choose(at, end);
            pieces.push((piece, self.begin(piece)));
            at = piece.range(self.version.len).end;
        }
        if let Some((last, _)) = pieces.last().filter(|(last, _)| last.size == Size::Large) {
            self.read_ahead(*last);
        }
        for (piece, wanted) in pieces {
            let bytes = match wanted? {
                WantedPiece::Held(bytes) => bytes,
                WantedPiece::Coming(coming) | WantedPiece::Missing(_, coming) => {
                    let arrived = self.runtime.block_on(arrival(coming, &self.remote.url));
                    arrived.or_else(|error| self.check().and(Err(error.into())))?
                }
            };
            copy(buf, offset, &bytes, piece.range(self.version.len).start).ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(())
    }
}

/// Copies what a piece that begins at `start` in the file has of a buffer for the bytes from `offset` on.
fn copy(buf: &mut [u8], offset: u64, piece: &Bytes, start: u64) -> Option<()> {
    let begin = offset.max(start);
    let end = (offset + buf.len() as u64).min(start + piece.len() as u64);
    let within = |of: u64| usize::try_from(begin.checked_sub(of)?).ok();
    let count = usize::try_from(end.checked_sub(begin)?).ok()?;
    let (into, from) = (within(offset)?, within(start)?);
    buf.get_mut(into..into.checked_add(count)?)?.copy_from_slice(piece.get(from..from.checked_add(count)?)?);
    Some(())
}

/// The file for `cairn-archive`. Reading waits for the server, so on threads that may block only.
pub(crate) struct BlockingObject(pub(crate) Arc<Object>);

impl ReadAt for BlockingObject {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.check()?;
        Ok(self.0.version.len)
    }
}
