//! What the first bytes of a stream ask for, and the two with which an answer begins.
#![no_main]

use cairn_swarm::wire::{AnswerHead, SwarmRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = SwarmRequest::decode(bytes) {
        assert_eq!(SwarmRequest::decode(&request.encode()), Ok(request));
    }
    if let Some(head) = bytes.first_chunk()
        && let Some(read) = AnswerHead::decode(*head)
    {
        assert_eq!(read.encode(), *head);
    }
});
