//! `cairn state follow`: accounts that somebody cares for, proved at every n-th block by an execution client, and kept as capsules
//! while that client still has the state. Each is what `cairn capsule make --rpc` makes. Through a peer that runs on the data folder
//! they get the proofs of their headers when the trust lists come to reach those, and go to the peers that keep capsules.

use std::{convert::Infallible, fs, path::Path, sync::Arc, time::Duration};

use alloy_primitives::B256;
use cairn_node::{
    capsules::ProofClient,
    followed::{Cadence, FollowedFolder, Round, Sharing},
    headers::{BlockId, ClientError},
    outbox::PeerOutlet,
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
/// How often it is looked whether older capsules can be proved: trust lists grow by the hour at most.
const SHARE_INTERVAL: Duration = Duration::from_secs(600);

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
    let mut shared = (!args.private).then(|| Shared::new(settings, folder.clone()));
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
    match &mut shared {
        None => followed.run().await?,
        // What is shared keeps no block waiting: its state goes away.
        Some(shared) => tokio::select! {
            ended = followed.run() => ended?,
            never = shared.run() => match never {},
        },
    }
    match shared {
        Some(shared) => shared.finish().await,
        None => Ok(()),
    }
}

/// What of the client was said last, so that it is said once.
#[derive(Default)]
struct Trouble {
    is_told: bool,
    /// How often the same block was asked for.
    tries: u32,
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
        let mut trouble = Trouble::default();
        while !self.to.is_some_and(|to| self.cadence.has_ended(last, to)) {
            // No block behind the last one has its turn.
            let until = self.to.map_or(head, |to| head.min(to.saturating_add(self.cadence.behind)));
            if let Some(block) = self.cadence.next(last, until) {
                match self.make(block).await {
                    Ok(()) => {
                        (last, trouble) = (Some(block), Trouble::default());
                        continue;
                    }
                    Err(Failure::NotFound(why)) if trouble.tries < TRIES => {
                        trouble.tries += 1;
                        trouble.tell(&why);
                    }
                    Err(Failure::NotFound(why)) => match self.first_there(block, until).await? {
                        Some(first) => {
                            output::remark(format_args!("blocks {block} to {} are passed over: {why}", first - 1));
                            (last, trouble) = (first.checked_sub(1), Trouble::default());
                            continue;
                        }
                        // Nobody will have what has to be the last one and is gone.
                        None if until < head => return Err(Failure::NotFound(why)),
                        None => trouble.tell(&why),
                    },
                    Err(Failure::Network(why) | Failure::Refused(why)) => trouble.tell(&why),
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

    /// The first block after one whose state is gone that has its turn and its state; `None` if the newest has none, either: then it
    /// is not for its age that the client refuses.
    async fn first_there(&self, gone: u64, until: u64) -> Result<Option<u64>, Failure> {
        let is_there = async |block: u64| match self.prove(block).await {
            Ok(_) => Ok(true),
            Err(Failure::NotFound(_) | Failure::Network(_) | Failure::Refused(_)) => Ok(false),
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

    async fn make(&self, block: u64) -> Result<(), Failure> {
        let (hash, capsule) = self.prove(block).await?;
        let (encoded, _) = capsule.finish().map_err(|error| of_no_use(&error))?;
        let path = self.folder.file(block, hash);
        files::write_whole(&path, &encoded)?;
        self.report(block, &capsule, &path)
    }

    fn report(&self, block: u64, capsule: &Capsule, path: &Path) -> Result<(), Failure> {
        if self.is_json {
            return output::json(&json!({ "block": block, "nodes": capsule.nodes.len(), "file": path }));
        }
        output::line(path.display())
    }
}

/// The capsules on their way to other peers, through the one that runs on the data folder.
struct Shared<'a> {
    settings: &'a Settings,
    folder: FollowedFolder,
    sharing: Option<Sharing<PeerOutlet>>,
    /// Why it waits, said once.
    waiting: Option<String>,
}

impl<'a> Shared<'a> {
    fn new(settings: &'a Settings, folder: FollowedFolder) -> Self {
        Self { settings, folder, sharing: None, waiting: None }
    }

    /// Shares what can be shared, as long as it is awaited. What cannot now is shared later.
    async fn run(&mut self) -> Infallible {
        loop {
            if !self.round().await {
                tokio::time::sleep(SHARE_INTERVAL).await;
            }
        }
    }

    /// Whether there is more to do at once.
    async fn round(&mut self) -> bool {
        // Cut off in between, it is opened anew.
        let mut sharing = match self.sharing.take() {
            Some(sharing) => sharing,
            None => match self.open().await {
                Ok(sharing) => sharing,
                Err(why) => {
                    self.wait(why);
                    return false;
                }
            },
        };
        match sharing.round().await {
            Ok(round) => {
                let is_more = round.is_more;
                self.sharing = Some(sharing);
                self.tell_of(round);
                is_more
            }
            Err(error) => {
                self.wait(error.to_string());
                false
            }
        }
    }

    async fn open(&self) -> Result<Sharing<PeerOutlet>, String> {
        let (settings, said) = (self.settings, |failure: Failure| failure.to_string());
        let peer = RunningPeer::on_folder(settings).await.map_err(said)?;
        let peer = peer.ok_or("no peer runs on the data folder (`cairn run`)")?;
        let peer = PeerOutlet { client: peer.client(), network: SubNetwork::Capsules };
        let (trust_dir, chain) = (settings.trust_dir().map_err(said)?, settings.chain().map_err(said)?);
        Sharing::open(peer, self.folder.clone(), trust_dir, chain).await.map_err(|error| error.to_string())
    }

    fn tell_of(&mut self, round: Round) {
        for passed in round.passed_over {
            output::remark(format_args!("{} is not given to peers: {}", passed.file.display(), passed.why));
        }
        if let Some(last) = round.last {
            let proved = round.proved;
            output::remark(format_args!(
                "{proved} capsules have got the proof of their header; up to block {last} they go to the peers that keep capsules"
            ));
        }
        match round.waiting {
            Some(why) => self.wait(why),
            None => self.waiting = None,
        }
    }

    /// Says why nothing more is shared now, once as long as that is so.
    fn wait(&mut self, why: String) {
        if self.waiting.as_ref() != Some(&why) {
            output::remark(format_args!("capsules are kept here and go to other peers later: {why}"));
            self.waiting = Some(why);
        }
    }

    /// Shares what can be shared now, and waits until it has its end.
    async fn finish(mut self) -> Result<(), Failure> {
        while self.round().await {}
        let Some(sharing) = self.sharing.take() else { return Ok(()) };
        match sharing.finish().await {
            Ok(progress) if progress.placed > 0 => {
                output::remark(format_args!("{} capsules are with peers", progress.placed));
            }
            Ok(_) => {}
            Err(error) => self.wait(error.to_string()),
        }
        Ok(())
    }
}
