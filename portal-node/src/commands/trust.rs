//! `cairn trust`: the lists that headers are proved against.

use std::{sync::Arc, time::Duration};

use cairn_node::{
    HttpError, Node, NotFoundCause,
    rpc::{TrustSearch, calls::FetchTrust},
    trust::{MirrorError, TrustStore, TrustStoreError},
};
use content_types::HeaderVerifier;
use reqwest::Url;
use serde_json::json;

use super::{
    peer,
    running::RunningPeer,
    without_trust::{has_no_roots, is_without_trust, without_roots},
};
use crate::{
    cli::{TrustCommand, TrustFetchArgs, TrustImportArgs},
    failure::Failure,
    output, progress,
    settings::Settings,
};

/// How long a running peer may search for lists among its peers.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) async fn trust(settings: &Settings, command: TrustCommand) -> Result<(), Failure> {
    match command {
        TrustCommand::Show => show(settings),
        TrustCommand::Import(args) => import(settings, &args),
        TrustCommand::Fetch(args) => fetch(settings, *args).await,
    }
}

/// A verifier with the lists that are there, for commands that cannot do without, or only in a way that `instead` names.
pub(crate) fn verifier(settings: &Settings, instead: &str) -> Result<HeaderVerifier, Failure> {
    let store = open(settings)?;
    if !store.has_lists() {
        if is_without_trust(&store) {
            return Err(Failure::Configuration(without_roots(store.chain())));
        }
        return Err(Failure::Configuration(format!(
            "no trust list in {}: get them with `cairn trust fetch` or `cairn trust import FILE`, or say with --trust \
             where they lie{instead}",
            settings.trust_dir()?.display()
        )));
    }
    Ok(store.verifier())
}

fn open(settings: &Settings) -> Result<TrustStore, Failure> {
    TrustStore::open(settings.trust_dir()?, settings.chain()?).map_err(failure)
}

/// What is wrong with the lists: the disk, or what is on it.
pub(super) fn failure(error: TrustStoreError) -> Failure {
    match error {
        TrustStoreError::Refused { .. } | TrustStoreError::NotSummaries { .. } => {
            Failure::Invalid(format!("{error}: name another file, or the chain that it is of with --chain"))
        }
        // It says itself what to do.
        TrustStoreError::Damaged { .. } => Failure::Invalid(error.to_string()),
        TrustStoreError::File { .. } | TrustStoreError::Missing(_) => Failure::of_files(&error),
    }
}

fn show(settings: &Settings) -> Result<(), Failure> {
    let store = open(settings)?;
    let (chain, lists) = (store.chain(), store.status());
    if is_without_trust(&store) {
        output::remark(without_roots(chain));
    }
    if settings.json {
        let lists: Vec<_> = lists
            .iter()
            .map(|list| {
                json!({ "list": list.kind.to_string(), "root": list.root, "entries": list.entries, "file": list.file })
            })
            .collect();
        return output::json(&json!({ "chain": chain.name(), "lists": lists }));
    }
    output::line(format_args!("chain {} ({})", chain.name(), chain.chain_id()))?;
    for list in lists {
        let root =
            list.root.map_or_else(|| "no root in this chain's specification".to_owned(), |root| root.to_string());
        let held = list.entries.map_or_else(|| "missing".to_owned(), |entries| format!("{entries} entries, checked"));
        output::line(format_args!("{}\n  root {root}\n  {held}: {}", list.kind, list.file.display()))?;
    }
    Ok(())
}

/// Opens the lists to bring in others. Those that fail their check make room: they are of no use, and in the way.
fn open_for_repair(settings: &Settings) -> Result<TrustStore, Failure> {
    let chain = settings.chain()?;
    for damaged in TrustStore::set_aside_damaged(&settings.trust_dir()?, &chain).map_err(failure)? {
        output::remark(format_args!("{}; moved to {}", damaged.why, damaged.to.display()));
    }
    open(settings)
}

