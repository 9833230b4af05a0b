//! A capsule out of a file, checked: what it tells, and how far that is proved.

use std::{fs::File, io::Read, path::Path};

use bytes::Bytes;
use cairn_node::{capsules, trust::TrustStore};
use content_types::{
    capsule::{Capsule, CapsuleError, Opened, OpenedAccount, value::MAX_CAPSULE_LENGTH},
    verify::Fault,
};
use serde_json::json;

use super::super::{accounts::ShownAccount, blocking, trust};
use crate::{cli::CapsuleArgs, failure::Failure, output, settings::Settings};

/// Bytes of proofs in hexadecimal, with every node as often as it is gone through: what is written and read at most.
pub(super) const MAX_PROOFS_LENGTH: usize = 256 << 20;

/// A capsule that proves what it tells as far as its header goes.
pub(super) struct Checked {
    pub(super) capsule: Capsule,
    pub(super) opened: Opened,
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
pub(super) async fn checked(settings: &Settings, args: CapsuleArgs) -> Result<Checked, Failure> {
    let store = TrustStore::open(settings.trust_dir()?, settings.chain()?).map_err(trust::failure)?;
    let verifier = store.verifier();
    blocking(move || {
        let file = args.file.display().to_string();
        let damaged = |error: &CapsuleError| Failure::Invalid(format!("{file}: {error}: get the capsule anew"));
        let capsule = Capsule::decode(&read(&args.file, MAX_CAPSULE_LENGTH)?).map_err(|error| damaged(&error))?;
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

/// No more of a file than it may have.
pub(super) fn read(path: &Path, limit: usize) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(|error| Failure::io(path, error))?.take(limit as u64 + 1);
    file.read_to_end(&mut bytes).map_err(|error| Failure::io(path, error))?;
    Ok(bytes.into())
}

impl Checked {
    pub(super) fn verdict(&self) -> String {
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
    pub(super) fn outcome(&self) -> Result<(), Failure> {
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

pub(super) fn show(settings: &Settings, checked: &Checked) -> Result<(), Failure> {
    let opened = &checked.opened;
    if settings.json {
        return output::json(&json!({
            "block": opened.header.number(),
            "blockHash": opened.header.hash(),
            "headerProved": !matches!(checked.header, HeaderStanding::Unproved(_)),
            "accounts": opened.accounts.iter().map(|of| shown(of).json()).collect::<Vec<_>>(),
        }));
    }
    output::line(checked.verdict())?;
    opened.accounts.iter().try_for_each(|of| shown(of).print())
}

fn shown(of: &OpenedAccount) -> ShownAccount<'_> {
    let slots = of.slots.iter().map(|slot| (slot.slot, slot.value)).collect();
    ShownAccount { address: of.address, account: of.account, slots, code: of.code.as_ref() }
}

pub(super) fn export(checked: &Checked) -> Result<(), Failure> {
    let Checked { capsule, opened, .. } = checked;
    // A file of two megabytes can lead to the same nodes a million times over.
    let proofs =
        opened.accounts.iter().flat_map(|of| of.proof.iter().chain(of.slots.iter().flat_map(|slot| &slot.proof)));
    let in_hexadecimal = proofs.map(|node| 2 * node.len()).sum::<usize>();
    if in_hexadecimal > MAX_PROOFS_LENGTH {
        return Err(Failure::Invalid(format!(
            "{}: {in_hexadecimal} bytes of proofs in this form, more than {MAX_PROOFS_LENGTH}: pass the file itself on, or make \
             capsules of fewer slots",
            checked.file
        )));
    }
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
