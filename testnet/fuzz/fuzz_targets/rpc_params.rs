//! Parameters of a JSON-RPC request: content keys, node IDs, node records, lists of them, ping payloads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|params: &str| cairn_node::fuzzing::json_rpc_parameters(params));
