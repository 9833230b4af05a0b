//! What must be true of whatever a tracker's file holds, for a decoder that nobody else can call: a fuzz target in `testnet/fuzz` makes
//! these assertions.

use crate::TrackedChain;
use crate::records::state_file;

/// A file that is read is written as it was, whatever checksum it has.
///
/// # Panics
///
/// When it is not so.
pub fn state_file(file: &[u8]) {
    // Nobody guesses a checksum, and the chain is in the file.
    let Some(chain) = file.get(9..49) else { return };
    let Some((id, genesis_hash)) = chain.split_first_chunk() else { return };
    let Ok(genesis_hash) = genesis_hash.try_into() else { return };
    let chain = TrackedChain { id: u64::from_be_bytes(*id), genesis_hash };
    let sealed = [file, &crc32c::crc32c(file).to_be_bytes()[..]].concat();
    let _ = state_file::decode(&chain, file);
    let Ok(records) = state_file::decode(&chain, &sealed) else { return };
    let written = state_file::encode(&chain, records.iter().map(|(key, record)| (key, record)));
    assert_eq!(state_file::decode(&chain, &written).ok(), Some(records));
}
