//! `cairn capsule`: accounts of one block with everything that proves them, made, checked and shown.

use std::{fs::File, io::Read, path::Path, time::Duration};

use alloy_primitives::B256;
use bytes::Bytes;
use cairn_archive::{Archive, ArchiveRule, Component};
use cairn_node::{
    capsules::{self, CapsuleSourceError, ProofClient},
    headers::{BlockId, ClientError},
    trust::TrustStore,
    without_secrets,
};
use content_types::{
    ChainSpec, HeaderProof,
    capsule::{Capsule, CapsuleError, Claim, Opened, OpenedAccount, value::MAX_CAPSULE_LENGTH},
    header::DecodedHeader,
    verify::Fault,
};
use reqwest::Url;
use serde_json::json;

use super::{blocking, fetch, peer, trust};
use crate::{
    cli::{CapsuleArgs, CapsuleCommand, MakeCapsuleArgs},
    failure::Failure,
    files::{self, Destination},
    output,
    settings::Settings,
};

/// JSON-RPC's code for a method that is not there.
const METHOD_NOT_FOUND: i64 = -32601;

pub(crate) async fn capsule(settings: &Settings, command: CapsuleCommand) -> Result<(), Failure> {
    match command {
        CapsuleCommand::Make(args) => make(settings, *args).await,
        CapsuleCommand::Verify(args) => {
            let checked = checked(settings, args).await?;
            output::line(checked.verdict())?;
            checked.outcome()
        }
        CapsuleCommand::Show(args) => {
            let checked = checked(settings, args).await?;
            show(settings, &checked)?;
            checked.outcome()
        }
        CapsuleCommand::Export(args) => {
            let checked = checked(settings, args).await?;
            export(&checked)?;
            checked.outcome()
        }
    }
}

async fn make(settings: &Settings, args: MakeCapsuleArgs) -> Result<(), Failure> {
    let chain = settings.chain()?;
    let to = Destination::of(&args.out)?;
    let archive = match args.proof_from {
        None => None,
        Some(path) => Some(blocking(move || Archive::open(path).map_err(|error| Failure::archive(&error))).await?),
    };
    let other_proof =
        if archive.is_some() { "take it from another archive" } else { "name an archive with --proof-from" };
    let claim = |address| Claim { address, slots: args.slot.clone(), code: args.code };
    let claims = args.account.iter().copied().map(claim).collect();
    let capsule = match args.rpc {
        Some(url) => from_client(&chain, url, args.block, archive, claims).await?,
        None => {
            let (node, _scratch) = peer::start_fetcher(settings, args.network).await?;
            let patience = Duration::from_secs(args.timeout);
            // The reader is gone before the node is: it has the store in use.
            let made = node.state().clone().with_patience(patience).capsule(args.block, claims).await;
            node.shutdown().await;
            with_proof(made.map_err(fetch::no_state)?, archive).await?
        }
    };
    let encoded = capsule.encode();
    // What is written is what `verify` takes: a capsule may be too large, and the proof that an archive has may be wrong.
    let of_no_use = |error: CapsuleError| {
        Failure::Invalid(format!("the capsule would be of no use: {error}: ask for fewer accounts or slots"))
    };
    let capsule = Capsule::decode(&encoded).map_err(of_no_use)?;
    let opened = capsule.open().map_err(of_no_use)?;
    match capsule.prove_header(&TrustStore::open(settings.trust_dir()?, chain).map_err(trust::failure)?.verifier()) {
        Err(CapsuleError::Header(error)) if error.fault() == Fault::Sender => {
            return Err(Failure::Invalid(format!("the proof of the header: {error}: {other_proof}")));
        }
        _ => {}
    }
    files::deliver(&to, &encoded)?;
    let (accounts, nodes, bytes) = (capsule.claims.len(), capsule.nodes.len(), encoded.len());
    let (number, hash) = (opened.header.number(), opened.header.hash());
    output::remark(format_args!(
        "a capsule of block {number} ({hash}): {accounts} accounts, {nodes} nodes, {bytes} bytes"
    ));
    Ok(())
}

