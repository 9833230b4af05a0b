//! `cairn sync`: whole eras into a folder, within a budget, from whoever serves them over QUIC. The peer that fetches serves what
//! is whole.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use bytesize::ByteSize;
use cairn_archive::write::Plan;
use cairn_node::{
    Node, NotFoundCause,
    ranges::{Profile, plan_of_era},
    swarm::{EraEnd, MirrorTrouble, Order, PeerState, SyncOptions, SyncProgress, peers_of},
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    fetch::ranges::{failure, stand},
    peer,
};
use crate::{
    cli::{SyncArgs, SyncOrder},
    failure::Failure,
    output,
    progress::Board,
    settings::Settings,
};

/// How often it is looked at how far it is.
const LOOK: Duration = Duration::from_millis(250);
/// Eras of one command, at most: those of a chain of 67 million blocks.
const MAX_ERAS: u64 = 8192;

pub(crate) async fn sync(settings: &Settings, args: SyncArgs) -> Result<(), Failure> {
    if args.eras.count() > MAX_ERAS {
        return Err(Failure::Configuration(format!(
            "--eras: {} eras are more than {MAX_ERAS}: give fewer",
            args.eras.count()
        )));
    }
    let chain = settings.chain()?;
    let plan = |era| plan_of_era(&chain, args.from_peers.archive_format.into(), era, Profile::WHOLE);
    let plans: Vec<Plan> = args.eras.numbers().map(plan).collect::<Result<_, _>>()?;
    let folder = match &args.out {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| Failure::io(folder, error))?;
            folder.clone()
        }
        None => peer::archives_folder(&settings.data_dir()?)?,
    };
    let (node, _scratch) = peer::start_passing(settings, args.from_peers.network.clone(), vec![folder.clone()]).await?;
    let options = SyncOptions {
        folder,
        plans,
        order: match args.order {
            SyncOrder::Sequential => Order::Sequential,
            SyncOrder::Rarest => Order::RarestFirst,
        },
        capacity: args.capacity.map(|capacity| capacity.as_u64()),
        at_once: args.parallel,
        patience: Duration::from_secs(args.from_peers.timeout),
        web_seeds: args.from_peers.web_seed,
    };
    let outcome = sync_with(&node, settings, options, args.from_peers.per_peer).await;
    node.shutdown().await;
    outcome
}

async fn sync_with(node: &Node, settings: &Settings, options: SyncOptions, per_peer: bool) -> Result<(), Failure> {
    node.prepare_to_fetch().await;
    let (folder, capacity) = (options.folder.clone(), options.capacity);
    let sync = node.sync(options).map_err(failure)?;
    let progress = sync.progress();
    // One end for each era at most, taken by the loop below, which waits for nothing else than these.
    let (sender, mut ends) = mpsc::unbounded_channel();
    // An interrupt ends the process; what came is kept all the same.
    let stop = CancellationToken::new();
    let mut running = pin!(sync.run(sender, &stop));
    let mut board = Board::new(per_peer);
    let mut summary = Summary::default();
    let mut outcome = None;
    // The sender goes with what runs: after that there are no more ends.
    loop {
        tokio::select! {
            ended = &mut running, if outcome.is_none() => outcome = Some(ended),
            end = ends.recv() => match end {
                Some((era, end)) => board.suspend(|| summary.note(settings, era, end))?,
                None => break,
            },
            () = tokio::time::sleep(LOOK), if outcome.is_none() => {}
        }
        show(&mut board, &progress.borrow());
    }
    drop(board);
    if let Some(Err(error)) = outcome {
        return Err(failure(error));
    }
    summary.used = progress.borrow().used.max(summary.used);
    summary.tell(settings, &folder, capacity)
}

fn show(board: &mut Board, now: &SyncProgress) {
    let stands = now.running.iter().map(|(era, progress)| (*era, stand(&format!("era {era}"), progress)));
    board.show(&stands.collect(), &peers(now));
}

/// The peers of all eras under way, each once.
fn peers(now: &SyncProgress) -> Vec<PeerState> {
    let mut all = BTreeMap::<String, PeerState>::new();
    for peer in now.running.iter().flat_map(|(_, progress)| peers_of(progress)) {
        match all.get_mut(&peer.node_id) {
            None => drop(all.insert(peer.node_id.clone(), peer)),
            Some(there) => {
                there.rate += peer.rate;
                there.received += peer.received;
                there.requests += peer.requests;
                there.offences += peer.offences;
                there.last_offence = there.last_offence.take().or(peer.last_offence);
            }
        }
    }
    all.into_values().collect()
}

