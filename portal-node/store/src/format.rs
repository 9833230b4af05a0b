//! The `FORMAT` file: which version of the store a directory has, which index belongs to its volumes, and of which chain
//! its content is.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use alloy_primitives::hex;

use crate::{config::Chain, error::StoreError, record::FORMAT};

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_PREFIX: &str = "cairn-store ";
const CHAIN_PREFIX: &str = "chain ";

/// The identity that ties an index to its volumes.
pub(crate) type StoreId = [u8; 16];

/// What a `FORMAT` file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FormatFile {
    id: StoreId,
    chain: Option<Chain>,
}

/// Reads the identity of the store in a directory, or gives it one. A store that is of no chain yet is of `chain` from now
/// on: content is checked against one chain only, and would count as checked in another.
pub(crate) fn identify(dir: &Path, chain: Option<Chain>) -> Result<StoreId, StoreError> {
    let path = dir.join(FORMAT_FILE);
    let found = match fs::read_to_string(&path) {
        Ok(text) => Some(parse(dir, &path, &text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(StoreError::ForeignFormat { path }),
        Err(error) => return Err(StoreError::io("read", path)(error)),
    };
    if let (Some(FormatFile { chain: Some(found), .. }), Some(wanted)) = (found, chain)
        && found != wanted
    {
        return Err(StoreError::OtherChain { dir: dir.into(), found, wanted });
    }
    let format = match found {
        Some(format) => FormatFile { chain: format.chain.or(chain), ..format },
        None => FormatFile { id: rand::random(), chain },
    };
    if found != Some(format) {
        write(dir, &path, &format).map_err(StoreError::io("write", path))?;
    }
    Ok(format.id)
}

fn parse(dir: &Path, path: &Path, text: &str) -> Result<FormatFile, StoreError> {
    let foreign = || StoreError::ForeignFormat { path: path.into() };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix(FORMAT_PREFIX)).ok_or_else(foreign)?;
    let found = version.parse().map_err(|_| foreign())?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat { dir: dir.into(), found, known: FORMAT });
    }
    let mut id = StoreId::default();
    hex::decode_to_slice(lines.next().ok_or_else(foreign)?, &mut id).map_err(|_| foreign())?;
    let chain = lines.next().map(|line| {
        let (id, genesis_hash) = line.strip_prefix(CHAIN_PREFIX)?.split_once(' ')?;
        Some(Chain { id: id.parse().ok()?, genesis_hash: genesis_hash.parse().ok()? })
    });
    match chain {
        Some(None) => Err(foreign()),
        chain => Ok(FormatFile { id, chain: chain.flatten() }),
    }
}

fn write(dir: &Path, path: &Path, format: &FormatFile) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{FORMAT_PREFIX}{FORMAT}\n{}", hex::encode(format.id))?;
    if let Some(Chain { id, genesis_hash }) = format.chain {
        writeln!(file, "{CHAIN_PREFIX}{id} {genesis_hash}")?;
    }
    file.sync_all()?;
    fs::rename(unfinished, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;

    use super::*;

    #[test]
    fn a_store_stays_with_its_chain() {
        let dir = tempfile::tempdir().unwrap();
        let [mainnet, other] = [1, 2].map(|id| Chain { id, genesis_hash: B256::repeat_byte(id as u8) });
        let id = identify(dir.path(), None).unwrap();
        assert_eq!(identify(dir.path(), Some(mainnet)).unwrap(), id);
        for chain in [None, Some(mainnet)] {
            assert_eq!(identify(dir.path(), chain).unwrap(), id);
        }
        for wanted in [other, Chain { id: 1, ..other }] {
            let error = identify(dir.path(), Some(wanted)).unwrap_err();
            assert!(matches!(error, StoreError::OtherChain { .. }), "{error}");
        }
        assert_eq!(identify(dir.path(), Some(mainnet)).unwrap(), id, "a refusal changes nothing");
    }

    #[test]
    fn a_line_that_is_no_chain_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        identify(dir.path(), None).unwrap();
        let path = dir.path().join(FORMAT_FILE);
        let text = fs::read_to_string(&path).unwrap();
        for line in ["chain", "chain 1", "chain one 0x", "chains 1 2"] {
            fs::write(&path, format!("{text}{line}\n")).unwrap();
            let error = identify(dir.path(), None).unwrap_err();
            assert!(matches!(error, StoreError::ForeignFormat { .. }), "{line}: {error}");
        }
    }
}
