//! `cairn state follow`: accounts that somebody cares for, proved at every n-th block by an execution client, and kept as capsules
//! while that client still has the state. Each is what `cairn capsule make --rpc` makes. Through a peer that runs on the data folder
//! they get the proofs of their headers when the trust lists come to reach those, and, if that is wanted, go to the peers that keep
//! capsules.

use std::{collections::HashSet, convert::Infallible, fs, path::Path, sync::Arc, time::Duration};

use alloy_primitives::B256;
use cairn_node::{
    capsules::ProofClient,
    followed::{Cadence, FolderUpkeep, FollowedFolder, Round},
    headers::{BlockId, ClientError},
    outbox::{OutboxProgress, PeerOutlet},
    without_secrets,
};
use content_types::{
    ChainSpec, SubNetwork,
    capsule::{Capsule, Claim},
};
use serde_json::json;

use super::super::{
    capsule::{client_failure, of_no_use, source_failure},
    running::RunningPeer,
};
use crate::{cli::FollowArgs, failure::Failure, files, output, settings::Settings};

/// How often the client is asked for its head: blocks come every 12 seconds.
const POLL: Duration = Duration::from_secs(4);
/// How often a block is asked for again before its state counts as gone: one of several servers behind a name may be a block behind
/// the others, or refuse for a while.
const TRIES: u32 = 2;
/// How often it is looked whether older capsules can be proved now. A trust list grows by some 8,192 blocks at a time.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(600);

/// Different things that are said of capsules, before they may be said again.
const MAX_TOLD: usize = 256;

/// Who is asked, and for what.
struct Followed {
    chain: Arc<ChainSpec>,
    client: ProofClient,
    url: String,
    claims: Vec<Claim>,
    folder: FollowedFolder,
    cadence: Cadence,
    /// The last block that has its turn.
    to: Option<u64>,
    is_json: bool,
}

pub(in crate::commands) async fn follow(settings: &Settings, args: FollowArgs) -> Result<(), Failure> {
    let chain = settings.chain()?;
    fs::create_dir_all(&args.out).map_err(|error| Failure::io(&args.out, error))?;
    let client = ProofClient::new(args.rpc.clone())
        .map_err(|error| Failure::Internal(format!("the HTTP client cannot be set up: {error}")))?;
    let folder = FollowedFolder::new(args.out, chain.name());
    let mut kept = Kept::new(settings, folder.clone(), args.share);
    let followed = Followed {
        chain,
        client,
        url: without_secrets(args.rpc.as_str()),
        claims: args.wanted.claims(),
        folder,
        cadence: Cadence { every: args.every, behind: args.behind },
        to: args.to,
        is_json: settings.json,
    };
    tokio::select! {
        ended = followed.run() => ended?,
        // No block waits for that: its state goes away.
        never = kept.run() => match never {},
    }
    kept.finish().await
}

/// What of the client was said last, so that it is said once.
#[derive(Default)]
struct Trouble {
    is_told: bool,
    /// How often the same block was asked for.
    tries: u32,
}

/// What comes after a block was asked for.
enum Next {
    /// It has its capsule.
    Made,
    /// Its state is gone, and that of the blocks up to this one.
    PassOverTo(u64),
    /// The same again.
    Wait,
}

impl Trouble {
    fn tell(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            output::remark(format_args!("waiting for the client: {why}"));
        }
    }
}

impl Followed {
    /// Until the last block has its capsule, if there is a last one.
    async fn run(&self) -> Result<(), Failure> {
        // A client that is not there at all is a mistake; one that goes away for a while is not.
        let asked = |error: ClientError| client_failure(&self.url, &error);
        self.client.check_chain(&self.chain).await.map_err(asked)?;
        let mut head = self.client.head().await.map_err(asked)?;
        let mut last = self.folder.last(head).map_err(|error| Failure::io(self.folder.path(), error))?;
        let (mut trouble, mut is_trusted) = (Trouble::default(), false);
        while !self.to.is_some_and(|to| self.cadence.has_ended(last, to)) {
            // No block after the last one has its turn.
            let until = self.to.map_or(head, |to| head.min(to.saturating_add(self.cadence.behind)));
            if let Some(block) = self.cadence.next(last, until) {
                match self.next(block, until, &mut trouble).await {
                    Ok(Next::Made) => {
                        (last, trouble, is_trusted) = (Some(block), Trouble::default(), true);
                        continue;
                    }
                    Ok(Next::PassOverTo(first)) => {
                        (last, trouble) = (first.checked_sub(1), Trouble::default());
                        continue;
                    }
                    Ok(Next::Wait) => {}
                    // Nobody will have what has to be the last one and is gone.
                    Err(Failure::NotFound(why)) if until == head => trouble.tell(&why),
                    Err(Failure::Network(why) | Failure::Refused(why)) => trouble.tell(&why),
                    // One of several servers behind a name may be out of step.
                    Err(Failure::Invalid(why)) if is_trusted => trouble.tell(&why),
                    Err(failure) => return Err(failure),
                }
            }
            tokio::time::sleep(POLL).await;
            match self.client.head().await {
                Ok(now) => head = now,
                Err(error) => trouble.tell(&error.to_string()),
            }
        }
        Ok(())
    }

