//! `cairn state replay`: archived blocks executed one after the other, every state root checked, and what each has brought to the
//! state handed to the network.

use std::{fs, path::Path, pin::pin, sync::Arc, time::Duration};

use cairn_archive::Archive;
use cairn_node::{
    outbox::{Outbox, OutboxError, OutboxOptions, OutboxProgress, PeerOutlet, Waiting},
    rpc::error::{CONTENT_REFUSED, METHOD_NOT_FOUND},
};
use cairn_replay::{
    BatchLimits, Genesis, Progress, Replay, ReplayError, Rules,
    eras::{EraError, EraPlan},
    error::Trouble,
    store::{DiskStore, Reached, Snapshot as _, Store as _},
};
use content_types::{ChainSpec, SubNetwork};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    super::{blocking, running::RunningPeer},
    sink::{ReplaySink, ReplayStand},
};
use crate::{
    cli::ReplayArgs, failure::Failure, files, output, progress::Journal, settings::Settings, signals::Signals,
};

/// The folder in the data folder that the state lies in, unless told otherwise.
const STATE_DIR: &str = "state";
/// The database of the state, in its folder.
const STATE_FILE: &str = "state.redb";
/// How far it was handed out, in the same folder.
const OFFERED_FILE: &str = "offered.json";
/// Largest genesis file that is read, in bytes; mainnet's has less than one MB.
const MAX_GENESIS_BYTES: u64 = 1 << 30;
/// Blocks that are written together while they are handed out: all of them have their end first, and a kill costs them again.
const BLOCKS_OFFERED_TOGETHER: u64 = 256;
/// How often it is looked at how far it is.
const LOOK: Duration = Duration::from_millis(250);
/// What to do when nobody takes what is offered.
const SEED_FIRST: &str = "peers have to keep a share of the state (`cairn run --shares state=1`), and find the header of each block by \
                          its hash: seed the history first (`cairn seed ARCHIVES`), then the same command goes on, and later where they \
                          are only busy";

/// How a replay went.
struct Done {
    replay: Replay<DiskStore>,
    progress: Progress,
    /// What was handed out.
    offered: Option<OutboxProgress>,
    first: u64,
}

pub(crate) async fn replay(settings: &Settings, args: ReplayArgs, signals: &mut Signals) -> Result<(), Failure> {
    let state_dir = match &args.state_dir {
        Some(folder) => folder.clone(),
        None => settings.data_dir()?.join(STATE_DIR),
    };
    let mut preparing = pin!(prepare(settings, &args, &state_dir));
    let (replay, plan, outbox) = tokio::select! {
        prepared = &mut preparing => prepared?,
        ended = signals.next() => return Err(ended),
    };
    let first = replay.reached().map_or(0, |reached| reached.number + 1);
    let stop = CancellationToken::new();
    let sink = ReplaySink::new(outbox.clone(), stop.clone());
    let stand = Arc::clone(&sink.stand);
    let last = plan.last().unwrap_or(first);
    let mut running = spawn(replay, plan, sink);
    let mut journal = Journal::new(first, last, "replaying");
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ended = None;
    let (replay, outcome, sink) = loop {
        tokio::select! {
            joined = &mut running => break joined.map_err(|error| Failure::Internal(error.to_string()))?,
            why = signals.next() => {
                if ended.is_some() {
                    return Err(why);
                }
                stop.cancel();
                ended = Some(why);
            }
            _ = looks.tick() => show(&mut journal, &stand, outbox.as_deref()),
        }
    };
    drop(journal);
    let gap = sink.gap;
    drop(sink);
    let offered = finish(outbox, ended.is_some() || outcome.is_err() || gap.is_some()).await;
    let progress = outcome.map_err(|error| replay_failure(&state_dir, &error))?;
    if let Some(gap) = gap {
        return Err(Failure::Internal(gap.to_string()));
    }
    let offered = offered.map_err(|error| offer_failure(&error))?;
    let done = Done { replay, progress, offered, first };
    match ended {
        None => report(settings, &state_dir, &done),
        Some(Failure::Interrupted) => Err(Failure::Paused(kept(&done))),
        Some(failure) => Err(failure),
    }
}

/// What it works with: the state, the blocks that follow on it, and what hands them out.
type Prepared = (Replay<DiskStore>, EraPlan, Option<Arc<Outbox>>);

