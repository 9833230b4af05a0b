//! Gives the capsules of a folder to the peers that keep capsules. They are made while nobody can prove their headers: the trust lists
//! come to reach a block months after it. From then on each capsule gets the proof of its header, so that its file alone proves what it
//! tells, and goes out through a peer that runs.
//!
//! Blocks have their turn in rising order, as the lists grow; the first one that nobody can prove yet ends a round. How far it is
//! stands in a file of the folder, so that a restart does not hand out everything again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::keccak256;
use bytes::Bytes;
use content_types::capsule::Capsule;
use content_types::capsule::value::MAX_CAPSULE_LENGTH;
use content_types::header::DecodedHeader;
use content_types::{BlockId, ChainSpec, ContentKey, capsules};

use super::FollowedFolder;
use crate::files::{read_bounded, rewrite_atomically};
use crate::outbox::{Outbox, OutboxError, OutboxOptions, OutboxProgress, Outlet, PeerOutlet};
use crate::rpc::AskError;
use crate::rpc::calls::{GetHeader, HeaderResult};
use crate::trust::{TrustStore, TrustStoreError};
use crate::workers::{Stopping, blocking};

/// How far the capsules were handed out, in their folder.
const POSITION_FILE: &str = "shared.json";
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
    /// The last block of which a capsule was given to the peers.
    pub last: Option<u64>,
    /// Files that are of no use to others.
    pub passed_over: Vec<PassedOver>,
    /// Why it has ended before the last file, if it is not that there is more to do at once.
    pub waiting: Option<String>,
    /// Whether the next round has something to do at once.
    pub is_more: bool,
}

/// A file that nobody is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

/// Why nothing is shared any more.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
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

/// See the [module](self).
#[derive(Debug)]
pub struct Sharing<P> {
    peer: P,
    folder: FollowedFolder,
    trust_dir: PathBuf,
    chain: Arc<ChainSpec>,
    /// Gone when it has failed.
    outbox: Option<Outbox>,
    /// The first block that was not given yet.
    next: u64,
}

/// What becomes of one file.
enum Step {
    /// It goes to the peers, and has a proof that it had not before, or had.
    Given {
        key: Bytes,
        value: Bytes,
        is_new: bool,
    },
    PassedOver(String),
    /// It has its turn later.
    Waits(String),
}

impl<P: Headers + Outlet + Clone> Sharing<P> {
    /// Goes on where the position in the folder is.
    ///
    /// # Errors
    /// [`ShareError::Outbox`] when the position cannot be read.
    pub async fn open(
        peer: P,
        folder: FollowedFolder,
        trust_dir: PathBuf,
        chain: Arc<ChainSpec>,
    ) -> Result<Self, ShareError> {
        let position = folder.path().join(POSITION_FILE);
        let options = OutboxOptions { position, chain: chain.genesis_hash(), patience: PATIENCE };
        let outbox = Outbox::open(peer.clone(), options).await?;
        let next = outbox.begins();
        Ok(Self { peer, folder, trust_dir, chain, outbox: Some(outbox), next })
    }

    /// Does what can be done now, of some dozens of blocks.
    ///
    /// # Errors
    /// [`ShareError`]. It is of no use any more then; opened anew, it goes on with what had no end.
    pub async fn round(&mut self) -> Result<Round, ShareError> {
        let folder = self.folder.clone();
        let listed = blocking(move || folder.files()).await?.map_err(at(self.folder.path()))?;
        let mut files = listed.range(self.next..);
        let mut round = Round::default();
        for (block, files) in files.by_ref().take(BLOCKS_A_ROUND) {
            for file in files {
                match self.step(*block, file).await? {
                    Step::Given { key, value, is_new } => {
                        round.proved += u64::from(is_new);
                        round.last = Some(*block);
                        let Some(outbox) = &self.outbox else { return Err(self.failure().await) };
                        if outbox.push(*block, key, value).await.is_err() {
                            return Err(self.failure().await);
                        }
                    }
                    Step::PassedOver(why) => round.passed_over.push(PassedOver { file: file.clone(), why }),
                    Step::Waits(why) => {
                        round.waiting = Some(why);
                        return Ok(round);
                    }
                }
            }
            let Some(outbox) = &self.outbox else { return Err(self.failure().await) };
            if outbox.end_block(*block).await.is_err() {
                return Err(self.failure().await);
            }
            self.next = block.saturating_add(1);
        }
        round.is_more = files.next().is_some();
        Ok(round)
    }

    /// Waits until all that was given has an end.
    ///
    /// # Errors
    /// [`ShareError::Outbox`] says why not everything has.
    pub async fn finish(self) -> Result<OutboxProgress, ShareError> {
        match self.outbox {
            Some(outbox) => Ok(outbox.finish().await?),
            None => Err(OutboxError::Stopping.into()),
        }
    }

    /// Why the outbox takes nothing any more.
    async fn failure(&mut self) -> ShareError {
        let ended = match self.outbox.take() {
            Some(outbox) => outbox.finish().await,
            None => Err(OutboxError::Stopping),
        };
        ended.err().unwrap_or(OutboxError::Stopping).into()
    }

    async fn step(&self, block: u64, file: &Path) -> Result<Step, ShareError> {
        let (path, chain) = (file.to_owned(), Arc::clone(&self.chain));
        let read = blocking(move || read_capsule(&path, block, &chain)).await?.map_err(at(file))?;
        let mut capsule = match read {
            Ok(capsule) => capsule,
            Err(why) => return Ok(Step::PassedOver(why)),
        };
        let is_new = capsule.header_proof.is_empty();
        if is_new {
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
        }
        let (path, trust_dir, chain) = (file.to_owned(), self.trust_dir.clone(), Arc::clone(&self.chain));
        let proved = blocking(move || {
            // What the peer says of its proof counts as little as what anybody else says.
            let verifier = TrustStore::open(trust_dir, chain)?.verifier();
            if let Err(error) = capsule.prove_header(&verifier) {
                return Ok(Step::Waits(format!("the header of block {block}: {error}")));
            }
            if is_new {
                rewrite_atomically(&path, &capsule.encode()).map_err(at(&path))?;
            }
            Ok(match capsules::shared(&capsule) {
                Ok((key, value)) => Step::Given { key: ContentKey::from(key).encode(), value, is_new },
                Err(error) => Step::PassedOver(format!("it is for yourself alone: {error}")),
            })
        });
        proved.await?
    }
}

/// A capsule out of its file, or why it is of no use to anybody else.
fn read_capsule(path: &Path, block: u64, chain: &ChainSpec) -> io::Result<Result<Capsule, String>> {
    let bytes = match read_bounded(path, MAX_CAPSULE_LENGTH as u64) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err("it is not there any more".to_owned())),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Ok(Err(error.to_string())),
        Err(error) => return Err(error),
    };
    let capsule = match Capsule::decode(&bytes.into()) {
        Ok(capsule) => capsule,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let number = match DecodedHeader::decode(capsule.header.clone()) {
        Ok(header) => header.number(),
        Err(error) => return Ok(Err(error.to_string())),
    };
    if number != block {
        return Ok(Err(format!("it is of block {number} of {}, and named after block {block}", chain.name())));
    }
    Ok(capsule.open().map(|_| capsule).map_err(|error| error.to_string()))
}

fn at(path: &Path) -> impl Fn(io::Error) -> ShareError {
    move |source| ShareError::File { path: path.to_owned(), source }
}
