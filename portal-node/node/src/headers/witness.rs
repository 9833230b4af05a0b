//! An execution client that is believed: `cairn verify --headers-from`. Everywhere else what it sends is proved; here a person says
//! that it knows the chain where no list or proof reaches.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use cairn_archive::verify::{KnownBlock, Witness};
use content_types::ChainSpec;
use parking_lot::Mutex;
use reqwest::Url;
use tokio::runtime::Handle;

use super::answers::{ClaimedHeader, ClientError};
use super::client::ExecutionClient;
use crate::http::HttpError;

/// Tells which blocks are the chain's as an execution client knows it. It is asked from a thread that may block.
pub struct ClientWitness {
    client: ExecutionClient,
    chain: Arc<ChainSpec>,
    runtime: Handle,
    /// It said which chain it is of, and it is the right one.
    is_of_the_chain: Mutex<bool>,
    failed: Mutex<Option<ClientError>>,
}

impl ClientWitness {
    /// A client that was asked nothing yet, to tell of a chain; it is asked on the runtime that this is called in.
    ///
    /// # Errors
    /// [`HttpError`] if TLS cannot be set up.
    pub fn new(url: Url, chain: Arc<ChainSpec>) -> Result<Self, HttpError> {
        Ok(Self {
            client: ExecutionClient::new(url)?,
            chain,
            runtime: Handle::current(),
            is_of_the_chain: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Why it did not tell of blocks that it was asked for, the first time that happened.
    pub fn into_failure(self) -> Option<ClientError> {
        self.failed.into_inner()
    }

    async fn headers(&self, blocks: Range<u64>, is_of_the_chain: bool) -> Result<Vec<ClaimedHeader>, ClientError> {
        if !is_of_the_chain {
            self.client.check_chain(&self.chain).await?;
        }
        self.client.headers(blocks).await
    }
}

impl Witness for ClientWitness {
    fn blocks(&self, blocks: RangeInclusive<u64>) -> Option<Vec<KnownBlock>> {
        // Who cannot be reached is not asked again: each time would take until the time-out. Nor who knows another chain.
        if matches!(&*self.failed.lock(), Some(ClientError::Http(_) | ClientError::OtherChain { .. })) {
            return None;
        }
        let is_of_the_chain = *self.is_of_the_chain.lock();
        let asked = self.headers(*blocks.start()..blocks.end().saturating_add(1), is_of_the_chain);
        match self.runtime.block_on(asked) {
            Ok(headers) => {
                *self.is_of_the_chain.lock() = true;
                let known = |claimed: ClaimedHeader| KnownBlock {
                    hash: claimed.header.hash(),
                    total_difficulty: claimed.total_difficulty,
                };
                Some(headers.into_iter().map(known).collect())
            }
            Err(error) => {
                tracing::debug!(%error, ?blocks, "the execution client does not tell of all blocks");
                self.failed.lock().get_or_insert(error);
                None
            }
        }
    }
}

impl std::fmt::Debug for ClientWitness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientWitness")
    }
}
