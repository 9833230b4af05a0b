//! What settings can be, and how each is read from text: the same way, with the same complaint, on the command line, in
//! the environment and in the configuration file.

use std::{
    env,
    ffi::OsString,
    fmt,
    marker::PhantomData,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
};

use bytesize::ByteSize;
use cairn_node::{swarm::QuicPort, without_secrets};
use clap::{
    ValueEnum,
    builder::{PathBufValueParser, TypedValueParser},
};
use content_types::SubNetwork;
use overlay::{Enr, discovery::Nat};
use reqwest::Url;
use serde::{Deserialize, Deserializer, de};
use tracing_subscriber::filter::Targets;

/// A value that can be read from text.
pub(crate) trait Setting: Sized {
    /// # Errors
    /// One line that says what is wrong with the text, and what would be right.
    fn read(text: &str) -> Result<Self, String>;
}

/// [`Setting::read`] as clap takes it.
pub(crate) fn read<T: Setting>(text: &str) -> Result<T, String> {
    T::read(text)
}

/// A key of the configuration file.
pub(crate) fn optional<'de, T: Setting, D: Deserializer<'de>>(file: D) -> Result<Option<T>, D::Error> {
    Ok(Some(Scalar::deserialize(file)?.0))
}

/// A key of the configuration file that takes a list.
pub(crate) fn list<'de, T: Setting, D: Deserializer<'de>>(file: D) -> Result<Option<Vec<T>>, D::Error> {
    Ok(Some(Vec::<Scalar<T>>::deserialize(file)?.into_iter().map(|scalar| scalar.0).collect()))
}

/// Read where it stands, so that a complaint is about the line that the value is in.
struct Scalar<T>(T);

impl<'de, T: Setting> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(file: D) -> Result<Self, D::Error> {
        file.deserialize_any(Text(PhantomData)).map(Self)
    }
}

struct Text<T>(PhantomData<T>);

impl<T: Setting> de::Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a whole number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

/// A type's own reading of text, with a complaint that says what would be right.
fn parsed<T: FromStr>(text: &str, otherwise: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is {otherwise}"))
}

/// The types whose reading is one line, with what reads each.
macro_rules! read_by {
    ($($kind:ty => $read:expr),+ $(,)?) => {$(
        impl Setting for $kind {
            fn read(text: &str) -> Result<Self, String> {
                let read: fn(&str) -> Result<Self, String> = $read;
                read(text)
            }
        }
    )+};
}

read_by! {
    ByteSize => |text| parsed(text, "no size: give one such as 50GB, 500MiB or 1000000"),
    SocketAddr => |text| parsed(text, "not ADDR:PORT, such as 0.0.0.0:9009 or [::]:9009"),
    NonZeroUsize => |text| parsed(text, "no whole number from 1 on"),
    u64 => |text| parsed(text, "no whole number"),
    usize => |text| parsed(text, "no whole number"),
    Addresses => word,
    LogFormat => word,
    Pull => word,
}

impl Setting for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        expanded(Self::from(text), env::var_os("HOME"))
    }
}

/// A path as clap takes it, in whatever encoding.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| expanded(path, env::var_os("HOME")))
}

/// A path with the user's home in it put in. A shell does that before a program sees it, but not in a file of settings, in a
/// variable or behind `--flag=`; a folder by the name of `~` is what nobody wants.
fn expanded(path: PathBuf, home: Option<OsString>) -> Result<PathBuf, String> {
    let mut parts = path.components();
    let Some(first) = parts.next().and_then(|part| part.as_os_str().to_str()) else { return Ok(path) };
    let rest: &Path = parts.as_path();
    match first {
        "~" | "$HOME" | "${HOME}" => match home.filter(|home| !home.is_empty()) {
            Some(home) => Ok(PathBuf::from(home).join(rest)),
            None => Err(format!("{}: HOME is not set: give the whole path", path.display())),
        },
        _ if first.starts_with('~') || first.starts_with('$') => Err(format!(
            "{}: of all that begins with ~ or $ only ~ and $HOME are known here: give the whole path, or ./ before it",
            path.display()
        )),
        _ => Ok(path),
    }
}

impl Setting for QuicPort {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{error}"))
    }
}

impl Setting for Nat {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{error}"))
    }
}

impl Setting for Url {
    fn read(text: &str) -> Result<Self, String> {
        let shown = without_secrets(text);
        let url: Self = text.parse().map_err(|error| format!("{shown:?} is no URL (http://HOST:PORT): {error}"))?;
        match url.scheme() {
            "http" | "https" => Ok(url),
            _ => Err(format!("{shown:?} is no URL that starts with http:// or https://")),
        }
    }
}

impl Setting for Enr {
    fn read(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|error| {
            format!("{text:?} is no node record: give one that begins with enr:, as `cairn enr` prints it ({error})")
        })
    }
}

/// A peer to start from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Bootnode {
    /// There is none.
    Nobody,
    /// This one.
    At(Box<Enr>),
}

impl Setting for Bootnode {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an entry of the list is empty: leave out the comma, or give `none` alone for no peer".into()),
            "none" => Ok(Self::Nobody),
            text => Ok(Self::At(Box::new(Enr::read(text)?))),
        }
    }
}

