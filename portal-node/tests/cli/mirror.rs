//! A mirror of archive files over HTTP on loopback: a listing, and files by Range.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// First and last byte of a file that are asked for.
type AskedRange = (usize, Option<usize>);
/// What is answered to a name and a range: status and headers, and a body.
type Answering = dyn Fn(&str, Option<AskedRange>) -> (String, Vec<u8>) + Send + Sync;

/// Serves these files; the URL of their listing. It answers until the tests end.
pub(crate) fn serve(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> String {
    let files: BTreeMap<String, Vec<u8>> = files.into_iter().collect();
    answering(move |name, range| answer(&files, name, range))
}

/// Answers whatever it is asked with this status and these headers; its URL.
pub(crate) fn refusing(head: &'static str) -> String {
    answering(move |_, _| (head.to_owned(), Vec::new()))
}

/// Answers until the tests end; its URL.
fn answering(answer: impl Fn(&str, Option<AskedRange>) -> (String, Vec<u8>) + Send + Sync + 'static) -> String {
    let answer: Arc<Answering> = Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || stream.and_then(|stream| converse(stream, &*answer)));
        }
    });
    url
}

fn answer(files: &BTreeMap<String, Vec<u8>>, name: &str, range: Option<AskedRange>) -> (String, Vec<u8>) {
    match files.get(name) {
        None if name.is_empty() => {
            let links: String = files.keys().map(|name| format!("<a href=\"{name}\">{name}</a>\n")).collect();
            ("200 OK\r\ncontent-type: text/html".to_owned(), links.into_bytes())
        }
        None => ("404 Not Found".to_owned(), Vec::new()),
        Some(file) => match range {
            None => ("200 OK\r\naccept-ranges: bytes".to_owned(), file.clone()),
            Some((first, last)) => {
                let end = last.map_or(file.len(), |last| (last + 1).min(file.len()));
                let head = format!("206 Partial Content\r\ncontent-range: bytes {first}-{}/{}", end - 1, file.len());
                (head, file[first..end].to_vec())
            }
        },
    }
}

/// One request after the other.
fn converse(stream: TcpStream, answer: &Answering) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut request, mut line, mut range) = (String::new(), String::new(), None);
        if stream.read_line(&mut request)? == 0 {
            return Ok(());
        }
        while stream.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("range: bytes=") {
                let (first, last) = value.trim().split_once('-').unwrap();
                range = Some((first.parse::<usize>().unwrap(), last.parse::<usize>().ok()));
            }
            line.clear();
        }
        let target = request.split([' ', '?']).nth(1).unwrap_or_default();
        let (head, body) = answer(target.trim_start_matches('/'), range);
        let body = if request.starts_with("HEAD") { (body.len(), Vec::new()) } else { (body.len(), body) };
        write!(stream.get_mut(), "HTTP/1.1 {head}\r\netag: \"1\"\r\ncontent-length: {}\r\n\r\n", body.0)?;
        stream.get_mut().write_all(&body.1)?;
    }
}
