//! Reads of the state: an account, a slot of its storage or its code, at a block, proved. It goes down the tries from the state root of
//! the block's proved header, node by node ([`StateRead`]), and takes each node from what was read lately, from the store, or from the
//! state network. What came from there is offered with its proof to those on the way that lack it (state network, "POKE
//! Mechanism").

mod cache;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy_primitives::{Address, Bytes as AlloyBytes, U256};
use alloy_trie::TrieAccount;
use content_types::capsule::{Capsule, Claim, MakeError};
use content_types::header::DecodedHeader;
use content_types::state::{self, Answer, Bare, Part, ReadOutput, StateRead};
use content_types::trie::ProofError;
use content_types::verify::Unverified;
use content_types::{NodeId, ProvedHeader, SubNetwork};
use futures::{StreamExt, TryStreamExt, stream};
use overlay::service::{FoundContent, LookupError, LookupTrace};
use parking_lot::Mutex;

use self::cache::NodeCache;
use crate::again::until_settled;
use crate::express::TrieWays;
use crate::fetch::{FetchError, Fetcher};
use crate::headers::BlockId;
use crate::networks::Network;
use crate::not_found::NotFoundCause;

/// Bytes of nodes that were read lately.
const CACHE_BYTES: usize = 16 << 20;

/// The same while a capsule is made.
const CAPSULE_BYTES: usize = 64 << 20;

/// Slots of one account that are read at a time.
const PARALLEL: usize = 8;

/// For how long what was not found is asked for again.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the state. Cheap to clone.
#[derive(Clone)]
pub struct StateReader {
    fetcher: Fetcher,
    network: Option<Arc<Network>>,
    cache: Arc<Mutex<NodeCache>>,
    /// Where a way is noted, so that peers give all they have of it.
    ways: TrieWays,
    patience: Duration,
}

/// What a read came to, and how.
#[derive(Debug, Clone)]
pub struct StateAnswer {
    /// What it is.
    pub answer: Answer,
    /// The header whose state root proves it.
    pub header: ProvedHeader,
    /// What was gone through, in order.
    pub steps: Vec<StateStep>,
}

/// A node or a code that a read went through.
#[derive(Debug, Clone)]
pub struct StateStep {
    /// What it is called on the state network.
    pub key: state::ContentKey,
    /// Where it came from.
    pub origin: StateOrigin,
    /// How long that took.
    pub time: Duration,
}

/// Where a node or a code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOrigin {
    /// It was read lately.
    Cache,
    /// This node's store.
    Store,
    /// A peer.
    Peer(NodeId),
    /// A peer, in the same answer as a node above.
    Way(NodeId),
}

/// An account and what was asked of it.
#[derive(Debug, Clone)]
pub struct AccountAnswer {
    /// Its address.
    pub address: Address,
    /// The account; `None` if the state has none under the address.
    pub account: Option<TrieAccount>,
    /// Slots of its storage and what stands in them, zero where nothing does.
    pub slots: Vec<(U256, U256)>,
    /// Its code, if that was asked for; empty where there is none.
    pub code: Option<AlloyBytes>,
    /// What was gone through.
    pub steps: Vec<StateStep>,
}