/// How the eras came out.
#[derive(Debug, Default)]
struct Summary {
    there: u64,
    fetched: u64,
    used: u64,
    no_room: Vec<u64>,
    unserved: Vec<u64>,
    failed: Vec<u64>,
    failure: Option<Failure>,
    /// Why nobody serves them: that no peer answers counts where it is so of each.
    cause: Option<NotFoundCause>,
    /// Why mirrors gave nothing of eras that nobody serves, each reason once.
    mirrors: Vec<MirrorTrouble>,
}

impl Summary {
    /// Takes note of an era, and prints what there is to print of it.
    fn note(&mut self, settings: &Settings, era: u64, end: EraEnd) -> Result<(), Failure> {
        let file = |outcome: &str, path: PathBuf, received: u64| {
            if settings.json {
                output::json(&json!({ "era": era, "outcome": outcome, "file": path, "received": received }))
            } else {
                output::line(path.display())
            }
        };
        let nothing = |outcome: &str| {
            if settings.json { output::json(&json!({ "era": era, "outcome": outcome })) } else { Ok(()) }
        };
        match end {
            EraEnd::There(path) => {
                self.there += 1;
                file("there", path, 0)
            }
            EraEnd::Fetched { path, received, .. } => {
                self.fetched += 1;
                file("fetched", path, received)
            }
            EraEnd::NoRoom => {
                self.no_room.push(era);
                nothing("noRoom")
            }
            EraEnd::Unserved { missing, wanted, cause, mirrors } => {
                self.unserved.push(era);
                if self.cause.is_none() || cause == NotFoundCause::NobodyHasIt {
                    self.cause = Some(cause);
                }
                let is_new = |mirror: &MirrorTrouble| !self.mirrors.contains(mirror);
                let new: Vec<_> = mirrors.into_iter().filter(is_new).collect();
                self.mirrors.extend(new);
                if wanted > 0 {
                    output::remark(format_args!(
                        "era {era}: nobody serves {missing} of {wanted} items; what came is kept"
                    ));
                }
                nothing("unserved")
            }
            EraEnd::Failed(error) => {
                let failure = failure(error);
                self.failed.push(era);
                output::remark(format_args!("era {era}: {failure}"));
                self.failure.get_or_insert(failure);
                nothing("failed")
            }
        }
    }

    /// Says how it went; an era that could not be had is a failure, one that does not fit is as was asked for.
    fn tell(self, settings: &Settings, folder: &Path, capacity: Option<u64>) -> Result<(), Failure> {
        let Self { there, fetched, used, mut no_room, mut unserved, mut failed, failure, cause, mirrors } = self;
        [&mut no_room, &mut unserved, &mut failed].into_iter().for_each(|eras| eras.sort_unstable());
        if settings.json {
            output::json(&json!({
                "folder": folder, "there": there, "fetched": fetched, "used": used, "capacity": capacity,
                "noRoom": no_room, "unserved": unserved, "failed": failed,
            }))?;
        }
        let of = capacity.map(|capacity| format!(" of {}", ByteSize(capacity).display().si())).unwrap_or_default();
        output::remark(format_args!(
            "{} eras are in {}, {fetched} of them fetched now; its archives take {}{of}",
            there + fetched,
            folder.display(),
            ByteSize(used).display().si(),
        ));
        if !no_room.is_empty() {
            output::remark(format_args!("no room within --capacity for {}", named(&no_room)));
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !unserved.is_empty() {
            let message =
                format!("nobody serves all of {}; the same command goes on with what is missing", named(&unserved));
            return Err(Failure::not_found(message, cause, "").with_mirrors(&mirrors));
        }
        Ok(())
    }
}

/// Eras as a person says them.
fn named(eras: &[u64]) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for era in eras {
        match spans.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*era) => *last = *era,
            _ => spans.push((*era, *era)),
        }
    }
    let span = |(first, last): &(u64, u64)| {
        if first == last { first.to_string() } else { format!("{first} to {last}") }
    };
    let plural = if eras.len() == 1 { "" } else { "s" };
    format!("era{plural} {}", spans.iter().map(span).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eras_that_follow_each_other_are_named_together() {
        assert_eq!(named(&[3]), "era 3");
        assert_eq!(named(&[3, 4, 5, 9, 11, 12]), "eras 3 to 5, 9, 11 to 12");
    }
}
