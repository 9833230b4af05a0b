//! What can go wrong in the store, and what to do about it.

use std::{io, path::PathBuf, sync::Arc};

use content_types::SubNetwork;

use crate::config::Chain;

/// A failure of the store. Cloneable, because one failed commit is answered to every caller that shared it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another [`Store`](crate::Store) of this one, has the directory open.
    #[error("{dir} is in use by another process: stop that one first, a store belongs to one process at a time")]
    InUse {
        /// The store's directory.
        dir: PathBuf,
    },
    /// The directory was written by a later version.
    #[error("{dir} has store format {found}, this program knows formats up to {known}: use a newer version of it")]
    NewerFormat {
        /// The store's directory.
        dir: PathBuf,
        /// The format that its `FORMAT` file names.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The `FORMAT` file is not one that a store wrote.
    #[error(
        "{path} is not the format file of a store: choose another directory, or move the file away if it is a store"
    )]
    ForeignFormat {
        /// The file.
        path: PathBuf,
    },
    /// The store has content of another chain.
    #[error("{dir} has content of chain {found}, not of chain {wanted}: choose another directory for this chain")]
    OtherChain {
        /// The store's directory.
        dir: PathBuf,
        /// The chain that its content is of.
        found: Chain,
        /// The chain that it was to be opened for.
        wanted: Chain,
    },
    /// The disk is full, or nearly so. What was acknowledged stays readable, and writing goes on when there is room.
    #[error("no room on the disk of {dir}: {free} bytes are free and {reserve} have to stay so; free some space")]
    DiskFull {
        /// The store's directory.
        dir: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// The index engine failed. Writing stops until the store is opened again; opening repairs the index by itself.
    #[error("the store's index failed, open the store again to have it repaired: {0}")]
    Index(#[from] IndexError),
    /// The commit that this write was part of was broken off by a fault of this program: whether it is stored is not known.
    #[error("the write was broken off by a fault of this program; open the store again to see what it holds")]
    BrokenOff,
    /// An item has a key that is longer than a record can hold.
    #[error("a {network} content key of {len} bytes is longer than the {max} that the store takes")]
    KeyTooLong {
        /// The item's sub-network.
        network: SubNetwork,
        /// Bytes of the key.
        len: usize,
        /// Bytes that a key has at most.
        max: usize,
    },
    /// An item has a value that is larger than a record can hold.
    #[error("a {network} value of {len} bytes is larger than the {max} that the store takes")]
    ValueTooLarge {
        /// The item's sub-network.
        network: SubNetwork,
        /// Bytes of the value.
        len: usize,
        /// Bytes that a value has at most.
        max: usize,
    },
}

impl StoreError {
    /// Wraps an error of the operating system with what was being done.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }

    /// Whether there was no room on the disk.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// A failure of the index engine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IndexError {
    /// The engine reported an error.
    #[error("{engine}: {message}")]
    Engine {
        /// The engine's name.
        engine: &'static str,
        /// Its message.
        message: String,
    },
    /// The engine could not read or write its files.
    #[error("{engine}: {source}")]
    Io {
        /// The engine's name.
        engine: &'static str,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// An entry does not decode.
    #[error("the index entry under {key} does not decode")]
    Entry {
        /// The entry's key, in hexadecimal.
        key: String,
    },
}
