//! Making a capsule: out of what an execution client proves, of a file of such proofs, or of the state network.

use std::{path::Path, time::Duration};

use alloy_primitives::B256;
use cairn_archive::{Archive, ArchiveRule, Component};
use cairn_node::{
    capsules::{CapsuleSourceError, GivenProofs, ProofClient},
    headers::{BlockId, ClientError},
    trust::TrustStore,
    without_secrets,
};
use content_types::{
    ChainSpec, HeaderProof, HeaderWithProof,
    capsule::{Capsule, CapsuleError, Claim, Opened},
    header::DecodedHeader,
    verify::Fault,
};
use reqwest::Url;

use super::super::{blocking, fetch, peer, trust};
use super::checked::{MAX_PROOFS_LENGTH, read};
use crate::{
    cli::MakeCapsuleArgs,
    failure::Failure,
    files::{self, Destination},
    flags::NetworkArgs,
    output,
    settings::Settings,
};

/// JSON-RPC's code for a method that is not there.
const METHOD_NOT_FOUND: i64 = -32601;
/// The same for too many requests (EIP-1474).
const LIMIT_EXCEEDED: i64 = -32005;

/// What to do where the network lacks a part of the state.
const NO_STATE: &str =
    ": hardly any state is in the network: name an execution client with --rpc, or ask again with more --timeout";

pub(super) async fn make(settings: &Settings, args: MakeCapsuleArgs) -> Result<(), Failure> {
    let chain = settings.chain()?;
    let to = Destination::of(&args.out)?;
    let archive = match args.proof_from {
        None => None,
        Some(path) => Some(blocking(move || Archive::open(path).map_err(|error| Failure::archive(&error))).await?),
    };
    let other_proof =
        if archive.is_some() { "take it from another archive" } else { "name an archive with --proof-from" };
    let claims = args.wanted.claims();
    let capsule = if let Some(url) = args.rpc {
        from_client(&chain, url, args.block, archive, claims).await?
    } else if let Some(path) = args.proofs {
        let given = blocking(move || proofs_in(&path)).await?;
        let (header, proof) = match archive {
            Some(archive) => header_in(archive, args.block).await?,
            None => from_network(settings, args.network, args.timeout, args.block).await?,
        };
        given.capsule(&header, proof.as_ref()).map_err(|error| {
            let (number, hash) = (header.number(), header.hash());
            Failure::Invalid(format!(
                "the proofs are not of the state of block {number} ({hash}): {error}: name the block that they are of"
            ))
        })?
    } else {
        let (node, _scratch) = peer::start_fetcher(settings, args.network).await?;
        node.prepare_to_fetch().await;
        let patience = Duration::from_secs(args.timeout);
        // The reader is gone before the node is: it has the store in use.
        let made = node.state().clone().with_patience(patience).capsule(args.block, claims).await;
        node.shutdown().await;
        with_proof(made.map_err(|error| fetch::no_state(error, NO_STATE))?, archive).await?
    };
    let (encoded, opened) = capsule.finish().map_err(|error| of_no_use(&error))?;
    match capsule.prove_header(&TrustStore::open(settings.trust_dir()?, chain).map_err(trust::failure)?.verifier()) {
        Err(CapsuleError::Header(error)) if error.fault() == Fault::Sender => {
            return Err(Failure::Invalid(format!("the proof of the header: {error}: {other_proof}")));
        }
        _ => {}
    }
    deliver(&to, &capsule, &opened, &encoded)
}

/// Why a capsule that was made is not written: nobody would take it.
pub(in crate::commands) fn of_no_use(error: &CapsuleError) -> Failure {
    Failure::Invalid(format!("the capsule would be of no use: {error}: ask for fewer accounts or slots"))
}

/// Writes a capsule, and says what it is.
pub(super) fn deliver(to: &Destination, capsule: &Capsule, opened: &Opened, encoded: &[u8]) -> Result<(), Failure> {
    files::deliver(to, encoded)?;
    let (accounts, nodes, bytes) = (capsule.claims.len(), capsule.nodes.len(), encoded.len());
    let (number, hash) = (opened.header.number(), opened.header.hash());
    output::remark(format_args!(
        "a capsule of block {number} ({hash}): {accounts} accounts, {nodes} nodes, {bytes} bytes"
    ));
    Ok(())
}

