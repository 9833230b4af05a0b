//! Any bytes opened as an archive, and everything read that it offers. An index of era1 is put behind them, so that the
//! fuzzer gets past the scan for records.
#![no_main]

use bytes::Bytes;
use cairn_archive::e2store::{RecordHeader, RecordType};
use cairn_archive::{Archive, Component};
use libfuzzer_sys::fuzz_target;

/// Blocks that the index claims.
const BLOCKS: u64 = 2;

fuzz_target!(|bytes: &[u8]| {
    read_everything(bytes.to_vec());

    let mut file = bytes.to_vec();
    let index = file.len() as i64;
    let numbers = [0, -index, -(index / 2), BLOCKS as i64];
    file.extend_from_slice(&RecordHeader::new(RecordType::BLOCK_INDEX, 8 * numbers.len() as u32).encode());
    numbers.iter().for_each(|number| file.extend_from_slice(&number.to_le_bytes()));
    read_everything(file);
});

fn read_everything(file: Vec<u8>) {
    let Ok(archive) = Archive::from_source(Box::new(Bytes::from(file)), "fuzz") else { return };
    let _ = (archive.accumulator_root(), archive.epoch_tree());
    for number in archive.blocks().take(8) {
        let _ = (archive.header_with_proof(number), archive.body(number), archive.receipts(number));
        let _ = (archive.proof(number), archive.total_difficulty(number));
        for component in Component::ALL {
            let _ = archive.component_len(number, component);
        }
    }
}
