//! `cairn state follow`: accounts that somebody cares for, proved at every n-th block by an execution client, and kept as capsules
//! while that client still has the state. Each is what `cairn capsule make --rpc` makes; what becomes of them then is in `kept`.

use std::{fs, path::Path, sync::Arc, time::Duration};

use alloy_primitives::B256;
use cairn_node::{
    capsules::ProofClient,
    followed::{Cadence, FollowedFolder},
    headers::{BlockId, ClientError},
    without_secrets,
};
use content_types::{
    ChainSpec,
    capsule::{Capsule, Claim},
};
use serde_json::json;

use super::{
    super::capsule::{client_failure, of_no_use, source_failure},
    kept::Kept,
};
use crate::{cli::FollowArgs, failure::Failure, files, output, settings::Settings};

/// How often the client is asked for its head: blocks come every 12 seconds.
const POLL: Duration = Duration::from_secs(4);
/// How often a block is asked for again before its state counts as gone: one of several servers behind a name may be a block behind
/// the others, or refuse for a while.
const TRIES: u32 = 2;
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
