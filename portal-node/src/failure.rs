//! What can go wrong for a person at the command line, each kind with its own exit code.

use std::{error::Error, io, process::ExitCode};

use cairn_archive::{ArchiveError, ArchiveRule};
use cairn_node::{
    NotFoundCause, Stopping,
    ranges::{PlanError, TookTooLong},
    swarm::{MirrorTrouble, TroubleKind},
};

use crate::advice::{advice, is_out_of_descriptors, with_advice};

/// Mirrors of which a failure tells; of more it says how many there are.
const SHOWN_MIRRORS: usize = 3;

/// What to do about something that the peers that answered do not have.
pub(crate) const ASK_AGAIN: &str =
    ": ask again later or with a longer --timeout; `cairn coverage` shows what peers hold";

/// A failed command. The message is one line that says what was wrong and, where there is something, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something in the program or the machine that no flag changes.
    #[error("{0}")]
    Internal(String),
    /// A flag, environment variable or configuration file that makes no sense, or names an address that cannot be
    /// listened on.
    #[error("{0}")]
    Configuration(String),
    /// A command line that cannot be parsed.
    #[error("{0}")]
    Usage(String),
    /// What was asked for was not found on the network.
    #[error("{0}")]
    NotFound(String),
    /// Data that is damaged or does not match the chain.
    #[error("{0}")]
    Invalid(String),
    /// A file or folder that cannot be read or written.
    #[error("{0}")]
    Io(String),
    /// A peer, a mirror or a running node that cannot be reached.
    #[error("{0}")]
    Network(String),
    /// What nothing is wrong with, and nothing proves that is here: archives without proofs, blocks that the trust lists do not
    /// reach.
    #[error("{0}")]
    Unproved(String),
    /// A mirror or bucket that was named and refuses, or is none.
    #[error("{0}")]
    Refused(String),
    /// The person pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// The same, of work that goes on where it stopped: what is kept of it.
    #[error("interrupted; {0}, and the same command goes on with it")]
    Paused(String),
    /// Whoever read standard output has what it wanted, as in `cairn … | head`. Nobody is told.
    #[error("nobody reads the output any more")]
    Unread,
}

