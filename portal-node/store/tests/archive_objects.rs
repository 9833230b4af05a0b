//! Archives that are no files: what lies in a bucket, by its name.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "the support of all tests of this crate")]

mod common;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use bytes::Bytes;
use cairn_archive::{Archive, Format, ReadAt, Vanished};
use cairn_store::{Budgets, SledEngine, Store};
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use common::config;
use content_types::{ContentKey, SubNetwork, history, legacy_history};

/// An object of a bucket, which may be gone.
struct Object {
    bytes: Bytes,
    is_gone: Arc<AtomicBool>,
}

impl Object {
    fn check(&self) -> io::Result<()> {
        if self.is_gone.load(Ordering::Relaxed) { Err(Vanished.into()) } else { Ok(()) }
    }
}

impl ReadAt for Object {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.bytes.read_exact_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.check()?;
        Ok(self.bytes.len() as u64)
    }
}

fn chain(seed: u64) -> SyntheticChain {
    let blocks =
        SyntheticConfig { bellatrix_blocks: 0, capella_blocks: 0, deneb_blocks: 0, ..SyntheticConfig::small() };
    SyntheticChain::new(SyntheticConfig { seed, ..blocks }).unwrap()
}

/// The chain's archive as an object of this name, and what takes it away.
fn object(chain: &SyntheticChain, format: Format, name: &str) -> (Archive, Arc<AtomicBool>) {
    let dir = tempfile::tempdir().unwrap();
    let bytes = fs::read(chain.write_archive(0, format, dir.path()).unwrap()).unwrap().into();
    let is_gone = Arc::new(AtomicBool::new(false));
    let object = Object { bytes, is_gone: Arc::clone(&is_gone) };
    (Archive::from_source(Box::new(object), name).unwrap(), is_gone)
}

fn open(dir: &Path) -> Store {
    let budgets = Budgets::NONE.with(SubNetwork::History, 1 << 20);
    common::open::<SledEngine>(config(&dir.join("store"), budgets)).unwrap().0
}

fn body(number: u64) -> ContentKey {
    history::ContentKey::BlockBody { number }.into()
}

fn header_by_hash(chain: &SyntheticChain, number: u64) -> ContentKey {
    legacy_history::ContentKey::HeaderByHash(chain.block(number).unwrap().header.hash()).into()
}

#[test]
fn an_object_is_served_by_its_name_and_back_when_it_is_added_again() {
    let (dir, chain) = (tempfile::tempdir().unwrap(), chain(1));
    let store = open(dir.path());
    // A file of the same name must not take its place.
    let name = dir.path().join("bucket.ere");
    let (archive, is_gone) = object(&chain, Format::Ere, name.to_str().unwrap());
    store.add_archive(archive, Arc::new(chain.verifier())).unwrap();
    let expected = Some(chain.block(7).unwrap().body);
    assert_eq!(store.get(&body(7)).unwrap(), expected);
    while !store.contains(&header_by_hash(&chain, 7)).unwrap() {
        thread::yield_now();
    }

    fs::rename(chain.write_archive(0, Format::Ere, dir.path()).unwrap(), &name).unwrap();
    is_gone.store(true, Ordering::Relaxed);
    assert_eq!(store.get(&body(7)).unwrap(), None);
    assert_eq!(store.archives(), [(name.clone(), false)]);

    // By the time that another one's hashes are here, the first one has been looked for again.
    let (other_chain, other) = (self::chain(2), "s3://bucket/other.ere");
    store.add_archive(object(&other_chain, Format::Ere, other).0, Arc::new(other_chain.verifier())).unwrap();
    while !store.contains(&header_by_hash(&other_chain, 47)).unwrap() {
        thread::yield_now();
    }
    store.remove_archive(Path::new(other));
    assert_eq!(store.archives(), [(name.clone(), false)]);
    assert_eq!(store.get(&body(7)).unwrap(), None);

    let (again, _) = object(&chain, Format::Ere, name.to_str().unwrap());
    store.add_archive(again, Arc::new(chain.verifier())).unwrap();
    assert_eq!(store.get(&body(7)).unwrap(), expected);
    store.remove_archive(&name);
    assert_eq!((store.get(&body(7)).unwrap(), store.archives()), (None, Vec::<(PathBuf, bool)>::new()));
}

#[test]
fn the_headers_of_an_era1_object_are_not_read_for_their_hashes() {
    let (dir, ere_chain, era1_chain) = (tempfile::tempdir().unwrap(), chain(1), chain(2));
    let store = open(dir.path());
    let add = |chain: &SyntheticChain, format, name| {
        store.add_archive(object(chain, format, name).0, Arc::new(chain.verifier())).unwrap();
    };
    // Hashes of what comes last by name are indexed first.
    add(&era1_chain, Format::Era1, "s3://bucket/b.era1");
    add(&ere_chain, Format::Ere, "s3://bucket/a.ere");
    while !store.contains(&header_by_hash(&ere_chain, 47)).unwrap() {
        thread::yield_now();
    }
    assert!(!store.contains(&header_by_hash(&era1_chain, 0)).unwrap());
    store.remove_archive(Path::new("s3://bucket/a.ere"));
    assert_eq!(store.get(&body(7)).unwrap(), Some(era1_chain.block(7).unwrap().body));
}
