//! Hands pieces out in calls of some dozens, a few at once. What comes back without an end has its turn again after a pause, while
//! others go on; and whoever waits for all of it is told when nothing is open any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::ledger::Ledger;
use super::position::OutboxPosition;
use super::{OutboxError, OutboxProgress, Outlet, Waiting};
use crate::rpc::{AskError, error};
use crate::seeding::{GivenOutcome, Retry};

/// Pieces of a call: a full offer's keys.
const CALL_PIECES: usize = 64;
/// Bytes of a call, at which no more are added.
const CALL_BYTES: usize = 2 << 20;
/// Calls under way at once. A connection to a peer has room for 16.
const CALLS_AT_ONCE: usize = 8;
/// How often the position is written while nobody waits for it.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// So many ends without one piece that anybody has are no chance any more.
const TELLING: u64 = 256;

/// A piece on its way. It has its room until it has its end.
#[derive(Debug)]
pub(super) struct Piece {
    block: u64,
    key: Bytes,
    value: Bytes,
    retry: Option<Retry>,
    _room: [OwnedSemaphorePermit; 2],
}

impl Piece {
    pub(super) const fn new(block: u64, key: Bytes, value: Bytes, room: [OwnedSemaphorePermit; 2]) -> Self {
        Self { block, key, value, retry: None, _room: room }
    }
}

/// What the driver is told.
#[derive(Debug)]
pub(super) enum Message {
    Piece(Piece),
    BlockGiven(u64),
    Settle(oneshot::Sender<()>),
}

type Answer = (Vec<Piece>, Result<GivenOutcome, AskError>);

/// See the [module](self).
pub(super) struct Driver<O> {
    outlet: Arc<O>,
    messages: mpsc::Receiver<Message>,
    /// Whether no more messages come.
    is_closed: bool,
    ready: VecDeque<Piece>,
    /// What has its turn again, by when.
    later: BTreeMap<Instant, Vec<Piece>>,
    calls: FuturesUnordered<BoxFuture<'static, Answer>>,
    ledger: Ledger,
    settling: Vec<oneshot::Sender<()>>,
    position: OutboxPosition,
    save_at: Instant,
    patience: Duration,
    /// When a piece last came to an end, or there was none.
    ended_at: Instant,
    tell: watch::Sender<OutboxProgress>,
}

impl<O: Outlet> Driver<O> {
    pub(super) fn new(
        outlet: O,
        messages: mpsc::Receiver<Message>,
        tell: watch::Sender<OutboxProgress>,
        position: OutboxPosition,
        patience: Duration,
    ) -> Self {
        Self {
            outlet: Arc::new(outlet),
            messages,
            is_closed: false,
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            calls: FuturesUnordered::new(),
            ledger: Ledger::new(position.next()),
            settling: Vec::new(),
            position,
            save_at: Instant::now(),
            patience,
            ended_at: Instant::now(),
            tell,
        }
    }

