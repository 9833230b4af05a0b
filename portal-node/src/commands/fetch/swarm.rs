//! Ranges as archives, from every peer at once that serves them over QUIC: `cairn fetch --era`, and files that end in `.ere`
//! or `.era1`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, Instant},
};

use cairn_archive::{ArchiveName, Format, MAX_BLOCKS, write::Plan};
use cairn_node::{
    Node,
    swarm::{FetchArchiveError, FetchProgress, Order, WantedArchive, peers_of, quic::FetchError},
};
use content_types::ChainSpec;
use indicatif::HumanBytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::archive::{ArchiveFile, plan};
use crate::{
    advice::advice,
    cli::{ArchiveFormat, BlockRange, FetchArgs, Profile},
    failure::Failure,
    output,
    progress::{Board, Stand},
    settings::Settings,
};

/// How long somebody is sought who serves a range over QUIC, before it is fetched item by item.
const SEEK_TIME: Duration = Duration::from_secs(4);

/// How often it is looked at how far the fetch is.
const LOOK: Duration = Duration::from_millis(250);

/// Fetches each era into a file of its own; those that are there are left alone.
pub(super) async fn fetch_eras(
    node: &Node,
    settings: &Settings,
    args: &FetchArgs,
    folder: &Path,
) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::io(folder, error))?;
    let format = format_of(args.archive_format);
    let range = args.range();
    for era in range.first / MAX_BLOCKS..=range.last / MAX_BLOCKS {
        if let Some(there) = existing(folder, node.chain().name(), era, format, args.profile)? {
            tracing::info!(era, file = %there.display(), "the era is there");
            continue;
        }
        let wanted = WantedArchive {
            folder: folder.to_owned(),
            name: None,
            plan: plan_of(node.chain(), format, era, args.profile)?,
            order: Order::RarestFirst,
            web_seeds: args.web_seed.clone(),
        };
        let limit = Duration::from_secs(args.timeout);
        let limits = Limits { nobody: limit, nothing: limit };
        let fetched = fetch_one(node, wanted, &format!("era {era}"), limits, args.per_peer).await;
        let (made, report) = fetched.map_err(Unmade::into_failure)?;
        if settings.json {
            output::json(&report)?;
        } else {
            output::line(made.display())?;
        }
    }
    Ok(())
}

pub(in crate::commands) fn format_of(format: ArchiveFormat) -> Format {
    match format {
        ArchiveFormat::Era1 => Format::Era1,
        ArchiveFormat::Ere => Format::Ere,
    }
}

/// The archive of an era. As era1 the one in which the merge lies ends with it.
pub(in crate::commands) fn plan_of(
    chain: &ChainSpec,
    format: Format,
    era: u64,
    profile: Profile,
) -> Result<Plan, Failure> {
    let first = era.saturating_mul(MAX_BLOCKS);
    let last = first.saturating_add(MAX_BLOCKS - 1);
    let last_mined = chain.merge_block().map_or(u64::MAX, |merge| merge.saturating_sub(1));
    let is_cut = format == Format::Era1 && chain.is_pre_merge(first);
    let last = if is_cut { last.min(last_mined) } else { last };
    plan(chain, format, BlockRange { first, last }, profile)
}

