//! Ephemeral headers as they are found and as they are offered.
#![no_main]

use content_types::legacy_history::{EphemeralHeaders, OfferedHeader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ([u8; 32], u8, &[u8])| {
    let (block_hash, ancestor_count, bytes) = input;
    if let Ok(headers) = EphemeralHeaders::decode(bytes) {
        assert_eq!(headers.encode(), bytes);
        let _ = headers.verify(block_hash.into(), ancestor_count);
    }
    if let Ok(header) = OfferedHeader::decode(bytes) {
        assert_eq!(header.encode(), bytes);
        let _ = header.verify(block_hash.into());
    }
});
