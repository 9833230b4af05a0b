//! Ranges as archives: `cairn fetch --era`, and files that end in `.ere` or `.era1`. What is fetched, and how, is the library's;
//! here is what a person sees of it.

use std::{collections::BTreeMap, path::Path, pin::pin, time::Duration};

use cairn_node::{
    Node,
    ranges::{EraMade, Made, Pace, RangeError, RangeProgress, WantedEras, Ways},
    swarm::{FetchArchiveError, FetchProgress, WantedArchive, peers_of, quic::SwarmFetchError},
};
use indicatif::{HumanBytes, ProgressBar};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::common::{bar, missing, pace, tell};
use crate::{
    advice::advice,
    cli::{BlockRange, FetchArgs},
    failure::Failure,
    output,
    progress::{Board, Stand},
    settings::Settings,
};

/// How often it is looked at how far the fetch is.
const LOOK: Duration = Duration::from_millis(250);

/// Fetches each era into a file of its own; those that are there are left alone.
pub(super) async fn fetch_eras(
    node: &Node,
    settings: &Settings,
    args: &FetchArgs,
    eras: BlockRange,
    folder: &Path,
) -> Result<(), Failure> {
    let mut eras = node.fetch_eras(WantedEras {
        folder: folder.to_owned(),
        eras: eras.numbers(),
        format: args.from_peers.archive_format.into(),
        profile: args.profile.into(),
        patience: Duration::from_secs(args.from_peers.timeout),
        web_seeds: args.from_peers.web_seed.clone(),
    });
    let progress = eras.progress();
    // An interrupt ends the process; what came is kept all the same.
    let stop = CancellationToken::new();
    while let Some((era, had)) = shown(eras.next(&stop), &progress, args).await {
        match had.map_err(|error| range_failure(&name_of(Some(era)), error))? {
            EraMade::There(path) if settings.json => output::json(&json!({ "to": path, "there": true }))?,
            EraMade::There(path) => {
                output::remark(format_args!("era {era} is there already"));
                output::line(path.display())?;
            }
            EraMade::Fetched(made) => report(settings, &made)?,
        }
    }
    Ok(())
}

/// Fetches a range into one archive.
pub(super) async fn fetch_range(
    node: &Node,
    settings: &Settings,
    args: &FetchArgs,
    wanted: WantedArchive,
) -> Result<(), Failure> {
    let Pace { limit: patience, .. } = pace(args);
    let fetch = node.fetch_range(wanted, Ways { patience, pace: pace(args) });
    let progress = fetch.progress();
    let stop = CancellationToken::new();
    let made = shown(fetch.run(&stop), &progress, args).await;
    report(settings, &made.map_err(|error| range_failure(&name_of(None), error))?)
}

/// Says where the archive is, and how it came.
fn report(settings: &Settings, made: &Made) -> Result<(), Failure> {
    let Made { path, took, served } = made;
    match served {
        _ if !settings.json => output::line(path.display()),
        None => output::json(&json!({ "to": path })),
        Some(served) => output::json(&json!({
            "to": path, "seconds": took.as_secs_f64(), "received": served.received, "kept": served.kept,
            "invalid": served.invalid, "peers": served.peers.len(),
        })),
    }
}

/// Shows how far it is until it is done.
async fn shown<T>(running: impl Future<Output = T>, progress: &watch::Receiver<RangeProgress>, args: &FetchArgs) -> T {
    let (mut running, mut screen) = (pin!(running), Screen::Empty);
    loop {
        let done = tokio::select! {
            done = &mut running => Some(done),
            () = tokio::time::sleep(LOOK) => None,
        };
        let now = progress.borrow().clone();
        screen.show(&now, args);
        if let Some(done) = done {
            screen.clear();
            return done;
        }
    }
}

/// What is on the screen.
enum Screen {
    Empty,
    Board(Board),
    Bar(ProgressBar),
}

impl Screen {
    fn show(&mut self, now: &RangeProgress, args: &FetchArgs) {
        match now {
            RangeProgress::Waiting => {}
            RangeProgress::Served { era, fetch } => {
                if !matches!(self, Self::Board(_)) {
                    self.clear();
                    *self = Self::Board(Board::new(args.from_peers.per_peer));
                }
                if let Self::Board(board) = self {
                    board.show(&BTreeMap::from([(0, stand(&name_of(*era), fetch))]), &peers_of(fetch));
                }
            }
            RangeProgress::LookedUp { done } => {
                if !matches!(self, Self::Bar(_)) {
                    self.clear();
                    *self = Self::Bar(bar(args.range()));
                }
                if let Self::Bar(bar) = self {
                    bar.set_position(*done);
                }
            }
        }
    }

    fn clear(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
        *self = Self::Empty;
    }
}

fn name_of(era: Option<u64>) -> String {
    era.map_or_else(|| "fetching blocks".to_owned(), |era| format!("era {era}"))
}

/// How far a fetch is.
pub(in crate::commands) fn stand(what: &str, now: &FetchProgress) -> Stand {
    let rate: u64 = now.peers.iter().map(|peer| peer.rate).sum();
    Stand {
        what: format!("{what}, {} peers, {}/s", now.peers.len(), HumanBytes(rate)),
        items: now.total.wanted,
        done: now.total.wanted.saturating_sub(now.total.missing),
    }
}

fn range_failure(what: &str, error: RangeError) -> Failure {
    let cause = error.cause();
    match error {
        RangeError::Served(FetchArchiveError::Unserved(unserved)) => {
            let message = format!("{what}: {unserved}; what came is kept, and the same command goes on with it");
            Failure::not_found(message, cause, "").with_mirrors(&unserved.mirrors)
        }
        RangeError::Mirrors { mirrors, instead } => range_failure(what, *instead).with_mirrors(&mirrors),
        RangeError::Served(error) => failure(error),
        RangeError::Plan(error) => error.into(),
        RangeError::Piece(error) => missing(error),
        RangeError::TookTooLong(error) => error.into(),
        RangeError::NoProof { is_kept, ref source, .. } => {
            tell(source.trace());
            let instead = if is_kept {
                "; an .ere file does without proofs if you give --no-proofs"
            } else {
                "; total difficulties begin with what it tells, except in a range that begins with block 0"
            };
            Failure::not_found(error.to_string(), cause, instead)
        }
        RangeError::Proof { .. } | RangeError::OtherProof { .. } | RangeError::NoTotalDifficulty { .. } => {
            Failure::Invalid(format!("{error}: the same command asks other peers, too"))
        }
        RangeError::Archive(error) => Failure::archive(&error),
        RangeError::NoLegacyHistory | RangeError::Stopping(_) => Failure::Internal(error.to_string()),
    }
}

pub(in crate::commands) fn failure(error: FetchArchiveError) -> Failure {
    match &error {
        FetchArchiveError::Archive(error) => Failure::archive(error),
        FetchArchiveError::NoQuic => Failure::Configuration(format!("{error}: leave out --quic none")),
        FetchArchiveError::Folder { source, .. } => Failure::Io(format!("{error}{}", advice(source))),
        FetchArchiveError::Unserved(unserved) => {
            Failure::not_found(error.to_string(), Some(unserved.cause), "").with_mirrors(&unserved.mirrors)
        }
        FetchArchiveError::Fetch(source @ SwarmFetchError::Unproved { .. }) => Failure::Unproved(format!(
            "{source}; what came is kept: `cairn trust show` tells how far the lists reach, `cairn trust import` takes newer ones"
        )),
        FetchArchiveError::Fetch(source) => Failure::of_files(source),
        FetchArchiveError::Stopping(_) => Failure::Internal(error.to_string()),
    }
}
