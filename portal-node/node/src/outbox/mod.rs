//! What a program makes block by block and hands to the network through a peer that runs, as a replay does with what each block brings
//! to the state.
//!
//! Each piece is given to the peer again, with growing pauses, until it has an end: some peer has it, or those that could do not want
//! it. Whoever makes more waits while much is under way. The [position](OutboxOptions::position) on disk never passes what is open.
//!
//! | module | what |
//! |---|---|
//! | `driver` | what is under way, and when the rest has its turn |
//! | `ledger` | which blocks have pieces without an end |
//! | `position` | how far it is, in a file |

mod driver;
mod ledger;
mod position;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use content_types::SubNetwork;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::rpc::calls::OfferContent;
use crate::rpc::{AskError, PeerClient, RpcRefusal};
use crate::seeding::GivenOutcome;
use driver::{Driver, Message, Piece};
use position::OutboxPosition;

/// Pieces that have no end yet, at most: whoever makes more waits.
const MAX_PIECES: usize = 4096;
/// Their bytes. A node deep in a trie comes with ten kilobytes of proof.
const MAX_BYTES: usize = 32 << 20;
/// Messages on their way to the driver.
const WAITING_MESSAGES: usize = 64;
/// How long a peer may take for one call: as long as it waits for slow peers, and more.
const CALL_PATIENCE: Duration = Duration::from_secs(300);

/// How pieces are handed out.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// File that keeps how far it is.
    pub position: PathBuf,
    /// The hash of the chain's first block: a position of another chain is none.
    pub chain: B256,
    /// How long nothing may come to an end before it is given up.
    pub patience: Duration,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxProgress {
    /// The first block of which a piece may be open; it is what the position says, or more.
    pub next: u64,
    /// Pieces that have no end yet.
    pub open: u64,
    /// Pieces that some peer has.
    pub placed: u64,
    /// Pieces with an end that nobody has: no peer that is known covers them, or none of those wants them.
    pub unclaimed: u64,
    /// Pieces that peers took, each peer counted.
    pub accepted: u64,
    /// Bytes of what peers took.
    pub bytes: u64,
    /// Why nothing comes to an end, while nothing does.
    pub waiting: Option<Waiting>,
}

/// What pieces wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The peer that they are handed to does not answer.
    Unreachable(String),
    /// It answers that it cannot now.
    Refused(String),
    /// It cannot check them, such as for want of the header of their block.
    Unproved(String),
    /// Peers that should have them are busy or silent, or took them and do not say that they have them; or no peer is known that keeps
    /// anything.
    Peers,
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the peer that runs does not answer: {why}"),
            Self::Refused(why) => write!(f, "the peer that runs cannot take them now: {why}"),
            Self::Unproved(why) => write!(f, "the peer that runs cannot check them: {why}"),
            Self::Peers => f.write_str("no peer that should have them says that it has them"),
        }
    }
}

/// Why not everything was handed out. What was not is open, and the position is before it.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Nothing came to an end any more.
    #[error("{open} pieces are open from block {block} on, and none has come to an end for {} s: {waiting}", patience.as_secs())]
    Stalled {
        /// The first block with an open piece.
        block: u64,
        /// How many pieces are open.
        open: u64,
        /// How long that was waited for.
        patience: Duration,
        /// For what.
        waiting: Waiting,
    },
    /// Everything had an end, and nobody has any of it.
    #[error("no peer took any of {pieces} pieces from block {block} on")]
    NobodyTakes {
        /// The first block.
        block: u64,
        /// How many pieces were offered.
        pieces: u64,
    },
    /// The peer calls a piece wrong, or does not know the call.
    #[error("the peer that runs refuses: {} ({})", .0.message, .0.code)]
    Refused(RpcRefusal),
    /// Its answer is none that is known.
    #[error("the peer that runs answers with something unknown: {0}")]
    Unknown(String),
    /// The position cannot be read or kept.
    #[error("{}: {source}", path.display())]
    Position {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime goes down.
    #[error("the program stops")]
    Stopping,
}

/// The outbox takes nothing any more; [`Outbox::finish`] says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is handed out has come to a stop")]
pub struct Closed;

/// Where pieces go.
pub trait Outlet: Send + Sync + 'static {
    /// Hands out keys and values, and tells what became of them.
    fn offer(&self, items: Vec<(Bytes, Bytes)>) -> impl Future<Output = Result<GivenOutcome, AskError>> + Send;
}

