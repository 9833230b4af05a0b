//! Accounts that somebody follows: proved at every n-th block by an execution client, kept as capsules in a folder, and given to the
//! peers that keep capsules once there is a proof of their headers.
//!
//! | module | what |
//! |---|---|
//! | `cadence` | which blocks have their turn |
//! | `folder` | the capsules' files, and what each is named |
//! | `sharing` | the proofs of their headers, as soon as there are any, and their way to other peers |

mod cadence;
mod folder;
mod sharing;

pub use cadence::Cadence;
pub use folder::FollowedFolder;
pub use sharing::{Headers, PassedOver, Round, ShareError, Sharing};
