//! A web server on loopback that behaves well, or in one of the ways in which mirrors do not; and archives to serve.

#![allow(dead_code, reason = "each of the tests uses a part of it")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use cairn_archive::Format;
use cairn_synthetic::{SyntheticChain, SyntheticConfig};
use cairn_web_seed::{Options, S3Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Turns that others get while a slow answer is under way: enough for all of a test's requests to arrive.
const YIELDS: usize = 2_000;

/// How the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manner {
    Good,
    /// Whole files with status 200.
    IgnoresRange,
    /// A Content-Range one byte behind what is sent.
    LiesInRange,
    /// So many bytes of each answer, then the end of the connection.
    CutsOff(usize),
    /// So many bytes of each answer in chunks, and an orderly end.
    EndsEarly(usize),
    /// Good, but everybody else gets to do something between head and body.
    Slow,
    /// The right head, then more bytes than it says, without end.
    Endless,
    /// Nothing, on an open connection.
    Silent,
    /// Each answer is 429, so many times.
    Busy(u32, &'static str),
    /// Each answer leads to another address, so many times.
    Redirects(u32),
    /// Each answer is this status, with S3's name for it.
    Refuses(u16, &'static str),
    /// Good for `user` with the password `hidden` and `token=hidden` behind the path; 401 for everybody else.
    WantsCredentials,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) files: HashMap<String, Bytes>,
    pub(crate) etag: String,
    pub(crate) manner: Manner,
    /// Manner applies to requests after so many.
    pub(crate) well_behaved: usize,
    /// Each request's target and Range.
    pub(crate) requests: Vec<(String, Option<String>)>,
    pub(crate) open: usize,
    pub(crate) most_open: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

impl Server {
    pub(crate) async fn start(files: HashMap<String, Bytes>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let etag = "\"one\"".to_owned();
        let state = State { files, etag, manner, well_behaved: 0, requests: Vec::new(), open: 0, most_open: 0 };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    // A client that goes away is none of the server's business.
                    let _ = answer(stream, state).await;
                });
            }
        });
        Self { state, url }
    }

    /// From now on.
    pub(crate) fn behave(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    pub(crate) fn requests(&self) -> Vec<(String, Option<String>)> {
        self.state.lock().unwrap().requests.clone()
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1).unwrap().to_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let range = header("range");
    // What `user:hidden` is in base64.
    let is_known = header("authorization").is_some_and(|sent| sent == "Basic dXNlcjpoaWRkZW4=")
        && target.ends_with("?token=hidden");
    let (manner, etag, file) = {
        let mut state = state.lock().unwrap();
        state.requests.push((target.clone(), range.clone()));
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        let path = target.split('?').next().unwrap();
        let behaves = state.requests.len() <= state.well_behaved;
        let manner = if behaves { Manner::Good } else { state.manner.clone() };
        match &mut state.manner {
            Manner::Busy(times, _) | Manner::Redirects(times) if !behaves => *times = times.saturating_sub(1),
            _ => {}
        }
        (manner, state.etag.clone(), state.files.get(path).cloned())
    };
    let is_changed = header("if-match").is_some_and(|tag| tag != etag);
    let sent = if manner == Manner::WantsCredentials && !is_known {
        stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await
    } else if is_changed {
        stream.write_all(b"HTTP/1.1 412 Changed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await
    } else {
        respond(&mut stream, &manner, &target, &etag, range, header("if-range"), file, &state).await
    };
    state.lock().unwrap().open -= 1;
    sent
}

#[allow(clippy::too_many_arguments)]
async fn respond(
    stream: &mut TcpStream,
    manner: &Manner,
    target: &str,
    etag: &str,
    range: Option<String>,
    if_range: Option<String>,
    file: Option<Bytes>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    match manner {
        Manner::Silent => std::future::pending::<()>().await,
        Manner::Busy(1.., wait) => {
            let head =
                format!("HTTP/1.1 429 Busy\r\nretry-after: {wait}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return stream.write_all(head.as_bytes()).await;
        }
        Manner::Redirects(1..) => {
            let head =
                format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return stream.write_all(head.as_bytes()).await;
        }
        Manner::Refuses(status, code) => {
            let body = format!("<?xml version=\"1.0\"?>\n<Error>\n<Code>{code}</Code></Error>");
            let head = format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            return stream.write_all((head + &body).as_bytes()).await;
        }
        _ => {}
    }
    if target.contains("list-type=2") {
        let page = bucket_page(&state.lock().unwrap().files, etag);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{page}", page.len());
        return stream.write_all(head.as_bytes()).await;
    }
    let Some(file) = file else {
        return stream.write_all(b"HTTP/1.1 404 None\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    };
    let whole = range.is_none() || *manner == Manner::IgnoresRange || if_range.is_some_and(|tag| tag != etag);
    let (mut head, body) = if whole {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\netag: {etag}\r\n", file.len());
        (head, file)
    } else {
        let range = range.unwrap();
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse::<usize>().unwrap().min(file.len() - 1);
        let lie = usize::from(*manner == Manner::LiesInRange);
        let mut head = format!("HTTP/1.1 206 Part\r\netag: {etag}\r\n");
        head += &format!("content-range: bytes {}-{}/{}\r\n", first + lie, last + lie, file.len() + lie);
        match manner {
            Manner::Endless | Manner::EndsEarly(_) => head += "transfer-encoding: chunked\r\n",
            _ => head += &format!("content-length: {}\r\n", last + 1 - first),
        }
        (head, file.slice(first..=last))
    };
    head += "connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    match manner {
        Manner::CutsOff(count) => stream.write_all(&body[..body.len().min(*count)]).await,
        Manner::EndsEarly(count) => {
            let body = &body[..body.len().min(*count)];
            let body = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
            stream.write_all(&body).await
        }
        Manner::Slow => {
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
            stream.write_all(&body).await
        }
        Manner::Endless => loop {
            stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
            stream.write_all(&body).await?;
            stream.write_all(b"\r\n").await?;
        },
        _ => stream.write_all(&body).await,
    }
}

/// A ListObjectsV2 answer with the files of the bucket `/eras`.
fn bucket_page(files: &HashMap<String, Bytes>, etag: &str) -> String {
    let etag = etag.replace('"', "&quot;");
    let contents: String = files
        .iter()
        .filter_map(|(path, file)| Some((path.strip_prefix("/eras/")?, file)))
        .map(|(key, file)| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>{etag}</ETag><Size>{}</Size></Contents>",
                file.len()
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><ListBucketResult><Name>eras</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    )
}

/// Two archives of a synthetic chain: an era1 file of blocks before the merge, and an ere file.
pub(crate) struct Archives {
    pub(crate) chain: SyntheticChain,
    pub era1: (String, Bytes),
    pub(crate) ere: (String, Bytes),
}

impl Archives {
    pub(crate) fn new() -> Self {
        let era1 = SyntheticChain::new(SyntheticConfig {
            pre_merge_blocks: 300,
            bellatrix_blocks: 0,
            capella_blocks: 0,
            deneb_blocks: 0,
            ..SyntheticConfig::small()
        })
        .unwrap();
        let chain = SyntheticChain::new(SyntheticConfig::of_every_fork(1, 300, 2_000)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let read = |path: PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, Bytes::from(std::fs::read(path).unwrap()))
        };
        let era1 = read(era1.write_archive(0, Format::Era1, dir.path()).unwrap());
        let ere = read(chain.write_archive(0, Format::Ere, dir.path()).unwrap());
        Self { chain, era1, ere }
    }

    /// Both in the folder `/eras/`, with a listing.
    pub(crate) fn files(&self) -> HashMap<String, Bytes> {
        let mut files = HashMap::new();
        let mut page = "<a href=\"../\">up</a><a href='none.txt'></a>".to_owned();
        for (name, bytes) in [&self.era1, &self.ere] {
            files.insert(format!("/eras/{name}"), bytes.clone());
            page += &format!("<a href=\"{name}\">{name}</a>");
        }
        files.insert("/eras/".to_owned(), page.into());
        files
    }
}

/// Without waits.
pub(crate) fn options() -> Options {
    Options { back_off: Duration::ZERO, ..Options::default() }
}

/// The bucket at `endpoint`.
pub(crate) fn bucket(endpoint: &str, keys: Option<(&str, &str)>) -> Options {
    let keys = keys.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    Options {
        s3: S3Options::Explicit { endpoint: Some(endpoint.to_owned()), region: "us-east-1".to_owned(), keys },
        ..options()
    }
}
