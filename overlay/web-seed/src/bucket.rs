//! S3-compatible buckets. The `object_store` library lists them and signs the addresses of their files; what is at a
//! signed address is read as from any other mirror, and checked in the same way.

use std::collections::BTreeMap;
use std::time::Duration;

use cairn_archive::ArchiveName;
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::signer::{Method, Signer};
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;

use crate::cryptography;
use crate::error::{Reason, innermost};
use crate::listing::MAX_FILES;
use crate::location::{ListedFile, Location, ObjectPath};
use crate::options::{CONNECT_TIMEOUT, Options, S3Options};

/// For how long a signed address is good: it is made anew for each request, and a request that was begun goes on.
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// For how long a listing is tried again.
const RETRY_TIME: Duration = Duration::from_secs(30);
/// Credentials for the addresses of public buckets, whose signature is cut off again.
const NOBODY: &str = "anonymous";

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    store: AmazonS3,
    signs: bool,
    /// Whether there is a key. Without one the machine is asked for a role, which only some machines have.
    has_key: bool,
}

impl Bucket {
    /// The bucket of an `s3://bucket/prefix` address, and the prefix.
    pub(crate) fn open(url: &Url, options: &Options) -> Result<(Self, ObjectPath), Reason> {
        cryptography::install();
        let name = url.host_str().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Reason::Address("it names no bucket".to_owned()))?;
        let prefix = ObjectPath::from_url_path(url.path()).map_err(|error| Reason::Address(error.to_string()))?;
        let mut builder = match &options.s3 {
            // An endpoint without encryption was asked for by whoever names one: no other variable has to say so again.
            S3Options::Environment => match AmazonS3Builder::from_env() {
                plain if is_plain(&plain) => plain.with_allow_http(true),
                builder => builder,
            },
            S3Options::Explicit { endpoint, region, keys } => {
                let mut builder = AmazonS3Builder::new().with_region(region);
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                    let is_plain = is_plain(&builder);
                    builder = builder.with_allow_http(is_plain);
                }
                match keys {
                    Some((id, secret)) => builder.with_access_key_id(id).with_secret_access_key(secret),
                    None => builder.with_skip_signature(true),
                }
            }
        };
        let skips = builder.get_config_value(&AmazonS3ConfigKey::SkipSignature);
        let signs = !skips.is_some_and(|skips| skips.eq_ignore_ascii_case("true"));
        if !signs {
            builder = builder.with_access_key_id(NOBODY).with_secret_access_key(NOBODY);
        }
        if options.s3 != S3Options::Environment {
            let client = ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(options.stall);
            let plain = is_plain(&builder);
            builder = builder.with_client_options(client.with_allow_http(plain));
        }
        let retries = usize::try_from(options.attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let retry = RetryConfig { max_retries: retries, retry_timeout: RETRY_TIME, ..RetryConfig::default() };
        let has_key = builder.get_config_value(&AmazonS3ConfigKey::AccessKeyId).is_some();
        let store = builder.with_bucket_name(name).with_retry(retry).build();
        Ok((Self { store: store.map_err(|error| reason(&error))?, signs, has_key }, prefix))
    }

    /// The archives under `prefix`, at any depth, or the one that is there.
    pub(crate) async fn archives(&self, prefix: &ObjectPath) -> Result<BTreeMap<String, ListedFile>, Reason> {
        let mut files = BTreeMap::new();
        if let Some(name) = prefix.filename().filter(|name| ArchiveName::is_archive(name)) {
            files.insert(name.to_owned(), ListedFile { location: Location::Object(prefix.clone()), stamp: None });
            return Ok(files);
        }
        let mut objects = self.store.list(Some(prefix));
        let mut seen = 0;
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| self.refusal(&error))?;
            seen += 1;
            if seen > MAX_FILES {
                return Err(Reason::Listing { limit: MAX_FILES, unit: "files" });
            }
            let name = object.location.filename().map(str::to_owned);
            if let Some(name) = name.filter(|name| ArchiveName::is_archive(name)) {
                // Some services give no tag; length and time are there always.
                let tag = object.e_tag.unwrap_or_default();
                let stamp = Some(format!("{tag} {} {}", object.size, object.last_modified.timestamp_millis()));
                files.entry(name).or_insert(ListedFile { location: Location::Object(object.location), stamp });
            }
        }
        Ok(files)
    }

    /// An address at which anybody may read the file at `path` for a while.
    pub(crate) async fn address(&self, path: &ObjectPath) -> Result<Url, Reason> {
        let signed = self.store.signed_url(Method::GET, path, SIGNED_FOR).await;
        let mut url = signed.map_err(|error| self.refusal(&error))?;
        if !self.signs {
            url.set_query(None);
        }
        Ok(url)
    }

    /// Why a request about the whole bucket failed: a status that it stands for itself, or else the library's words.
    fn refusal(&self, error: &object_store::Error) -> Reason {
        let text = innermost(error);
        match status_in(&text) {
            Some(404) => Reason::NoBucket,
            Some(401 | 403) => Reason::Denied { code: code_in(&text).unwrap_or("no reason given").to_owned() },
            Some(_) => reason(error),
            // The machine was asked for a role: what it answered says nothing to somebody who forgot the key.
            None if self.signs && !self.has_key => Reason::NoKey(text),
            None => reason(error),
        }
    }
}

fn reason(error: &object_store::Error) -> Reason {
    match error {
        object_store::Error::NotFound { .. } => Reason::NotFound,
        // An answer in XML has many lines.
        other => Reason::Bucket(innermost(other).split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// The status in a text of the library about an answer, which tells it in no other way.
fn status_in(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

/// What S3 calls a refusal, out of the body of its answer.
fn code_in(text: &str) -> Option<&str> {
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    code.chars().all(|c| c.is_ascii_alphanumeric()).then_some(code)
}
/// Whether the endpoint is one without encryption.
fn is_plain(builder: &AmazonS3Builder) -> bool {
    builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|endpoint| endpoint.starts_with("http://"))
}