fn import(settings: &Settings, args: &TrustImportArgs) -> Result<(), Failure> {
    let store = open_for_repair(settings)?;
    let imported = match args.state_root {
        None => store.import_file(&args.file),
        Some(state_root) => store.import_summaries(&args.file, state_root),
    };
    let kind = imported.map_err(failure)?;
    let status = store.status().into_iter().find(|list| list.kind == kind);
    let (entries, file) = status.map_or((0, None), |list| (list.entries.unwrap_or(0), Some(list.file)));
    if settings.json {
        output::json(&json!({ "list": kind.to_string(), "entries": entries, "file": file }))
    } else {
        output::line(format_args!("imported the {kind}: {entries} entries"))
    }
}

async fn fetch(settings: &Settings, args: TrustFetchArgs) -> Result<(), Failure> {
    let chain = settings.chain()?;
    if has_no_roots(&chain) {
        return Err(Failure::Configuration(without_roots(&chain)));
    }
    if args.from.is_none()
        && settings.trust_dir()? == settings.data_dir()?.join("trust")
        && let Some(peer) = RunningPeer::on_folder(settings).await?
    {
        // It has the lists in use, and takes what it finds in at once.
        let searches = peer.ask_within(SEARCH_TIMEOUT, FetchTrust {}).await?;
        let missing = searches.into_iter().filter(|search| !search.found);
        all_found(missing.map(|TrustSearch { list, asked, cause, .. }| (list, asked, cause)))?;
        // It may have its lists elsewhere, and miss none.
        if open(settings).is_ok_and(|store| store.missing().is_empty()) {
            return show(settings);
        }
    }
    open_for_repair(settings)?;
    let spinner = progress::spinner("fetching trust lists");
    let outcome = match &args.from {
        Some(mirror) => from_mirror(settings, mirror).await,
        None => {
            let (node, _scratch) = peer::start_fetcher(settings, args.network).await?;
            let outcome = from_peers(&node).await;
            node.shutdown().await;
            outcome
        }
    };
    spinner.finish_and_clear();
    outcome?;
    show(settings)
}

async fn from_mirror(settings: &Settings, mirror: &Url) -> Result<(), Failure> {
    let store = Arc::new(open(settings)?);
    match store.fetch_from_mirror(mirror).await {
        Ok(_) => Ok(()),
        Err(error @ MirrorError::Refused { .. }) => {
            Err(Failure::Invalid(format!("{error}: it is not the chain's list, name another mirror with --from")))
        }
        Err(error @ MirrorError::Http { source: HttpError::Status(status), .. }) => {
            let instead = match status.as_u16() {
                401 | 403 => "check the user and password, or the query, in the URL of --from",
                408 | 429 | 500.. => "wait and run it again, or name another mirror with --from",
                _ => "check the URL of --from, which is that of a folder with the lists",
            };
            Err(Failure::Refused(format!("{error}: {instead}")))
        }
        Err(MirrorError::Save(error)) => Err(failure(error)),
        Err(error) => {
            Err(Failure::Network(format!("{error}: check the network and the URL of --from, or name another")))
        }
    }
}

async fn from_peers(node: &Node) -> Result<(), Failure> {
    let missing = node.fetch_trust_from_peers().await.into_iter().filter(|fetch| !fetch.found);
    all_found(missing.map(|fetch| (fetch.kind.to_string(), fetch.asked, fetch.cause)))
}

/// The failure that lists are missing, each with how many peers were asked for it, and why none gave it.
fn all_found(missing: impl Iterator<Item = (String, usize, Option<NotFoundCause>)>) -> Result<(), Failure> {
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = missing.iter().map(|(list, asked, _)| format!("no peer of {asked} has the {list}")).collect();
    // Where one peer answered, the network is there.
    let nobody = Some(NotFoundCause::NobodyAnswered);
    let cause = if missing.iter().all(|(_, _, cause)| *cause == nobody) { nobody } else { None };
    let instead = ": `cairn trust import FILE` and `cairn trust fetch --from URL` do without";
    Err(Failure::not_found(named.join("; "), cause, instead))
}
