//! The capsules of followed accounts that there are: through a peer that runs on the data folder they get the proofs of their headers
//! when the trust lists come to reach those, and, if that is wanted, go to the peers that keep capsules.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use cairn_node::{
    followed::{FolderUpkeep, FollowedFolder, Round},
    outbox::{OutboxProgress, PeerOutlet},
};
use content_types::SubNetwork;

use super::super::running::RunningPeer;
use crate::{failure::Failure, output, settings::Settings};

/// How often it is looked whether older capsules can be proved now. A trust list grows by some 8,192 blocks at a time.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(600);

/// Different things that are said of capsules, before they may be said again.
const MAX_TOLD: usize = 256;

/// The capsules that there are: completed, and given to others, through the peer that runs on the data folder.
pub(super) struct Kept<'a> {
    settings: &'a Settings,
    folder: FollowedFolder,
    is_shared: bool,
    upkeep: Option<FolderUpkeep<PeerOutlet>>,
    /// Why nothing is done, and of which files; each said once.
    told: HashSet<String>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(settings: &'a Settings, folder: FollowedFolder, is_shared: bool) -> Self {
        Self { settings, folder, is_shared, upkeep: None, told: HashSet::new() }
    }

    /// Does what can be done, as long as it is awaited. What cannot be done now is done later.
    pub(super) async fn run(&mut self) -> Infallible {
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
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
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
