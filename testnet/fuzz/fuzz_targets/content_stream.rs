//! Content streams in chunks. The first byte gives the number of items, the second the size of the chunks.
#![no_main]

use cairn_proto::wire::ContentStream;
use libfuzzer_sys::fuzz_target;

/// Limit of each item, bytes.
const LIMIT: usize = 1000;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[items, size], bytes)) = bytes.split_first_chunk() else { return };
    let items = usize::from(items % 65);
    let mut stream = ContentStream::new(vec![LIMIT; items]);
    let mut received = 0;
    for mut chunk in bytes.chunks(usize::from(size).max(1)) {
        loop {
            match stream.next_item(&mut chunk) {
                Ok(Some(item)) => {
                    assert!(item.len() <= LIMIT);
                    received += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(stream.finish(), Err(error));
                    return;
                }
            }
        }
    }
    assert_eq!(stream.items_done(), received);
    assert_eq!(stream.finish().is_ok(), received == items && stream.is_complete());
});
