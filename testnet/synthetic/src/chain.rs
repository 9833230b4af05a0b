//! The chain: headers in memory, contents made anew whenever a block is asked for.

use std::sync::Arc;

use alloy_consensus::Header;
use alloy_primitives::{B64, B256, U256, keccak256};
use bytes::Bytes;
use content_types::{
    ChainSpec, HeaderProof, HeaderVerifier, HeaderWithProof, TrustLists,
    block::{BodyEncoding, BodyRoots, Malformed, ReceiptsEncoding, ReceiptsRoots, transcode},
    chain::{BeaconClock, ChainParameters, ChainSpecError},
    header::{DecodedHeader, HeaderRecord},
    trust::TrustError,
};

use crate::accounts::Accounts;
use crate::clock;
use crate::config::{ConfigError, Fork, SyntheticConfig};
use crate::contents::Contents;
use crate::random::{Purpose, Random};
use crate::state::State;
use crate::trust::{CHAIN_ID, Trust};

/// Gas limit of each block that uses no more.
const GAS_LIMIT: u64 = 30_000_000;
/// Difficulty of the blocks before the merge: mainnet's first, and a little that differs.
const DIFFICULTY: u64 = 17_179_869_184;

/// A synthetic chain.
///
/// A block takes about 1.2 kB of memory, whatever its size.
#[derive(Debug)]
pub struct SyntheticChain {
    config: SyntheticConfig,
    accounts: Accounts,
    spec: Arc<ChainSpec>,
    trust: Trust,
    headers: Vec<Bytes>,
    records: Vec<HeaderRecord>,
}

/// One block of the chain, whole.
#[derive(Debug, Clone)]
pub struct Block {
    /// The header.
    pub header: DecodedHeader,
    /// Its proof.
    pub proof: HeaderProof,
    /// Sum of the difficulties of all blocks up to this one.
    pub total_difficulty: U256,
    /// RLP `[transactions, ommers, withdrawals?]`, as in History (`0x5000`), era1 and ere.
    pub body: Bytes,
    /// RLP list of slim receipts, as in History (`0x5000`) and ere.
    pub receipts: Bytes,
}

impl SyntheticChain {
    /// Makes the chain: every block is filled and hashed once.
    ///
    /// # Errors
    ///
    /// [`SyntheticError::Config`] when there can't be such a chain.
    pub fn new(config: SyntheticConfig) -> Result<Self, SyntheticError> {
        config.check()?;
        let accounts = Accounts::new(config.seed);
        let (mut headers, mut records) = (Vec::new(), Vec::<HeaderRecord>::new());
        for number in 0..config.blocks() {
            let contents = Contents::new(&config, &accounts, number);
            let parent = records.last().map(|parent| parent.block_hash).unwrap_or_default();
            let header = header(&config, number, parent, &contents)
                .map_err(|malformed| SyntheticError::Malformed { number, malformed })?;
            let rlp = Bytes::from(alloy_rlp::encode(&header));
            let total_difficulty =
                records.last().map(|parent| parent.total_difficulty).unwrap_or_default() + header.difficulty;
            records.push(HeaderRecord { block_hash: keccak256(&rlp), total_difficulty });
            headers.push(rlp);
        }
        let trust = Trust::new(&config, &records)?;
        let spec = Arc::new(ChainSpec::new(parameters(&config, records[0].block_hash, &trust))?);
        Ok(Self { config, accounts, spec, trust, headers, records })
    }

    /// What the chain was made from.
    pub fn config(&self) -> &SyntheticConfig {
        &self.config
    }

    /// The chain's specification with its trust roots.
    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// The lists behind the trust roots.
    pub fn trust_lists(&self) -> &TrustLists {
        &self.trust.lists
    }

    /// A verifier that knows all the lists.
    pub fn verifier(&self) -> HeaderVerifier {
        HeaderVerifier::new(self.spec.clone(), self.trust.lists.clone())
    }

    /// The RLP of a block's header; `None` behind the end of the chain.
    pub fn header_rlp(&self, number: u64) -> Option<&Bytes> {
        self.headers.get(usize::try_from(number).ok()?)
    }

    /// A block's hash; `None` behind the end of the chain.
    pub fn block_hash(&self, number: u64) -> Option<B256> {
        self.record(number).map(|record| record.block_hash)
    }

    /// A block; `None` behind the end of the chain.
    pub fn block(&self, number: u64) -> Option<Block> {
        let record = self.record(number)?;
        let contents = Contents::new(&self.config, &self.accounts, number);
        Some(Block {
            header: DecodedHeader::decode(self.header_rlp(number)?.clone()).ok()?,
            proof: self.trust.prove(&self.config, number, record.block_hash)?,
            total_difficulty: record.total_difficulty,
            body: contents.body.into(),
            receipts: contents.receipts.into(),
        })
    }

    /// The state of a block, which is that of its header if the chain has [accounts](SyntheticConfig::accounts).
    pub fn state(&self, number: u64) -> State {
        State::of(self.config.seed, self.config.accounts, number)
    }