async fn prepare(settings: &Settings, args: &ReplayArgs, state_dir: &Path) -> Result<Prepared, Failure> {
    let chain = settings.chain()?;
    let paths = files::archives(&args.paths)?;
    let (genesis_path, folder, to) = (args.genesis.clone(), state_dir.to_owned(), args.to);
    let cache = usize::try_from(args.cache.as_u64()).unwrap_or(usize::MAX);
    let limits = match args.offer {
        true => BatchLimits { blocks: BLOCKS_OFFERED_TOGETHER, ..BatchLimits::default() },
        false => BatchLimits::default(),
    };
    let genesis_hash = chain.genesis_hash();
    let (replay, plan) = blocking(move || {
        let (genesis, rules) = genesis(&genesis_path, &chain)?;
        fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
        let store = DiskStore::open(folder.join(STATE_FILE), cache);
        let store = store.map_err(|error| Failure::Io(format!("{}: {error}", folder.display())))?;
        let replay = Replay::open(store, rules, genesis, limits).map_err(|error| replay_failure(&folder, &error))?;
        let archives = paths.iter().map(Archive::open).collect::<Result<Vec<_>, _>>();
        let archives = archives.map_err(|error| Failure::archive(&error))?;
        // What is behind the end of a file that is cut off would seem to have been replayed.
        if let Some(damage) = archives.iter().filter(|archive| archive.is_cut()).find_map(Archive::damage) {
            return Err(Failure::archive(damage));
        }
        let first = match replay.reached() {
            None => 1,
            // Where it is there, the block itself tells a state of another chain.
            Some(Reached { number, .. }) if archives.iter().any(|archive| archive.blocks().contains(&number)) => number,
            Some(Reached { number, .. }) => number.saturating_add(1),
        };
        let plan = EraPlan::new(archives, first, to).map_err(|missing| {
            Failure::Io(format!("{missing}, and block {first} is the next: name an archive that has it"))
        })?;
        Ok((replay, plan))
    })
    .await?;
    if !args.offer {
        return Ok((replay, plan, None));
    }
    let peer = RunningPeer::on_folder(settings).await?.ok_or_else(|| {
        Failure::Network(format!(
            "no peer runs on {}: start one (`cairn run --shares state=1`), which hands out what this command makes",
            settings.data_dir().map(|folder| folder.display().to_string()).unwrap_or_default()
        ))
    })?;
    let options = OutboxOptions {
        position: state_dir.join(OFFERED_FILE),
        chain: genesis_hash,
        patience: Duration::from_secs(args.timeout),
    };
    tracing::info!(folder = %settings.data_dir()?.display(), "handed out through the peer that runs");
    let outlet = PeerOutlet { client: peer.client(), network: SubNetwork::State };
    let outbox = Outbox::open(outlet, options).await.map_err(|error| offer_failure(&error))?;
    if let Some(Reached { number, .. }) = replay.reached().filter(|reached| reached.number >= outbox.begins())
        && !args.offer_from_here
    {
        return Err(Failure::Configuration(format!(
            "the state in {} is that of block {number}, and what blocks {} to {number} have brought was not handed out: \
             --state-dir names another folder to begin with block 0, --offer-from-here does without those blocks",
            state_dir.display(),
            outbox.begins(),
        )));
    }
    Ok((replay, plan, Some(Arc::new(outbox))))
}

/// The genesis file, which has to be the chain's, and the chain's rules.
fn genesis(path: &Path, chain: &ChainSpec) -> Result<(Genesis, Rules), Failure> {
    let wrong = |why: String| Failure::Invalid(format!("{}: {why}", path.display()));
    let length = fs::metadata(path).map_err(|error| Failure::io(path, error))?.len();
    if length > MAX_GENESIS_BYTES {
        return Err(wrong(format!("{length} bytes are no genesis file: check the path")));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::io(path, error))?;
    let genesis = Genesis::from_json(&text).map_err(|error| wrong(format!("{error}: name geth's genesis file")))?;
    let rules = Rules::new(chain, genesis.config.as_ref())
        .map_err(|error| Failure::Configuration(format!("{}: {error}", path.display())))?;
    let (expected, actual) = (chain.genesis_hash(), genesis.header(&rules).hash_slow());
    if actual != expected {
        return Err(wrong(format!(
            "its block 0 is {actual}, and that of {} {expected}: name the chain's own file, or another chain with --chain",
            chain.name()
        )));
    }
    Ok((genesis, rules))
}

/// A replay on a thread of its own.
type Running = JoinHandle<(Replay<DiskStore>, Result<Progress, ReplayError>, ReplaySink)>;

fn spawn(mut replay: Replay<DiskStore>, plan: EraPlan, mut sink: ReplaySink) -> Running {
    tokio::task::spawn_blocking(move || {
        let outcome = replay.run_into(plan.blocks(), &mut sink);
        (replay, outcome, sink)
    })
}

/// Ends what hands out. What is cut short has no end for everything, and is told of only where that is why the replay ended.
async fn finish(outbox: Option<Arc<Outbox>>, is_cut: bool) -> Result<Option<OutboxProgress>, OutboxError> {
    let Some(outbox) = outbox.and_then(Arc::into_inner) else { return Ok(None) };
    if is_cut {
        return Ok(Some(outbox.progress().borrow().clone()));
    }
    outbox.finish().await.map(Some)
}

