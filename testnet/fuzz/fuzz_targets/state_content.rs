//! Keys and values of the state network, in both forms, and proofs whose root is the hash of whatever comes first.
#![no_main]

use bytes::Bytes;
use content_types::room::{Form, Key as _};
use content_types::state::{Bare, ContentKey, Proved};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (key, value) = (input.0, Bytes::copy_from_slice(input.1));
    let Ok(decoded) = ContentKey::decode(key) else { return };
    assert_eq!(decoded.encode(), key);
    if let Ok(bare) = Bare::decode(&decoded, &value) {
        assert_eq!(bare.encode(), value);
    }
    if let Ok(proved) = Proved::decode(&decoded, &value) {
        assert_eq!(proved.encode(), value);
    }
    for form in [Form::Offered, Form::Stored] {
        let _ = decoded.evidence(form, &value);
        let _ = decoded.examine(form, value.clone());
    }
});
