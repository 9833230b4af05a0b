//! Node records from NODES and CONTENT, and the Portal fields in them. A forged signature stops libFuzzer at the record,
//! so the fields are also read on their own.
#![no_main]

use cairn_proto::record::{self, PortalFields, PortalInfo};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(enr) = record::decode(bytes) {
        assert_eq!(record::encode(&enr), bytes);
        let _ = PortalFields::read(&enr).negotiate(1);
        let _ = record::udp_socket(&enr);
    }
    let mut rest = bytes;
    if let Ok(info) = <PortalInfo as alloy_rlp::Decodable>::decode(&mut rest) {
        assert_eq!(alloy_rlp::decode_exact::<PortalInfo>(alloy_rlp::encode(info)), Ok(info));
    }
});
