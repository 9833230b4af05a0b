//! From the network to whatever writes: a range of blocks, several under way at once, handed on in order.

use std::{pin::pin, time::Duration};

use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use crate::{
    cli::{BlockRange, FetchArgs},
    commands::blocking,
    failure::Failure,
};

/// Blocks that wait to be written while the next ones arrive, beside those that are being fetched.
const BLOCKS_AHEAD: usize = 16;
/// Most blocks that are fetched at once, whatever was asked for: of 100 kB each, they take up 100 MB.
const MAX_PARALLEL: usize = 1024;

/// Fetches the range and hands it on in order to `write`, which runs on a thread of its own. What is being fetched goes on
/// while that thread is busy: nothing is begun before there is room for it, and so nothing that was fetched has to wait
/// for room, with the others' clocks running.
pub(super) async fn hand_over<T: Send + 'static, R: Send + 'static, F: Future<Output = Result<T, Failure>>>(
    args: &FetchArgs,
    bar: &ProgressBar,
    fetch: impl Fn(u64) -> F,
    write: impl FnOnce(mpsc::Receiver<T>) -> Result<R, Failure> + Send + 'static,
) -> Result<R, Failure> {
    let (limit, parallel) = (Duration::from_secs(args.timeout), args.parallel.clamp(1, MAX_PARALLEL));
    let (sender, receiver) = mpsc::channel(parallel.saturating_add(BLOCKS_AHEAD));
    let writing = tokio::spawn(blocking(move || write(receiver)));
    let unwanted = {
        let sender = sender.clone();
        async move { sender.closed().await }
    };
    let fetched = tokio::select! {
        sent = send(args.range(), parallel, sender, |number| within(limit, number, fetch(number)), bar) => sent,
        // The writer ended before the range did, and says why; nobody waits for what is under way.
        () = unwanted => Ok(()),
    };
    // The writer ends with its channel; without a whole range it takes its temporary file away.
    let made = writing.await.map_err(|error| Failure::Internal(error.to_string()))?;
    bar.finish_and_clear();
    fetched?;
    made
}

/// Fetches blocks and sends them in order, until the receiver ends.
async fn send<T, F: Future<Output = Result<T, Failure>>>(
    blocks: BlockRange,
    parallel: usize,
    sender: mpsc::Sender<T>,
    fetch: impl Fn(u64) -> F,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let with_room = stream::iter(blocks.first..=blocks.last).then(|number| {
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
        bar.inc(1);
    }
    Ok(())
}

/// `work`, given up after `limit`.
async fn within<T>(limit: Duration, number: u64, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Failure::NotFound(format!(
            "block {number} was not found within {} s (--timeout gives it longer)",
            limit.as_secs()
        )))
    })
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use clap::Parser;
    use futures::poll;

    use super::*;
    use crate::cli::{Cli, Command};

    #[tokio::test]
    async fn what_is_under_way_is_given_up_when_nobody_takes_it() {
        let line = ["cairn", "fetch", "0..100", "--parallel", "4", "--timeout", "5"];
        let Command::Fetch(args) = Cli::try_parse_from(line).unwrap().command else { panic!("{line:?}") };
        // The first block comes, the others never do.
        let fetch = |number| async move { if number == 0 { Ok(number) } else { pending().await } };
        let write = |mut blocks: mpsc::Receiver<u64>| match blocks.blocking_recv() {
            Some(0) => Err::<(), _>(Failure::Unread),
            other => panic!("{other:?}"),
        };
        let outcome = hand_over(&args, &ProgressBar::hidden(), fetch, write).await;
        assert!(matches!(outcome, Err(Failure::Unread)), "{outcome:?}");
    }

    #[tokio::test]
    async fn nothing_is_begun_without_room_for_it() {
        let begun = Cell::new(0);
        let fetch = |number| {
            begun.set(begun.get() + 1);
            async move { Ok(number) }
        };
        let (sender, mut receiver) = mpsc::channel(3);
        let (blocks, bar) = (BlockRange { first: 5, last: 20 }, ProgressBar::hidden());
        let mut sending = pin!(send(blocks, 2, sender, fetch, &bar));
        assert!(poll!(&mut sending).is_pending());
        assert_eq!((begun.get(), receiver.try_recv()), (3, Ok(5)));
        assert!(poll!(&mut sending).is_pending());
        assert_eq!((begun.get(), receiver.try_recv(), receiver.try_recv()), (4, Ok(6), Ok(7)));
        drop(receiver);
        assert!(sending.await.is_ok());
    }
}