    /// What becomes of the block that has its turn.
    async fn next(&self, block: u64, until: u64, trouble: &mut Trouble) -> Result<Next, Failure> {
        let why = match self.prove(block).await {
            Ok((hash, capsule)) => return self.keep(block, hash, &capsule).map(|()| Next::Made),
            Err(Failure::NotFound(why)) => why,
            Err(failure) => return Err(failure),
        };
        if trouble.tries < TRIES {
            trouble.tries += 1;
            trouble.tell(&why);
            return Ok(Next::Wait);
        }
        match self.first_there(block, until).await? {
            Some(first) => {
                output::remark(format_args!("blocks {block} to {} are passed over: {why}", first.saturating_sub(1)));
                Ok(Next::PassOverTo(first))
            }
            None => Err(Failure::NotFound(why)),
        }
    }

    /// The first block after one whose state is gone that has its turn and its state; `None` if the newest has none, either: then it
    /// is not for its age that the client refuses.
    async fn first_there(&self, gone: u64, until: u64) -> Result<Option<u64>, Failure> {
        let is_there = async |block: u64| match self.prove(block).await {
            Ok(_) => Ok(true),
            Err(Failure::NotFound(_)) => Ok(false),
            Err(failure) => Err(failure),
        };
        match self.cadence.newest(until) {
            Some(newest) if newest > gone && is_there(newest).await? => {
                self.cadence.first_there(gone, newest, is_there).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn prove(&self, block: u64) -> Result<(B256, Capsule), Failure> {
        let asked = |error: ClientError| client_failure(&self.url, &error);
        let header = self.client.header(&self.chain, BlockId::Number(block)).await.map_err(asked)?;
        let made = self.client.capsule(&header, None, self.claims.clone()).await;
        let capsule = made.map_err(|error| source_failure(&self.url, block, &error))?;
        Ok((header.hash(), capsule))
    }

    fn keep(&self, block: u64, hash: B256, capsule: &Capsule) -> Result<(), Failure> {
        let (encoded, _) = capsule.finish().map_err(|error| of_no_use(&error))?;
        let path = self.folder.file(block, hash);
        files::write_whole(&path, &encoded)?;
        self.report(block, capsule, &path)
    }

    fn report(&self, block: u64, capsule: &Capsule, path: &Path) -> Result<(), Failure> {
        if self.is_json {
            return output::json(&json!({ "block": block, "nodes": capsule.nodes.len(), "file": path }));
        }
        output::line(path.display())
    }
}

/// The capsules that there are: completed, and given to others, through the peer that runs on the data folder.
struct Kept<'a> {
    settings: &'a Settings,
    folder: FollowedFolder,
    is_shared: bool,
    upkeep: Option<FolderUpkeep<PeerOutlet>>,
    /// Why nothing is done, and of which files; each said once.
    told: HashSet<String>,
}

impl<'a> Kept<'a> {
    fn new(settings: &'a Settings, folder: FollowedFolder, is_shared: bool) -> Self {
        Self { settings, folder, is_shared, upkeep: None, told: HashSet::new() }
    }

    /// Does what can be done, as long as it is awaited. What cannot be done now is done later.
    async fn run(&mut self) -> Infallible {
        loop {
            if !self.round().await {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
            }
        }
    }

    /// Whether there is more to do at once.
    async fn round(&mut self) -> bool {
        // Cut off in between, it is made anew.
        let mut upkeep = match self.upkeep.take() {
            Some(upkeep) => upkeep,
            None => match self.open().await {
                Ok(upkeep) => upkeep,
                Err(why) => {
                    self.wait(&why);
                    return false;
                }
            },
        };
        match upkeep.round().await {
            Ok(round) => {
                let is_more = round.is_more;
                self.upkeep = Some(upkeep);
                self.tell_of(round);
                is_more
            }
            Err(error) => {
                self.wait(&error.to_string());
                false
            }
        }
    }

    async fn open(&self) -> Result<FolderUpkeep<PeerOutlet>, String> {
        let (settings, said) = (self.settings, |failure: Failure| failure.to_string());
        let peer = RunningPeer::on_folder(settings).await.map_err(said)?;
        let peer = peer.ok_or("no peer runs on the data folder (`cairn run`)")?;
        let peer = PeerOutlet { client: peer.client(), network: SubNetwork::Capsules };
        let (trust_dir, chain) = (settings.trust_dir().map_err(said)?, settings.chain().map_err(said)?);
        let upkeep = FolderUpkeep::new(peer, self.folder.clone(), trust_dir, chain);
        if self.is_shared { upkeep.share().await.map_err(|error| error.to_string()) } else { Ok(upkeep) }
    }

    fn tell_of(&mut self, round: Round) {
        for passed in round.passed_over {
            self.tell(format!("{}: {}", passed.file.display(), passed.why));
        }
        if round.proved > 0 {
            output::remark(format_args!("capsules that got the proof of their header: {}", round.proved));
        }
        if let Some(why) = round.waiting {
            self.wait(&why);
        }
    }

    fn wait(&mut self, why: &str) {
        self.tell(format!("capsules get the proof of their header later: {why}"));
    }

    /// Says something once. What was said long ago may be said again.
    fn tell(&mut self, what: String) {
        if self.told.len() >= MAX_TOLD {
            self.told.clear();
        }
        if !self.told.contains(&what) {
            output::remark(&what);
            self.told.insert(what);
        }
    }

    /// Does what can be done now, and waits until what was given to others has its end.
    async fn finish(mut self) -> Result<(), Failure> {
        while self.round().await {}
        let Some(upkeep) = self.upkeep.take() else { return Ok(()) };
        match upkeep.finish().await {
            Ok(Some(OutboxProgress { placed, unclaimed, .. })) if placed + unclaimed > 0 => {
                output::remark(format_args!("capsules that peers keep: {placed}; that nobody wants: {unclaimed}"));
            }
            Ok(_) => {}
            Err(error) => self.tell(format!("capsules go to other peers later: {error}")),
        }
        Ok(())
    }
}
