//! Which web pages may call the JSON-RPC, and read the metrics. Whoever reaches it can command the node, and every page that a person on this
//! machine opens reaches it: by a request of its own, which says where the page comes from (`Origin`), or under a name
//! that leads here although it is somebody else's (`Host`; DNS rebinding). Programs send no `Origin`.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;

/// A web page's origin that may call: `SCHEME://HOST[:PORT]`, `null` (a page without one), or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum AllowedOrigin {
    /// Every page of the web.
    Any,
    /// This one, in lower case.
    Exactly(String),
}

/// A name for this machine that a request may be for, beside `localhost` and every IP address: a host name, or `*` for
/// all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum AllowedHost {
    /// Every name.
    Any,
    /// This one, in lower case.
    Exactly(String),
}

/// Text that names no origin or host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAccessError {
    /// Not an origin.
    #[error("{0:?} is no origin of a web page (SCHEME://HOST, SCHEME://HOST:PORT, null, or * for all)")]
    Origin(String),
    /// Not a host name.
    #[error("{0:?} is no host name (without scheme and port), nor * for all")]
    Host(String),
}

impl FromStr for AllowedOrigin {
    type Err = ParseAccessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let is_origin = |uri: &Uri| {
            let host = uri.scheme().and(uri.authority()).filter(|authority| !authority.as_str().contains('@'));
            // A path or a query would never be part of what a browser sends.
            host.is_some() && text.matches('/').count() == 2 && uri.query().is_none()
        };
        if text == "null" || text.parse().is_ok_and(|uri| is_origin(&uri)) {
            return Ok(Self::Exactly(text.to_ascii_lowercase()));
        }
        Err(ParseAccessError::Origin(text.to_owned()))
    }
}

impl FromStr for AllowedHost {
    type Err = ParseAccessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !text.is_empty() && text.chars().all(is_part) {
            return Ok(Self::Exactly(text.to_ascii_lowercase()));
        }
        Err(ParseAccessError::Host(text.to_owned()))
    }
}

impl TryFrom<String> for AllowedOrigin {
    type Error = ParseAccessError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for AllowedHost {
    type Error = ParseAccessError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Whether a browser sends a request for a machine that this one is not known to be. What is only read, such as metrics, is
/// for every program under every name, but not for web pages.
pub(crate) fn is_for_another(uri: &Uri, headers: &HeaderMap) -> bool {
    let is_from_browser = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    is_from_browser && Access::default().check(uri, headers).is_err()
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It comes from a web page that is not allowed.
    Origin,
    /// It is for a machine that this one is not known to be.
    Host,
}

/// What the configuration allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) origins: Vec<AllowedOrigin>,
    pub(crate) hosts: Vec<AllowedHost>,
}

impl Access {
    /// The page's origin if the request comes from one.
    ///
    /// # Errors
    /// [`Denied`] when the request is not to be answered.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Denied> {
        let named = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
        let all_known = named.chain(uri.authority().map(|authority| authority.as_str().as_bytes())).all(|authority| {
            Authority::try_from(authority).is_ok_and(|authority| self.is_known_host(authority.host()))
        });
        if !all_known {
            return Err(Denied::Host);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(None) };
        if origins.next().is_none() && self.is_allowed_origin(origin) {
            Ok(Some(origin.clone()))
        } else {
            Err(Denied::Origin)
        }
    }

    fn is_known_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // An attacker can point any name here, but not an IP address.
        address.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|allowed| match allowed {
                AllowedHost::Any => true,
                AllowedHost::Exactly(name) => name.eq_ignore_ascii_case(host),
            })
    }

    fn is_allowed_origin(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|allowed| match allowed {
            AllowedOrigin::Any => true,
            AllowedOrigin::Exactly(known) => known.as_bytes().eq_ignore_ascii_case(origin.as_bytes()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(access: &Access, host: &str, origin: Option<&str>) -> Result<bool, Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        access.check(&Uri::from_static("/"), &headers).map(|origin| origin.is_some())
    }

    fn access(origins: &[&str], hosts: &[&str]) -> Access {
        Access {
            origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
            hosts: hosts.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn this_machine_is_known_by_its_addresses_and_configured_names_only() {
        let closed = access(&[], &[]);
        for host in ["localhost", "LocalHost:8645", "127.0.0.1:8645", "192.168.0.7", "[::1]:8645", "localhost.:1"] {
            assert_eq!(check(&closed, host, None), Ok(false), "{host}");
        }
        for host in ["evil.example", "evil.example:8645", "localhost.evil.example", "127.0.0.1.evil.example", "", "::1"]
        {
            assert_eq!(check(&closed, host, None), Err(Denied::Host), "{host}");
        }
        let named = access(&[], &["node.lan"]);
        assert_eq!(check(&named, "Node.LAN:8645", None), Ok(false));
        assert_eq!(check(&named, "other.lan", None), Err(Denied::Host));
        assert_eq!(check(&access(&[], &["*"]), "evil.example", None), Ok(false));

        let absolute = closed.check(&Uri::from_static("http://evil.example/"), &HeaderMap::new());
        assert_eq!(absolute, Err(Denied::Host));
        assert_eq!(closed.check(&Uri::from_static("/"), &HeaderMap::new()), Ok(None), "HTTP/1.0 has no Host");
    }

    #[test]
    fn pages_call_only_from_origins_that_are_allowed() {
        let page = Some("https://evil.example");
        for origin in [page, Some("http://localhost:3000"), Some("http://127.0.0.1:8645"), Some("null")] {
            assert_eq!(check(&access(&[], &[]), "localhost", origin), Err(Denied::Origin), "{origin:?}");
        }
        let one = access(&["https://dapp.example:444", "null"], &[]);
        assert_eq!(check(&one, "localhost", Some("https://DAPP.example:444")), Ok(true));
        assert_eq!(check(&one, "localhost", Some("null")), Ok(true));
        for other in ["https://dapp.example", "http://dapp.example:444", "https://dapp.example:444.evil.example"] {
            assert_eq!(check(&one, "localhost", Some(other)), Err(Denied::Origin), "{other}");
        }
        assert_eq!(check(&access(&["*"], &[]), "localhost", page), Ok(true));
        assert_eq!(
            check(&access(&["*"], &[]), "evil.example", page),
            Err(Denied::Host),
            "the name is looked at all the same"
        );

        let mut headers = HeaderMap::new();
        for origin in ["null", "https://evil.example"] {
            headers.append(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(one.check(&Uri::from_static("/"), &headers), Err(Denied::Origin), "one of two");
    }

    #[test]
    fn what_is_no_origin_or_host_name_is_refused() {
        for text in [
            "",
            "dapp.example",
            "http://",
            "https://dapp.example/",
            "https://dapp.example/page",
            "https://a@b",
            "https://a?b",
        ] {
            assert_eq!(text.parse::<AllowedOrigin>(), Err(ParseAccessError::Origin(text.to_owned())));
        }
        for text in ["", "http://node.lan", "node.lan:8645", "node/lan", "[::1]"] {
            assert_eq!(text.parse::<AllowedHost>(), Err(ParseAccessError::Host(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_or_is_let_in(host: Vec<u8>, origin: Vec<u8>) {
            let (Ok(host), Ok(origin)) = (HeaderValue::from_bytes(&host), HeaderValue::from_bytes(&origin)) else {
                return Ok(());
            };
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host);
            headers.insert(header::ORIGIN, origin);
            prop_assert!(access(&["https://dapp.example"], &[]).check(&Uri::from_static("/"), &headers).is_err());
        }
    }
}
