//! `cairn fetch --out FILE.era1` and `FILE.ere`: which archive the flags ask for.

use std::path::Path;

use cairn_archive::Format;
use cairn_node::{
    ranges::plan_of_range,
    swarm::{Order, WantedArchive},
};

use crate::{
    cli::{FetchArgs, WhatArg},
    failure::Failure,
    files::Destination,
    settings::Settings,
};

/// The archive that `path` names, which is for its ending to say; `None` if it names none.
///
/// # Errors
/// When the flags ask for what no archive is, or for blocks that the format does not take.
pub(super) fn wanted(settings: &Settings, args: &FetchArgs, path: &Path) -> Result<Option<WantedArchive>, Failure> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("era1") => Format::Era1,
        Some("ere" | "erae") => Format::Ere,
        _ => return Ok(None),
    };
    let wrong = |why: String| Err(Failure::Configuration(why));
    if args.what != WhatArg::Block {
        return wrong("--what: an archive holds whole blocks: leave it out, or end --out otherwise".into());
    }
    if args.format.is_some() {
        let path = path.display();
        return wrong(format!("{path} is an archive by its ending: leave out --format, or give another ending"));
    }
    let Destination::File(path) = Destination::of(path)? else {
        return wrong(format!("{}: an archive is written out of order, and into a file only", path.display()));
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return wrong(format!("{}: name a file, in UTF-8", path.display()));
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let plan = plan_of_range(&*settings.chain()?, format, args.range().numbers(), args.profile.into())?;
    Ok(Some(WantedArchive {
        folder: folder.to_owned(),
        name: Some(name.to_owned()),
        plan,
        order: Order::Sequential,
        web_seeds: args.from_peers.web_seed.clone(),
    }))
}
