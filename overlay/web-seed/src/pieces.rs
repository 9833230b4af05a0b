//! Pieces of remote files in memory: those used last, of all files together, up to a number of bytes. Whoever wants a piece
//! that is on its way already waits for it with the others.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::{Error, Reason};

/// Bytes that are kept unless told otherwise: what eight peers read of four components each, and what is fetched ahead.
pub const CACHE_BYTES: usize = 64 << 20;
/// A piece for what is read here and there: a slot of an index, a header, a proof.
pub(crate) const SMALL: u64 = 16 << 10;
/// A piece for what is read on and on: long enough that a server's answer takes longer than the way to it.
pub(crate) const LARGE: u64 = 1 << 20;

/// How long a piece is. Both kinds begin at multiples of their length; the file's last one may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Size {
    Small,
    Large,
}

impl Size {
    const fn bytes(self) -> u64 {
        match self {
            Self::Small => SMALL,
            Self::Large => LARGE,
        }
    }
}

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FilePiece {
    pub(crate) file: u64,
    pub(crate) size: Size,
    pub(crate) nth: u64,
}

impl FilePiece {
    /// The piece that the byte at `offset` is in.
    pub(crate) const fn at(file: u64, size: Size, offset: u64) -> Self {
        Self { file, size, nth: offset / size.bytes() }
    }

    /// The bytes of a file of so many that it stands for; none behind the end.
    pub(crate) fn range(&self, len: u64) -> Range<u64> {
        let start = self.nth.saturating_mul(self.size.bytes()).min(len);
        start..start.saturating_add(self.size.bytes()).min(len)
    }
}

/// What became of a piece that was asked for; `None` while it is on its way.
pub(crate) type PieceOutcome = Option<Result<Bytes, Error>>;

/// A piece that somebody wants.
pub(crate) enum WantedPiece {
    Held(Bytes),
    /// Somebody else asked for it before.
    Coming(watch::Receiver<PieceOutcome>),
    /// It is to be fetched now.
    Missing(Fetching, watch::Receiver<PieceOutcome>),
}

/// Pieces of many files.
#[derive(Debug)]
pub struct PieceCache {
    budget: usize,
    files: AtomicU64,
    state: Mutex<CacheState>,
}

/// The pieces that are here, and those on their way.
#[derive(Debug)]
struct CacheState {
    held: LruCache<FilePiece, Bytes>,
    bytes: usize,
    coming: HashMap<FilePiece, watch::Receiver<PieceOutcome>>,
}

impl PieceCache {
    /// Keeps up to `budget` bytes, and what is on its way.
    pub fn new(budget: usize) -> Self {
        let state = CacheState { held: LruCache::new_unbounded(), bytes: 0, coming: HashMap::new() };
        Self { budget, files: AtomicU64::new(0), state: Mutex::new(state) }
    }

