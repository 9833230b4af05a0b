//! A volume of the store: its header, its records, and damage between them.

#![no_main]

use cairn_store::{
    Item,
    record::{VOLUME_HEADER_LEN, VolumeHeader, VolumeRecordHeader, decode_dead, decode_radius},
    scan::{Scanned, VolumeExtent, scan},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = VolumeHeader::decode(bytes);
    let _ = VolumeRecordHeader::decode_unmarked(bytes);
    let _ = Item::decode(&bytes.to_vec().into());
    let Some((marker, _)) = bytes.get(VOLUME_HEADER_LEN..).and_then(|records| records.split_first_chunk()) else {
        return;
    };
    for check_values in [false, true] {
        let extent =
            VolumeExtent { from: VOLUME_HEADER_LEN as u32, until: bytes.len() as u32, marker: *marker, check_values };
        let mut last = extent.from;
        let end = scan(bytes, extent, |found| {
            match found {
                Scanned::Record { offset, header, value, .. } => {
                    assert!(offset >= last && u64::from(offset) + u64::from(header.record_len()) <= bytes.len() as u64);
                    last = offset + header.record_len();
                    let _ = decode_dead(value).map(Iterator::count);
                    let _ = decode_radius(value);
                }
                Scanned::Damage { from, until } => assert!(last <= from && from < until),
            }
            Ok::<_, std::io::Error>(())
        });
        assert_eq!(end.ok(), Some(last));
    }
});
