//! `cairn state follow`: accounts that somebody cares for, proved at every n-th block by an execution client, and kept as capsules
//! while that client still has the state. Each is what `cairn capsule make --rpc` makes. Through a peer that runs on the data folder
//! they get the proofs of their headers when the trust lists come to reach those, and go to the peers that keep capsules.

use std::{fs, path::Path, sync::Arc, time::Duration};

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
use tokio::time::Instant;

use super::super::{
    capsule::{client_failure, source_failure},
    running::RunningPeer,
};
use crate::{cli::FollowArgs, failure::Failure, files, output, settings::Settings};

/// How often the client is asked for its head: blocks come every 12 seconds.
const POLL: Duration = Duration::from_secs(4);
/// How often it is looked whether older capsules can be proved: trust lists grow by the hour at most.
const SHARE_INTERVAL: Duration = Duration::from_secs(600);

/// Who is asked, and for what.
struct Followed {
    chain: Arc<ChainSpec>,
    client: ProofClient,
    url: String,
    claims: Vec<Claim>,
    folder: FollowedFolder,
    is_json: bool,
}

pub(in crate::commands) async fn follow(settings: &Settings, args: FollowArgs) -> Result<(), Failure> {
    let chain = settings.chain()?;
    fs::create_dir_all(&args.out).map_err(|error| Failure::io(&args.out, error))?;
    let client = ProofClient::new(args.rpc.clone())
        .map_err(|error| Failure::Internal(format!("the HTTP client cannot be set up: {error}")))?;
    let folder = FollowedFolder::new(args.out, chain.name());
    let mut last = folder.last().map_err(|error| Failure::io(folder.path(), error))?;
    let mut shared = (!args.private).then(|| Shared::new(settings, folder.clone()));
    let followed = Followed {
        chain,
        client,
        url: without_secrets(args.rpc.as_str()),
        claims: args.wanted.claims(),
        folder,
        is_json: settings.json,
    };
    let cadence = Cadence { every: args.every, behind: args.behind };
    // A client that is not there at all is a mistake; one that goes away for a while is not.
    let asked = |error: ClientError| client_failure(&followed.url, &error);
    followed.client.check_chain(&followed.chain).await.map_err(asked)?;
    let mut head = followed.client.head().await.map_err(asked)?;
    let mut is_told = false;
    loop {
        if args.to.is_some_and(|to| last.is_some_and(|last| last.saturating_add(cadence.every.get()) > to)) {
            return match shared {
                Some(shared) => shared.finish().await,
                None => Ok(()),
            };
        }
        match cadence.next(last, head) {
            None => {}
            Some(block) => match followed.make(block).await {
                Ok(()) => {
                    last = Some(block);
                    is_told = false;
                    continue;
                }
                // The state of that block is gone; that of the newest one may not be.
                Err(Failure::NotFound(why)) if cadence.newest(head).is_some_and(|newest| newest > block) => {
                    output::remark(format_args!("block {block} is passed over: {why}"));
                    last = cadence.newest(head).map(|newest| newest - cadence.every.get());
                    continue;
                }
                Err(Failure::Network(why) | Failure::Refused(why)) => tell(&mut is_told, &why),
                Err(failure) => return Err(failure),
            },
        }
        if let Some(shared) = &mut shared {
            shared.go_on().await?;
        }
        tokio::time::sleep(POLL).await;
        match followed.client.head().await {
            Ok(now) => head = now,
            Err(error) => tell(&mut is_told, &error.to_string()),
        }
    }
}

/// Says once that the client does not answer.
fn tell(is_told: &mut bool, why: &str) {
    if !std::mem::replace(is_told, true) {
        output::remark(format_args!("waiting for the client: {why}"));
    }
}

impl Followed {
    async fn make(&self, block: u64) -> Result<(), Failure> {
        let asked = |error: ClientError| client_failure(&self.url, &error);
        let header = self.client.header(&self.chain, BlockId::Number(block)).await.map_err(asked)?;
        let made = self.client.capsule(&header, None, self.claims.clone()).await;
        let capsule = made.map_err(|error| source_failure(&self.url, block, &error))?;
        let path = self.folder.file(block, header.hash());
        files::write_whole(&path, &capsule.encode())?;
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
    /// When there may be something to do.
    due: Instant,
    /// Why it waits, said once.
    waiting: Option<String>,
}

impl<'a> Shared<'a> {
    fn new(settings: &'a Settings, folder: FollowedFolder) -> Self {
        Self { settings, folder, sharing: None, due: Instant::now(), waiting: None }
    }

    /// Does what is due. Nothing of it ends what is followed: a block's state goes away, and what is not shared now is later.
    async fn go_on(&mut self) -> Result<(), Failure> {
        if Instant::now() >= self.due {
            let is_more = self.round().await?;
            self.due = Instant::now() + if is_more { Duration::ZERO } else { SHARE_INTERVAL };
        }
        Ok(())
    }

    /// Whether there is more to do at once.
    async fn round(&mut self) -> Result<bool, Failure> {
        let mut sharing = match self.sharing.take() {
            Some(sharing) => sharing,
            None => match self.open().await? {
                Some(sharing) => sharing,
                None => return Ok(false),
            },
        };
        match sharing.round().await {
            Ok(round) => {
                let is_more = round.is_more;
                self.sharing = Some(sharing);
                self.tell_of(round);
                Ok(is_more)
            }
            Err(error) => {
                self.wait(error.to_string());
                Ok(false)
            }
        }
    }

    async fn open(&mut self) -> Result<Option<Sharing<PeerOutlet>>, Failure> {
        let Some(peer) = RunningPeer::on_folder(self.settings).await? else {
            self.wait("no peer runs on the data folder (`cairn run`)".to_owned());
            return Ok(None);
        };
        let peer = PeerOutlet { client: peer.client(), network: SubNetwork::Capsules };
        let (trust_dir, chain) = (self.settings.trust_dir()?, self.settings.chain()?);
        match Sharing::open(peer, self.folder.clone(), trust_dir, chain).await {
            Ok(sharing) => Ok(Some(sharing)),
            Err(error) => {
                self.wait(error.to_string());
                Ok(None)
            }
        }
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
        while self.round().await? {}
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
