//! Capsules that peers keep for one another: found by their block and what they tell of, and given to those who keep them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use content_types::capsule::{Capsule, Claim, Opened};
use content_types::capsules::{self, ContentKey};
use content_types::room::Form;
use content_types::verify::{BrokenRule, Unverified};
use content_types::{BlockId, HeaderProof, NodeId, ProvedHeader, SubNetwork};
use futures::{StreamExt, TryStreamExt, stream};
use overlay::service::{FoundContent, LookupError, LookupTrace, RequestError};
use tokio::time::Instant;

use crate::again::until_settled;
use crate::fetch::{FetchError, Fetcher};
use crate::networks::Network;
use crate::not_found::NotFoundCause;

/// Nodes and codes of a capsule that are given to the state network at a time.
const PARALLEL: usize = 8;

/// How often what nobody took is offered.
const MAX_OFFERS: u32 = 5;
/// What somebody took is offered again after so many looks for it.
const LOOKS_AN_OFFER: u32 = 3;
/// Pauses between looks for what was given, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// For how long what was not found is asked for again, unless somebody says how long it waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// The capsules that peers keep. Cheap to clone.
#[derive(Clone)]
pub struct SharedCapsules {
    fetcher: Fetcher,
    network: Option<Arc<Network>>,
    state: Option<Arc<Network>>,
    patience: Duration,
}

