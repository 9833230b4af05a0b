//! The file in which a tracker keeps its records.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| cairn_tracker::fuzzing::state_file(file));