/// Why something was not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// No proved header of the block.
    #[error(transparent)]
    Header(#[from] FetchError),
    /// Nobody who was asked had a node or the code.
    #[error("{} of the state of block {number} was not found, {} steps down: {} peers asked", described(.key), .steps.len(), trace.responses.len())]
    NotFound {
        /// The block's number.
        number: u64,
        /// What was missing.
        key: Box<state::ContentKey>,
        /// Who was asked for it.
        trace: Box<LookupTrace>,
        /// What was gone through until then.
        steps: Vec<StateStep>,
    },
    /// A node or code came that cannot be read.
    #[error(transparent)]
    Content(#[from] Unverified),
    /// What was found does not make a capsule.
    #[error(transparent)]
    Capsule(#[from] MakeError<TooLarge>),
    /// This node does not speak the state network.
    #[error("this node does not speak the state network")]
    NotSpoken,
}

/// What a capsule is made of had no room until it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a capsule of more than {} MiB", CAPSULE_BYTES >> 20)]
pub struct TooLarge;

impl From<ProofError> for StateError {
    fn from(error: ProofError) -> Self {
        Self::Content(error.into())
    }
}

impl StateError {
    /// What is behind it, if it is that something was not found.
    pub fn cause(&self) -> Option<NotFoundCause> {
        match self {
            Self::Header(error) => error.cause(),
            Self::NotFound { trace, .. } => Some(NotFoundCause::of_lookups([&**trace])),
            Self::Content(_) | Self::Capsule(_) | Self::NotSpoken => None,
        }
    }

    /// Whether it would be of no use to ask again in a moment.
    fn is_settled(&self) -> bool {
        match self {
            Self::NotFound { trace, .. } => trace.most_answered(),
            _ => true,
        }
    }
}

/// What is missing, for a person.
fn described(key: &state::ContentKey) -> String {
    match key {
        state::ContentKey::AccountTrieNode { path, .. } => format!("the account trie's node at {path}"),
        state::ContentKey::StorageTrieNode { address_hash, path, .. } => {
            format!("the node at {path} of the storage of {address_hash}")
        }
        state::ContentKey::Code { code_hash, .. } => format!("the code {code_hash}"),
    }
}

impl AccountAnswer {
    fn take(&mut self, answer: Answer, slot: Option<U256>) {
        match answer {
            Answer::Account(account) => self.account = account,
            Answer::Slot(value) => self.slots.extend(slot.map(|slot| (slot, value))),
            Answer::Code(code) => self.code = Some(code),
        }
    }
}

/// What was gone through, from whom, and how long that took.
impl fmt::Display for StateStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, origin, time } = self;
        let (what, micros) = (described(key), time.as_micros());
        match origin {
            StateOrigin::Cache => write!(f, "{what}: read before"),
            StateOrigin::Store => write!(f, "{what}: here, {micros} µs"),
            StateOrigin::Peer(peer) => write!(f, "{what}: from {peer}, {micros} µs"),
            StateOrigin::Way(peer) => write!(f, "{what}: from {peer}, with the node above"),
        }
    }
}

impl StateReader {
    pub(crate) fn new(fetcher: Fetcher, networks: &[Arc<Network>], ways: TrieWays) -> Self {
        let network = networks.iter().find(|network| network.sub_network() == SubNetwork::State).cloned();
        let cache = Arc::new(Mutex::new(NodeCache::new(CACHE_BYTES)));
        Self { fetcher, network, cache, ways, patience: PATIENCE }
    }

