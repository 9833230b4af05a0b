//! The payloads of TALKREQ and TALKRESP. What decodes has one encoding: the bytes it came from.
#![no_main]

use cairn_proto::wire::{Request, Response, WireError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode().as_deref(), Ok(bytes));
    }
    if let Ok(response) = Response::decode(bytes) {
        match response.encode() {
            Ok(encoded) => assert_eq!(encoded, bytes),
            // Other clients may fill a packet further than Cairn does.
            Err(error) => assert!(matches!(error, WireError::TooLarge { .. })),
        }
    }
});
