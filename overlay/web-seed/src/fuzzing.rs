//! What must be true of whatever a mirror sends, for parsers that nobody else can call: the fuzz targets in `testnet/fuzz` make
//! these assertions.

use bytes::Bytes;
use cairn_archive::{Archive, Component, Components};
use reqwest::Url;

use crate::listing;
use crate::records::{Record, RecordParser};

/// A listing links to archives of its own server alone, under the names that they end in; without one it is told why.
///
/// # Panics
///
/// When it is not so.
pub fn listing(page: &[u8]) {
    let Ok(base) = Url::parse("http://mirror.example/eras/") else { return };
    let Ok(files) = listing::archives(page, &base) else { return };
    assert!(files.len() <= listing::MAX_FILES);
    for (name, url) in &files {
        assert_eq!(url.origin(), base.origin());
        assert_eq!(listing::archive_name(url).as_ref(), Some(name));
    }
    if files.is_empty() {
        let why = listing::why_none(page, &base).to_string();
        assert!(!why.is_empty() && why.len() < 1000, "{why}");
    }
}

/// The records of an archive's blocks are the same whether they come at once or piece by piece, and belong to its blocks.
///
/// # Panics
///
/// When it is not so.
pub fn records(file: &Bytes, piece: usize) {
    let Ok(archive) = Archive::from_source(Box::new(file.clone()), "fuzz") else { return };
    let (first, last) = (*archive.blocks().start(), *archive.blocks().end());
    let blocks = first..=last.min(first.saturating_add(7));
    let wanted: Components = Component::ALL.into_iter().collect();
    for component in Component::ALL {
        let Ok(extent) = archive.extent(component, blocks.clone()) else { continue };
        let bytes = extent.bytes();
        let range =
            usize::try_from(bytes.start).unwrap_or(usize::MAX)..usize::try_from(bytes.end).unwrap_or(usize::MAX);
        let Some(bytes) = file.get(range) else { continue };
        let read = |piece: usize| {
            let mut parser = RecordParser::new(archive.format(), extent.clone(), wanted, &"fuzz".into());
            let is_read = bytes.chunks(piece).try_for_each(|piece| parser.push(Bytes::copy_from_slice(piece))).is_ok();
            let records: Vec<Record> = std::iter::from_fn(|| parser.pop()).collect();
            (is_read, records)
        };
        let (at_once, records) = read(bytes.len().max(1));
        assert_eq!((at_once, &records), (read(piece.max(1)).0, &read(piece.max(1)).1));
        for record in records {
            assert!(blocks.contains(&record.number));
            let _ = record.content();
        }
    }
}
