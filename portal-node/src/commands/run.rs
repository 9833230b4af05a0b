//! `cairn run` and `cairn seed`: a peer until it is told to stop.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use cairn_node::{
    Node, Status,
    seeding::{SeedHandle, SeedOptions, SeedProgress},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::peer;
use crate::{cli::SeedArgs, failure::Failure, flags::NodeArgs, output, progress, settings::Settings, signals::Signals};

/// How often the log says how far it is that archives are offered.
const OFFERED_INTERVAL: Duration = Duration::from_secs(60);

/// How long an orderly end may take after a part of the program has panicked.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(settings: &Settings, flags: NodeArgs, signals: &mut Signals) -> Result<(), Failure> {
    run_from(settings, flags, SeedOptions::default(), signals).await
}

async fn run_from(
    settings: &Settings,
    flags: NodeArgs,
    options: SeedOptions,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut config = peer::config(settings, flags)?;
    let capacity = config.capacity;
    // What was synced came from the network, and is served without being offered to it.
    let seeds = !config.seeds.is_empty();
    match peer::archives_folder(&config.data_dir) {
        Ok(synced) if config.seeds.iter().any(|seed| seed.canonicalize().ok() == synced.canonicalize().ok()) => {}
        Ok(synced) => config.seeds.push(synced),
        // Of a data folder that cannot be one, the start says more.
        Err(failure) => tracing::debug!(%failure, "no folder for eras that are synced"),
    }
    let mut starting = pin!(peer::start(config));
    let node = tokio::select! {
        started = &mut starting => started?,
        ended = signals.next() => {
            // What a start has begun, a router's port mapping among it, only a whole node takes back.
            tokio::select! {
                started = starting => {
                    stop(started?, None, signals, &ended).await;
                }
                () = gives_up(signals, &ended) => {}
            }
            return Err(ended);
        }
    };
    match announce(settings, &node, capacity) {
        // A peer is there to store and to serve, whether or not somebody reads what it is.
        Ok(()) | Err(Failure::Unread) => {}
        Err(failure) => {
            stop(node, None, signals, &failure).await;
            return Err(failure);
        }
    }
    let seeding = if seeds { Some(offer(&node, options)) } else { None };
    let ended = signals.next().await;
    let is_in_order = stop(node, seeding, signals, &ended).await;
    match ended {
        // That is how a peer ends.
        Failure::Interrupted if is_in_order => Ok(()),
        failure => Err(failure),
    }
}

pub(crate) async fn seed(settings: &Settings, args: SeedArgs, signals: &mut Signals) -> Result<(), Failure> {
    // Named here and empty is a mistake; a folder of `run --seed` may fill later.
    tokio::select! {
        checked = peer::check_seeds(&args.paths) => checked?,
        ended = signals.next() => return Err(ended),
    }
    let mut flags = settings.node(args.node);
    flags.seed = Some(args.paths.into_iter().chain(flags.seed.unwrap_or_default()).collect());
    let options = SeedOptions { from_start: args.from_start, ..SeedOptions::default() };
    run_from(settings, flags, options, signals).await
}

/// Says in one line what this peer is; as JSON what `cairn_status` says, and the addresses that a script needs.
fn announce(settings: &Settings, node: &Node, capacity: u64) -> Result<(), Failure> {
    let status = node.status();
    if settings.json {
        let addresses = json!({ "rpc": node.rpc_address(), "metrics": node.metrics_address() });
        return output::json(&Announcement { status, addresses });
    }
    let listen: Vec<_> = status.listen.iter().map(|address| format!("udp {address}")).collect();
    let rpc = node.rpc_address().map(|address| format!(", JSON-RPC {address}")).unwrap_or_default();
    let metrics = node.metrics_address().map(|address| format!(", metrics {address}")).unwrap_or_default();
    let radii: Vec<_> = status
        .networks
        .iter()
        .map(|network| format!("{} radius {:.2} %", network.network, network.radius_fraction * 100.0))
        .collect();
    let peers: usize = status.networks.iter().map(|network| network.peers).max().unwrap_or(0);
    output::line(format_args!(
        "cairn on {}: {} | {}{rpc}{metrics} | capacity {} | {} | {peers} peers",
        status.chain,
        status.enr,
        listen.join(", "),
        ByteSize(capacity).display().si(),
        radii.join(", "),
    ))
}

/// A running peer as JSON.
#[derive(Serialize)]
struct Announcement {
    #[serde(flatten)]
    status: Status,
    #[serde(flatten)]
    addresses: Value,
}

/// Offers the archives to the network, with a bar on a terminal and a line in the log when all that can be offered was: once
/// more when blocks have been proved that waited.
fn offer(node: &Node, options: SeedOptions) -> SeedHandle {
    let handle = node.offer_archives(options);
    let mut updates = handle.progress();
    tokio::spawn(async move {
        let bar = progress::items(0, "offering blocks");
        let (mut reported, mut next_line) = (None, Instant::now());
        while updates.changed().await.is_ok() {
            let now = updates.borrow_and_update().clone();
            if !now.finished {
                bar.set_length(now.blocks_total);
                bar.set_position(now.blocks_done);
                // Without a terminal there is no bar.
                if bar.is_hidden() && next_line <= Instant::now() {
                    next_line = Instant::now() + OFFERED_INTERVAL;
                    let (blocks, total, open) = (now.blocks_done, now.blocks_total, now.pieces_open);
                    tracing::info!(blocks, total, open, "offering the archives to the network");
                }
            } else if reported.as_ref() != Some(&now) {
                bar.finish_and_clear();
                report_offered(&now);
                reported = Some(now);
            }
        }
        bar.abandon();
    });
    handle
}

fn report_offered(offered: &SeedProgress) {
    let SeedProgress { blocks_done: blocks, blocks_refused: refused, blocks_waiting: waiting, .. } = *offered;
    if refused + waiting > 0 && refused + waiting >= offered.blocks_total {
        tracing::warn!(blocks, refused, waiting, "nothing of the archives could be offered to the network");
        return;
    }
    let (pieces, placed, open) = (offered.pieces, offered.pieces_placed, offered.pieces_open);
    tracing::info!(
        blocks,
        refused,
        waiting,
        pieces,
        placed,
        open,
        "the archives were offered to the network; they are served from here on"
    );
}

/// Stops the peer in order, and says whether it did; when that is given up, nothing is lost either.
async fn stop(node: Node, seeding: Option<SeedHandle>, signals: &mut Signals, why: &Failure) -> bool {
    tracing::info!("stopping");
    if let Some(seeding) = seeding {
        seeding.stop();
    }
    tokio::select! {
        () = node.shutdown() => true,
        () = gives_up(signals, why) => false,
    }
}

/// Returns when an orderly end is given up: at a second signal, or, where a part of the program is gone that others may wait for,
/// after a while.
async fn gives_up(signals: &mut Signals, why: &Failure) {
    match why {
        Failure::Internal(_) => {
            let _ = tokio::time::timeout(STOP_PATIENCE, signals.next()).await;
        }
        _ => drop(signals.next().await),
    }
}
