//! `cairn convert`: archives from one format into the other.

use std::fs;

use cairn_archive::{
    Archive,
    convert::{Step, Target, convert as convert_archive},
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
        for path in paths {
            let archive = Archive::open(&path).map_err(|error| Failure::archive(&error))?;
            let bar = progress::items(0, &format!("converting {}", path.display()));
            let tell = |step| match step {
                Step::Read { blocks, total } => {
                    bar.set_length(total);
                    bar.set_position(blocks);
                }
                Step::Written { .. } => bar.tick(),
            };
            let made = convert_archive(&archive, archive.blocks(), &network, target, &args.out, tell)
                .map_err(|error| Failure::archive(&error))?;
            bar.finish_and_clear();
            let written = Archive::open(&made).map_err(|error| Failure::archive(&error))?.blocks();
            if json {
                let (first, last) = (written.start(), written.end());
                output::json(&json!({ "from": path, "to": made, "firstBlock": first, "lastBlock": last }))?;
            } else {
                output::line(made.display())?;
            }
            let all = archive.blocks();
            if written.end() < all.end() {
                output::remark(format_args!(
                    "{}: blocks {} to {} are not in it, an era1 file holds blocks before the merge only",
                    made.display(),
                    written.end() + 1,
                    all.end()
                ));
            }
        }
        Ok(())
    })
    .await
}