/// A peer that runs, for one sub-network.
#[derive(Clone, Debug)]
pub struct PeerOutlet {
    /// The peer.
    pub client: PeerClient,
    /// Of which sub-network the pieces are.
    pub network: SubNetwork,
}

impl Outlet for PeerOutlet {
    async fn offer(&self, items: Vec<(Bytes, Bytes)>) -> Result<GivenOutcome, AskError> {
        self.client.ask(&OfferContent { network: self.network, items }, CALL_PATIENCE).await
    }
}

/// Takes pieces, and hands them out. Dropped, it stops at once.
#[derive(Debug)]
pub struct Outbox {
    messages: mpsc::Sender<Message>,
    room: Room,
    progress: watch::Receiver<OutboxProgress>,
    begins: u64,
    driver: AbortOnDropHandle<Result<(), OutboxError>>,
}

/// What bounds the pieces that have no end.
#[derive(Clone, Debug)]
struct Room {
    pieces: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Room {
    async fn take(&self, bytes: usize) -> Result<[OwnedSemaphorePermit; 2], Closed> {
        let bytes = u32::try_from(bytes.min(MAX_BYTES)).unwrap_or(u32::MAX);
        let piece = Arc::clone(&self.pieces).acquire_owned().await.map_err(|_| Closed)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(|_| Closed)?;
        Ok([piece, bytes])
    }
}

impl Outbox {
    /// Goes on where the position is; nothing was handed out if there is none.
    ///
    /// # Errors
    /// [`OutboxError::Position`].
    pub async fn open(outlet: impl Outlet, options: OutboxOptions) -> Result<Self, OutboxError> {
        let OutboxOptions { position, chain, patience } = options;
        let position = OutboxPosition::load(position, chain).await?;
        let begins = position.next();
        let (messages, taken) = mpsc::channel(WAITING_MESSAGES);
        let (tell, progress) = watch::channel(OutboxProgress { next: begins, ..OutboxProgress::default() });
        let room = Room { pieces: Arc::new(Semaphore::new(MAX_PIECES)), bytes: Arc::new(Semaphore::new(MAX_BYTES)) };
        let driver = Driver::new(outlet, taken, tell, position, patience);
        Ok(Self { messages, room, progress, begins, driver: AbortOnDropHandle::new(tokio::spawn(driver.run())) })
    }

    /// The first block that was not handed out by an earlier run. Blocks before it are not to be given.
    pub const fn begins(&self) -> u64 {
        self.begins
    }

    /// How far it is; the receiver tells of each change.
    pub fn progress(&self) -> watch::Receiver<OutboxProgress> {
        self.progress.clone()
    }

    /// Whether it takes nothing any more; [`finish`](Self::finish) says why.
    pub fn has_stopped(&self) -> bool {
        self.messages.is_closed()
    }

    /// Takes a piece of a block, when there is room for it. Blocks come in rising order.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn push(&self, block: u64, key: Bytes, value: Bytes) -> Result<(), Closed> {
        let room = tokio::select! {
            room = self.room.take(key.len() + value.len()) => room?,
            // What has no end keeps its room when nobody hands it out any more.
            () = self.messages.closed() => return Err(Closed),
        };
        let piece = Piece::new(block, key, value, room);
        self.messages.send(Message::Piece(piece)).await.map_err(|_| Closed)
    }

    /// All pieces of a block were given.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn end_block(&self, block: u64) -> Result<(), Closed> {
        self.messages.send(Message::BlockGiven(block)).await.map_err(|_| Closed)
    }

    /// Waits until everything that was given has an end, and the position says so on the disk.
    ///
    /// # Errors
    /// [`Closed`] if that is given up.
    pub async fn settle(&self) -> Result<(), Closed> {
        let (settled, wait) = oneshot::channel();
        self.messages.send(Message::Settle(settled)).await.map_err(|_| Closed)?;
        wait.await.map_err(|_| Closed)
    }

    /// Waits until everything that was given has an end.
    ///
    /// # Errors
    /// [`OutboxError`] says why not everything was handed out.
    pub async fn finish(self) -> Result<OutboxProgress, OutboxError> {
        let Self { messages, progress, driver, .. } = self;
        drop(messages);
        driver.await.map_err(|_| OutboxError::Stopping)??;
        let progress = progress.borrow().clone();
        Ok(progress)
    }
}