/// Proofs out of a file.
fn proofs_in(path: &Path) -> Result<GivenProofs, Failure> {
    let json = read(path, MAX_PROOFS_LENGTH)?;
    if json.len() > MAX_PROOFS_LENGTH {
        let limit = MAX_PROOFS_LENGTH >> 20;
        return Err(Failure::Invalid(format!("{}: more than {limit} MiB: make several capsules", path.display())));
    }
    GivenProofs::read(&json).map_err(|error| {
        Failure::Invalid(format!("{}: {error}: write the answer of the client into it as it is", path.display()))
    })
}

/// The header of a block with its proof, as far as the network has that.
async fn from_network(
    settings: &Settings,
    network: NetworkArgs,
    timeout: u64,
    block: BlockId,
) -> Result<(DecodedHeader, Option<HeaderProof>), Failure> {
    let (node, _scratch) = peer::start_fetcher(settings, network).await?;
    node.prepare_to_fetch().await;
    let found = node.fetch().clone().with_patience(Duration::from_secs(timeout)).header_with_proof(block).await;
    node.shutdown().await;
    let (header, proof) = found.map_err(fetch::missing)?;
    let header = DecodedHeader::decode(header.rlp().clone()).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok((header, proof))
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
    let made = client.capsule(&header, proof.as_ref(), claims).await;
    made.map_err(|error| source_failure(&shown, header.number(), &error))
}

/// Why no capsule of a block could be made of what an execution client gave.
pub(in crate::commands) fn source_failure(url: &str, block: u64, error: &CapsuleSourceError) -> Failure {
    match error {
        CapsuleSourceError::Client(error) => client_failure(url, error),
        CapsuleSourceError::Make(error) => {
            Failure::Invalid(format!("{url} does not prove the state of block {block}: {error}: name another client"))
        }
    }
}

/// The capsule with the proof of its header out of an archive, if one was named.
async fn with_proof(capsule: Capsule, archive: Option<Archive>) -> Result<Capsule, Failure> {
    let Some(archive) = archive else { return Ok(capsule) };
    let header = DecodedHeader::decode(capsule.header.clone()).map_err(|error| Failure::Internal(error.to_string()))?;
    let proof = proof_in(archive, header.number(), header.hash()).await?;
    Ok(Capsule { header_proof: proof.encode(), ..capsule })
}

/// Why an execution client gave no header or proof.
pub(in crate::commands) fn client_failure(url: &str, error: &ClientError) -> Failure {
    match error {
        _ if error.is_refusal() => Failure::Refused(format!("{url}: {error}: check its URL and the key in it")),
        _ if error.is_unreachable() => Failure::Network(format!("{url}: {error}: check its URL and that it runs")),
        ClientError::Unknown(_) => Failure::NotFound(format!("{url}: {error}: name a block that it has")),
        ClientError::Refused { code: METHOD_NOT_FOUND, .. } => {
            Failure::Refused(format!("{url}: {error}: it has to serve eth_getProof and eth_getCode"))
        }
        ClientError::Refused { code: LIMIT_EXCEEDED, .. } => {
            Failure::Network(format!("{url}: {error}: wait, or name another client"))
        }
        ClientError::Refused { .. } => Failure::NotFound(format!(
            "{url}: {error}: a full node keeps the state of some hundred blocks, an archive node that of all"
        )),
        _ => Failure::Invalid(format!("{url}: {error}: name another client, or the chain that it is of with --chain")),
    }
}

/// The header of a block with its proof out of an archive that has it.
async fn header_in(archive: Archive, block: BlockId) -> Result<(DecodedHeader, Option<HeaderProof>), Failure> {
    let BlockId::Number(number) = block else {
        return Err(Failure::Configuration("--block: with --proof-from, name the block by its number".to_owned()));
    };
    let found = in_archive(archive, number).await?;
    Ok((found.header, Some(found.proof)))
}

/// The proof of a header out of an archive that has its block.
async fn proof_in(archive: Archive, number: u64, hash: B256) -> Result<HeaderProof, Failure> {
    let found = in_archive(archive, number).await?;
    if found.header.hash() != hash {
        return Err(lacks(&format!("its block {number} is another than {hash}, which is asked for")));
    }
    Ok(found.proof)
}

fn lacks(why: &str) -> Failure {
    Failure::Configuration(format!("--proof-from: {why}: name another archive"))
}

async fn in_archive(archive: Archive, number: u64) -> Result<HeaderWithProof, Failure> {
    blocking(move || {
        if !archive.blocks().contains(&number) {
            return Err(lacks(&format!("block {number} is not in it")));
        }
        archive.header_with_proof(number).map_err(|error| match error.rule {
            ArchiveRule::Missing(Component::Proof) => lacks("it has no proofs of headers, and none can be made of it"),
            _ => Failure::archive(&error),
        })
    })
    .await
}
