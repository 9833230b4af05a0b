//! `cairn demo --write`: a synthetic chain on disk, for a network of one's own without a download.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use serde_json::json;
use testnet::demo::write_trust_lists;

use super::blocking;
use crate::{failure::Failure, files, output, progress, settings::Settings};

/// Writes the chain's specification, its trust lists and its archives into `folder`. `size`: blocks, and bytes of the
/// average one.
pub(crate) async fn write(settings: &Settings, size: (u64, usize), seed: u64, folder: PathBuf) -> Result<(), Failure> {
    let spinner = progress::spinner("writing a synthetic chain");
    let (folder, archives) = blocking(move || {
        let archives = write_into(size, seed, &folder)?;
        Ok((folder, archives))
    })
    .await?;
    spinner.finish_and_clear();
    let (spec, trust) = (spec_path(&folder), trust_path(&folder));
    if settings.json {
        return output::json(&json!({ "chain": spec, "trust": trust, "archives": archives }));
    }
    output::line(format_args!("{}", spec.display()))?;
    output::line(format_args!("{}", trust.display()))?;
    archives.iter().try_for_each(|archive| output::line(archive.display()))
}

fn write_into((blocks, block_size): (u64, usize), seed: u64, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let chain = SyntheticChain::new(SyntheticConfig::of_every_fork(seed, blocks, block_size))
        .map_err(|error| Failure::Configuration(error.to_string()))?;
    let archives = folder.join("archives");
    fs::create_dir_all(&archives).map_err(|error| Failure::io(&archives, error))?;
    let written = chain.write_archives(&archives).map_err(|error| Failure::archive(&error))?;
    let trust = trust_path(folder);
    write_trust_lists(chain.trust_lists(), chain.spec(), &trust).map_err(|error| Failure::io(&trust, error))?;
    files::write_whole(&spec_path(folder), chain.spec().to_json().as_bytes())?;
    Ok(written)
}

fn spec_path(folder: &Path) -> PathBuf {
    folder.join("chain.json")
}

fn trust_path(folder: &Path) -> PathBuf {
    folder.join("trust")
}
