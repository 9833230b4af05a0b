//! What a synthetic chain is to be like.

/// Blocks that a chain has at most: their headers are kept in memory.
pub const MAX_CHAIN_BLOCKS: u64 = 1 << 20;
/// Largest average block, bytes: half of it is still below the limit of an archive's record.
pub const MAX_BLOCK_SIZE: usize = 4 << 20;

/// The length of a chain by forks, and the size of its blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntheticConfig {
    /// Two chains with different seeds have nothing in common but their shape.
    pub seed: u64,
    /// Blocks before the merge with the genesis block: in thirds, as Frontier, Byzantium and London knew them.
    pub pre_merge_blocks: u64,
    /// Blocks from the merge until Shanghai.
    pub bellatrix_blocks: u64,
    /// Blocks from Shanghai, with withdrawals, until Cancun.
    pub capella_blocks: u64,
    /// Blocks from Cancun on, with blob transactions; the second half as from Prague on.
    pub deneb_blocks: u64,
    /// Body and slim receipts of a block, together, in bytes: the average over the chain. Single blocks have from half to
    /// one and a half times that.
    pub block_size: usize,
    /// Accounts of the chain's state; 0 for none, and state roots that are those of nothing.
    pub accounts: usize,
}

impl SyntheticConfig {
    /// A few blocks of every fork, of about two kilobytes each.
    pub fn small() -> Self {
        Self {
            seed: 1,
            pre_merge_blocks: 48,
            bellatrix_blocks: 16,
            capella_blocks: 16,
            deneb_blocks: 16,
            block_size: 2_000,
            accounts: 0,
        }
    }

    /// `blocks` blocks, of which a quarter each is of another fork, and `block_size` bytes in the average one.
    pub fn of_every_fork(seed: u64, blocks: u64, block_size: usize) -> Self {
        let quarter = blocks / 4;
        Self {
            seed,
            pre_merge_blocks: blocks - 3 * quarter,
            bellatrix_blocks: quarter,
            capella_blocks: quarter,
            deneb_blocks: quarter,
            block_size,
            accounts: 0,
        }
    }

    /// Blocks of the chain.
    pub fn blocks(&self) -> u64 {
        [self.pre_merge_blocks, self.bellatrix_blocks, self.capella_blocks, self.deneb_blocks]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.pre_merge_blocks == 0 {
            Err(ConfigError::NoGenesis)
        } else if self.blocks() > MAX_CHAIN_BLOCKS {
            Err(ConfigError::TooManyBlocks(self.blocks()))
        } else if self.block_size > MAX_BLOCK_SIZE {
            Err(ConfigError::BlockSize(self.block_size))
        } else {
            Ok(())
        }
    }

    /// The rules that block `number` is made by.
    pub(crate) fn fork(&self, number: u64) -> Fork {
        let first_capella = self.pre_merge_blocks + self.bellatrix_blocks;
        let first_deneb = first_capella + self.capella_blocks;
        match number {
            _ if 3 * number < self.pre_merge_blocks => Fork::Frontier,
            _ if 3 * number < 2 * self.pre_merge_blocks => Fork::Byzantium,
            _ if number < self.pre_merge_blocks => Fork::London,
            _ if number < first_capella => Fork::Paris,
            _ if number < first_deneb => Fork::Shanghai,
            _ if number < first_deneb + self.deneb_blocks / 2 => Fork::Cancun,
            _ => Fork::Prague,
        }
    }
}

/// The forks that made a difference to bodies, receipts or headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fork {
    /// Receipts with state roots.
    Frontier,
    /// Receipts with a status. Berlin's access lists are let in here already.
    Byzantium,
    /// Base fee.
    London,
    /// The merge.
    Paris,
    /// Withdrawals.
    Shanghai,
    /// Blob transactions.
    Cancun,
    /// Delegations and requests.
    Prague,
}

/// A chain that can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The genesis block comes before the merge.
    #[error("a chain has at least one block before the merge, its genesis block")]
    NoGenesis,
    /// Longer than [`MAX_CHAIN_BLOCKS`].
    #[error("{0} blocks are more than the {MAX_CHAIN_BLOCKS} that a synthetic chain can have")]
    TooManyBlocks(u64),
    /// Larger than [`MAX_BLOCK_SIZE`].
    #[error("blocks of {0} bytes are larger than the {MAX_BLOCK_SIZE} that an average block can have")]
    BlockSize(usize),
}