/// A capsule out of what an execution client proves.
async fn from_client(
    chain: &ChainSpec,
    url: Url,
    block: BlockId,
    archive: Option<Archive>,
    claims: Vec<Claim>,
) -> Result<Capsule, Failure> {
    let shown = without_secrets(url.as_str());
    let client = ProofClient::new(url)
        .map_err(|error| Failure::Internal(format!("the HTTP client cannot be set up: {error}")))?;
    let asked = |error: ClientError| client_failure(&shown, &error);
    let header = client.header(chain, block).await.map_err(asked)?;
    let proof = match archive {
        None => None,
        Some(archive) => Some(proof_in(archive, header.number(), header.hash()).await?),
    };
    client.capsule(&header, proof.as_ref(), claims).await.map_err(|error| match error {
        CapsuleSourceError::Client(error) => client_failure(&shown, &error),
        CapsuleSourceError::Make(error) => Failure::Invalid(format!(
            "{shown} does not prove the state of block {}: {error}: name another client",
            header.number()
        )),
    })
}

/// The capsule with the proof of its header out of an archive, if one was named.
async fn with_proof(capsule: Capsule, archive: Option<Archive>) -> Result<Capsule, Failure> {
    let Some(archive) = archive else { return Ok(capsule) };
    let header = DecodedHeader::decode(capsule.header.clone()).map_err(|error| Failure::Internal(error.to_string()))?;
    let proof = proof_in(archive, header.number(), header.hash()).await?;
    Ok(Capsule { header_proof: proof.encode(), ..capsule })
}

/// Why an execution client gave no header or proof.
fn client_failure(url: &str, error: &ClientError) -> Failure {
    match error {
        _ if error.is_refusal() => Failure::Refused(format!("{url}: {error}: check its URL and the key in it")),
        _ if error.is_unreachable() => Failure::Network(format!("{url}: {error}: check its URL and that it runs")),
        ClientError::Unknown(_) => Failure::NotFound(format!("{url}: {error}: name a block that it has")),
        ClientError::Refused { code: METHOD_NOT_FOUND, .. } => {
            Failure::Refused(format!("{url}: {error}: it has to serve eth_getProof and eth_getCode"))
        }
        ClientError::Refused { .. } => Failure::NotFound(format!(
            "{url}: {error}: a full node keeps the state of some hundred blocks, an archive node that of all"
        )),
        _ => Failure::Invalid(format!("{url}: {error}: name another client, or the chain that it is of with --chain")),
    }
}

/// The proof of a header out of an archive that has its block.
async fn proof_in(archive: Archive, number: u64, hash: B256) -> Result<HeaderProof, Failure> {
    blocking(move || {
        let lacks = |why: &str| Failure::Configuration(format!("--proof-from: {why}: name another archive"));
        if !archive.blocks().contains(&number) {
            return Err(lacks(&format!("block {number} is not in it")));
        }
        let found = archive.header_with_proof(number).map_err(|error| match error.rule {
            ArchiveRule::Missing(Component::Proof) => lacks("it has no proofs of headers, and none can be made of it"),
            _ => Failure::archive(&error),
        })?;
        if found.header.hash() != hash {
            return Err(lacks(&format!("its block {number} is another than {hash}, which is asked for")));
        }
        Ok(found.proof)
    })
    .await
}

/// A capsule that proves what it tells as far as its header goes.
struct Checked {
    capsule: Capsule,
    opened: Opened,
    header: HeaderStanding,
    file: String,
}

/// What is known of a capsule's header.
enum HeaderStanding {
    /// Its proof holds.
    Proved,
    /// It has the hash that the person named.
    Named,
    /// Nothing here tells, for this reason.
    Unproved(CapsuleError),
}

/// Reads a capsule and checks it, its header first by the hash that the person named, then by its proof.
async fn checked(settings: &Settings, args: CapsuleArgs) -> Result<Checked, Failure> {
    let store = TrustStore::open(settings.trust_dir()?, settings.chain()?).map_err(trust::failure)?;
    let verifier = store.verifier();
    blocking(move || {
        let file = args.file.display().to_string();
        let damaged = |error: &CapsuleError| Failure::Invalid(format!("{file}: {error}: get the capsule anew"));
        let capsule = Capsule::decode(&read(&args.file)?).map_err(|error| damaged(&error))?;
        let opened = capsule.open().map_err(|error| damaged(&error))?;
        let header = match (args.block_hash, capsule.prove_header(&verifier)) {
            (Some(named), _) if named == opened.header.hash() => HeaderStanding::Named,
            (Some(named), _) => {
                return Err(Failure::Invalid(format!(
                    "{file}: it is of block {} ({}), not of {named}: name its own block's hash, or another capsule",
                    opened.header.number(),
                    opened.header.hash()
                )));
            }
            (None, Ok(_)) => HeaderStanding::Proved,
            (None, Err(error)) => match &error {
                CapsuleError::Header(of_proof) if of_proof.fault() == Fault::Sender => return Err(damaged(&error)),
                _ => HeaderStanding::Unproved(error),
            },
        };
        Ok(Checked { capsule, opened, header, file })
    })
    .await
}

