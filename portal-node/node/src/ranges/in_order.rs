//! Blocks that are fetched several at once, and handed on in order to whatever writes.

use std::ops::RangeInclusive;
use std::pin::pin;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::workers::{Stopping, blocking, result_of};

/// Blocks that wait to be written while the next ones arrive, beside those that are being fetched.
const BLOCKS_AHEAD: usize = 16;
/// Most blocks that are fetched at once, whatever was asked for: of 100 kB each, they take up 100 MB.
pub const MAX_PARALLEL: usize = 1024;

/// How blocks are fetched one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many at once; up to [`MAX_PARALLEL`].
    pub parallel: usize,
    /// The longest that one may take.
    pub limit: Duration,
}

/// A block did not come in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {block} was not found within {} s", limit.as_secs())]
pub struct TookTooLong {
    /// Which one.
    pub block: u64,
    /// How long it could take.
    pub limit: Duration,
}

/// Fetches the range and hands it on in order to `write`, which runs on a thread of its own; `sent` is called after each
/// block. What is being fetched goes on while that thread is busy: nothing is begun before there is room for it, and so
/// nothing that was fetched has to wait for room, with the others' clocks running.
///
/// # Errors
/// The first failure to fetch, in the order of the blocks, or that of `write`.
pub async fn in_order<T, R, E, F>(
    blocks: RangeInclusive<u64>,
    pace: Pace,
    fetch: impl Fn(u64) -> F,
    write: impl FnOnce(mpsc::Receiver<T>) -> Result<R, E> + Send + 'static,
    sent: impl FnMut(),
) -> Result<R, E>
where
    T: Send + 'static,
    R: Send + 'static,
    E: From<TookTooLong> + From<Stopping> + Send + 'static,
    F: Future<Output = Result<T, E>>,
{
    let Pace { parallel, limit } = pace;
    let parallel = parallel.clamp(1, MAX_PARALLEL);
    let (sender, receiver) = mpsc::channel(parallel.saturating_add(BLOCKS_AHEAD));
    let writing = tokio::spawn(blocking(move || write(receiver)));
    let unwanted = {
        let sender = sender.clone();
        async move { sender.closed().await }
    };
    let fetched = tokio::select! {
        fetched = send(blocks, parallel, sender, |block| within(limit, block, fetch(block)), sent) => fetched,
        // The writer ended before the range did, and says why; nobody waits for what is under way.
        () = unwanted => Ok(()),
    };
    // The writer ends with its channel; without a whole range it is for it to leave nothing behind.
    let made = result_of(writing.await);
    fetched?;
    made??
}

/// Fetches blocks and sends them in order, until the receiver ends.
async fn send<T, E, F: Future<Output = Result<T, E>>>(
    blocks: RangeInclusive<u64>,
    parallel: usize,
    sender: mpsc::Sender<T>,
    fetch: impl Fn(u64) -> F,
    mut sent: impl FnMut(),
) -> Result<(), E> {
    let with_room = stream::iter(blocks).then(|number| {
        let room = sender.clone().reserve_owned();
        async move { (number, room.await) }
    });
    let fetched = with_room.map(|(number, room)| {
        let fetch = fetch(number);
        async move {
            match room {
                Ok(room) => Ok(Some((room, fetch.await?))),
                Err(_) => Ok(None),
            }
        }
    });
    let mut fetched = pin!(fetched.buffered(parallel));
    while let Some(next) = fetched.next().await {
        let Some((room, value)) = next? else { break };
        room.send(value);
        sent();
    }
    Ok(())
}

/// `work`, given up after `limit`.
async fn within<T, E: From<TookTooLong>>(
    limit: Duration,
    block: u64,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(TookTooLong { block, limit }.into()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use futures::poll;

    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Failure {
        #[error(transparent)]
        TookTooLong(#[from] TookTooLong),
        #[error(transparent)]
        Stopping(#[from] Stopping),
        #[error("not written")]
        Unwritten,
    }

    const PACE: Pace = Pace { parallel: 4, limit: Duration::from_secs(5) };

    #[tokio::test]
    async fn what_is_under_way_is_given_up_when_nobody_takes_it() {
        // The first block comes, the others never do.
        let fetch = |number| async move { if number == 0 { Ok(number) } else { pending().await } };
        let write = |mut blocks: mpsc::Receiver<u64>| match blocks.blocking_recv() {
            Some(0) => Err::<(), _>(Failure::Unwritten),
            other => panic!("{other:?}"),
        };
        assert_eq!(in_order(0..=99, PACE, fetch, write, || {}).await, Err(Failure::Unwritten));
    }

    #[tokio::test]
    async fn a_block_that_never_comes_is_named() {
        let pace = Pace { limit: Duration::from_millis(1), ..PACE };
        let fetch = |number| async move { if number < 7 { Ok(number) } else { pending().await } };
        let write = |mut blocks: mpsc::Receiver<u64>| {
            while blocks.blocking_recv().is_some() {}
            Ok(())
        };
        let outcome: Result<(), Failure> = in_order(5..=9, pace, fetch, write, || {}).await;
        assert_eq!(outcome, Err(TookTooLong { block: 7, limit: pace.limit }.into()));
    }

    #[tokio::test]
    async fn nothing_is_begun_without_room_for_it() {
        let begun = Cell::new(0);
        let fetch = |number| {
            begun.set(begun.get() + 1);
            async move { Ok::<_, Failure>(number) }
        };
        let (sender, mut receiver) = mpsc::channel(3);
        let mut sending = pin!(send(5..=20, 2, sender, fetch, || {}));
        assert!(poll!(&mut sending).is_pending());
        assert_eq!((begun.get(), receiver.try_recv()), (3, Ok(5)));
        assert!(poll!(&mut sending).is_pending());
        assert_eq!((begun.get(), receiver.try_recv(), receiver.try_recv()), (4, Ok(6), Ok(7)));
        drop(receiver);
        assert!(sending.await.is_ok());
    }
}