    /// Bytes that are kept now.
    pub fn held_bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// A number for a file, or for another state of one.
    pub(crate) fn new_file(&self) -> u64 {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a piece is here or on its way. It does not count as used.
    pub(crate) fn has(&self, piece: &FilePiece) -> bool {
        let state = self.state.lock();
        state.held.peek(piece).is_some() || state.coming.contains_key(piece)
    }

    /// How many of these pieces are here.
    pub(crate) fn count(&self, pieces: impl Iterator<Item = FilePiece>) -> usize {
        let state = self.state.lock();
        pieces.filter(|piece| state.held.peek(piece).is_some()).count()
    }

    /// A piece, or who brings it.
    pub(crate) fn want(self: &Arc<Self>, piece: FilePiece) -> WantedPiece {
        let mut state = self.state.lock();
        if let Some(bytes) = state.held.get(&piece) {
            return WantedPiece::Held(bytes.clone());
        }
        if let Some(coming) = state.coming.get(&piece) {
            return WantedPiece::Coming(coming.clone());
        }
        let (sender, coming) = watch::channel(None);
        state.coming.insert(piece, coming.clone());
        WantedPiece::Missing(Fetching { cache: Arc::clone(self), piece, sender }, coming)
    }

    /// Keeps a piece that came by itself.
    pub(crate) fn keep(&self, piece: FilePiece, bytes: Bytes) {
        let mut state = self.state.lock();
        state.bytes += bytes.len();
        if let Some(before) = state.held.insert(piece, bytes) {
            state.bytes -= before.len();
        }
        while state.bytes > self.budget {
            let Some((_, oldest)) = state.held.remove_lru() else { break };
            state.bytes -= oldest.len();
        }
    }
}

/// A piece that is being fetched. When it is dropped without an outcome, those who wait for it get an error, and the next
/// who wants it fetches it anew.
pub(crate) struct Fetching {
    cache: Arc<PieceCache>,
    piece: FilePiece,
    sender: watch::Sender<PieceOutcome>,
}

impl Fetching {
    pub(crate) fn done(self, outcome: Result<Bytes, Error>) {
        if let Ok(bytes) = &outcome {
            self.cache.keep(self.piece, bytes.clone());
        }
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.cache.state.lock().coming.remove(&self.piece);
    }
}

/// Waits for a piece that is on its way; `url` stands for its file in the error.
pub(crate) async fn arrival(mut coming: watch::Receiver<PieceOutcome>, url: &Arc<str>) -> Result<Bytes, Error> {
    let outcome = match coming.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone(),
        Err(_) => None,
    };
    outcome.unwrap_or_else(|| Err(Error::new(url, Reason::Ending)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(nth: u64) -> FilePiece {
        FilePiece { file: 0, size: Size::Small, nth }
    }

    #[test]
    fn what_was_used_last_is_kept_within_the_budget() {
        let cache = Arc::new(PieceCache::new(250));
        for nth in 0..2 {
            cache.keep(piece(nth), vec![0; 100].into());
        }
        assert!(matches!(cache.want(piece(0)), WantedPiece::Held(_)));
        cache.keep(piece(2), vec![0; 100].into());
        assert_eq!([0, 1, 2].map(|nth| cache.has(&piece(nth))), [true, false, true]);
        // The same once more takes no more room.
        cache.keep(piece(2), vec![0; 50].into());
        assert_eq!(cache.held_bytes(), 150);
        cache.keep(piece(3), vec![0; 251].into());
        assert_eq!(cache.held_bytes(), 0);
    }

    #[tokio::test]
    async fn a_piece_on_its_way_is_waited_for_by_all_and_fetched_once() {
        let (cache, url) = (Arc::new(PieceCache::new(100)), Arc::from("url"));
        let WantedPiece::Missing(fetching, first) = cache.want(piece(0)) else { panic!("not missing") };
        let WantedPiece::Coming(second) = cache.want(piece(0)) else { panic!("asked for twice") };
        fetching.done(Ok(Bytes::from_static(b"bytes")));
        for coming in [first, second] {
            assert_eq!(arrival(coming, &url).await.unwrap(), "bytes");
        }
        assert!(matches!(cache.want(piece(0)), WantedPiece::Held(_)));
    }

    #[tokio::test]
    async fn a_fetch_that_breaks_off_leaves_nobody_waiting() {
        let (cache, url) = (Arc::new(PieceCache::new(100)), Arc::from("url"));
        let WantedPiece::Missing(fetching, coming) = cache.want(piece(0)) else { panic!("not missing") };
        drop(fetching);
        assert!(matches!(arrival(coming, &url).await.unwrap_err().reason, Reason::Ending));
        assert!(matches!(cache.want(piece(0)), WantedPiece::Missing(..)));
    }

    #[test]
    fn pieces_end_with_their_file() {
        let len = LARGE + 5;
        assert_eq!(FilePiece::at(0, Size::Large, LARGE - 1).range(len), 0..LARGE);
        assert_eq!(FilePiece::at(0, Size::Large, LARGE).range(len), LARGE..len);
        assert_eq!(FilePiece::at(0, Size::Small, LARGE).range(len), LARGE..len);
        assert!(FilePiece { nth: u64::MAX, ..piece(0) }.range(len).is_empty());
    }
}
