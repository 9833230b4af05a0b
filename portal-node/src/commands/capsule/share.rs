//! Capsules that peers keep for one another: given to them, and asked for.

use std::time::Duration;

use cairn_node::capsules::{CapsuleGetError, CapsulePutError};

use super::super::{fetch, peer};
use super::checked::{Checked, checked};
use super::make;
use crate::{
    cli::{CapsuleArgs, GetCapsuleArgs, PutCapsuleArgs},
    failure::Failure,
    files::Destination,
    output,
    settings::Settings,
};

pub(super) async fn put(settings: &Settings, args: PutCapsuleArgs) -> Result<(), Failure> {
    let file = args.file.display().to_string();
    // What is wrong with it is said before anybody is asked.
    let Checked { capsule, opened, .. } = checked(settings, CapsuleArgs { file: args.file, block_hash: None }).await?;
    let (node, _scratch) = peer::start_fetcher(settings, args.network).await?;
    node.prepare_to_fetch().await;
    let peers = node.capsules().clone().with_patience(Duration::from_secs(args.timeout));
    let given = match args.state {
        true => peers.put_state(&opened).await.map(|count| format!("{count} nodes and codes are kept by peers now")),
        false => peers.put(&capsule).await.map(|keeper| format!("kept by peers now: {keeper} gives it to who asks")),
    };
    drop(peers);
    node.shutdown().await;
    let said = given.map_err(|error| not_given(&file, args.state, error))?;
    output::remark(format_args!("{file}: {said}"));
    Ok(())
}

fn not_given(file: &str, is_state: bool, error: CapsulePutError) -> Failure {
    let what = if is_state { "state" } else { "capsules" };
    match error {
        CapsulePutError::Header(error) => fetch::missing(error),
        CapsulePutError::Content(error) => {
            Failure::Invalid(format!("{file}: {error}: make it of fewer accounts or slots, or pass the file on"))
        }
        CapsulePutError::NobodyKeepsIt { answered: 0, .. } => Failure::NotFound(format!(
            "{file}: nobody keeps {what} among the peers that were found: a peer does with `--shares {what}=1`"
        )),
        CapsulePutError::NobodyKeepsIt { .. } => {
            Failure::NotFound(format!("{file}: {error}: they may lack the header of its block; try again later"))
        }
        CapsulePutError::Request(_) | CapsulePutError::NotSpoken => Failure::Internal(error.to_string()),
    }
}

pub(super) async fn get(settings: &Settings, args: GetCapsuleArgs) -> Result<(), Failure> {
    let to = Destination::of(&args.out)?;
    let claims = args.wanted.claims();
    let (node, _scratch) = peer::start_fetcher(settings, args.network).await?;
    node.prepare_to_fetch().await;
    let patience = Duration::from_secs(args.timeout);
    let found = node.capsules().clone().with_patience(patience).get(args.block, claims).await;
    node.shutdown().await;
    let capsule = found.map_err(not_found)?;
    let opened = capsule.open().map_err(|error| Failure::Internal(error.to_string()))?;
    make::deliver(&to, &capsule, &opened, &capsule.encode())
}

fn not_found(error: CapsuleGetError) -> Failure {
    let (message, cause) = (error.to_string(), error.cause());
    match error {
        CapsuleGetError::Header(error) => fetch::missing(error),
        CapsuleGetError::NotFound { trace, .. } => {
            fetch::tell([&*trace]);
            let instead =
                ": a capsule is found by all accounts and slots that it was made with; `cairn capsule make` makes one";
            Failure::not_found(message, cause, instead)
        }
        CapsuleGetError::Content(_) => Failure::Invalid(message),
        CapsuleGetError::NotSpoken => Failure::Internal(message),
    }
}
