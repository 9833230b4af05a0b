//! Where a file is, at a URL or in a bucket, and what a listing says about it. Buckets, web servers and what reads from either
//! share these.

#[cfg(feature = "buckets")]
pub(crate) use object_store::path::Path as ObjectPath;
use reqwest::Url;

/// A path in a bucket, of which there is none.
#[cfg(not(feature = "buckets"))]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ObjectPath {}

#[cfg(not(feature = "buckets"))]
impl std::fmt::Display for ObjectPath {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

/// Where a file of a mirror is.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    Url(Url),
    #[cfg_attr(not(feature = "buckets"), allow(dead_code, reason = "made out of a bucket's listing"))]
    Object(ObjectPath),
}

impl Location {
    /// What stands for the file in errors and logs, at a mirror whose own URL is `mirror`.
    pub(crate) fn name(&self, mirror: &str) -> String {
        match self {
            Self::Url(url) => without_secrets(url.as_str()),
            Self::Object(path) => {
                let bucket = mirror.strip_prefix("s3://").and_then(|rest| rest.split('/').next());
                format!("s3://{}/{path}", bucket.unwrap_or_default())
            }
        }
    }
}

/// A file that is listed.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    pub(crate) location: Location,
    /// Tells this state of the file from others, where the listing does.
    pub(crate) stamp: Option<String>,
}

/// A URL as it may appear in errors and logs: without user and password, query and fragment, each of which can be a secret.
/// What is no URL is cut in the same way, for it may have been meant as one.
pub fn without_secrets(url: &str) -> String {
    if let Ok(mut parsed) = Url::parse(url)
        && parsed.has_host()
    {
        // They fail for URLs that have no place for either.
        let _ = (parsed.set_username(""), parsed.set_password(None));
        parsed.set_query(None);
        parsed.set_fragment(None);
        return parsed.into();
    }
    let told = url.split(['?', '#']).next().unwrap_or_default();
    match (told.rsplit_once('@'), told.split_once("://")) {
        (Some((_, host)), Some((scheme, _))) => format!("{scheme}://{host}"),
        (Some((_, host)), None) => host.to_owned(),
        (None, _) => told.to_owned(),
    }
}

/// Lets what a listing links to be asked for with the credentials that the listing was asked for with: user and password, and
/// the query, unless the link has one. For files of the same server only.
pub(crate) fn lend_credentials(from: &Url, to: &mut Url) {
    if from.origin() != to.origin() {
        return;
    }
    if to.username().is_empty() && to.password().is_none() {
        // They fail for URLs without a host, which no mirror's is.
        let _ = (to.set_username(from.username()), to.set_password(from.password()));
    }
    if to.query().is_none() {
        to.set_query(from.query());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_left_out_of_what_is_shown() {
        for (url, shown) in [
            ("http://host/eras/", "http://host/eras/"),
            ("http://user:pass@host:81/eras/?token=abc#def", "http://host:81/eras/"),
            ("https:user:pass@host/a.ere", "https://host/a.ere"),
            ("s3://key:secret@bucket/prefix", "s3://bucket/prefix"),
            ("http://user:p@ss@host/", "http://host/"),
            // What cannot be read as a URL.
            ("http://user:pass@host:port/a?token=abc", "http://host:port/a"),
            ("user:pass@host/?token=abc", "host/"),
            ("http://user:pass@", "http://"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown, "{url}");
        }
    }

    #[test]
    fn a_listings_credentials_are_lent_to_its_server_only() {
        let from = Url::parse("http://user:pass@host/eras/?token=abc").unwrap();
        for (link, asked) in [
            ("http://host/a.ere", "http://user:pass@host/a.ere?token=abc"),
            ("http://host/a.ere?v=1", "http://user:pass@host/a.ere?v=1"),
            ("http://me@host/a.ere", "http://me@host/a.ere?token=abc"),
            ("http://host:81/a.ere", "http://host:81/a.ere"),
            ("https://host/a.ere", "https://host/a.ere"),
            ("http://other/a.ere", "http://other/a.ere"),
        ] {
            let mut to = Url::parse(link).unwrap();
            lend_credentials(&from, &mut to);
            assert_eq!(to.as_str(), asked);
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(
            before in "(http://|https://|s3://|http:|http:/|)",
            secret in "[a-z]{0,3}:?sesame[:@!]{0,2}",
            host in "(host|host:80|host:port|\\[::1\\]|)",
            behind in "(/|/a\\.ere|)(\\?t=sesame|#sesame|)",
        ) {
            let shown = without_secrets(&format!("{before}{secret}@{host}{behind}"));
            prop_assert!(!shown.contains("sesame"), "{}", shown);
        }
    }
}
