//! The records of an e2store file, one after the other, and what the compressed ones hold.
#![no_main]

use cairn_archive::e2store::split_record;
use cairn_archive::{proof_record, snappy};
use libfuzzer_sys::fuzz_target;

/// Bytes of content: enough for several chunks.
const LIMIT: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok((header, data, after)) = split_record(rest) {
        let record = [&header.encode()[..], data].concat();
        assert_eq!(&rest[..record.len()], record);
        if let Ok(content) = snappy::decode(data, LIMIT) {
            assert!(content.len() <= LIMIT);
            if let Ok(proof) = proof_record::decode(&content) {
                assert_eq!(proof_record::encode(&proof), content);
            }
            let mut stream = Vec::new();
            snappy::Encoder::new().encode(&content, &mut stream).expect("content of any length can be encoded");
            assert_eq!(snappy::decode(&stream, LIMIT).as_deref(), Ok(&content[..]));
        }
        rest = after;
    }
});
