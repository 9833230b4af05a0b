//! Keys and values of the state network, in both forms, proofs whose root is the hash of whatever comes first, and pages of ways: what is
//! asked for and what comes, each node gone through where it is one of the way.
#![no_main]

use bytes::Bytes;
use content_types::room::{Form, Key as _};
use content_types::state::page::{WayPage, nodes_of};
use content_types::state::{Bare, ContentKey, Proved};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (key, value) = (input.0, Bytes::copy_from_slice(input.1));
    if let Some(wanted) = WayPage::decode(key) {
        assert_eq!(wanted.encode(), key);
        let mut way = wanted.way;
        for node in nodes_of(value.clone()).unwrap_or_default() {
            if !way.handle_node(&node).is_ok_and(|goes_on| goes_on) {
                break;
            }
        }
    }
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
