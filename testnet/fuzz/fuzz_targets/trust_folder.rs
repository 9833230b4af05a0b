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
    let name = match TrustListKind::ALL.get(usize::from(name)) {
        Some(kind) => file_name(*kind).to_owned(),
        None => format!("historical_summaries_in_state_0x{}.ssz", hex(&root_in_name)),
    };
    fs::write(dir.path().join(name), bytes).expect("the folder can be written to");
    let set_aside = TrustStore::set_aside_damaged(dir.path(), &chain).expect("the folder can be written to");
    assert_eq!(set_aside.len(), 1, "nothing proves true by chance");

    let store = TrustStore::open(dir.path(), Arc::clone(&chain)).expect("no damaged list is left");
    let file = &set_aside[0].to;
    assert!(store.import_file(file).is_err() && store.import_summaries(file, root_in_name.into()).is_err());
    assert!(store.status().iter().all(|list| list.entries.is_none()), "refused, and something was taken in");
    if let Ok(summaries) = HistoricalSummariesWithProof::decode(bytes) {
        store.import_summaries(file, summaries.state_root()).expect("they lead to that root");
        let again = TrustStore::open(dir.path(), chain).expect("what was taken in proves true again");
        assert_eq!(again.status(), store.status());
    }
});

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