    /// Until everything has its end and nothing more comes, or it is given up.
    pub(super) async fn run(mut self) -> Result<(), OutboxError> {
        loop {
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
            self.call();
            if self.ledger.open() == 0 {
                self.ended_at = Instant::now();
                if self.is_closed || !self.settling.is_empty() {
                    self.settle().await?;
                }
                if self.is_closed {
                    return Ok(());
                }
            }
            let gives_up = self.ended_at + self.patience;
            let again = self.later.keys().next().copied();
            let unsaved = self.unsaved().map(|_| self.save_at);
            tokio::select! {
                message = self.messages.recv(), if !self.is_closed => match message {
                    Some(message) => self.take(message),
                    None => self.is_closed = true,
                },
                Some((pieces, answer)) = self.calls.next() => self.answered(pieces, answer)?,
                () = at(again) => self.wake(),
                () = at(unsaved) => self.save().await?,
                () = sleep_until(gives_up), if self.ledger.open() > 0 => return Err(self.stalled().await),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Piece(piece) => {
                self.ledger.give(piece.block);
                self.ready.push_back(piece);
                self.tell.send_modify(|progress| progress.open += 1);
            }
            Message::BlockGiven(block) => self.ledger.block_given(block),
            Message::Settle(settled) => self.settling.push(settled),
        }
    }

    /// Begins calls: full ones while others are under way, what there is if none is.
    fn call(&mut self) {
        while self.calls.len() < CALLS_AT_ONCE {
            let is_full = self.ready.len() >= CALL_PIECES;
            if self.ready.is_empty() || !is_full && !self.calls.is_empty() {
                return;
            }
            let (mut pieces, mut bytes) = (Vec::new(), 0);
            while pieces.len() < CALL_PIECES && bytes < CALL_BYTES {
                let Some(piece) = self.ready.pop_front() else { break };
                bytes += piece.value.len();
                pieces.push(piece);
            }
            let (outlet, items) = (
                Arc::clone(&self.outlet),
                pieces.iter().map(|piece| (piece.key.clone(), piece.value.clone())).collect(),
            );
            self.calls.push(Box::pin(async move { (pieces, outlet.offer(items).await) }));
        }
    }

    fn answered(&mut self, pieces: Vec<Piece>, answer: Result<GivenOutcome, AskError>) -> Result<(), OutboxError> {
        let (outcome, waiting) = match answer {
            Ok(outcome) => {
                let waiting = outcome.unproved.clone().map_or(Waiting::Peers, Waiting::Unproved);
                (outcome, waiting)
            }
            Err(AskError::Unreachable(error)) => (all_open(&pieces), Waiting::Unreachable(error.to_string())),
            Err(AskError::Unknown(error)) => return Err(OutboxError::Unknown(error.to_string())),
            Err(AskError::Refused(refusal)) => match refusal.code {
                error::STOPPING | error::INTERNAL | error::DISK_FAILED | error::TOO_MANY_CALLS => {
                    (all_open(&pieces), Waiting::Refused(refusal.message))
                }
                _ => return Err(OutboxError::Refused(refusal)),
            },
        };
        let open: BTreeSet<usize> = outcome.open.iter().copied().filter(|place| *place < pieces.len()).collect();
        let ended = (pieces.len() - open.len()) as u64;
        let now = Instant::now();
        for (place, piece) in pieces.into_iter().enumerate() {
            if open.contains(&place) {
                let retry = Retry::after(piece.retry, now);
                self.later.entry(retry.at).or_default().push(Piece { retry: Some(retry), ..piece });
            } else {
                self.ledger.end(piece.block);
            }
        }
        if ended > 0 {
            self.ended_at = now;
        }
        let placed = outcome.placed.min(ended);
        self.tell.send_modify(|progress| {
            progress.placed += placed;
            progress.unclaimed += ended - placed;
            progress.accepted += outcome.accepted;
            progress.bytes += outcome.bytes;
            progress.open = self.ledger.open();
            if ended > 0 {
                progress.waiting = None;
            } else {
                progress.waiting = Some(waiting);
            }
            if progress.placed > 0 {
                progress.next = self.ledger.next();
            }
        });
        if self.tell.borrow().unclaimed >= TELLING { self.somebody_takes() } else { Ok(()) }
    }

    /// What waited for this moment has its turn.
    fn wake(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.later.first_entry().filter(|due| *due.key() <= now) {
            self.ready.extend(due.remove());
        }
    }

    /// A network in which nobody keeps any of it has not got it: that is no end for the position.
    fn somebody_takes(&self) -> Result<(), OutboxError> {
        let progress = self.tell.borrow();
        match (progress.placed, progress.unclaimed) {
            (0, pieces @ 1..) => Err(OutboxError::NobodyTakes { block: self.position.next(), pieces }),
            _ => Ok(()),
        }
    }

    /// Nothing is open: tells those who wait for that.
    async fn settle(&mut self) -> Result<(), OutboxError> {
        self.somebody_takes()?;
        self.tell.send_modify(|progress| progress.next = self.ledger.next());
        self.save().await?;
        for settled in self.settling.drain(..) {
            // Whoever does not wait any more needs not be told.
            let _ = settled.send(());
        }
        Ok(())
    }

    /// The position, if it is farther than the file says.
    fn unsaved(&self) -> Option<u64> {
        Some(self.tell.borrow().next).filter(|next| *next > self.position.next())
    }

    async fn save(&mut self) -> Result<(), OutboxError> {
        if let Some(next) = self.unsaved() {
            self.position.save(next).await?;
            self.save_at = Instant::now() + SAVE_INTERVAL;
        }
        Ok(())
    }

    async fn stalled(mut self) -> OutboxError {
        if let Err(error) = self.save().await {
            return error;
        }
        let waiting = self.tell.borrow().waiting.clone().unwrap_or(Waiting::Peers);
        OutboxError::Stalled { block: self.ledger.next(), open: self.ledger.open(), patience: self.patience, waiting }
    }
}

fn all_open(pieces: &[Piece]) -> GivenOutcome {
    GivenOutcome { open: (0..pieces.len()).collect(), ..GivenOutcome::default() }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
