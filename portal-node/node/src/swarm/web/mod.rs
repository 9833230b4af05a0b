//! What no peer serves, from mirrors of archive files over HTTP and from buckets. They come after peers, and what they give is
//! checked block by block like anybody's.
//!
//! What is wrong with a mirror, or with a file of one, is said and ends nothing: the next file is tried, other mirrors and peers
//! go on, and after a while the mirror is asked again.

mod file;
mod trouble;

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cairn_swarm::quic::{FetchProgress, Outside, Swarm};
use cairn_web_seed::{Options, SeedFile, WebSeed, without_secrets};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::sink::ArchiveSink;
use file::{FileDropped, Filling};

pub(super) use trouble::Troubles;
pub use trouble::{MirrorTrouble, TroubleKind};

/// How long nobody may serve what is missing before mirrors are asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a mirror is left alone after it was asked for everything.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a file is left alone that is damaged or gave something wrong. Its mirror may put another in its place.
const FILE_PAUSE: Duration = Duration::from_secs(600);
/// Most lines that are remembered as said of a mirror, so that each is said once.
const MAX_SAID: usize = 1000;

/// Asks mirrors for what is missing whenever no peer serves it, for as long as this is awaited.
pub(super) async fn keep_filling(
    urls: Vec<String>,
    sink: Arc<ArchiveSink>,
    outside: Outside,
    swarm: Swarm,
    progress: watch::Receiver<FetchProgress>,
    troubles: Troubles,
) {
    let fill = |(at, url): (usize, String)| {
        let mut mirror = AskedMirror {
            shown: without_secrets(&url),
            url,
            options: Options::default(),
            sink: Arc::clone(&sink),
            outside: outside.clone(),
            swarm: swarm.clone(),
            dropped: HashMap::new(),
            said: HashSet::new(),
        };
        let troubles = troubles.clone();
        let mut progress = progress.clone();
        async move {
            loop {
                let is_stuck =
                    |now: &FetchProgress| now.total.missing > 0 && now.total.unreachable == now.total.missing;
                if progress.wait_for(is_stuck).await.is_err() {
                    return;
                }
                tokio::time::sleep(PATIENCE).await;
                if !is_stuck(&progress.borrow()) {
                    continue;
                }
                troubles.asking(at, &mirror.shown, &mirror.options.waiting);
                match mirror.ask().await {
                    Ok(trouble) => troubles.note(at, trouble),
                    Err(SinkClosed) => return,
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    join_all(urls.into_iter().enumerate().map(fill)).await;
}

/// What came cannot be kept any more; the fetch was told.
struct SinkClosed;

/// A mirror, and what is known of it.
struct AskedMirror {
    url: String,
    /// As it may stand in a log.
    shown: String,
    options: Options,
    sink: Arc<ArchiveSink>,
    outside: Outside,
    swarm: Swarm,
    /// Files that are damaged or gave something wrong, when that was, and what it was.
    dropped: HashMap<String, (Instant, MirrorTrouble)>,
    said: HashSet<String>,
}

impl AskedMirror {
    /// Takes whatever is missing and in the mirror's files. What kept it from giving more, if anything did.
    async fn ask(&mut self) -> Result<Option<MirrorTrouble>, SinkClosed> {
        let seed = match WebSeed::open(&self.url, self.options.clone()).await {
            Ok(seed) => seed,
            Err(error) => {
                self.say(format!("a mirror is left alone for a while: {error}"));
                return Ok(Some(MirrorTrouble { kind: TroubleKind::of(&error), why: error.to_string() }));
            }
        };
        self.dropped.retain(|_, (when, _)| when.elapsed() < FILE_PAUSE);
        let names = self.wanted_of(&seed);
        if names.is_empty() {
            let trouble = MirrorTrouble { kind: TroubleKind::Lacks, why: self.lacks(&seed) };
            self.say(trouble.to_string());
            return Ok(Some(trouble));
        }
        let mut troubles: Vec<_> = names.iter().filter_map(|name| Some(self.dropped.get(name)?.1.clone())).collect();
        for name in names.into_iter().filter(|name| !self.dropped.contains_key(name)).collect::<Vec<_>>() {
            let Err(why) = self.take_from(&seed, &name).await else { continue };
            let Some(kind) = why.trouble() else { return Err(SinkClosed) };
            let trouble = MirrorTrouble { kind, why: why.to_string() };
            self.say(format!("a mirror's file is passed over: {why}"));
            if why.is_of_file() {
                self.dropped.insert(name, (Instant::now(), trouble.clone()));
            }
            troubles.push(trouble);
        }
        Ok(troubles.into_iter().max_by_key(|trouble| trouble.kind))
    }

    /// The files that may have something of what is wanted, as far as their names tell.
    fn wanted_of(&self, seed: &WebSeed) -> Vec<String> {
        let may_have = |file: &SeedFile| may_have(file, self.sink.network(), self.sink.plan_blocks());
        seed.files().filter(may_have).map(|file| file.name).collect()
    }

    fn lacks(&self, seed: &WebSeed) -> String {
        let (network, blocks) = (self.sink.network(), self.sink.plan_blocks());
        format!(
            "none of the {} archives at {} is one of {network} with blocks {} to {}",
            seed.files().count(),
            self.shown,
            blocks.start(),
            blocks.end()
        )
    }

    async fn take_from(&self, seed: &WebSeed, name: &str) -> Result<(), FileDropped> {
        let archive = seed.archive(name).await?;
        let (sink, outside, swarm) = (Arc::clone(&self.sink), self.outside.clone(), self.swarm.clone());
        Filling { archive, sink, outside, swarm }.run().await
    }

    /// Says what is wrong, but nothing twice: a mirror is asked again and again.
    fn say(&mut self, what: String) {
        if self.said.contains(&what) || self.said.len() >= MAX_SAID {
            tracing::debug!("{what}");
        } else {
            tracing::warn!("{what}");
            self.said.insert(what);
        }
    }
}

/// Whether a file may have any of `blocks` of a network. A name of another form says nothing.
fn may_have(file: &SeedFile, network: &str, blocks: &RangeInclusive<u64>) -> bool {
    let overlaps = |held: RangeInclusive<u64>| held.start() <= blocks.end() && blocks.start() <= held.end();
    file.parsed.as_ref().is_none_or(|name| name.network == network) && file.blocks().is_none_or(overlaps)
}

#[cfg(test)]
mod tests {
    use cairn_archive::ArchiveName;

    use super::*;

    #[test]
    fn files_of_other_networks_and_eras_are_told_by_their_names() {
        let may = |name: &str| {
            let file = SeedFile { name: name.to_owned(), parsed: ArchiveName::parse(name) };
            may_have(&file, "synthetic-1", &(8192..=16_383))
        };
        assert!(may("synthetic-1-00001-5ec1ffb8.ere") && may("synthetic-1-00001-5EC1FFB8.era1"));
        assert!(may("by-hand.ere"), "a name that says nothing");
        assert!(!may("mainnet-00001-5ec1ffb8.ere") && !may("synthetic-11-00001-5ec1ffb8.ere"));
        assert!(!may("synthetic-1-00000-5ec1ffb8.ere") && !may("synthetic-1-00002-5ec1ffb8.ere"));
    }
}
