//! The frames of a stream come out the same however it is cut, and what is said of an item by its first bytes does not change with
//! more of them: whoever was called impossible would not have become possible.
#![no_main]

use bytes::Bytes;
use cairn_swarm::geometry::Component;
use cairn_swarm::wire::{Claim, Encoding, FrameReader};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

fn frames(stream: &[u8], chunk: usize) -> (Vec<Bytes>, bool) {
    let (mut reader, mut frames) = (FrameReader::new(LIMIT), Vec::new());
    for chunk in stream.chunks(chunk) {
        let mut chunk = Bytes::copy_from_slice(chunk);
        loop {
            match reader.push(&mut chunk) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    (frames, reader.finish().is_ok())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, stream) = input;
    let (whole, is_whole) = frames(stream, stream.len().max(1));
    assert!(whole.iter().all(|frame| frame.len() <= LIMIT));
    assert_eq!((whole, is_whole), frames(stream, usize::from(chunk).max(1)));
    for component in Component::ALL {
        for encoding in [Encoding::Plain, Encoding::Snappy] {
            let of = |bytes: usize| Claim::of(component, encoding, stream.len(), &stream[..bytes]);
            let first = of(stream.len().min(usize::from(chunk)));
            let all = of(stream.len());
            assert!(first == Claim::Open || first == all, "{first:?} became {all:?}");
        }
    }
});
