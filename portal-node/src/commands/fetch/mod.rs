//! `cairn fetch`: verified history from the network, printed or written into a file.

mod archive;
mod common;
mod into_store;
pub(super) mod ranges;
mod shared;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use cairn_node::{
    BlockId, Node,
    present::{self, PieceError},
    ranges::in_order,
    rpc::calls::GetBlock,
    swarm::WantedArchive,
};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    peer,
    running::{ANSWER_TIMEOUT, RunningPeer},
};
use crate::{
    cli::{Asked, BlockRange, FetchArgs, FetchFormat, WhatArg},
    failure::Failure,
    files::{self, Destination},
    origin, output,
    settings::Settings,
};
use common::{bar, pace};
pub(super) use common::{missing, no_state, tell};

pub(crate) async fn fetch(settings: &Settings, mut args: FetchArgs) -> Result<(), Failure> {
    if let Some(Asked::Ticket(ticket)) = args.blocks.take_if(|asked| matches!(asked, Asked::Ticket(_))) {
        shared::ask_for(settings, &mut args, &ticket)?;
    }
    if args.era.is_none() && origin::is_flag("as") {
        return Err(Failure::Configuration(
            "--as: it says what the archives of eras are: give --era or a ticket; a range is what --out ends in".into(),
        ));
    }
    if args.into_store {
        refuse_mirrors()?;
        return into_store::fetch(settings, &args).await;
    }
    if origin::is_flag("rpc") {
        return Err(Failure::Configuration(
            "--rpc: it names the peer of --into-store: give that too, or leave it out".into(),
        ));
    }
    let target = FetchTarget::of(settings, &args)?;
    if let FetchTarget::Pieces(to, format) = &target
        && !args.own_peer
        && let Some(peer) = RunningPeer::on_folder(settings).await?
    {
        tracing::info!("the peer that runs on the data folder fetches (--own-peer starts another one)");
        if origin::is_flag("headers-from") {
            output::remark(
                "--headers-from is of no use here: the peer that runs on the data folder fetches, unless you give --own-peer",
            );
        }
        let source = FetchedBy::Running(peer);
        return pieces_to(&source, &args, to, *format).await;
    }
    let (node, _scratch) = peer::start_fetcher(settings, args.from_peers.network.clone()).await?;
    let outcome = fetch_with(&node, settings, &args, target).await;
    node.shutdown().await;
    outcome
}

async fn fetch_with(node: &Node, settings: &Settings, args: &FetchArgs, target: FetchTarget) -> Result<(), Failure> {
    node.prepare_to_fetch().await;
    match target {
        FetchTarget::Pieces(to, format) => pieces_to(&FetchedBy::Own(node), args, &to, format).await,
        FetchTarget::Archive(wanted) => ranges::fetch_range(node, settings, args, wanted).await,
        FetchTarget::Eras(eras, folder) => ranges::fetch_eras(node, settings, args, eras, &folder).await,
    }
}

/// Where the result goes, and as what.
enum FetchTarget {
    Pieces(Destination, FetchFormat),
    Archive(WantedArchive),
    Eras(BlockRange, PathBuf),
}

impl FetchTarget {
    fn of(settings: &Settings, args: &FetchArgs) -> Result<Self, Failure> {
        let Some(path) = &args.out else {
            refuse_mirrors()?;
            return Ok(Self::Pieces(Destination::Output, args.format.unwrap_or(FetchFormat::Json)));
        };
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
        refuse_mirrors()?;
        let to = Destination::of(path)?;
        let format = match (args.format, &to) {
            (Some(format), Destination::File(_))
                if path.extension().is_some() && format_of(path).is_ok_and(|of_ending| of_ending != format) =>
            {
                return Err(Failure::Configuration(format!(
                    "--format: {} says another by its ending: leave out --format, or give a name without that ending",
                    path.display()
                )));
            }
            (Some(format), _) => format,
            (None, Destination::File(_)) => format_of(path)?,
            (None, _) => FetchFormat::Json,
        };
        Ok(Self::Pieces(to, format))
    }
}

/// Mirrors have whole archives. Whoever names one for something else would wait for nothing; a variable is for other commands
/// too.
fn refuse_mirrors() -> Result<(), Failure> {
    if origin::is_flag("web-seed") {
        return Err(Failure::Configuration(
            "--web-seed: mirrors have archives: give --era, or an --out that ends in .ere or .era1".into(),
        ));
    }
    Ok(())
}

/// What a file that ends so holds.
fn format_of(path: &Path) -> Result<FetchFormat, Failure> {
    match path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).as_deref() {
        None | Some("json" | "jsonl" | "ndjson") => Ok(FetchFormat::Json),
        Some("rlp") => Ok(FetchFormat::Rlp),
        Some(ending) => Err(Failure::Configuration(format!(
            "{}: a file that ends in .{ending} may hold anything: give --format json or rlp, or an ending that says it \
             (.json, .rlp; .ere or .era1 make an archive)",
            path.display()
        ))),
    }
}