/// The archive of an era that is in the folder already. It has its name because it is whole.
fn existing(
    folder: &Path,
    network: &str,
    era: u64,
    format: Format,
    profile: Profile,
) -> Result<Option<PathBuf>, Failure> {
    let failed = |error| Failure::io(folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse);
        let is_it = |name: &ArchiveName| {
            let has_parts =
                format == Format::Era1 || (name.proofs != profile.no_proofs && name.receipts != profile.no_receipts);
            (name.network.as_str(), name.era, name.format) == (network, era, format) && has_parts
        };
        if name.is_some_and(|name| is_it(&name)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Fetches one archive if anybody serves of it over QUIC; false if nobody does.
pub(super) async fn fetch_range(
    node: &Node,
    settings: &Settings,
    args: &FetchArgs,
    file: &ArchiveFile,
) -> Result<bool, Failure> {
    let name = Some(file.name.clone());
    let wanted = WantedArchive {
        folder: file.folder.clone(),
        name,
        plan: file.plan.clone(),
        order: Order::Sequential,
        web_seeds: args.web_seed.clone(),
    };
    let nothing = Duration::from_secs(args.timeout);
    // With a mirror there is somebody.
    let nobody = if args.web_seed.is_empty() { SEEK_TIME } else { nothing };
    let limits = Limits { nobody, nothing };
    match fetch_one(node, wanted, "fetching blocks", limits, args.per_peer).await {
        Ok((made, report)) => {
            if settings.json {
                output::json(&report)?
            } else {
                output::line(made.display())?
            }
            Ok(true)
        }
        Err(Unmade::Nobody(_)) => Ok(false),
        Err(Unmade::Failed(failure)) => Err(failure),
    }
}

/// How long is waited while nobody serves what is missing.
struct Limits {
    /// Before anything came.
    nobody: Duration,
    /// After that.
    nothing: Duration,
}

/// Why no archive was made.
enum Unmade {
    /// Nobody served anything of it.
    Nobody(Failure),
    Failed(Failure),
}

impl Unmade {
    fn into_failure(self) -> Failure {
        match self {
            Self::Nobody(failure) | Self::Failed(failure) => failure,
        }
    }
}

/// Fetches one archive; its path, and figures of the fetch.
async fn fetch_one(
    node: &Node,
    wanted: WantedArchive,
    what: &str,
    limits: Limits,
    per_peer: bool,
) -> Result<(PathBuf, serde_json::Value), Unmade> {
    let begun = Instant::now();
    let fetch = match node.fetch_archive(wanted).await {
        Err(error @ FetchArchiveError::NoQuic) => return Err(Unmade::Nobody(failure(error))),
        begun => begun.map_err(|error| Unmade::Failed(failure(error)))?,
    };
    let updates = fetch.progress();
    let stop = CancellationToken::new();
    let mut board = Board::new(per_peer);
    let mut running = pin!(fetch.run(&stop));
    let mut last_kept = (0, Instant::now());
    let made = loop {
        tokio::select! {
            outcome = &mut running => break outcome,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = updates.borrow().clone();
        show(&mut board, what, &now);
        if now.kept > last_kept.0 || now.total.unreachable < now.total.missing {
            last_kept = (now.kept, Instant::now());
            continue;
        }
        let limit = if now.kept == 0 { limits.nobody } else { limits.nothing };
        if last_kept.1.elapsed() > limit {
            stop.cancel();
            let _ = running.await;
            drop(board);
            let Missing { missing, wanted, peers } = Missing::of(&now);
            let failure = Failure::NotFound(format!(
                "{what}: nobody serves {missing} of {wanted} items ({peers} peers with QUIC connected, waited {} s); what came \
                 is kept, and the same command goes on with it",
                limit.as_secs()
            ));
            return Err(if now.kept == 0 { Unmade::Nobody(failure) } else { Unmade::Failed(failure) });
        }
    };
    let last = updates.borrow().clone();
    show(&mut board, what, &last);
    drop(board);
    let made = made.map_err(|error| Unmade::Failed(failure(error)))?;
    let seconds = begun.elapsed().as_secs_f64();
    let report = json!({
        "to": made, "seconds": seconds, "received": last.received, "kept": last.kept, "invalid": last.invalid,
        "peers": last.peers.len(),
    });
    Ok((made, report))
}

struct Missing {
    missing: u64,
    wanted: u64,
    peers: usize,
}

impl Missing {
    fn of(now: &FetchProgress) -> Self {
        Self { missing: now.total.missing, wanted: now.total.wanted, peers: now.peers.len() }
    }
}

fn show(board: &mut Board, what: &str, now: &FetchProgress) {
    board.show(&BTreeMap::from([(0, stand(what, now))]), &peers_of(now));
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

pub(in crate::commands) fn failure(error: FetchArchiveError) -> Failure {
    match &error {
        FetchArchiveError::Archive(error) => Failure::archive(error),
        FetchArchiveError::NoQuic => Failure::Configuration(format!("{error}: leave out --quic none")),
        FetchArchiveError::Folder { source, .. } => Failure::Io(format!("{error}{}", advice(source))),
        FetchArchiveError::Fetch(source @ FetchError::Unproved { .. }) => Failure::NotFound(format!(
            "{source}; what came is kept: `cairn trust show` tells how far the lists reach, `cairn trust import` takes newer ones"
        )),
        FetchArchiveError::Fetch(source) => Failure::of_files(source),
        FetchArchiveError::Stopping(_) => Failure::Internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_era_of_the_merge_ends_with_it_as_era1() {
        let (chain, whole) = (ChainSpec::mainnet(), Profile { no_proofs: false, no_receipts: false });
        let blocks = |format, era| plan_of(&chain, format, era, whole).map(|plan| plan.blocks()).ok();
        assert_eq!(blocks(Format::Era1, 2), Some(16_384..=24_575));
        assert_eq!(blocks(Format::Era1, 1896), Some(15_532_032..=15_537_393));
        assert_eq!(blocks(Format::Era1, 1897), None);
        assert_eq!(blocks(Format::Ere, 1896), Some(15_532_032..=15_540_223));
    }

    #[test]
    fn an_era_that_is_there_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        let whole = Profile { no_proofs: false, no_receipts: false };
        let there = |era, format, profile| existing(folder.path(), "mainnet", era, format, profile).unwrap().is_some();
        for name in ["mainnet-00003-5ec1ffb8.ere", "mainnet-00004-5ec1ffb8-noproofs.ere", "sepolia-00005-5ec1ffb8.ere"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(folder.path().join(".cairn-mainnet-6-0-8191-ere.spool"), "").unwrap();
        assert!(there(3, Format::Ere, whole));
        assert!(!there(3, Format::Era1, whole) && !there(5, Format::Ere, whole) && !there(6, Format::Ere, whole));
        assert!(!there(4, Format::Ere, whole) && there(4, Format::Ere, Profile { no_proofs: true, ..whole }));
    }
}
