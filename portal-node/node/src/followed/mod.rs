//! Accounts that somebody follows: proved at every n-th block by an execution client, kept as capsules in a folder, completed there when
//! there is a proof of their headers, and given to the peers that keep capsules if their owner wants that.
//!
//! | module | what |
//! |---|---|
//! | `cadence` | which blocks have their turn |
//! | `folder` | the capsules' files, and what each is named |
//! | `upkeep` | the proofs of their headers, as soon as there are any, and their way to other peers |

mod cadence;
mod folder;
mod upkeep;

pub use cadence::Cadence;
pub use folder::FollowedFolder;
pub use upkeep::{FolderUpkeep, Headers, PassedOver, Round, UpkeepError};
