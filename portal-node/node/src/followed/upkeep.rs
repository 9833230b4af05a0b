//! What is done about a folder's capsules after they were made. Each is made while nobody can prove its header, because the trust lists
//! reach a block months after it was the head. From then on it gets the proof of its header, so that its file alone proves what it tells;
//! and if its owner wants that, it goes to the peers that keep capsules.
//!
//! Blocks have their turn in rising order, as the lists grow; the first one that nobody can prove yet ends a round. What was given to
//! peers stands in a file of the folder, so that a restart does not give everything again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::keccak256;
use content_types::capsule::Capsule;
use content_types::capsule::value::MAX_CAPSULE_LENGTH;
use content_types::header::HeaderVerifier;
use content_types::{BlockId, ChainSpec, ContentKey, capsules};

use super::FollowedFolder;
use crate::files::{read_bounded, rewrite_atomically};
use crate::outbox::{Outbox, OutboxError, OutboxOptions, OutboxProgress, Outlet, PeerOutlet};
use crate::rpc::AskError;
use crate::rpc::calls::{GetHeader, HeaderResult};
use crate::trust::{TrustStore, TrustStoreError};
use crate::workers::{Stopping, blocking};

/// How the file ends that says how far a chain's capsules were given to peers.
const POSITION_ENDING: &str = "shared.json";
/// Blocks of one round: whoever follows the chain has more to do, and the state of a block goes away.
const BLOCKS_A_ROUND: usize = 32;
/// How long nothing may come to an end before it is given up, until the next time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a peer may look for one header.
const HEADER_PATIENCE: Duration = Duration::from_secs(60);

/// Who has headers with their proofs.
pub trait Headers: Send + Sync {
    /// The proved header of a block.
    fn header(&self, block: u64) -> impl Future<Output = Result<HeaderResult, AskError>> + Send;
}

impl Headers for PeerOutlet {
    async fn header(&self, block: u64) -> Result<HeaderResult, AskError> {
        self.client.ask(&GetHeader { block: BlockId::Number(block) }, HEADER_PATIENCE).await
    }
}

/// What a round has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Capsules that have the proof of their header since.
    pub proved: u64,
    /// Files that nothing is done about.
    pub passed_over: Vec<PassedOver>,
    /// Why it has ended before the last file, if it is not that there is more to do at once.
    pub waiting: Option<String>,
    /// Whether the next round has something to do at once.
    pub is_more: bool,
}

/// A file that nothing is done about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

