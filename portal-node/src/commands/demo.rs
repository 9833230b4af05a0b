//! `cairn demo`: the main job on a network inside this process, with a table of how it went.

use std::time::Duration;

use bytesize::ByteSize;
use indicatif::ProgressBar;
use serde_json::json;
use testnet::{
    demo::{Counted, DemoConfig, DemoError, DemoReport, SampleSource, Stage, hold},
    sample::{SampleOutcome, SamplePart, median_and_p99},
};
use tokio::sync::watch;

use super::{synthetic, trust};
use crate::{advice::with_advice, cli::DemoArgs, failure::Failure, files, output, progress, settings::Settings};

pub(crate) async fn demo(settings: &Settings, args: DemoArgs) -> Result<(), Failure> {
    if let Some(folder) = args.write {
        return synthetic::write(settings, (args.blocks, args.block_size), args.random_seed, folder).await;
    }
    let source = if args.archive.is_empty() {
        SampleSource::Synthetic { blocks: args.blocks, block_size: args.block_size }
    } else {
        let files = files::archives(&args.archive)?;
        // Said now rather than by twelve peers.
        trust::verifier(settings, "")?;
        SampleSource::Archives { chain: settings.chain()?, trust_dir: settings.trust_dir()?, files }
    };
    let config = DemoConfig { peers: args.peers, source, sample: args.sample, random_seed: args.random_seed };
    let mut bar = progress::spinner("preparing history");
    let report = hold(config, |stage| {
        bar.finish_and_clear();
        bar = show(stage);
    })
    .await
    .map_err(failure)?;
    bar.finish_and_clear();
    if settings.json {
        print_json(&report)?
    } else {
        print_table(&report)?
    }
    if report.is_success() {
        Ok(())
    } else {
        Err(Failure::NotFound("not everything was found and proved: the table says what of it".into()))
    }
}

fn failure(error: DemoError) -> Failure {
    match error {
        DemoError::TooFewPeers | DemoError::Synthetic(_) => Failure::Configuration(error.to_string()),
        DemoError::Archive(error) => Failure::archive(&error),
        DemoError::Trust(error) => trust::failure(error),
        DemoError::Network(_) => Failure::Network(with_advice(&error)),
        DemoError::Disk(_) => Failure::of_files(&error),
    }
}

fn show(stage: Stage) -> ProgressBar {
    match stage {
        Stage::Preparing => progress::spinner("preparing history"),
        Stage::Starting(updates) => counted("starting peers", updates),
        Stage::Seeding(updates) => followed("seeding blocks", updates, |now| (now.blocks_done, now.blocks_total)),
        Stage::Joining => progress::spinner("a newcomer joins"),
        Stage::Fetching(updates) => counted("the newcomer fetches pieces", updates),
    }
}

fn counted(what: &str, updates: watch::Receiver<Counted>) -> ProgressBar {
    followed(what, updates, |now| (now.done as u64, now.total as u64))
}

/// A bar of what the demonstration tells: how much is done, and of how much.
fn followed<T: Send + Sync + 'static>(
    what: &str,
    mut updates: watch::Receiver<T>,
    read: fn(&T) -> (u64, u64),
) -> ProgressBar {
    let bar = progress::items(0, what);
    let shown = bar.clone();
    // What it is at the start is an update too: the total may never change.
    updates.mark_changed();
    tokio::spawn(async move {
        while updates.changed().await.is_ok() {
            let (done, total) = read(&updates.borrow_and_update());
            shown.set_length(total);
            shown.set_position(done);
        }
    });
    bar
}

fn print_table(report: &DemoReport) -> Result<(), Failure> {
    output::line(format_args!(
        "{} blocks, {}: seeded in {:.1} s, {} of {} pieces placed",
        report.blocks,
        ByteSize(report.content_bytes).display().si(),
        report.seeding_took.as_secs_f64(),
        report.seeding.pieces_placed,
        report.seeding.pieces,
    ))?;
    output::line("")?;
    output::line("fetched by a newcomer with 5 % of the room    found  proved  median ms  p99 ms  mean hops")?;
    for part in SamplePart::ALL {
        let outcomes: Vec<_> = report.outcomes.iter().filter(|outcome| outcome.piece.part == part).collect();
        row(part.name(), &outcomes)?;
    }
    row("all", &report.outcomes.iter().collect::<Vec<_>>())?;
    output::line("")?;
    output::line("peer                    items        holds   radius %   served the newcomer")?;
    for (index, peer) in report.peers.iter().enumerate() {
        output::line(format_args!(
            "{index:>4} {:<8} {:>15} {:>12} {:>10.2} {:>21}",
            if index == 0 { "archives" } else { "" },
            peer.items,
            ByteSize(peer.bytes).display().si().to_string(),
            peer.radius * 100.0,
            peer.served
        ))?;
    }
    for outcome in report.outcomes.iter() {
        if let Err(why) = &outcome.result {
            output::remark(format_args!("{:?}: {why}", outcome.piece));
        }
    }
    Ok(())
}

/// Figures of some fetches.
struct Figures {
    asked: usize,
    found: usize,
    proved: usize,
    median: Duration,
    p99: Duration,
    hops: f64,
}

impl Figures {
    fn of(outcomes: &[&SampleOutcome]) -> Self {
        let found: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok()).collect();
        let (median, p99) = median_and_p99(outcomes.iter().map(|outcome| outcome.took).collect());
        let hops: usize = found.iter().map(|found| found.hops).sum();
        Self {
            asked: outcomes.len(),
            found: found.len(),
            proved: found.iter().filter(|found| found.proved).count(),
            median,
            p99,
            hops: hops as f64 / found.len().max(1) as f64,
        }
    }
}

fn row(name: &str, outcomes: &[&SampleOutcome]) -> Result<(), Failure> {
    let figures = Figures::of(outcomes);
    output::line(format_args!(
        "{name:<42} {:>8} {:>7} {:>10.1} {:>7.1} {:>10.2}",
        format!("{}/{}", figures.found, figures.asked),
        figures.proved,
        millis(figures.median),
        millis(figures.p99),
        figures.hops
    ))
}

fn print_json(report: &DemoReport) -> Result<(), Failure> {
    let figures = |part: Option<SamplePart>| {
        let outcomes: Vec<_> =
            report.outcomes.iter().filter(|outcome| part.is_none_or(|part| outcome.piece.part == part)).collect();
        let figures = Figures::of(&outcomes);
        json!({
            "asked": figures.asked,
            "found": figures.found,
            "proved": figures.proved,
            "medianMs": millis(figures.median),
            "p99Ms": millis(figures.p99),
            "meanHops": figures.hops,
        })
    };
    let peers: Vec<_> = report
        .peers
        .iter()
        .map(|peer| json!({ "items": peer.items, "bytes": peer.bytes, "radius": peer.radius, "served": peer.served }))
        .collect();
    output::json(&json!({
        "success": report.is_success(),
        "blocks": report.blocks,
        "contentBytes": report.content_bytes,
        "seedingSeconds": report.seeding_took.as_secs_f64(),
        "fetchingSeconds": report.fetching_took.as_secs_f64(),
        "headers": figures(Some(SamplePart::Header)),
        "bodies": figures(Some(SamplePart::Body)),
        "receipts": figures(Some(SamplePart::Receipts)),
        "all": figures(None),
        "peers": peers,
    }))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bar_of_a_stage_shows_what_it_tells() {
        let (sender, receiver) = watch::channel(Counted { done: 0, total: 4 });
        let bar = show(Stage::Fetching(receiver));
        sender.send_modify(|now| now.done = 3);
        while bar.position() != 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bar.length(), Some(4));
    }
}