/// Who fetches.
enum FetchedBy<'a> {
    /// A peer that was started for it.
    Own(&'a Node),
    /// The one that runs on the data folder.
    Running(RunningPeer),
}

async fn pieces_to(
    source: &FetchedBy<'_>,
    args: &FetchArgs,
    to: &Destination,
    format: FetchFormat,
) -> Result<(), Failure> {
    let blocks = args.range().count();
    let (path, begin): (_, fn(&Path) -> io::Result<files::OutFile>) = match to {
        Destination::Output => return print(source, args, format).await,
        Destination::File(path) => (path.clone(), files::OutFile::create),
        Destination::Stream(path) => (path.clone(), files::OutFile::into_stream),
    };
    let write = move |pieces| write_pieces(&path, begin, blocks, format, pieces);
    pieces(source, args, format, &bar(args.range()), write).await
}

async fn print(source: &FetchedBy<'_>, args: &FetchArgs, format: FetchFormat) -> Result<(), Failure> {
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
    pieces(source, args, format, &bar, write).await
}

/// Fetches the pieces of a range and hands them on in order to `write`, on a thread of its own.
async fn pieces(
    source: &FetchedBy<'_>,
    args: &FetchArgs,
    format: FetchFormat,
    bar: &ProgressBar,
    write: impl FnOnce(mpsc::Receiver<Vec<u8>>) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    // How long a block may take the pace says, whoever fetches.
    let limit = pace(args).limit;
    let fetch = |number| piece(source, number, args.what, format, limit);
    let written = in_order(args.range().numbers(), pace(args), fetch, write, || bar.inc(1)).await;
    bar.finish_and_clear();
    written
}

/// Writes what arrives; a file gets its name when it is whole.
fn write_pieces(
    path: &Path,
    begin: fn(&Path) -> io::Result<files::OutFile>,
    blocks: u64,
    format: FetchFormat,
    mut pieces: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::io(path, error),
    };
    let mut file = begin(path).map_err(failed)?;
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

async fn piece(
    source: &FetchedBy<'_>,
    number: u64,
    what: WhatArg,
    format: FetchFormat,
    limit: Duration,
) -> Result<Vec<u8>, Failure> {
    let what = match what {
        WhatArg::Block => present::What::Block,
        WhatArg::Header => present::What::Header,
        WhatArg::Body => present::What::Body,
        WhatArg::Receipts => present::What::Receipts,
    };
    let form = match format {
        FetchFormat::Json => present::PieceForm::Json,
        FetchFormat::Rlp => present::PieceForm::Rlp,
    };
    let block = BlockId::Number(number);
    let node = match source {
        FetchedBy::Own(node) => node,
        FetchedBy::Running(peer) => {
            // The pace gives it up; this is for a socket that hangs.
            let limit = limit.saturating_add(ANSWER_TIMEOUT);
            let answer = peer.ask_within(limit, GetBlock { block, what: Some(what), form: Some(form) }).await?;
            return match format {
                FetchFormat::Json => Ok(String::from(Box::<str>::from(answer)).into_bytes()),
                FetchFormat::Rlp => rlp(answer.get()).ok_or_else(|| {
                    Failure::Network("the peer that runs on the data folder gives something that is no RLP".into())
                }),
            };
        }
    };
    node.present(block, what, form, limit).await.map_err(|error| match error {
        PieceError::Fetch(error) => missing(error),
        PieceError::Form { .. } => Failure::Invalid(error.to_string()),
        PieceError::Stopping(_) => Failure::Internal(error.to_string()),
    })
}

/// Bytes out of a hex string in quotes.
fn rlp(answer: &str) -> Option<Vec<u8>> {
    hex::decode(answer.strip_prefix("\"0x")?.strip_suffix('"')?).ok()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[tokio::test]
    async fn a_block_that_takes_a_running_peer_too_long_is_not_found_as_with_a_peer_of_its_own() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = RunningPeer::at(format!("http://{}", silent.local_addr().unwrap()).parse().unwrap()).unwrap();
        let cli = Cli::try_parse_from(["cairn", "fetch", "7", "--timeout", "1"]).unwrap();
        let Command::Fetch(args) = cli.command else { panic!("{:?}", cli.command) };
        let nothing = |mut pieces: mpsc::Receiver<Vec<u8>>| {
            while pieces.blocking_recv().is_some() {}
            Ok(())
        };
        let bar = ProgressBar::hidden();
        let failed = pieces(&FetchedBy::Running(peer), &args, FetchFormat::Json, &bar, nothing).await;
        assert!(matches!(&failed, Err(Failure::NotFound(why)) if why.contains("--timeout")), "{failed:?}");
    }
}