fn show(journal: &mut Journal, stand: &Mutex<ReplayStand>, outbox: Option<&Outbox>) {
    let ReplayStand { block, gas } = *stand.lock();
    let per_second = gas as f64 / 1e6 / journal.elapsed().as_secs_f64().max(0.001);
    let mut rest = format!("{per_second:.1} M gas/s");
    if let Some(outbox) = outbox {
        let now = outbox.progress().borrow().clone();
        rest.push_str(&format!(", {} pieces placed, {} open", now.placed, now.open));
        if let Some(waiting) = now.waiting {
            rest.push_str(&format!(", waiting: {waiting}"));
        }
    }
    journal.show(block, &rest);
}

/// Where the state stands.
fn kept(done: &Done) -> String {
    match done.replay.store().snapshot().ok().and_then(|snapshot| snapshot.reached()) {
        Some(reached) => format!("the state of block {} is kept", reached.number),
        None => "nothing is kept yet".to_owned(),
    }
}

fn report(settings: &Settings, state_dir: &Path, done: &Done) -> Result<(), Failure> {
    let Done { replay, progress, offered, first } = done;
    let bytes = fs::metadata(state_dir.join(STATE_FILE)).map_or(0, |file| file.len());
    let Some(reached) = replay.reached() else {
        return Err(Failure::Internal("there is no state after the replay".to_owned()));
    };
    let seconds = progress.time.as_secs_f64();
    if settings.json {
        let offered = offered.as_ref().map(|offered| {
            json!({
                "nextBlock": offered.next,
                "placed": offered.placed,
                "unclaimed": offered.unclaimed,
                "accepted": offered.accepted,
                "bytes": offered.bytes,
            })
        });
        return output::json(&json!({
            "firstBlock": first,
            "block": reached.number,
            "blockHash": reached.hash,
            "stateRoot": reached.state_root,
            "blocks": progress.blocks,
            "transactions": progress.transactions,
            "gas": progress.gas,
            "seconds": seconds,
            "stateBytes": bytes,
            "offered": offered,
        }));
    }
    output::line(format_args!(
        "{} blocks, {} transactions, {} gas in {seconds:.1} s; the state of block {} has the root {} that its header says, and \
         takes {bytes} bytes",
        progress.blocks, progress.transactions, progress.gas, reached.number, reached.state_root
    ))?;
    if let Some(offered) = offered {
        output::line(format_args!(
            "handed out: {} pieces are with peers, {} nobody keeps; everything before block {} has had its end",
            offered.placed, offered.unclaimed, offered.next
        ))?;
    }
    Ok(())
}

/// Why a replay ended before its time.
fn replay_failure(state_dir: &Path, error: &ReplayError) -> Failure {
    let state_dir = state_dir.display();
    match &error.trouble {
        Trouble::Source(source) => match source.downcast_ref() {
            Some(EraError::Archive(error)) => Failure::archive(error),
            _ => Failure::Invalid(format!("{source}: `cairn verify` tells what of the archive is good")),
        },
        Trouble::Block(_) | Trouble::Execution(_) | Trouble::StateRoot { .. } => Failure::Invalid(format!(
            "{error}: `cairn verify` tells whether the archive is right; the state of the block before is kept"
        )),
        Trouble::Number { .. } => Failure::Invalid(format!("{error}: check that the archive is what its name says")),
        Trouble::Parent { .. } | Trouble::OtherChain { .. } => Failure::Invalid(format!(
            "{error}: the archive, or the state in {state_dir}, is another chain's: name others, or the chain with --chain"
        )),
        Trouble::Trie(_) => Failure::Invalid(format!(
            "{error}: the state in {state_dir} is damaged: remove it, and replay from block 0 on"
        )),
        Trouble::Store(store) => match Failure::of_files(store) {
            Failure::Io(why) => Failure::Io(format!("{state_dir}: {why}")),
            failure => failure,
        },
        Trouble::WriterDied => Failure::Internal(error.to_string()),
    }
}

/// Why something was not handed out.
fn offer_failure(error: &OutboxError) -> Failure {
    match error {
        OutboxError::Stalled { waiting: Waiting::Unreachable(_) | Waiting::Refused(_), .. } => {
            Failure::Network(format!("{error}: start it again, and the same command goes on"))
        }
        OutboxError::Stalled { .. } | OutboxError::NobodyTakes { .. } => {
            Failure::NotFound(format!("{error}: {SEED_FIRST}"))
        }
        OutboxError::Refused(refusal) if refusal.code == METHOD_NOT_FOUND => {
            Failure::Network(format!("{error}: it may be of another version"))
        }
        OutboxError::Refused(refusal) if refusal.code == CONTENT_REFUSED => Failure::Invalid(error.to_string()),
        OutboxError::Refused(_) | OutboxError::Unknown(_) => {
            Failure::Network(format!("{error}: it may be of another version"))
        }
        OutboxError::Position { .. } => Failure::of_files(error),
        OutboxError::Stopping => Failure::Internal(error.to_string()),
    }
}