/// Why nothing more is done.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// A file cannot be read, or its proof cannot be added.
    #[error("{}: {source}", path.display())]
    File {
        /// The file, or the folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The trust lists cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// What was given did not all come to an end.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The program stops.
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Completes the capsules of a folder, and gives them to others if that is wanted.
#[derive(Debug)]
pub struct FolderUpkeep<P> {
    peer: P,
    folder: FollowedFolder,
    trust_dir: PathBuf,
    chain: Arc<ChainSpec>,
    /// What hands capsules out, if they are to be, and it has not failed.
    outbox: Option<Outbox>,
    is_shared: bool,
    /// The first block that this has nothing done about yet.
    next: u64,
}

/// What becomes of one file.
enum Step {
    /// It has its proof, which is new to the file or not.
    Proved {
        capsule: Capsule,
        is_new: bool,
    },
    PassedOver(String),
    /// It has its turn later.
    Waits(String),
}

impl<P: Headers + Outlet + Clone> FolderUpkeep<P> {
    /// Goes on where it was; what [is shared](Self::share) goes to peers through `peer`.
    pub const fn new(peer: P, folder: FollowedFolder, trust_dir: PathBuf, chain: Arc<ChainSpec>) -> Self {
        Self { peer, folder, trust_dir, chain, outbox: None, is_shared: false, next: 0 }
    }

    /// Gives the capsules to peers, too, from the first one on that was not given before.
    ///
    /// # Errors
    /// [`UpkeepError::Outbox`] when it cannot be read which that is.
    pub async fn share(mut self) -> Result<Self, UpkeepError> {
        let position = self.folder.path().join(format!("{}.{POSITION_ENDING}", self.chain.name()));
        let options = OutboxOptions { position, chain: self.chain.genesis_hash(), patience: PATIENCE };
        let outbox = Outbox::open(self.peer.clone(), options).await?;
        self.next = outbox.begins();
        (self.outbox, self.is_shared) = (Some(outbox), true);
        Ok(self)
    }

    /// Does what can be done now, of some dozens of blocks.
    ///
    /// # Errors
    /// [`UpkeepError`]. It is of no use any more then; made anew, it goes on with what had no end.
    pub async fn round(&mut self) -> Result<Round, UpkeepError> {
        if self.outbox.as_ref().is_some_and(Outbox::has_stopped) {
            return Err(self.failure().await);
        }
        let (folder, trust_dir, chain) = (self.folder.clone(), self.trust_dir.clone(), Arc::clone(&self.chain));
        let path = self.folder.path().to_owned();
        let (listed, trust) = blocking(move || {
            let listed = folder.files().map_err(at(&path))?;
            Ok::<_, UpkeepError>((listed, TrustStore::open(trust_dir, chain)?))
        })
        .await??;
        let verifier = Arc::new(trust.verifier());
        let mut files = listed.range(self.next..);
        let mut round = Round::default();
        for (block, files) in files.by_ref().take(BLOCKS_A_ROUND) {
            for file in files {
                match self.step(*block, file, &verifier).await? {
                    Step::Proved { capsule, is_new } => {
                        round.proved += u64::from(is_new);
                        if let Err(why) = self.hand_out(*block, &capsule).await? {
                            round.passed_over.push(PassedOver { file: file.clone(), why });
                        }
                    }
                    Step::PassedOver(why) => round.passed_over.push(PassedOver { file: file.clone(), why }),
                    Step::Waits(why) => {
                        round.waiting = Some(why);
                        return Ok(round);
                    }
                }
            }
            if let Some(outbox) = &self.outbox
                && outbox.end_block(*block).await.is_err()
            {
                return Err(self.failure().await);
            }
            self.next = block.saturating_add(1);
        }
        round.is_more = files.next().is_some();
        Ok(round)
    }

    /// Waits until all that was given to peers has an end; `None`: nothing is given.
    ///
    /// # Errors
    /// [`UpkeepError::Outbox`] says why not everything has.
    pub async fn finish(self) -> Result<Option<OutboxProgress>, UpkeepError> {
        match self.outbox {
            Some(outbox) => Ok(Some(outbox.finish().await?)),
            None => Ok(None),
        }
    }

    /// Gives a capsule to peers, if it is to be and may be; the inner error says why it may not.
    async fn hand_out(&mut self, block: u64, capsule: &Capsule) -> Result<Result<(), String>, UpkeepError> {
        if !self.is_shared {
            return Ok(Ok(()));
        }
        let (key, value) = match capsules::shared(capsule) {
            Ok(shared) => shared,
            Err(error) => return Ok(Err(format!("no peer takes it: {error}"))),
        };
        let is_given = match &self.outbox {
            Some(outbox) => outbox.push(block, ContentKey::from(key).encode(), value).await.is_ok(),
            None => false,
        };
        if is_given { Ok(Ok(())) } else { Err(self.failure().await) }
    }

    /// Why the outbox takes nothing any more.
    async fn failure(&mut self) -> UpkeepError {
        let ended = match self.outbox.take() {
            Some(outbox) => outbox.finish().await,
            None => Err(OutboxError::Stopping),
        };
        ended.err().unwrap_or(OutboxError::Stopping).into()
    }

    async fn step(&self, block: u64, file: &Path, verifier: &Arc<HeaderVerifier>) -> Result<Step, UpkeepError> {
        let (path, chain, of_file) = (file.to_owned(), Arc::clone(&self.chain), Arc::clone(verifier));
        let read = blocking(move || {
            let capsule = read_capsule(&path, block, &chain)?;
            let is_proved = capsule.prove_header(&of_file).is_ok();
            Ok((capsule, is_proved))
        });
        let mut capsule = match read.await? {
            Ok((capsule, true)) => return Ok(Step::Proved { capsule, is_new: false }),
            Ok((capsule, false)) => capsule,
            Err(why) => return Ok(Step::PassedOver(why)),
        };
        let HeaderResult { header, proof } = match self.peer.header(block).await {
            Ok(found) => found,
            Err(error) => return Ok(Step::Waits(format!("the header of block {block}: {error}"))),
        };
        if header != capsule.header {
            let hash = keccak256(&capsule.header);
            return Ok(Step::PassedOver(format!("block {block} is another one than {hash} in the end")));
        }
        let Some(proof) = proof else {
            return Ok(Step::Waits(format!("nobody gives the proof of the header of block {block}")));
        };
        capsule.header_proof = proof.0;
        let (path, verifier) = (file.to_owned(), Arc::clone(verifier));
        let proved = blocking(move || {
            // What the peer says of its proof counts as little as what anybody else says.
            if let Err(error) = capsule.prove_header(&verifier) {
                return Ok(Step::Waits(format!("the header of block {block}: {error}")));
            }
            rewrite_atomically(&path, &capsule.encode()).map_err(at(&path))?;
            Ok(Step::Proved { capsule, is_new: true })
        });
        proved.await?
    }
}

/// A capsule out of its file, or why it is of no use.
fn read_capsule(path: &Path, block: u64, chain: &ChainSpec) -> Result<Capsule, String> {
    let bytes = read_bounded(path, MAX_CAPSULE_LENGTH as u64).map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or("it is not there any more")?;
    let capsule = Capsule::decode(&bytes.into()).map_err(|error| error.to_string())?;
    let opened = capsule.open().map_err(|error| error.to_string())?;
    match opened.header.number() {
        number if number == block => Ok(capsule),
        number => Err(format!("it is of block {number} of {}, and named after block {block}", chain.name())),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> UpkeepError {
    move |source| UpkeepError::File { path: path.to_owned(), source }
}
