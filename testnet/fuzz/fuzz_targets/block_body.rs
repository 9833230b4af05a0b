//! Block bodies in both encodings: their roots, and the way from each encoding to the other.
#![no_main]

use content_types::block::{BodyEncoding, BodyRoots, transcode};
use libfuzzer_sys::fuzz_target;

const ENCODINGS: [BodyEncoding; 2] = [BodyEncoding::Rlp, BodyEncoding::Ssz];

fuzz_target!(|bytes: &[u8]| {
    for from in ENCODINGS {
        let Ok(roots) = BodyRoots::compute(from, bytes) else { continue };
        for to in ENCODINGS {
            let other = transcode::body(from, to, bytes).expect("what has roots can be transcoded");
            assert_eq!(BodyRoots::compute(to, &other), Ok(roots));
            assert_eq!(transcode::body(to, from, &other).as_deref(), Ok(bytes));
        }
    }
});
