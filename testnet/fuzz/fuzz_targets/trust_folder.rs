//! A folder of trust lists with a file of any bytes under any of the names that a list can have; then that file, imported
//! under the root of a beacon state that it leads to.
#![no_main]

use std::{fs, sync::Arc};

use cairn_node::trust::{TrustStore, file_name};
use content_types::{ChainSpec, TrustListKind, trust::HistoricalSummariesWithProof};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, [u8; 32], &[u8])| {
    let (name, root_in_name, bytes) = input;
    let chain = Arc::new(ChainSpec::mainnet());
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let state_root = HistoricalSummariesWithProof::decode(bytes).ok().map(|summaries| summaries.state_root());
    // libFuzzer sees what the root in the name is compared with, and puts it there.
    let (name, is_good) = match TrustListKind::ALL.get(usize::from(name)) {
        Some(kind) => (file_name(*kind).to_owned(), false),
        None => {
            let name = format!("historical_summaries_in_state_0x{}.ssz", hex(&root_in_name));
            (name, state_root == Some(root_in_name.into()))
        }
    };
    let mut file = dir.path().join(name);
    fs::write(&file, bytes).expect("the folder can be written to");
    let set_aside = TrustStore::set_aside_damaged(dir.path(), &chain).expect("the folder can be written to");
    assert_eq!(set_aside.is_empty(), is_good);
    if let [damaged] = &set_aside[..] {
        file.clone_from(&damaged.to);
    }

    let store = TrustStore::open(dir.path(), Arc::clone(&chain)).expect("no damaged list is left");
    let is_held = |store: &TrustStore| store.status().iter().any(|list| list.entries.is_some());
    assert!(store.import_file(&file).is_err());
    assert_eq!(is_held(&store), is_good);
    assert_eq!(store.import_summaries(&file, root_in_name.into()).is_ok(), state_root == Some(root_in_name.into()));
    if let Some(state_root) = state_root {
        store.import_summaries(&file, state_root).expect("they lead to that root");
        let again = TrustStore::open(dir.path(), chain).expect("what was taken in proves true again");
        assert_eq!(again.status(), store.status());
    } else {
        assert!(!is_held(&store), "refused, and something was taken in");
    }
});

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
