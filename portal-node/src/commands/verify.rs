//! `cairn verify`: archives against the chain, down to the last byte.

use std::{num::NonZeroUsize, thread};

use cairn_archive::{
    Component,
    verify::{FolderReport, Progress, Report, verify_files},
};
use serde_json::json;

use super::{blocking, trust};
use crate::{advice::with_advice, cli::VerifyArgs, failure::Failure, files, output, progress, settings::Settings};

pub(crate) async fn verify(settings: &Settings, args: VerifyArgs) -> Result<(), Failure> {
    let paths = files::archives(&args.paths)?;
    let verifier = trust::verifier(settings)?;
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
    let damaged = report.unreadable.len() + report.files.iter().filter(|file| !file.is_intact()).count();
    match damaged {
        0 => Ok(()),
        1 => Err(Failure::Invalid("one archive is damaged".into())),
        many => Err(Failure::Invalid(format!("{many} archives are damaged"))),
    }
}

fn print_text(report: &FolderReport) -> Result<(), Failure> {
    for error in &report.unreadable {
        output::line(with_advice(error))?;
    }
    for file in &report.files {
        for finding in &file.findings {
            output::line(finding)?;
        }
        if file.more_findings > 0 {
            output::line(format_args!("{}: {} more findings", file.archive, file.more_findings))?;
        }
        if file.foreign_compression > 0 {
            output::line(format_args!(
                "{}: {} records were compressed by an unknown writer; their content is right, but a changed byte that \
                 does not matter for it would not be seen",
                file.archive, file.foreign_compression
            ))?;
        }
        let verdict = if file.is_intact() { "intact" } else { "DAMAGED" };
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
        if !file.is_intact() {
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
