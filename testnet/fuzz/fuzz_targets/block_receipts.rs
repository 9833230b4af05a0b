//! Lists of receipts in all three encodings: their roots, and the way from each encoding to the others.
#![no_main]

use content_types::block::{ReceiptsEncoding, ReceiptsRoots, transcode};
use libfuzzer_sys::fuzz_target;

const ENCODINGS: [ReceiptsEncoding; 3] = [ReceiptsEncoding::Slim, ReceiptsEncoding::Ssz, ReceiptsEncoding::Rlp];

fuzz_target!(|bytes: &[u8]| {
    for from in ENCODINGS {
        let roots = ReceiptsRoots::compute(from, bytes);
        for to in ENCODINGS {
            // Receipts whose blooms are wrong have roots but no slim form.
            let Ok(other) = transcode::receipts(from, to, bytes) else { continue };
            assert_eq!(ReceiptsRoots::compute(to, &other), roots);
            assert_eq!(transcode::receipts(to, from, &other).as_deref(), Ok(bytes));
        }
    }
});
