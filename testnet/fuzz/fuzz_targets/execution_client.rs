//! What an execution client answers to a request for a header: JSON from a server that may be anybody's.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| cairn_node::fuzzing::execution_client_answer(answer));
