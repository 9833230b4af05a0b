//! Which redirects of a mirror are followed.
//!
//! A mirror on the Internet must not make this machine ask services in its own network, which may act on a request: so a redirect from
//! there to an address of this machine or of a local network is refused, and one that gives up encryption too. A mirror that is itself
//! in the local network may lead where it likes.

use std::net::IpAddr;

use reqwest::Url;
use reqwest::redirect::{Attempt, Policy};

use crate::options::MAX_REDIRECTS;

/// Why a redirect was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefusedRedirect {
    /// There were many before it.
    #[error("more than {MAX_REDIRECTS} redirects")]
    TooMany,
    /// It leads from the Internet into the local network.
    #[error("a redirect into the local network")]
    Inwards,
    /// It leads from HTTPS to HTTP.
    #[error("a redirect that gives up encryption")]
    Unencrypted,
}

/// The rule, for a client.
pub fn policy() -> Policy {
    Policy::custom(|attempt: Attempt<'_>| {
        let checked = match attempt.previous() {
            // The first of them is the address that was asked for.
            previous if previous.len() > MAX_REDIRECTS => Err(RefusedRedirect::TooMany),
            [.., from] => check(from, attempt.url()),
            [] => Ok(()),
        };
        match checked {
            Ok(()) => attempt.follow(),
            Err(refused) => attempt.error(refused),
        }
    })
}

/// Why a request failed, if it was for a redirect.
pub(crate) fn refused(error: &reqwest::Error) -> Option<RefusedRedirect> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref() {
            return Some(*refused);
        }
        cause = error.source();
    }
    None
}

fn check(from: &Url, to: &Url) -> Result<(), RefusedRedirect> {
    if is_local(to) && !is_local(from) {
        return Err(RefusedRedirect::Inwards);
    }
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(RefusedRedirect::Unencrypted);
    }
    Ok(())
}

/// Whether a URL names an address of this machine or of a local network. Names are not resolved here: one whose owner lets it stand
/// for a local address is followed.
fn is_local(url: &Url) -> bool {
    is_loopback(url) || ip(url).is_some_and(|ip| cairn_limits::holder::is_local(ip) || ip.is_unspecified())
}

/// Whether a URL names this machine, as it is called from itself.
pub fn is_loopback(url: &Url) -> bool {
    match ip(url) {
        Some(ip) => ip.to_canonical().is_loopback(),
        None => host(url).is_some_and(|name| name == "localhost" || name.ends_with(".localhost")),
    }
}

fn ip(url: &Url) -> Option<IpAddr> {
    host(url)?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The host as it is written, without the dot at the end that says that the name is whole.
fn host(url: &Url) -> Option<&str> {
    url.host_str().map(|host| host.strip_suffix('.').unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_from_the_internet_into_the_local_network() {
        let url = |text: &str| Url::parse(text).unwrap();
        let followed = |from: &str, to: &str| check(&url(from), &url(to));
        for inner in [
            "http://127.0.0.1:8645/",
            "http://localhost/x",
            "http://localhost./x",
            "http://a.localhost/",
            "http://a.localhost./",
            "http://127.0.0.1./",
            "http://10.1.2.3/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://[fd00::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "http://2130706433/",
        ] {
            assert_eq!(followed("http://mirror.example/", inner), Err(RefusedRedirect::Inwards), "{inner}");
            assert_eq!(followed("http://203.0.114.7/", inner), Err(RefusedRedirect::Inwards), "{inner}");
            assert_eq!(followed("http://192.168.1.2/", inner), Ok(()), "{inner}");
        }
        assert_eq!(followed("http://mirror.example/", "http://other.example./"), Ok(()));
        assert_eq!(followed("http://mirror.example/", "http://other.example/"), Ok(()));
        assert_eq!(followed("http://mirror.example/", "https://other.example/"), Ok(()));
        assert_eq!(followed("https://mirror.example/", "http://other.example/"), Err(RefusedRedirect::Unencrypted));
    }

    #[test]
    fn this_machine_is_known_by_its_own_names() {
        let is_loopback = |text: &str| is_loopback(&Url::parse(text).unwrap());
        for own in
            ["http://127.0.0.1:1/", "http://127.9.9.9/", "http://[::1]/", "https://LocalHost./", "http://a.localhost/"]
        {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["http://192.168.1.1/", "http://0.0.0.0/", "http://localhost.example/", "http://notlocalhost/"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