/// What to log: levels, and levels by target, as in `RUST_LOG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFilter(pub(crate) String);

impl Setting for LogFilter {
    fn read(text: &str) -> Result<Self, String> {
        match text.parse::<Targets>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => {
                Err(format!("{text:?} is no log filter: give one such as info or warn,discv5=error ({error})"))
            }
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Where peers may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Addresses {
    /// Few of one subnet; no address of a local network that a record only claims.
    Internet,
    /// Any number on this machine and in the local network, whose addresses are believed.
    Local,
    /// Local with --nat none, if all addresses given to listen on and to start from are local; else Internet.
    Auto,
}

/// Whether a storage peer fetches what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// It fetches what lies within its radius from peers that hold it.
    On,
    /// It waits for what others offer.
    Off,
}

/// A TCP address to listen on, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenAt {
    /// Listen nowhere.
    Nowhere,
    /// Listen on this address.
    At(SocketAddr),
}

impl ListenAt {
    /// The address, if there is one.
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Nowhere => None,
            Self::At(address) => Some(address),
        }
    }
}

impl Setting for ListenAt {
    fn read(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        parsed(text, "not ADDR:PORT (such as 127.0.0.1:8645) or none").map(Self::At)
    }
}

/// The share of the capacity that a sub-network gets, in proportion to the others' shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Whose share it is.
    pub(crate) network: SubNetwork,
    /// Its weight.
    pub(crate) weight: u32,
}

impl Setting for Share {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || {
            let names: Vec<_> = SubNetwork::ALL.iter().map(|network| network.spec().name).collect();
            format!("{text:?} is not NETWORK=SHARE with a whole number and one of {}", names.join(", "))
        };
        let (network, weight) = text.split_once('=').ok_or_else(wrong)?;
        let network = SubNetwork::from_name(network).ok_or_else(wrong)?;
        Ok(Self { network, weight: weight.parse().map_err(|_| wrong())? })
    }
}

/// The address of a mirror of archives.
pub(crate) fn mirror(text: &str) -> Result<String, String> {
    let is_one = Url::parse(text).is_ok_and(|url| ["http", "https", "s3"].contains(&url.scheme()) && url.has_host());
    if is_one {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{:?} is no mirror: give http://HOST/DIR/, https://HOST/DIR/ or s3://BUCKET/PREFIX",
        without_secrets(text)
    ))
}

/// Something in hexadecimal, of a length of its own.
pub(crate) fn hexadecimal<T: FromStr>(expected: &'static str) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| text.parse().map_err(|_| format!("{text:?} is not {expected}"))
}

/// A whole number that is not 0.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    NonZeroUsize::read(text).map(NonZeroUsize::get)
}

/// One of a few words.
pub(crate) fn word<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let words = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        none_of(text, words.map(|word| word.get_name().to_owned()))
    })
}

/// What is said of a word that is none of those there are.
pub(crate) fn none_of(text: &str, words: impl IntoIterator<Item = String>) -> String {
    format!("{text:?} is none of {}", words.into_iter().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_complaint_about_a_url_shows_what_is_secret_in_it() {
        for url in ["ftp://me:hunter2@host/", "me:hunter2@host:8545", "gopher://host/?token=hunter2"] {
            let complaint = <Url as Setting>::read(url).unwrap_err();
            assert!(!complaint.contains("hunter2") && complaint.contains("host"), "{complaint}");
        }
    }

    #[test]
    fn addresses_that_no_http_client_takes_are_refused() {
        assert!(<Url as Setting>::read("http://127.0.0.1:8545").is_ok());
        for wrong in ["127.0.0.1:8545", "ftp://mirror", "", "http//x"] {
            assert!(<Url as Setting>::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_home_is_put_into_paths_and_nothing_else_is() {
        let read = |path: &str| expanded(path.into(), Some("/home/me".into()));
        for (given, expected) in [
            ("~/cairn", "/home/me/cairn"),
            ("~", "/home/me"),
            ("$HOME/a/b", "/home/me/a/b"),
            ("${HOME}/a", "/home/me/a"),
            ("/a/~/b", "/a/~/b"),
            ("./~/b", "./~/b"),
            ("s3://bucket/prefix", "s3://bucket/prefix"),
        ] {
            assert_eq!(read(given).unwrap(), Path::new(expected));
        }
        for given in ["~root/cairn", "$DATA/cairn"] {
            assert!(read(given).unwrap_err().contains("whole path"), "{given}");
        }
        assert!(expanded("~/cairn".into(), None).unwrap_err().contains("HOME"));
    }

    #[test]
    fn shares_and_endpoints_say_what_they_expect() {
        assert_eq!(Share::read("history=3"), Ok(Share { network: SubNetwork::History, weight: 3 }));
        assert!(Share::read("history").unwrap_err().contains("NETWORK=SHARE"));
        assert!(Share::read("moon=1").unwrap_err().contains("history, legacy-history"));
        assert!(ListenAt::read("localhost").unwrap_err().contains("ADDR:PORT"));
    }
}
