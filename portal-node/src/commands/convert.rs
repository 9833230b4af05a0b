//! `cairn convert`: archives from one format into the other. One that cannot be converted keeps no other from it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cairn_archive::{
    Archive, ArchiveError, ArchiveName, ArchiveRule, Component, Components,
    convert::{Step, Target, convert_beside as convert_archive},
};
use cairn_node::ranges::PlanError;
use serde_json::json;

use super::blocking;
use crate::{
    cli::{ArchiveFormat, ConvertArgs},
    failure::Failure,
    files, output, progress,
    settings::Settings,
};

pub(crate) async fn convert(settings: &Settings, args: ConvertArgs) -> Result<(), Failure> {
    let target = match args.to {
        ArchiveFormat::Era1 if !args.profile.is_whole() => return Err(PlanError::Era1Profile.into()),
        ArchiveFormat::Era1 => Target::Era1,
        ArchiveFormat::Ere => Target::Ere { proofs: !args.profile.no_proofs, receipts: !args.profile.no_receipts },
    };
    let paths = files::archives(&args.paths)?;
    let network = settings.chain()?.name().to_owned();
    let json = settings.json;
    blocking(move || {
        fs::create_dir_all(&args.out).map_err(|error| Failure::io(&args.out, error))?;
        let mut failures = Vec::new();
        // What was made now, and of what. The same blocks have the same name, and one would go over the other.
        let mut made = BTreeMap::<String, PathBuf>::new();
        for path in &paths {
            let is_only = paths.len() == 1;
            match convert_one(path, &network, target, &args.out, &made) {
                Ok(converted) => {
                    if let Some(name) = converted.path.file_name() {
                        made.insert(name.to_string_lossy().into_owned(), path.clone());
                    }
                    converted.report(json)?;
                    if let Some(cut) = converted.cut() {
                        output::remark(format_args!("not all of it converted: {cut}"));
                        failures.push(cut);
                    }
                }
                Err(NotConverted { failure, is_full }) if is_only || is_full => return Err(failure),
                Err(NotConverted { failure, .. }) => {
                    if json {
                        output::json(&json!({ "from": path, "error": failure.to_string() }))?;
                    }
                    output::remark(format_args!("not converted: {failure}"));
                    failures.push(failure);
                }
            }
        }
        summary(&failures, paths.len())
    })
    .await
}

/// An archive that was converted.
struct Converted {
    source: Archive,
    made: Archive,
    path: PathBuf,
}

impl Converted {
    /// Why the source ends before its file does, so that blocks may be missing of what was made.
    fn cut(&self) -> Option<Failure> {
        self.source.damage().filter(|_| self.source.is_cut()).map(Failure::archive)
    }

    fn report(&self, json: bool) -> Result<(), Failure> {
        let (from, to) = (self.source.name(), self.path.display());
        let (written, all) = (self.made.blocks(), self.source.blocks());
        if json {
            let (first, last) = (written.start(), written.end());
            output::json(&json!({ "from": from, "to": self.path, "firstBlock": first, "lastBlock": last }))?;
        } else {
            output::line(&to)?;
        }
        if let Some(damage) = self.source.damage().filter(|_| !self.source.is_cut()) {
            output::remark(format_args!("{damage}; blocks {} to {} were found without it", all.start(), all.end()));
        }
        if written.end() < all.end() {
            output::remark(format_args!(
                "{to}: blocks {} to {} are not in it, an era1 file holds blocks before the merge only",
                written.end() + 1,
                all.end()
            ));
        }
        Ok(())
    }
}

/// Why an archive was not converted.
struct NotConverted {
    failure: Failure,
    /// Whether it is for want of room, which no other archive would find either.
    is_full: bool,
}

impl NotConverted {
    /// `held`: which parts the archive's blocks have, where that is known.
    fn new(error: &ArchiveError, held: Option<Components>, made: &BTreeMap<String, PathBuf>) -> Self {
        let failure = match &error.rule {
            ArchiveRule::NameTaken(name) => {
                let of = made.get(name).map(|path| format!(" by what was made of {}", path.display()));
                let of = of.unwrap_or_default();
                Failure::Io(format!("{error}{of}: leave one of the two out, or convert it into another folder"))
            }
            ArchiveRule::AfterMerge => Failure::Configuration(format!("{error}: convert it to ere")),
            // A profile, and no damage: no block of the file has it.
            ArchiveRule::Missing(component) if held.is_some_and(|held| !held.has(*component)) => {
                let instead = match component {
                    Component::Proof => ", and none can be built: leave them out with --no-proofs",
                    Component::Receipts => ": an ere file does without them if you give --no-receipts",
                    _ => "",
                };
                Failure::Configuration(format!("{error}{instead}"))
            }
            _ => Failure::archive(error),
        };
        Self { failure, is_full: error.is_storage_full() }
    }
}

fn convert_one(
    path: &Path,
    network: &str,
    target: Target,
    out: &Path,
    made: &BTreeMap<String, PathBuf>,
) -> Result<Converted, NotConverted> {
    // What is made of it is named after the chain, whose rules it is made by.
    let name = path.file_name().and_then(|name| name.to_str()).and_then(ArchiveName::parse);
    if let Some(name) = name.filter(|name| name.network != network) {
        let (path, of) = (path.display(), name.network);
        let text = format!("{path}: it is named after {of}, and the chain is {network}: name its chain with --chain");
        return Err(NotConverted { failure: Failure::Configuration(text), is_full: false });
    }
    let unreadable = |error: ArchiveError| NotConverted::new(&error, None, made);
    let source = Archive::open(path).map_err(unreadable)?;
    let bar = progress::items(0, &format!("converting {}", path.display()));
    let tell = |step| match step {
        Step::Read { blocks, total } => {
            bar.set_length(total);
            bar.set_position(blocks);
        }
        Step::Written { .. } => bar.tick(),
    };
    let is_kept = |name: &str| made.contains_key(name);
    let converted = convert_archive(&source, source.blocks(), network, target, out, is_kept, tell);
    bar.finish_and_clear();
    // Of a file whose records were walked over, what was not found may have been there.
    let held = source.damage().is_none().then(|| source.components());
    let path = converted.map_err(|error| NotConverted::new(&error, held, made))?;
    let made = Archive::open(&path).map_err(unreadable)?;
    Ok(Converted { source, made, path })
}

/// How it went with all of them. Damage decides the exit code before the disk, and that before what a format cannot hold.
fn summary(failures: &[Failure], all: usize) -> Result<(), Failure> {
    let count = |is_it: fn(&Failure) -> bool| failures.iter().filter(|failure| is_it(failure)).count();
    let damaged = count(|failure| matches!(failure, Failure::Invalid(_)));
    let unsuited = count(|failure| matches!(failure, Failure::Configuration(_)));
    let unread = failures.len() - damaged - unsuited;
    let kinds =
        [(damaged, "damaged"), (unread, "not readable or writable"), (unsuited, "not for this format or chain")];
    let kinds: Vec<_> =
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    let were = if failures.len() == 1 { "was" } else { "were" };
    let text = format!(
        "{} of {all} archives {were} not, or not wholly, converted: {}; the line of each says why",
        failures.len(),
        kinds.join(", ")
    );
    match (damaged, unread, unsuited) {
        (0, 0, 0) => Ok(()),
        (0, 0, _) => Err(Failure::Configuration(text)),
        (0, _, _) => Err(Failure::Io(text)),
        _ => Err(Failure::Invalid(text)),
    }
}
