//! A private chain's specification, from a file, and the questions it is asked.
#![no_main]

use content_types::ChainSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, u64, &str)| {
    let (number, timestamp, text) = input;
    if let Ok(spec) = ChainSpec::from_json(text) {
        let _ = spec.proof_kind(number, timestamp);
        let _ = spec.slot_at(timestamp);
        let _ = spec.slot_time(number);
        let _ = spec.summary_index(number);
        assert_eq!(ChainSpec::from_json(&spec.to_json()), Ok(spec));
    }
});
