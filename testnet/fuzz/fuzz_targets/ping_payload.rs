//! Payloads of PING and PONG: two bytes of the extension's number, then the payload.
#![no_main]

use cairn_proto::wire::{Extensions, PingPayload};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((payload_type, bytes)) = bytes.split_first_chunk() else { return };
    if let Ok(payload) = PingPayload::decode(u16::from_le_bytes(*payload_type), bytes) {
        assert_eq!(payload.encode().as_deref(), Ok(bytes));
        if let PingPayload::ClientInfo(info) = payload {
            let _ = info.text();
            let _ = Extensions::from_capabilities(&info.capabilities);
        }
    }
});
