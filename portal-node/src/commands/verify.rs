//! `cairn verify`: archives against the chain, down to the last byte. An archive is intact, or sound in itself while nothing here
//! proves its headers, or damaged; or it is right if an execution client is, which the person believes.

use std::{num::NonZeroUsize, thread};

use cairn_archive::{
    Component,
    verify::{FolderReport, Progress, Report, Verdict, Witness, verify_files_with},
};
use cairn_node::{
    headers::{ClientError, ClientWitness},
    trust::TrustStore,
    without_secrets,
};
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
    let headers_from = args.headers_from;
    let verifier = verifier(settings, headers_from.is_some())?;
    let chain = settings.chain()?;
    let witness = headers_from.clone().map(|url| ClientWitness::new(url, chain)).transpose();
    let witness = witness.map_err(|error| Failure::Internal(format!("the HTTP client cannot be set up: {error}")))?;
    let vouching = headers_from.map(|url| without_secrets(url.as_str()));
    let threads = args.threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let (report, refusal) = blocking(move || {
        let bar = progress::bytes(0, "verifying");
        let tell = |done: Progress| {
            bar.set_length(done.total_bytes);
            bar.set_position(done.bytes);
        };
        let asked = witness.as_ref().map(|witness| witness as &dyn Witness);
        let report = verify_files_with(&paths, &verifier, asked, threads, tell);
        bar.finish_and_clear();
        Ok((report.map_err(|error| Failure::archive(&error))?, witness.and_then(ClientWitness::into_failure)))
    })
    .await?;
    let client = vouching.as_deref();
    if settings.json {
        print_json(&report, client)?
    } else {
        print_text(&report, client)?
    }
    outcome(&report, client.zip(refusal.as_ref()))
}

/// A verifier with the lists that are there. Where nothing of a chain can be proved, archives are checked for what can be told
/// without; where a client vouches for headers, lists may be missing.
fn verifier(settings: &Settings, has_witness: bool) -> Result<HeaderVerifier, Failure> {
    let store = TrustStore::open(settings.trust_dir()?, settings.chain()?).map_err(trust::failure)?;
    if is_without_trust(&store) {
        output::remark(without_roots(store.chain()));
        return Ok(store.verifier());
    }
    if has_witness {
        return Ok(store.verifier());
    }
    trust::verifier(settings, ", or name a client that you trust with --headers-from")
}

/// What it comes to; `refusal` is the client that was to vouch for headers and why it did not.
fn outcome(report: &FolderReport, refusal: Option<(&str, &ClientError)>) -> Result<(), Failure> {
    let count = |verdict: Verdict| report.files.iter().filter(|file| file.verdict() == verdict).count();
    let (damaged, unproved) = (report.unreadable.len() + count(Verdict::Damaged), count(Verdict::Unproved));
    let are = |count: usize| if count == 1 { "one archive is".to_owned() } else { format!("{count} archives are") };
    let mut sound = format!("{} sound, but no list or proof that is here proves the headers", are(unproved));
    match refusal {
        Some((client, why)) => {
            let instead = match why {
                _ if why.is_unreachable() => "check its URL and that it runs",
                _ if why.is_refusal() => "check its URL and the key in it, or name another client",
                _ => "name another client with --headers-from, or bring newer lists with `cairn trust import`",
            };
            sound.push_str(&format!(", and {client} does not vouch for them: {why}: {instead}"));
        }
        None => sound.push_str(
            ": `cairn trust import` takes newer lists, and --headers-from URL asks an execution client that you trust",
        ),
    }
    let anew = "fetch what is damaged anew";
    match (damaged, unproved, refusal) {
        (0, 0, _) => Ok(()),
        (0, _, Some((_, why))) if why.is_unreachable() => Err(Failure::Network(sound)),
        (0, _, Some((_, why))) if why.is_refusal() => Err(Failure::Refused(sound)),
        (0, _, Some((_, ClientError::OtherChain { .. }))) => Err(Failure::Invalid(sound)),
        (0, _, _) => Err(Failure::Unproved(sound)),
        (_, 0, _) => Err(Failure::Invalid(format!("{} damaged: {anew}", are(damaged)))),
        _ => Err(Failure::Invalid(format!("{} damaged: {anew}; {sound}", are(damaged)))),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proved => "intact",
        Verdict::Vouched => "sound, headers not proved but vouched for",
        Verdict::Unproved => "sound, headers not proved",
        Verdict::Damaged => "DAMAGED",
    }
}

/// The verdict for programs.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proved => "intact",
        Verdict::Vouched => "vouched",
        Verdict::Unproved => "unproved",
        Verdict::Damaged => "damaged",
    }
}

/// Whether it ends with exit code 0.
fn is_good(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Proved | Verdict::Vouched)
}

fn print_text(report: &FolderReport, client: Option<&str>) -> Result<(), Failure> {
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
                "{}: {} records are not compressed as the usual writers do; their content is right: another program \
                 wrote them, or a byte was changed that does not matter for it",
                file.archive, file.foreign_compression
            ))?;
        }
        let verdict = word(file.verdict());
        let total = file.blocks.end() - file.blocks.start() + 1;
        let good: Vec<_> =
            components(file).map(|component| format!("{component} {}/{total}", file.good_count(component))).collect();
        // What rests on somebody's word is never called proved.
        let by = match client.filter(|_| file.is_vouched) {
            Some(client) => format!("good by the word of {client}"),
            None => "proved".to_owned(),
        };
        output::line(format_args!(
            "{}: {verdict}, blocks {} to {}, {by}: {}",
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

fn print_json(report: &FolderReport, client: Option<&str>) -> Result<(), Failure> {
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
                "intact": is_good(file.verdict()),
                "verdict": name(file.verdict()),
                "vouchedBy": client.filter(|_| file.is_vouched),
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
    let unreadable = (!report.unreadable.is_empty()).then_some(Verdict::Damaged);
    let worst = report.files.iter().map(Report::verdict).chain(unreadable).max().unwrap_or(Verdict::Proved);
    output::json(&json!({
        "intact": is_good(worst),
        "verdict": name(worst),
        "files": files,
        "unreadable": report.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "missingEras": report.missing_eras.iter().map(|eras| [*eras.start(), *eras.end()]).collect::<Vec<_>>(),
    }))
}

fn components(file: &Report) -> impl Iterator<Item = Component> {
    file.components.iter()
}
