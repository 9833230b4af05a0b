//! `cairn verify`: archives against the chain, down to the last byte. Three verdicts: an archive is intact, or sound in itself
//! while nothing here proves its headers, or damaged.

use std::{num::NonZeroUsize, thread};

use cairn_archive::{
    Component,
    verify::{FolderReport, Progress, Report, Verdict, verify_files},
};
use cairn_node::trust::TrustStore;
use content_types::HeaderVerifier;
use serde_json::json;

use super::{
    blocking, trust,
    without_trust::{is_without_trust, without_roots},
};
use crate::{advice::with_advice, cli::VerifyArgs, failure::Failure, files, output, progress, settings::Settings};

/// Findings of a file that are printed; the others are counted.
const SHOWN_FINDINGS: usize = 10;

pub(crate) async fn verify(settings: &Settings, args: VerifyArgs) -> Result<(), Failure> {
    let paths = files::archives(&args.paths)?;
    let verifier = verifier(settings)?;
    let threads = args.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let report = blocking(move || {
        let bar = progress::bytes(0, "verifying");
        let tell = |done: Progress| {
            bar.set_length(done.total_bytes);
            bar.set_position(done.bytes);
        };
        let report = verify_files(&paths, &verifier, threads, tell).map_err(|error| Failure::archive(&error))?;
        bar.finish_and_clear();
        Ok(report)
    })
    .await?;
    if settings.json {
        print_json(&report)?
    } else {
        print_text(&report)?
    }
    outcome(&report)
}

/// A verifier with the lists that are there. Where nothing of a chain can be proved, archives are checked for what can be told
/// without.
fn verifier(settings: &Settings) -> Result<HeaderVerifier, Failure> {
    let store = TrustStore::open(settings.trust_dir()?, settings.chain()?).map_err(trust::failure)?;
    if is_without_trust(&store) {
        output::remark(without_roots(store.chain()));
        return Ok(store.verifier());
    }
    trust::verifier(settings)
}

fn outcome(report: &FolderReport) -> Result<(), Failure> {
    let count = |verdict: Verdict| report.files.iter().filter(|file| file.verdict() == verdict).count();
    let (damaged, unproved) = (report.unreadable.len() + count(Verdict::Damaged), count(Verdict::Unproved));
    let are = |count: usize| if count == 1 { "one archive is".to_owned() } else { format!("{count} archives are") };
    let sound = format!("{} sound, but no list or proof that is here proves the headers", are(unproved));
    match (damaged, unproved) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Unproved(sound)),
        (_, 0) => Err(Failure::Invalid(format!("{} damaged", are(damaged)))),
        _ => Err(Failure::Invalid(format!("{} damaged; {sound}", are(damaged)))),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proved => "intact",
        Verdict::Unproved => "sound, headers not proved",
        Verdict::Damaged => "DAMAGED",
    }
}

fn print_text(report: &FolderReport) -> Result<(), Failure> {
    for error in &report.unreadable {
        output::line(with_advice(error))?;
    }
    for file in &report.files {
        for finding in file.findings.iter().take(SHOWN_FINDINGS) {
            output::line(finding)?;
        }
        let more = file.findings.len().saturating_sub(SHOWN_FINDINGS) as u64 + file.more_findings;
        if more > 0 {
            output::line(format_args!("{}: {more} more findings", file.archive))?;
        }
        if let Some(proper) = &file.proper_name {
            output::remark(format_args!("{}: the name says nothing; by its content it is {proper}", file.archive));
        }
        if file.foreign_compression > 0 {
            output::line(format_args!(
                "{}: {} records were compressed by an unknown writer; their content is right, but a changed byte that \
                 does not matter for it would not be seen",
                file.archive, file.foreign_compression
            ))?;
        }
        let verdict = word(file.verdict());
        let total = file.blocks.end() - file.blocks.start() + 1;
        let good: Vec<_> =
            components(file).map(|component| format!("{component} {}/{total}", file.good_count(component))).collect();
        output::line(format_args!(
            "{}: {verdict}, blocks {} to {}, proved: {}",
            file.archive,
            file.blocks.start(),
            file.blocks.end(),
            good.join(", ")
        ))?;
        if file.verdict() == Verdict::Damaged {
            for component in components(file).filter(|component| file.good_count(*component) < total) {
                let ranges: Vec<_> =
                    file.good(component).iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
                let ranges = if ranges.is_empty() { "none".to_owned() } else { ranges.join(" ") };
                output::line(format_args!("{}: still good: {component} {ranges}", file.archive))?;
            }
        }
    }
    for eras in &report.missing_eras {
        output::remark(format_args!("eras {} to {} are not among these files", eras.start(), eras.end()));
    }
    Ok(())
}

fn print_json(report: &FolderReport) -> Result<(), Failure> {
    let files: Vec<_> = report
        .files
        .iter()
        .map(|file| {
            let good: serde_json::Map<_, _> = components(file)
                .map(|component| {
                    let ranges: Vec<_> =
                        file.good(component).iter().map(|range| [*range.start(), *range.end()]).collect();
                    (component.to_string(), json!(ranges))
                })
                .collect();
            json!({
                "archive": &*file.archive,
                "intact": file.is_intact(),
                "verdict": match file.verdict() {
                    Verdict::Proved => "intact",
                    Verdict::Unproved => "unproved",
                    Verdict::Damaged => "damaged",
                },
                "properName": file.proper_name,
                "firstBlock": file.blocks.start(),
                "lastBlock": file.blocks.end(),
                "bytes": file.file_len,
                "findings": file.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "moreFindings": file.more_findings,
                "foreignCompression": file.foreign_compression,
                "good": good,
            })
        })
        .collect();
    output::json(&json!({
        "intact": report.is_intact(),
        "files": files,
        "unreadable": report.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "missingEras": report.missing_eras.iter().map(|eras| [*eras.start(), *eras.end()]).collect::<Vec<_>>(),
    }))
}

fn components(file: &Report) -> impl Iterator<Item = Component> {
    file.components.iter()
}