impl Failure {
    /// The exit code, as `cairn --help` lists it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Internal(_) => 1,
            Self::Usage(_) => 2,
            Self::Configuration(_) => 3,
            Self::NotFound(_) => 4,
            Self::Invalid(_) => 5,
            Self::Io(_) => 6,
            Self::Network(_) => 7,
            Self::Unproved(_) => 8,
            Self::Refused(_) => 9,
            Self::Interrupted | Self::Paused(_) => 130,
            // What a shell reports of a program that SIGPIPE ended.
            Self::Unread => 141,
        })
    }

    /// Something that was not found, and what a person can do about that; `instead` where peers answered.
    pub(crate) fn not_found(message: String, cause: Option<NotFoundCause>, instead: &str) -> Self {
        match cause {
            Some(NotFoundCause::BeyondTrust) => Self::Unproved(format!(
                "{message}; the trust lists here do not reach that block: `cairn trust show` tells which there are, \
                 `cairn trust fetch` and `cairn trust import` bring others"
            )),
            Some(NotFoundCause::NobodyAnswered) => Self::Network(format!(
                "{message}; no peer answered: check the network, and that a peer of --bootnodes is up and of this chain"
            )),
            Some(NotFoundCause::ClientUnreachable) => Self::Network(format!(
                "{message}; the client of --headers-from does not answer: check its URL and that it runs, or leave it out"
            )),
            Some(NotFoundCause::ClientRefuses) => Self::Refused(format!(
                "{message}; the client of --headers-from refuses: check its URL and the key in it, or leave it out"
            )),
            Some(NotFoundCause::NobodyHasIt) | None => Self::NotFound(format!("{message}{instead}")),
        }
    }

    /// The same, if it was not found and mirrors that were named had their part in that: they come first, and what a person can do
    /// about one of them decides what kind of failure it is.
    pub(crate) fn with_mirrors(self, mirrors: &[MirrorTrouble]) -> Self {
        let (Self::NotFound(message) | Self::Network(message) | Self::Unproved(message)) = &self else { return self };
        let Some(kind) = mirrors.iter().map(|mirror| mirror.kind).max() else { return self };
        let mut reasons: Vec<_> = mirrors.iter().map(ToString::to_string).take(SHOWN_MIRRORS).collect();
        if mirrors.len() > SHOWN_MIRRORS {
            reasons.push(format!("{} more mirrors gave nothing", mirrors.len() - SHOWN_MIRRORS));
        }
        let (failure, instead): (fn(String) -> Self, _) = match kind {
            TroubleKind::Lacks => (Self::NotFound, "--web-seed takes the URLs of others"),
            TroubleKind::Unproved => {
                (Self::Unproved, "name one of .ere files with --web-seed, or newer lists with --trust")
            }
            TroubleKind::Damaged => (Self::Invalid, "name another with --web-seed"),
            TroubleKind::Unreachable => (Self::Network, "check the network and --web-seed, or name another"),
            TroubleKind::Busy => (Self::Refused, "wait and run it again, or name another with --web-seed"),
            TroubleKind::Refused => (Self::Refused, "check the URL of --web-seed and its credentials, or name another"),
        };
        failure(format!("{} ({instead}); {message}", reasons.join("; ")))
    }

    /// What is wrong with an archive: the disk, or what is on it. A file that ends too early is damaged.
    pub(crate) fn archive(error: &ArchiveError) -> Self {
        match &error.rule {
            ArchiveRule::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => Self::damaged(error),
            ArchiveRule::Io(_) | ArchiveRule::Vanished => Self::of_files(error),
            ArchiveRule::InUse => Self::Io(format!("{error}: wait for that, or write into another folder")),
            _ => Self::damaged(error),
        }
    }

    fn damaged(error: &ArchiveError) -> Self {
        Self::Invalid(format!("{error}: `cairn verify` tells what of it is still good; fetch the rest anew"))
    }

    /// A failure of something that works with files, which says itself with which.
    pub(crate) fn of_files(error: &(dyn Error + 'static)) -> Self {
        if is_out_of_descriptors(error) { Self::Internal(with_advice(error)) } else { Self::Io(with_advice(error)) }
    }

    /// A failure to read or write `path`.
    pub(crate) fn io(path: &std::path::Path, error: io::Error) -> Self {
        let text = format!("{}: {error}{}", path.display(), advice(&error));
        if is_out_of_descriptors(&error) { Self::Internal(text) } else { Self::Io(text) }
    }
}

impl From<TookTooLong> for Failure {
    fn from(error: TookTooLong) -> Self {
        Self::NotFound(format!("{error} (--timeout gives it longer)"))
    }
}

impl From<Stopping> for Failure {
    fn from(error: Stopping) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        let instead = match error {
            PlanError::AfterMerge => ": write an .ere file",
            PlanError::Era1Profile => ": leave out --no-proofs and --no-receipts",
            PlanError::TooLong { .. } => "",
        };
        Self::Configuration(format!("{error}{instead}"))
    }
}

/// What a person can do about an address that cannot be listened on, by the setting that says which it is.
pub(crate) fn cannot_listen(what: &str, address: impl std::fmt::Display, setting: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("{what} {address} is taken: choose another with --{setting}"),
        io::ErrorKind::AddrNotAvailable => {
            format!("{what} {address} is no address of this machine: choose another with --{setting}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{what} {address} may not be listened on by this user: choose another with --{setting}, above 1023")
        }
        _ => format!("{what} {address} cannot be listened on ({error}): choose another with --{setting}"),
    }
}

#[cfg(test)]
mod tests {
    use cairn_archive::ArchivePlace;

    use super::*;

    #[test]
    fn an_archive_that_somebody_else_writes_is_not_damaged() {
        let place = ArchivePlace { archive: "a.ere".into(), record: None, block: None, offset: None };
        let failure = |rule| Failure::archive(&ArchiveError { place: place.clone(), rule });
        assert!(
            matches!(failure(ArchiveRule::InUse), Failure::Io(why) if why.contains("a.ere") && why.contains("wait"))
        );
        assert!(matches!(failure(ArchiveRule::NoVersion), Failure::Invalid(_)));
    }
}
