//! Keys, content IDs, encodings and proofs of the Portal Network's history, without I/O.
//!
//! | module | what |
//! |---|---|
//! | [`id`], [`distance`] | where something lies: 256-bit identifiers, the XOR metric |
//! | [`sub_network`] | the registry of sub-networks, and the content key of any of them |
//! | [`room`] | what each of them has: a content key that can be asked, names, policies |
//! | [`history`], [`legacy_history`] | a room for each: content keys, content IDs and values of `0x5000` and `0x500B` |
//! | [`block`] | bodies and receipts as raw bytes: validation against a header, transcoding |
//! | [`chain`] | what tells one chain from another: forks, beacon clock, trust roots, as a value |
//! | [`trust`] | the frozen lists behind the trust roots; none exists in memory unchecked |
//! | [`header`] | headers and the four kinds of proof that make one a [`ProvedHeader`] |
//! | [`verify`] | the one verifier: what is checked is a type, what is refused says whose fault it is |
//! | [`block_id`] | which block is meant |
//! | [`state`], [`trie`] | a room for `0x500A`; Merkle Patricia tries, the way down them, and their proofs |
//! | [`capsule`], [`capsules`] | accounts of a block with everything that proves them, as one object; a room for `0xCA01`, where peers keep them |
//! | [`merkle`] | SSZ merkle trees and branches |
//! | [`layout`] | SSZ containers and lists of variable parts, under limits |
//!
//! Everything here is a pure function of its arguments: bytes and a [`ChainSpec`] in, a value or an error that names
//! the broken rule out.

pub mod block;
pub mod block_id;
pub mod capsule;
pub mod capsules;
pub mod chain;
pub mod distance;
pub mod header;
pub mod history;
pub mod id;
pub mod layout;
pub mod legacy_history;
pub mod limits;
pub mod merkle;
pub mod room;
pub mod state;
pub mod sub_network;
pub mod trie;
pub mod trust;
pub mod verify;

pub use block_id::BlockId;
pub use chain::ChainSpec;
pub use distance::Distance;
pub use header::{HeaderError, HeaderProof, HeaderVerifier, HeaderWithProof, ProofKind, ProvedHeader};
pub use id::{ContentId, NodeId};
pub use room::{Form, Key, KeyError};
pub use sub_network::{ContentKey, SubNetwork};
pub use trust::{SummariesCheckpoint, TrustListKind, TrustLists, TrustRoots};
