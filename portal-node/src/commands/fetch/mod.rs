//! `cairn fetch`: verified history from the network, printed or written into a file.

mod archive;
mod common;
mod into_store;
pub(super) mod ranges;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use cairn_node::{
    BlockId, Node,
    present::{self, PieceError},
    ranges::in_order,
    swarm::WantedArchive,
};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::peer;
use crate::{
    cli::{BlockRange, FetchArgs, FetchFormat, What},
    failure::Failure,
    files, output,
    settings::Settings,
};
use common::{bar, missing, pace};

pub(crate) async fn fetch(settings: &Settings, args: FetchArgs) -> Result<(), Failure> {
    if args.into_store {
        return into_store::fetch(settings, &args).await;
    }
    let target = Target::of(settings, &args)?;
    let (node, _scratch) = peer::start_fetcher(settings, args.from_peers.network.clone()).await?;
    let outcome = fetch_with(&node, settings, &args, target).await;
    node.shutdown().await;
    outcome
}

async fn fetch_with(node: &Node, settings: &Settings, args: &FetchArgs, target: Target) -> Result<(), Failure> {
    node.archives().wait_until_scanned().await;
    if node.trust().status().iter().all(|list| list.entries.is_none()) {
        node.fetch_trust_from_peers().await;
    }
    match target {
        Target::Output(format) => print(node, args, format).await,
        Target::File(path, format) => save(node, args, path, format).await,
        Target::Archive(wanted) => ranges::fetch_range(node, settings, args, wanted).await,
        Target::Eras(eras, folder) => ranges::fetch_eras(node, settings, args, eras, &folder).await,
    }
}

/// Where the result goes, and as what.
enum Target {
    Output(FetchFormat),
    File(PathBuf, FetchFormat),
    Archive(WantedArchive),
    Eras(BlockRange, PathBuf),
}

impl Target {
    fn of(settings: &Settings, args: &FetchArgs) -> Result<Self, Failure> {
        let format = args.format.unwrap_or(FetchFormat::Json);
        let Some(path) = &args.out else { return Ok(Self::Output(format)) };
        if let Some(eras) = args.era {
            return Ok(Self::Eras(eras, path.clone()));
        }
        if let Some(wanted) = archive::wanted(settings, args, path)? {
            return Ok(Self::Archive(wanted));
        }
        if !args.profile.is_whole() {
            return Err(Failure::Configuration(format!(
                "{} is no .ere file by its ending: leave out --no-proofs and --no-receipts, or give it that ending",
                path.display()
            )));
        }
        Ok(Self::File(path.clone(), format))
    }
}

async fn print(node: &Node, args: &FetchArgs, format: FetchFormat) -> Result<(), Failure> {
    let bar = bar(args.range());
    let shown = bar.clone();
    let write = move |mut pieces: mpsc::Receiver<Vec<u8>>| {
        while let Some(piece) = pieces.blocking_recv() {
            shown.suspend(|| match format {
                FetchFormat::Json => output::line(String::from_utf8_lossy(&piece)),
                FetchFormat::Rlp => output::raw(&piece),
            })?;
        }
        Ok(())
    };
    pieces(node, args, format, &bar, write).await
}

async fn save(node: &Node, args: &FetchArgs, path: PathBuf, format: FetchFormat) -> Result<(), Failure> {
    let blocks = args.range().count();
    let write = move |pieces| write_file(&path, blocks, format, pieces);
    pieces(node, args, format, &bar(args.range()), write).await
}

/// Fetches the pieces of a range and hands them on in order to `write`, on a thread of its own.
async fn pieces(
    node: &Node,
    args: &FetchArgs,
    format: FetchFormat,
    bar: &ProgressBar,
    write: impl FnOnce(mpsc::Receiver<Vec<u8>>) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let fetch = |number| piece(node, number, args.what, format);
    let written = in_order(args.range().numbers(), pace(args), fetch, write, || bar.inc(1)).await;
    bar.finish_and_clear();
    written
}

/// Writes what arrives; the file gets its name when it is whole.
fn write_file(
    path: &Path,
    blocks: u64,
    format: FetchFormat,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let failed = |error| Failure::io(path, error);
    let mut file = files::Part::create(path).map_err(failed)?;
    let mut written = 0;
    while let Some(piece) = pieces.blocking_recv() {
        file.write_all(&piece).map_err(failed)?;
        if format == FetchFormat::Json {
            file.write_all(b"\n").map_err(failed)?;
        }
        written += 1;
    }
    if written < blocks {
        return Err(Failure::NotFound("the range is not complete; no file was written".into()));
    }
    file.finish().map_err(failed)
}

async fn piece(node: &Node, number: u64, what: What, format: FetchFormat) -> Result<Vec<u8>, Failure> {
    let what = match what {
        What::Block => present::What::Block,
        What::Header => present::What::Header,
        What::Body => present::What::Body,
        What::Receipts => present::What::Receipts,
    };
    let form = match format {
        FetchFormat::Json => present::Form::Json,
        FetchFormat::Rlp => present::Form::Rlp,
    };
    node.present(BlockId::Number(number), what, form).await.map_err(|error| match error {
        PieceError::Fetch(error) => missing(error),
        PieceError::Form { block, source } => {
            Failure::Invalid(format!("{block}: cannot be shown as JSON, try --format rlp: {source}"))
        }
        PieceError::Stopping(_) => Failure::Internal(error.to_string()),
    })
}
