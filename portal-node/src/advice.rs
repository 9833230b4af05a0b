//! What a person can do about a failure of the file system, whatever error it comes wrapped in: libraries say what was
//! wrong and where, and do not know what their user can change.

use std::{error::Error, io, sync::Arc};

use rustix::io::Errno;

/// The error in its own words, and after them what to do.
pub(crate) fn with_advice(error: &(dyn Error + 'static)) -> String {
    format!("{error}{}", from_system(error).map_or("", advice))
}

/// What the operating system said, if it is behind this error.
fn from_system<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // Errors that many share are counted references.
        let shared = || error.downcast_ref::<Arc<io::Error>>().map(Arc::as_ref);
        if let Some(found) = error.downcast_ref::<io::Error>().or_else(shared) {
            // Libraries carry errors of their own in one, with the system's behind them.
            let carried = found.get_ref().and_then(|carried| from_system(carried));
            return carried.or(Some(found));
        }
        next = error.source();
    }
    None
}

/// Whether it is the limit on open files that is behind this error. What was to be opened is nothing to be changed then.
pub(crate) fn is_out_of_descriptors(error: &(dyn Error + 'static)) -> bool {
    from_system(error).is_some_and(is_over_the_limit)
}

fn is_over_the_limit(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// To be put behind the error.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    if is_over_the_limit(error) {
        return ": raise the limit on open files (`ulimit -n`)";
    }
    match error.kind() {
        io::ErrorKind::NotFound => ": check the path",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ": check who may read and write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make room, or give a path on another disk",
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::InvalidFilename => ": give another path",
        io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => ": stop what else uses it, or give another path",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use cairn_node::{StartError, identity::IdentityError, trust::TrustStoreError};

    use super::*;

    #[test]
    fn the_systems_error_is_found_under_those_of_libraries() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let key = IdentityError::File { path: "/data/node.key".into(), source: full() };
        let list = TrustStoreError::File { path: "/data/trust/x.ssz".into(), source: full() };
        for error in [StartError::from(key), StartError::from(list)] {
            let said = with_advice(&error);
            assert!(said.starts_with(&error.to_string()) && said.ends_with("on another disk"), "{said}");
        }
        assert!(with_advice(&Arc::new(full())).ends_with("on another disk"));
        let carried = io::Error::other(IdentityError::File { path: "/data/node.key".into(), source: full() });
        assert!(with_advice(&carried).ends_with("on another disk"));
        let other = IdentityError::Length(3);
        assert_eq!(with_advice(&other), other.to_string());
    }
}
