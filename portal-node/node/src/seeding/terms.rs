//! What the job that offers archives is told, and what it tells.

/// How archives are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedOptions {
    /// Peers that each piece is offered to.
    pub replicas: usize,
    /// Offers under way at once.
    pub parallel_offers: usize,
    /// Whether to start over instead of where the last run stopped.
    pub from_start: bool,
}

impl Default for SeedOptions {
    fn default() -> Self {
        Self { replicas: 4, parallel_offers: 16, from_start: false }
    }
}

/// How far the job is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedProgress {
    /// Archive being offered.
    pub archive: Option<String>,
    /// Blocks in all archives.
    pub blocks_total: u64,
    /// Blocks that were offered, in this run and before.
    pub blocks_done: u64,
    /// Blocks that cannot be offered because they are damaged or don't prove true.
    pub blocks_refused: u64,
    /// Blocks that cannot be offered yet: a trust list is missing, nothing proves the header that the archive has no proof
    /// of, or the file cannot be read. They count as done, and are behind the saved position, only when they were offered.
    pub blocks_waiting: u64,
    /// Blocks of which a piece is open: a peer that should hold it was busy, or has not said that it has it. They are offered
    /// again, with growing pauses, until each piece has an end, and are behind the saved position only then.
    pub blocks_open: u64,
    /// The pieces of those that are open.
    pub pieces_open: u64,
    /// Blocks that all peers that could take something of them serve themselves. They count as done, and were not even read. Where
    /// those peers are few, it is asked again later, and the blocks are behind the saved position only once they are more.
    pub blocks_served: u64,
    /// Pieces of content offered in this run.
    pub pieces: u64,
    /// Of them, those that at least one peer say that they have.
    pub pieces_placed: u64,
    /// Pieces that peers took, each peer counted.
    pub accepted: u64,
    /// Bytes of what peers took.
    pub bytes: u64,
    /// Whether all that can be offered now was. Headers that turn up later may prove what still waits, and a job that is not
    /// waited for goes on with that.
    pub finished: bool,
}
