//! Headers with proofs of all four kinds: decoding, proving, encoding.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use cairn_vectors::VectorTest;
use content_types::{
    ContentKey, HeaderError, HeaderProof, HeaderVerifier, HeaderWithProof, SubNetwork, TrustListKind,
    header::DecodedHeader, legacy_history,
};

use super::{ContentItem, HISTORY, history_test, mainnet, read, yaml};

pub(crate) fn tests() -> Vec<VectorTest> {
    vec![
        history_test("headers_with_proof", headers_with_proof),
        history_test("headers_with_proof_json", headers_with_proof_json),
        history_test("hive_headers", hive_headers),
        history_test("header_run", header_run),
        history_test("every_flipped_bit_is_noticed", every_flipped_bit_is_noticed),
        history_test("missing_lists", missing_lists),
    ]
}

/// Proves the header, under its key by hash or by number, and encodes it again.
fn check(verifier: &HeaderVerifier, item: &ContentItem) -> u64 {
    let key = ContentKey::decode(SubNetwork::LegacyHistory, &item.content_key).unwrap();
    assert_eq!(key.encode(), item.content_key);
    assert!(item.content_value.len() <= key.max_value_len(content_types::Form::Offered));

    let proved = verifier.verify(&item.content_value).unwrap();
    match key {
        ContentKey::LegacyHistory(legacy_history::ContentKey::HeaderByHash(hash)) => assert_eq!(hash, proved.hash()),
        ContentKey::LegacyHistory(legacy_history::ContentKey::HeaderByNumber(number)) => {
            assert_eq!(number, proved.number());
        }
        other => panic!("{other:?} is no header's key"),
    }
    let decoded = HeaderWithProof::decode(&item.content_value, verifier.chain()).unwrap();
    assert_eq!(decoded.encode(), item.content_value);
    proved.number()
}

fn yaml_items(root: &Path, folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(root.join(HISTORY).join(folder))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "yaml"))
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn headers_with_proof(root: &Path) {
    let verifier = mainnet(root);
    let files = yaml_items(root, "headers_with_proof");
    assert_eq!(files.len(), 12);
    for (name, text) in files {
        assert_eq!(format!("{}.yaml", check(&verifier, &yaml(&text))), name);
    }
}

fn headers_with_proof_json(root: &Path) {
    let verifier = mainnet(root);
    let items: BTreeMap<String, ContentItem> =
        serde_json::from_slice(&read(root, "headers_with_proof/1000001-1000010.json")).unwrap();
    assert_eq!(items.len(), 10);
    for (number, item) in items {
        assert_eq!(check(&verifier, &item).to_string(), number);
    }
}

fn hive_headers(root: &Path) {
    let verifier = mainnet(root);
    let files = yaml_items(root, "hive/success");
    assert_eq!(files.len(), 8);
    for (name, text) in files {
        let items: Vec<ContentItem> = yaml(&text);
        let [by_hash, by_number, _, _] = items.as_slice() else { panic!("{name} holds {} items", items.len()) };
        assert_eq!(by_hash.content_value, by_number.content_value);
        if name == "22431083.yaml" {
            // Three weeks younger than the last summary that the compiled-in checkpoint covers: see `trust::hive_summaries`.
            let error = verifier.verify(&by_hash.content_value).unwrap_err();
            assert!(matches!(error, HeaderError::BeyondList { index: 663, length: 643, .. }), "{error}");
            continue;
        }
        for item in [by_hash, by_number] {
            assert_eq!(format!("{}.yaml", check(&verifier, item)), name);
        }
    }
}

/// The e2s file holds ten linked headers; the proof of the last one is that of the epoch's yaml vector.
fn header_run(root: &Path) {
    let verifier = mainnet(root);
    let headers = e2s_headers(&read(root, "headers/1000001-1000010.e2s"));
    assert_eq!(headers.len(), 10);
    let item: ContentItem = yaml(&read(root, "headers_with_proof/1000010.yaml"));
    let last = HeaderWithProof::decode(&item.content_value, verifier.chain()).unwrap();

    let proved = verifier.verify_run(&headers, &last.proof).unwrap();
    assert_eq!(
        proved.iter().map(|header| header.number()).collect::<Vec<_>>(),
        (1_000_001..=1_000_010).collect::<Vec<_>>()
    );

    for position in 0..headers.len() {
        let mut damaged = headers.clone();
        let mut bytes = damaged[position].to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        damaged[position] = bytes.into();
        let error = verifier.verify_run(&damaged, &last.proof).unwrap_err();
        assert_eq!((error.position, error.number), (position, Some(1_000_001 + position as u64)), "{error}");
    }
    let error = verifier.verify_run(&headers[..9], &last.proof).unwrap_err();
    assert!(matches!(error.source, HeaderError::NotInEpoch { number: 1_000_009, epoch: 122, .. }), "{error}");
}

/// Uncompressed RLP in e2store records: type, length, reserved, data.
fn e2s_headers(mut file: &[u8]) -> Vec<Bytes> {
    let mut headers = Vec::new();
    while let Some((head, rest)) = file.split_first_chunk::<8>() {
        let length = u32::from_le_bytes(head[2..6].try_into().unwrap()) as usize;
        let (data, rest) = rest.split_at(length);
        headers.push(Bytes::copy_from_slice(data));
        file = rest;
    }
    headers
}

fn every_flipped_bit_is_noticed(root: &Path) {
    let verifier = mainnet(root);
    for number in [1_000_010, 15_537_394, 17_062_257, 19_426_587] {
        let item: ContentItem = yaml(&read(root, &format!("headers_with_proof/{number}.yaml")));
        for position in 0..item.content_value.len() {
            let mut value = item.content_value.clone();
            value[position] ^= 1 << (position % 8);
            assert!(verifier.verify(&value).is_err(), "block {number}, byte {position}");
        }
        for length in 0..item.content_value.len() {
            assert!(verifier.verify(&item.content_value[..length]).is_err(), "block {number}, {length} bytes");
        }
    }
}

fn missing_lists(root: &Path) {
    let verifier = mainnet(root);
    for (number, list) in [
        (14_764_013, TrustListKind::PreMergeAccumulator),
        (15_539_558, TrustListKind::HistoricalRoots),
        (17_034_870, TrustListKind::HistoricalSummaries),
        (19_426_587, TrustListKind::HistoricalSummaries),
    ] {
        let item: ContentItem = yaml(&read(root, &format!("headers_with_proof/{number}.yaml")));
        let bare = HeaderVerifier::new(verifier.chain().clone(), Default::default());
        assert_eq!(bare.verify(&item.content_value), Err(HeaderError::ListMissing { number, list }));
    }
}

/// The proof in a yaml vector.
pub(crate) fn proof_of(root: &Path, number: u64) -> (DecodedHeader, HeaderProof) {
    let item: ContentItem = yaml(&read(root, &format!("headers_with_proof/{number}.yaml")));
    let decoded = HeaderWithProof::decode(&item.content_value, mainnet(root).chain()).unwrap();
    (decoded.header, decoded.proof)
}
