//! File names: `<network>-<era>-<4 bytes>.era1` and `<network>-<era>-<4 bytes>[-noproofs][-noreceipts].ere`.

use std::fmt;

use alloy_primitives::hex;

use crate::component::{Component, Components, Format};

/// Digits that the number of an era is filled up to.
const ERA_DIGITS: usize = 5;

/// What an archive's file name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveName {
    /// Name of the network; may contain dashes.
    pub network: String,
    /// Number of the era: the first block's number divided by 8,192.
    pub era: u64,
    /// First bytes of the accumulator's root (era1) or of the last block's hash (ere).
    pub short_hash: [u8; 4],
    /// The format.
    pub format: Format,
    /// Whether an ere file holds proofs, as far as its name says.
    pub proofs: bool,
    /// Whether an ere file holds receipts, as far as its name says.
    pub receipts: bool,
}

impl ArchiveName {
    /// The name of an archive that holds `components`.
    pub(crate) fn new(network: &str, era: u64, short_hash: [u8; 4], format: Format, components: Components) -> Self {
        Self {
            network: network.to_owned(),
            era,
            short_hash,
            format,
            proofs: format == Format::Ere && components.has(Component::Proof),
            receipts: components.has(Component::Receipts),
        }
    }

    /// Reads a file name, without folders. The hash may be in capitals, as no specification has it: such a name says what it
    /// says, and a reader that took it for none would compare it with nothing. `.erae` is an older suffix of ere files, whose name says nothing about
    /// their profile; such a file counts as one without a profile.
    pub fn parse(file_name: &str) -> Option<Self> {
        let (stem, suffix) = file_name.rsplit_once('.')?;
        let format = match suffix {
            "era1" => Format::Era1,
            "ere" | "erae" => Format::Ere,
            _ => return None,
        };
        let (stem, receipts) = strip_profile(stem, "-noreceipts", format);
        let (stem, proofs) = strip_profile(stem, "-noproofs", format);
        let (stem, short_hash) = stem.rsplit_once('-')?;
        let (network, era) = stem.rsplit_once('-')?;
        let filled_up = era.len() == ERA_DIGITS || (era.len() > ERA_DIGITS && !era.starts_with('0'));
        let is_number = filled_up && era.bytes().all(|byte| byte.is_ascii_digit());
        if network.is_empty() || !is_number || short_hash.starts_with("0x") {
            return None;
        }
        let short_hash = hex::decode(short_hash).ok()?.try_into().ok()?;
        let proofs = proofs && format == Format::Ere;
        Some(Self { network: network.to_owned(), era: era.parse().ok()?, short_hash, format, proofs, receipts })
    }

    /// Whether a file name has the suffix of an archive.
    pub fn is_archive(file_name: &str) -> bool {
        [".era1", ".ere", ".erae"].iter().any(|suffix| file_name.ends_with(suffix))
    }
}

fn strip_profile<'a>(stem: &'a str, profile: &str, format: Format) -> (&'a str, bool) {
    match stem.strip_suffix(profile) {
        Some(stem) if format == Format::Ere => (stem, false),
        _ => (stem, true),
    }
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:0ERA_DIGITS$}-{}", self.network, self.era, hex::encode(self.short_hash))?;
        match self.format {
            Format::Era1 => f.write_str(".era1"),
            Format::Ere => {
                let proofs = if self.proofs { "" } else { "-noproofs" };
                let receipts = if self.receipts { "" } else { "-noreceipts" };
                write!(f, "{proofs}{receipts}.ere")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_specifications_examples_are_read_and_written() {
        for (name, proofs, receipts) in [
            ("mainnet-00000-4bb7de2e.ere", true, true),
            ("mainnet-00000-4bb7de2e-noproofs.ere", false, true),
            ("mainnet-00000-4bb7de2e-noreceipts.ere", true, false),
            ("mainnet-00000-4bb7de2e-noproofs-noreceipts.ere", false, false),
        ] {
            let parsed = ArchiveName::parse(name).unwrap();
            assert_eq!((parsed.proofs, parsed.receipts, parsed.format), (proofs, receipts, Format::Ere));
            assert_eq!(
                (parsed.network.as_str(), parsed.era, parsed.short_hash),
                ("mainnet", 0, [0x4b, 0xb7, 0xde, 0x2e])
            );
            assert_eq!(parsed.to_string(), name);
        }
        let era1 = ArchiveName::parse("my-net-01896-a5364e9a.era1").unwrap();
        assert_eq!((era1.network.as_str(), era1.era, era1.format), ("my-net", 1896, Format::Era1));
        assert_eq!(era1.to_string(), "my-net-01896-a5364e9a.era1");
        assert_eq!(ArchiveName::parse("mainnet-00007-4bb7de2e.erae").unwrap().era, 7);
        assert_eq!(ArchiveName::parse("my-net-01896-A5364e9A.era1"), Some(era1));
    }

    #[test]
    fn other_names_are_not_taken_for_archives() {
        for name in [
            "mainnet-00000-4bb7de2e",
            "mainnet-00000-4bb7de2e.era",
            "mainnet-0000-4bb7de2e.ere",
            "mainnet-00000-4bb7de.ere",
            "mainnet-00000-0x4bb7de.ere",
            "mainnet-00000-4bb7de2g.ere",
            "mainnet-00000-4bb7de2e-noreceipts-noproofs.ere",
            "mainnet-00000-4bb7de2e-noproofs.era1",
            "mainnet-+0000-4bb7de2e.ere",
            "-00000-4bb7de2e.ere",
        ] {
            assert_eq!(ArchiveName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_round_trips(text in "[a-z0-9.-]{0,40}(\\.era1|\\.ere)") {
            if let Some(name) = ArchiveName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
