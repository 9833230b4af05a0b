//! A mirror's file with an index whose slots the fuzzer draws: the records that its bytes are cut into.
#![no_main]

use bytes::Bytes;
use cairn_archive::e2store::{RecordHeader, RecordType};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, u8, u8, Vec<u16>, u8, &[u8])| {
    let (is_era1, width, count, slots, piece, bytes) = input;
    // An era1 file has one slot for each block, an ere file one for each component.
    let (width, count) = (if is_era1 { 1 } else { 2 + usize::from(width) % 4 }, 1 + usize::from(count) % 4);
    let mut file = bytes.to_vec();
    let index = file.len() as i64;
    let (kind, width_len) = if is_era1 { (RecordType::BLOCK_INDEX, 0) } else { (RecordType::DYNAMIC_BLOCK_INDEX, 8) };
    let length = 16 + width_len + 8 * width * count;
    file.extend_from_slice(&RecordHeader::new(kind, length as u32).encode());
    file.extend_from_slice(&0_u64.to_le_bytes());
    for slot in 0..width * count {
        let target = slots.get(slot).map_or(0, |slot| i64::from(*slot));
        file.extend_from_slice(&(target - index).to_le_bytes());
    }
    if !is_era1 {
        file.extend_from_slice(&(width as u64).to_le_bytes());
    }
    file.extend_from_slice(&(count as u64).to_le_bytes());
    cairn_web_seed::fuzzing::records(&Bytes::from(file), usize::from(piece));
});