/// No more of a file than a capsule may have.
fn read(path: &Path) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|error| Failure::io(path, error))?.take(MAX_CAPSULE_LENGTH as u64 + 1);
    file.read_to_end(&mut bytes).map_err(|error| Failure::io(path, error))?;
    Ok(bytes.into())
}

impl Checked {
    fn verdict(&self) -> String {
        let header = &self.opened.header;
        let standing = match self.header {
            HeaderStanding::Proved => "proved",
            HeaderStanding::Named => "proved against the block hash that you named",
            HeaderStanding::Unproved(_) => "sound, header not proved",
        };
        format!(
            "{}: {standing}, block {} ({}), {} accounts",
            self.file,
            header.number(),
            header.hash(),
            self.opened.accounts.len()
        )
    }

    /// A capsule whose header nothing here proves is no proof, whatever it has in it.
    fn outcome(&self) -> Result<(), Failure> {
        match &self.header {
            HeaderStanding::Proved | HeaderStanding::Named => Ok(()),
            HeaderStanding::Unproved(CapsuleError::NoHeaderProof) => Err(Failure::Unproved(format!(
                "{}: it has no proof of its header: name the hash of block {} from somebody that you trust with --block-hash",
                self.file,
                self.opened.header.number()
            ))),
            HeaderStanding::Unproved(error) => Err(Failure::Unproved(format!(
                "{}: {error}: `cairn trust fetch` or `cairn trust import` brings lists, or name the block's hash with \
                 --block-hash",
                self.file
            ))),
        }
    }
}

fn show(settings: &Settings, checked: &Checked) -> Result<(), Failure> {
    let opened = &checked.opened;
    if settings.json {
        let account = |of: &OpenedAccount| {
            json!({
                "address": of.address,
                "exists": of.account.is_some(),
                "balance": of.account.unwrap_or_default().balance,
                "nonce": of.account.unwrap_or_default().nonce,
                "codeHash": of.account.unwrap_or_default().code_hash,
                "storageRoot": of.account.unwrap_or_default().storage_root,
                "slots": of.slots.iter().map(|slot| (format!("{:#x}", slot.slot), json!(slot.value))).collect::<serde_json::Map<_, _>>(),
                "code": of.code,
            })
        };
        return output::json(&json!({
            "block": opened.header.number(),
            "blockHash": opened.header.hash(),
            "headerProved": !matches!(checked.header, HeaderStanding::Unproved(_)),
            "accounts": opened.accounts.iter().map(account).collect::<Vec<_>>(),
        }));
    }
    output::line(checked.verdict())?;
    for of in &opened.accounts {
        match of.account {
            None => output::line(format_args!("{}: there is no such account", of.address))?,
            Some(account) => output::line(format_args!(
                "{}: balance {} wei, nonce {}, code {}, storage {}",
                of.address, account.balance, account.nonce, account.code_hash, account.storage_root
            ))?,
        }
        for slot in &of.slots {
            output::line(format_args!("  slot {:#x}: {:#x}", slot.slot, slot.value))?;
        }
        if let Some(code) = &of.code {
            output::line(format_args!("  code of {} bytes", code.len()))?;
        }
    }
    Ok(())
}

fn export(checked: &Checked) -> Result<(), Failure> {
    let Checked { capsule, opened, .. } = checked;
    let codes = opened.accounts.iter().filter_map(|of| Some((of.address.to_string(), json!(of.code.as_ref()?))));
    output::json(&json!({
        "block": opened.header.number(),
        "blockHash": opened.header.hash(),
        "header": alloy_primitives::Bytes::from(capsule.header.clone()),
        "headerProof": alloy_primitives::Bytes::from(capsule.header_proof.clone()),
        "proofs": capsules::proofs(opened),
        "codes": codes.collect::<serde_json::Map<_, _>>(),
    }))
}