/// Why a capsule was not found.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CapsuleGetError {
    /// No proved header of the block.
    #[error(transparent)]
    Header(#[from] FetchError),
    /// Nobody who was asked has it.
    #[error("no capsule of this of block {number} was found: {} peers asked", trace.responses.len())]
    NotFound {
        /// The block's number.
        number: u64,
        /// Who was asked.
        trace: Box<LookupTrace>,
    },
    /// What this node holds under the key cannot be read.
    #[error(transparent)]
    Content(#[from] Unverified),
    /// This node does not speak the capsules' network.
    #[error("this node does not speak the network of capsules")]
    NotSpoken,
}

impl CapsuleGetError {
    /// What is behind it, if it is that something was not found.
    pub fn cause(&self) -> Option<NotFoundCause> {
        match self {
            Self::Header(error) => error.cause(),
            Self::NotFound { trace, .. } => Some(NotFoundCause::of_lookups([&**trace])),
            Self::Content(_) | Self::NotSpoken => None,
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

/// Why a capsule is kept by nobody.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CapsulePutError {
    /// No proved header of its block, by which peers check it.
    #[error(transparent)]
    Header(#[from] FetchError),
    /// It is too large for the network, or is none.
    #[error(transparent)]
    Content(#[from] Unverified),
    /// It was offered, and so many peers answered, of whom so many said that they take it; and none gives it when it is asked.
    #[error("{answered} peers were offered it and {accepted} said that they take it: none has it")]
    NobodyKeepsIt {
        /// Peers that answered.
        answered: usize,
        /// Peers that said that they take it.
        accepted: usize,
    },
    /// The offers failed.
    #[error(transparent)]
    Request(#[from] Arc<RequestError>),
    /// This node does not speak the sub-network.
    #[error("this node does not speak the sub-network")]
    NotSpoken,
}

impl SharedCapsules {
    pub(crate) fn new(fetcher: Fetcher, networks: &[Arc<Network>]) -> Self {
        let of = |sub_network| networks.iter().find(|network| network.sub_network() == sub_network).cloned();
        Self { fetcher, network: of(SubNetwork::Capsules), state: of(SubNetwork::State), patience: PATIENCE }
    }

    /// The same for somebody who waits so long: nothing is asked again after that.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.fetcher = self.fetcher.with_patience(patience);
        self.patience = patience;
        self
    }

    /// The capsule that tells of a block just this, with the proof of its header where the network has that.
    ///
    /// # Errors
    /// [`CapsuleGetError`] says who was asked.
    pub async fn get(&self, block: BlockId, claims: Vec<Claim>) -> Result<Capsule, CapsuleGetError> {
        let network = self.network.as_deref().ok_or(CapsuleGetError::NotSpoken)?;
        let header = self.fetcher.header(block).await?;
        let key = content_types::ContentKey::from(ContentKey::of(header.hash(), claims));
        let look_up = || async {
            match network.overlay().lookup_content(key.encode()).await {
                Ok(FoundContent { value, .. }) => Ok(value),
                Err(LookupError::NotFound(missing)) => Err(not_found(&header, missing.trace)),
                Err(LookupError::Unverifiable(unverifiable)) => Err(not_found(&header, unverifiable.trace)),
                // It knows every key of its own.
                Err(LookupError::Key) => Err(CapsuleGetError::NotSpoken),
            }
        };
        let value = until_settled(self.patience, look_up, CapsuleGetError::is_settled).await?;
        // The network's handler let it in, so it is the one that the key stands for.
        let capsule = Capsule::decode(&value).map_err(BrokenRule::new).map_err(Unverified::from)?;
        let proof = self.fetcher.header_proof(&header).await;
        Ok(Capsule { header_proof: proof.as_ref().map(HeaderProof::encode).unwrap_or_default(), ..capsule })
    }

    /// Offers a capsule to the peers that should keep it, until one of them gives it to who asks; says which.
    ///
    /// # Errors
    /// [`CapsulePutError`], when nobody keeps it in the end.
    pub async fn put(&self, capsule: &Capsule) -> Result<NodeId, CapsulePutError> {
        let network = self.network.as_deref().ok_or(CapsulePutError::NotSpoken)?;
        let (key, value) = capsules::shared(capsule)?;
        // Peers check it by the block's header, which they look up as this node does.
        let header = self.fetcher.header(BlockId::Hash(key.block_hash)).await?;
        let key = content_types::ContentKey::from(key);
        key.examine(Form::Offered, value.clone())?.check(Some(header.header()))?;
        self.give(network, key.encode(), value).await
    }

    /// Gives the state network each node and each code that a capsule has, as [`put`](Self::put) gives the capsule: what is in it can
    /// then be read by who never heard of it. Says how many there are.
    ///
    /// # Errors
    /// [`CapsulePutError`] of the first that nobody keeps in the end; others may be kept.
    pub async fn put_state(&self, opened: &Opened) -> Result<usize, CapsulePutError> {
        let network = self.state.as_deref().ok_or(CapsulePutError::NotSpoken)?;
        let header = self.fetcher.header(BlockId::Hash(opened.header.hash())).await?;
        let contents = opened.contents();
        let count = contents.len();
        stream::iter(contents)
            .map(async |(key, proved)| {
                let (key, value) = (content_types::ContentKey::from(key), proved.encode());
                key.examine(Form::Offered, value.clone())?.check(Some(header.header()))?;
                self.give(network, key.encode(), value).await
            })
            .buffer_unordered(PARALLEL)
            .try_for_each(async |_| Ok(()))
            .await?;
        Ok(count)
    }

    /// Offers a value until a peer gives it to who asks; says which. Who takes it has said so before it was sent, and has the header to
    /// find and the value to check then: it is asked for the value for as long as somebody waits.
    async fn give(&self, network: &Network, key: Bytes, value: Bytes) -> Result<NodeId, CapsulePutError> {
        let begun = Instant::now();
        let (mut answered, mut accepted) = (0, 0);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            // What was on its way may have been lost, and who took it may have dropped it.
            if accepted == 0 || attempt % LOOKS_AN_OFFER == 0 {
                let report = network.overlay().put_content(key.clone(), value.clone()).await.map_err(Arc::new)?;
                accepted = accepted.max(report.codes.iter().filter(|code| code.is_accepted()).count());
                answered = answered.max(report.peer_count);
            }
            if let Ok(found) = network.overlay().search_content(key.clone()).await {
                return Ok(found.from);
            }
            let is_last = accepted == 0 && attempt >= MAX_OFFERS;
            if is_last || begun.elapsed() + pause >= self.patience {
                break;
            }
            // Many that were given together are not asked for together.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Err(CapsulePutError::NobodyKeepsIt { answered, accepted })
    }
}

fn not_found(header: &ProvedHeader, trace: LookupTrace) -> CapsuleGetError {
    CapsuleGetError::NotFound { number: header.number(), trace: Box::new(trace) }
}

impl std::fmt::Debug for SharedCapsules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedCapsules")
    }
}
