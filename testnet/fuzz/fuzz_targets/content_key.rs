//! Content keys of every sub-network, as they come over the wire.
#![no_main]

use content_types::{ContentId, ContentKey, Key as _, SubNetwork, history};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for network in SubNetwork::ALL {
        if let Ok(key) = ContentKey::decode(network, bytes) {
            assert_eq!(key.encode(), bytes);
            let _ = key.content_id();
        }
    }
    if let Ok(id) = <[u8; 32]>::try_from(bytes).map(ContentId::from)
        && let Some(key) = history::ContentKey::from_content_id(&id)
    {
        assert_eq!(key.content_id(), id);
    }
});