    /// All blocks in ascending order, each made when it is its turn.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        (0..self.config.blocks()).map_while(|number| self.block(number))
    }

    fn record(&self, number: u64) -> Option<&HeaderRecord> {
        self.records.get(usize::try_from(number).ok()?)
    }
}

impl Block {
    /// The block's number.
    pub fn number(&self) -> u64 {
        self.header.number()
    }

    /// The SSZ value of the header with its proof, as in Legacy History (`0x500B`).
    pub fn header_with_proof(&self) -> Bytes {
        HeaderWithProof { header: self.header.clone(), proof: self.proof }.encode()
    }

    /// The body's SSZ value, as in Legacy History (`0x500B`).
    ///
    /// # Errors
    ///
    /// None for a block that was not changed.
    pub fn body_ssz(&self) -> Result<Vec<u8>, Malformed> {
        transcode::body(BodyEncoding::Rlp, BodyEncoding::Ssz, &self.body)
    }

    /// The receipts with blooms: [`ReceiptsEncoding::Ssz`] as in Legacy History (`0x500B`), [`ReceiptsEncoding::Rlp`] as in
    /// era1.
    ///
    /// # Errors
    ///
    /// None for a block that was not changed.
    pub fn receipts_in(&self, encoding: ReceiptsEncoding) -> Result<Vec<u8>, Malformed> {
        transcode::receipts(ReceiptsEncoding::Slim, encoding, &self.receipts)
    }
}

/// Why a chain could not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SyntheticError {
    /// There can't be such a chain.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A block of ours breaks the rules of its encoding.
    #[error("block {number} of the synthetic chain is malformed: {malformed}")]
    Malformed {
        /// The block's number.
        number: u64,
        /// The rule that it breaks.
        malformed: Malformed,
    },
    /// The chain's parameters contradict each other.
    #[error("the synthetic chain's specification is refused: {0}")]
    Spec(#[from] ChainSpecError),
    /// A list is not that of its root.
    #[error("the synthetic chain's trust list is refused: {0}")]
    Trust(#[from] TrustError),
}

fn header(config: &SyntheticConfig, number: u64, parent_hash: B256, contents: &Contents) -> Result<Header, Malformed> {
    let fork = config.fork(number);
    let mut random = Random::new(config.seed, Purpose::Header, number);
    let body = BodyRoots::compute(BodyEncoding::Rlp, &contents.body)?;
    let receipts = ReceiptsRoots::compute(ReceiptsEncoding::Slim, &contents.receipts)?;
    let is_mined = fork < Fork::Paris;
    let timestamp =
        if is_mined { clock::pre_merge_time(number) } else { clock::slot_time(config, clock::slot(config, number)) };
    Ok(Header {
        parent_hash,
        ommers_hash: body.ommers_hash,
        beneficiary: random.address(),
        state_root: state_root(config, number, random.hash()),
        transactions_root: body.transactions,
        receipts_root: receipts.root,
        withdrawals_root: body.withdrawals,
        logs_bloom: receipts.logs_bloom,
        difficulty: U256::from(if is_mined { DIFFICULTY + random.below(1 << 20) } else { 0 }),
        number,
        gas_limit: contents.gas_used.max(GAS_LIMIT),
        gas_used: contents.gas_used,
        timestamp,
        mix_hash: random.hash(),
        nonce: if is_mined { B64::from(random.number()) } else { B64::ZERO },
        base_fee_per_gas: (fork >= Fork::London).then(|| random.below(1 << 36)),
        blob_gas_used: (fork >= Fork::Cancun).then_some(contents.blob_gas_used),
        excess_blob_gas: (fork >= Fork::Cancun).then(|| random.below(1 << 26)),
        parent_beacon_block_root: (fork >= Fork::Cancun).then(|| random.hash()),
        requests_hash: (fork >= Fork::Prague).then(|| random.hash()),
        extra_data: b"synthetic".as_slice().into(),
        ..Header::default()
    })
}

/// The root of the block's state, or what stands for it in a chain that has none.
fn state_root(config: &SyntheticConfig, number: u64, arbitrary: B256) -> B256 {
    if config.accounts == 0 { arbitrary } else { State::of(config.seed, config.accounts, number).root() }
}

fn parameters(config: &SyntheticConfig, genesis_hash: B256, trust: &Trust) -> ChainParameters {
    let since_capella = config.capella_blocks + config.deneb_blocks;
    let has_merged = config.bellatrix_blocks + since_capella > 0;
    let first_deneb = config.blocks() - config.deneb_blocks;
    ChainParameters {
        name: format!("synthetic-{:x}", config.seed),
        chain_id: CHAIN_ID,
        genesis_hash,
        merge_block: has_merged.then_some(config.pre_merge_blocks),
        shanghai_time: (since_capella > 0).then(|| clock::slot_time(config, clock::capella_slot(config))),
        cancun_time: (config.deneb_blocks > 0).then(|| clock::slot_time(config, clock::slot(config, first_deneb))),
        amsterdam_time: None,
        beacon: has_merged.then(|| BeaconClock {
            genesis_time: clock::beacon_genesis_time(config),
            seconds_per_slot: clock::SECONDS_PER_SLOT,
        }),
        trust_roots: trust.roots,
    }
}
