//! The page with which a mirror lists its archives.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|page: &[u8]| cairn_web_seed::fuzzing::listing(page));