    /// The same for somebody who waits so long: nothing is asked again after that.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.fetcher = self.fetcher.with_patience(patience);
        self.patience = patience;
        self
    }

    /// The same without anything that was read lately: each node is looked up anew.
    #[must_use]
    pub fn without_cache(&self) -> Self {
        Self { cache: Arc::new(Mutex::new(NodeCache::new(0))), ..self.clone() }
    }

    /// Reads a part of an account in the state behind a block.
    ///
    /// # Errors
    /// [`StateError`] says what was missing, and who was asked for it.
    pub async fn read(&self, block: BlockId, address: Address, part: Part) -> Result<StateAnswer, StateError> {
        let network = self.network.as_deref().ok_or(StateError::NotSpoken)?;
        let deadline = Instant::now() + self.patience;
        let header = self.fetcher.header(block).await?;
        let mut read = StateRead::new(header.header().state_root, &address, part);
        let mut steps = Vec::new();
        loop {
            let key = match read.poll_output() {
                ReadOutput::Ask(key) => key,
                ReadOutput::Done(answer) => return Ok(StateAnswer { answer, header, steps }),
            };
            let begun = Instant::now();
            // What is in the cache is found by its hash alone, whichever trie it was read from.
            let cached = self.cache.lock().get(&key.hash());
            // Noted for as long as the node is looked up.
            let noted = read.way().filter(|_| cached.is_none()).and_then(|way| self.ways.note(way));
            let (value, origin, lacking) = match cached {
                Some(value) => (value, StateOrigin::Cache, Vec::new()),
                None => {
                    let looked_up = || self.look_up(network, &key, header.number(), &steps);
                    let FoundContent { value, from, lacking, .. } = until_settled(
                        deadline.saturating_duration_since(Instant::now()),
                        looked_up,
                        StateError::is_settled,
                    )
                    .await?;
                    let own = from == network.local_id();
                    let origin = if own { StateOrigin::Store } else { StateOrigin::Peer(from) };
                    (Bare::decode(&key, &value)?.0, origin, lacking)
                }
            };
            read.handle_value(value.clone())?;
            if origin != StateOrigin::Cache {
                self.cache.lock().insert(key.hash(), value);
            }
            if !lacking.is_empty()
                && let Some((key, proved)) = read.offer(header.hash())
            {
                network.overlay().poke(key.encode(), proved.encode(), &lacking);
            }
            steps.push(StateStep { key, origin, time: begun.elapsed() });
            // What came behind it in the same answer.
            let Some(behind) = noted.and_then(|noted| noted.take()) else { continue };
            for node in behind.nodes {
                let ReadOutput::Ask(key) = read.poll_output() else { break };
                if read.handle_value(node.clone()).is_err() {
                    break;
                }
                self.cache.lock().insert(key.hash(), node);
                steps.push(StateStep { key, origin: StateOrigin::Way(behind.from), time: Duration::ZERO });
            }
        }
    }

    /// Reads an account in the state behind a block, slots of it and its code: all that a claim names.
    ///
    /// # Errors
    /// [`StateError`] says what was missing, and who was asked for it.
    pub async fn account(&self, block: BlockId, claim: &Claim) -> Result<AccountAnswer, StateError> {
        let Claim { address, slots, code } = claim;
        // First the account: the upper levels are known then, and the slots go their ways below at the same time.
        let StateAnswer { answer, mut steps, .. } = self.read(block, *address, Part::Account).await?;
        let mut told =
            AccountAnswer { address: *address, account: None, slots: Vec::new(), code: None, steps: Vec::new() };
        told.take(answer, None);
        let parts = slots.iter().map(|slot| (Some(*slot), Part::Slot(*slot))).chain(code.then_some((None, Part::Code)));
        let reads = parts
            .map(|(slot, part)| async move { Ok::<_, StateError>((slot, self.read(block, *address, part).await?)) });
        let mut reads = stream::iter(reads).buffered(PARALLEL);
        while let Some((slot, read)) = reads.try_next().await? {
            steps.extend(read.steps);
            told.take(read.answer, slot);
        }
        Ok(AccountAnswer { steps, ..told })
    }

    /// A capsule of these claims in the state behind a block, with the proof of its header where the network has that.
    ///
    /// # Errors
    /// [`StateError`] says what was missing, and who was asked for it.
    pub async fn capsule(&self, block: BlockId, claims: Vec<Claim>) -> Result<Capsule, StateError> {
        // All of it is kept until the capsule is made, and nothing is asked for twice.
        let reader = Self { cache: Arc::new(Mutex::new(NodeCache::new(CAPSULE_BYTES))), ..self.clone() };
        // One block, whatever its number stands for later.
        let header = self.fetcher.header(block).await?;
        let block = BlockId::Hash(header.hash());
        for claim in &claims {
            reader.account(block, claim).await?;
        }
        let proof = self.fetcher.header_proof(&header).await;
        let header = DecodedHeader::decode(header.rlp().clone()).map_err(Unverified::from)?;
        let get = |key: &state::ContentKey| reader.cache.lock().get(&key.hash()).ok_or(TooLarge);
        Ok(Capsule::make(&header, proof.as_ref(), claims, get)?)
    }

    async fn look_up(
        &self,
        network: &Network,
        key: &state::ContentKey,
        number: u64,
        steps: &[StateStep],
    ) -> Result<FoundContent, StateError> {
        match network.overlay().lookup_content(key.encode()).await {
            Ok(found) => Ok(found),
            Err(LookupError::NotFound(missing)) => Err(missing.trace),
            Err(LookupError::Unverifiable(unverifiable)) => Err(unverifiable.trace),
            // It knows every key of its own.
            Err(LookupError::Key) => return Err(StateError::NotSpoken),
        }
        .map_err(|trace| StateError::NotFound {
            number,
            key: Box::new(*key),
            trace: Box::new(trace),
            steps: steps.to_vec(),
        })
    }
}

impl fmt::Debug for StateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateReader")
    }
}
