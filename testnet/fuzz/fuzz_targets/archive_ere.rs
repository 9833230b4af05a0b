//! Any bytes with an index of an ere file behind them, whose slots the fuzzer draws: opened, read, verified.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use cairn_archive::e2store::{RecordHeader, RecordType};
use cairn_archive::verify::verify_archive;
use cairn_archive::{Archive, Component};
use content_types::{ChainSpec, HeaderVerifier, TrustLists};
use libfuzzer_sys::fuzz_target;

/// Slots of one block.
const MAX_WIDTH: usize = 5;

fuzz_target!(|input: (u8, u8, Vec<u16>, &[u8])| {
    let (width, count, slots, bytes) = input;
    let (width, count) = (2 + usize::from(width) % (MAX_WIDTH - 1), 1 + u64::from(count) % 4);
    let mut file = bytes.to_vec();
    let index = file.len() as i64;
    let length = 8 * (3 + width * count as usize);
    file.extend_from_slice(&RecordHeader::new(RecordType::DYNAMIC_BLOCK_INDEX, length as u32).encode());
    file.extend_from_slice(&0_u64.to_le_bytes());
    for slot in 0..width * count as usize {
        let target = slots.get(slot).map_or(0, |slot| i64::from(*slot));
        file.extend_from_slice(&(target - index).to_le_bytes());
    }
    file.extend_from_slice(&(width as u64).to_le_bytes());
    file.extend_from_slice(&count.to_le_bytes());

    let Ok(archive) = Archive::from_source(Box::new(Bytes::from(file)), "fuzz") else { return };
    for number in archive.blocks().take(8) {
        let _ = (archive.header_with_proof(number), archive.body(number), archive.receipts(number));
        let _ = (archive.proof(number), archive.total_difficulty(number));
        for component in Component::ALL {
            let _ = archive.component_len(number, component);
        }
    }
    let verifier = HeaderVerifier::new(Arc::new(ChainSpec::mainnet()), TrustLists::default());
    if let Ok(report) = verify_archive(&archive, &verifier, 1, |_| {}) {
        assert!(!report.is_intact(), "without trust nothing is intact");
    }
});
