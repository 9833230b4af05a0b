//! `cairn state follow`: accounts that somebody cares for, proved at every n-th block by an execution client, and kept as capsules
//! while that client still has the state. Each is what `cairn capsule make --rpc` makes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alloy_primitives::B256;
use cairn_node::{
    cadence::Cadence,
    capsules::{CapsuleSourceError, ProofClient},
    headers::{BlockId, ClientError},
    without_secrets,
};
use content_types::{
    ChainSpec,
    capsule::{Capsule, Claim},
};
use serde_json::json;

use super::super::capsule::client_failure;
use crate::{cli::FollowArgs, failure::Failure, files, output, settings::Settings};

/// What a capsule's name ends with.
const ENDING: &str = "capsule";
/// How often the client is asked for its head: blocks come every 12 seconds.
const POLL: Duration = Duration::from_secs(4);
/// Bytes of a block's hash in a file's name.
const SHORT_HASH: usize = 4;

/// Who is asked, and for what.
struct Followed {
    chain: Arc<ChainSpec>,
    client: ProofClient,
    url: String,
    claims: Vec<Claim>,
    folder: PathBuf,
    is_json: bool,
}

pub(in crate::commands) async fn follow(settings: &Settings, args: FollowArgs) -> Result<(), Failure> {
    let chain = settings.chain()?;
    fs::create_dir_all(&args.out).map_err(|error| Failure::io(&args.out, error))?;
    let client = ProofClient::new(args.rpc.clone())
        .map_err(|error| Failure::Internal(format!("the HTTP client cannot be set up: {error}")))?;
    let mut last = last_made(&args.out, chain.name())?;
    let followed = Followed {
        chain,
        client,
        url: without_secrets(args.rpc.as_str()),
        claims: args.wanted.claims(),
        folder: args.out,
        is_json: settings.json,
    };
    let cadence = Cadence { every: args.every, behind: args.behind };
    // A client that is not there at all is a mistake; one that goes away for a while is not.
    let asked = |error: ClientError| client_failure(&followed.url, &error);
    followed.client.check_chain(&followed.chain).await.map_err(asked)?;
    let mut head = followed.client.head().await.map_err(asked)?;
    let mut is_told = false;
    loop {
        if args.to.is_some_and(|to| last.is_some_and(|last| last.saturating_add(cadence.every.get()) > to)) {
            return Ok(());
        }
        match cadence.next(last, head) {
            None => {}
            Some(block) => match followed.make(block).await {
                Ok(()) => {
                    last = Some(block);
                    is_told = false;
                    continue;
                }
                // The state of that block is gone; that of the newest one may not be.
                Err(Failure::NotFound(why)) if cadence.newest(head).is_some_and(|newest| newest > block) => {
                    output::remark(format_args!("block {block} is passed over: {why}"));
                    last = cadence.newest(head).map(|newest| newest - cadence.every.get());
                    continue;
                }
                Err(Failure::Network(why) | Failure::Refused(why)) => tell(&mut is_told, &why),
                Err(failure) => return Err(failure),
            },
        }
        tokio::time::sleep(POLL).await;
        match followed.client.head().await {
            Ok(now) => head = now,
            Err(error) => tell(&mut is_told, &error.to_string()),
        }
    }
}

/// Says once that the client does not answer.
fn tell(is_told: &mut bool, why: &str) {
    if !std::mem::replace(is_told, true) {
        output::remark(format_args!("waiting for the client: {why}"));
    }
}

impl Followed {
    async fn make(&self, block: u64) -> Result<(), Failure> {
        let asked = |error: ClientError| client_failure(&self.url, &error);
        let header = self.client.header(&self.chain, BlockId::Number(block)).await.map_err(asked)?;
        let capsule = self.client.capsule(&header, None, self.claims.clone()).await.map_err(|error| match error {
            CapsuleSourceError::Client(error) => asked(error),
            CapsuleSourceError::Make(error) => Failure::Invalid(format!(
                "{} does not prove the state of block {block}: {error}: name another client",
                self.url
            )),
        })?;
        let path = self.folder.join(name(self.chain.name(), block, header.hash()));
        files::write_whole(&path, &capsule.encode())?;
        self.report(block, &capsule, &path)
    }

    fn report(&self, block: u64, capsule: &Capsule, path: &Path) -> Result<(), Failure> {
        if self.is_json {
            return output::json(&json!({ "block": block, "nodes": capsule.nodes.len(), "file": path }));
        }
        output::line(path.display())
    }
}

fn name(chain: &str, block: u64, hash: B256) -> String {
    let hash = alloy_primitives::hex::encode(hash.get(..SHORT_HASH).unwrap_or_default());
    format!("{chain}-{block:010}-{hash}.{ENDING}")
}

/// The youngest block that the folder has a capsule of.
fn last_made(folder: &Path, chain: &str) -> Result<Option<u64>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::io(folder, error))?;
    let block = |name: &str| {
        let rest = name.strip_prefix(chain)?.strip_prefix('-')?.strip_suffix(&format!(".{ENDING}"))?;
        rest.split_once('-')?.0.parse::<u64>().ok()
    };
    let blocks = entries.filter_map(|entry| block(entry.ok()?.file_name().to_str()?));
    Ok(blocks.max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_capsule_of_the_chain_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(folder.path().join(name), "").unwrap();
        assert_eq!(last_made(folder.path(), "mainnet").unwrap(), None);
        for block in [7, 1_000_000_007, 30] {
            touch(&name("mainnet", block, B256::repeat_byte(7)));
        }
        touch(&name("sepolia", 2_000_000_000, B256::ZERO));
        touch("mainnet-9000000000-00000000.capsule.part");
        touch("notes");
        assert_eq!(last_made(folder.path(), "mainnet").unwrap(), Some(1_000_000_007));
    }
}
