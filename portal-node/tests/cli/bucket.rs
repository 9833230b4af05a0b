//! Archives seeded from a bucket: a server on loopback that plays S3 for `cairn` processes.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use cairn_synthetic::SyntheticConfig;

use crate::support::{Call, Peer, World};

/// The access key that the bucket takes.
const KEY: &str = "AKIDLOOPBACK";

/// The objects of the bucket `eras`, and the ranges of them that were asked for.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Vec<u8>>,
    ranges: Mutex<Vec<String>>,
}

impl Bucket {
    /// Serves the files under a prefix until the tests end; the endpoint.
    fn serve(files: &[impl AsRef<Path>]) -> (Arc<Self>, String) {
        let objects = files.iter().map(|path| {
            let path = path.as_ref();
            (format!("deep/{}", path.file_name().unwrap().to_str().unwrap()), fs::read(path).unwrap())
        });
        let bucket = Arc::new(Self { objects: objects.collect(), ranges: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&bucket);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let bucket = Arc::clone(&shared);
                thread::spawn(move || stream.and_then(|stream| bucket.converse(stream)));
            }
        });
        (bucket, endpoint)
    }

    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut request, mut line, mut head) = (String::new(), String::new(), String::new());
            if stream.read_line(&mut request)? == 0 {
                return Ok(());
            }
            while stream.read_line(&mut line)? > 2 {
                head += &line;
                line.clear();
            }
            let (status, headers, body) = self.answer(request.split(' ').nth(1).unwrap(), &head);
            write!(stream.get_mut(), "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len())?;
            stream.get_mut().write_all(&body)?;
        }
    }

    fn answer(&self, target: &str, head: &str) -> (&'static str, String, Vec<u8>) {
        let refuse = |status, code: &str| (status, String::new(), format!("<Error><Code>{code}</Code></Error>").into());
        // A listing is signed in a header, a file's address in its query.
        if !head.contains(KEY) && !target.contains(KEY) {
            return refuse("403 Forbidden", "InvalidAccessKeyId");
        }
        let (path, query) = target.split_once('?').unwrap();
        let Some(key) = path.strip_prefix("/eras") else { return refuse("404 Not Found", "NoSuchBucket") };
        if query.contains("list-type=2") {
            return ("200 OK", String::new(), self.listing().into_bytes());
        }
        let Some(object) = self.objects.get(key.trim_start_matches('/')) else {
            return refuse("404 Not Found", "NoSuchKey");
        };
        let range = head.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
        let range = range.expect("whole objects are not to be asked for");
        let (first, last) = range.split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let last = last.min(object.len() - 1);
        self.ranges.lock().unwrap().push(range);
        let headers = format!("etag: \"one\"\r\ncontent-range: bytes {first}-{last}/{}\r\n", object.len());
        ("206 Partial Content", headers, object[first..=last].to_vec())
    }

    fn listing(&self) -> String {
        let contents = self.objects.iter().map(|(key, object)| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>&quot;one&quot;</ETag><Size>{}</Size></Contents>",
                object.len()
            )
        });
        let contents: String = contents.collect();
        format!("<ListBucketResult><Name>eras</Name><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")
    }
}

fn with_keys(call: Call, endpoint: &str) -> Call {
    call.env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_DEFAULT_REGION", "us-east-1")
}

#[test]
fn an_era_is_fetched_from_a_peer_whose_archives_lie_in_a_bucket() {
    let world = World::of(SyntheticConfig::of_every_fork(1, 8192, 300));
    let (bucket, endpoint) = Bucket::serve(&world.archives);
    let seed = with_keys(world.trusting("seeder").args(["seed", "s3://eras/deep"]), &endpoint);
    let mut seeder = Peer::start(seed, "none");
    seeder.wait_for_log("archive served in place");
    let folder = world.path("fetched");
    world.fetch(&seeder).args(["--era", "0", "--out"]).arg(&folder).end().exits(0);
    let fetched = folder.join(world.archives[0].file_name().unwrap());
    assert!(fs::read(fetched).unwrap() == fs::read(&world.archives[0]).unwrap(), "not the file in the bucket");

    let ranges = bucket.ranges.lock().unwrap();
    let bytes = |range: &String| {
        let (first, last) = range.split_once('-').unwrap();
        last.parse::<u64>().unwrap() + 1 - first.parse::<u64>().unwrap()
    };
    let (read, whole) = (ranges.iter().map(bytes).sum::<u64>(), fs::metadata(&world.archives[0]).unwrap().len());
    assert!(read < whole * 2, "{read} bytes read of {whole}");
}

#[test]
fn what_is_wrong_with_a_bucket_is_one_line_that_says_what_to_do() {
    let world = World::new();
    let (_, endpoint) = Bucket::serve(&world.archives);
    let seed = |url: &str| with_keys(world.trusting("seeder").arg("seed").arg(url).alone(), &endpoint);
    seed("s3://").end().exits(3).says("names no bucket");
    seed("s3://other/").end().exits(9).says("no such bucket: check its name");
    seed("s3://eras/")
        .env("AWS_ACCESS_KEY_ID", "another")
        .end()
        .exits(9)
        .says("InvalidAccessKeyId): check the credentials");
    let (_, empty) = Bucket::serve(&[] as &[&Path]);
    seed("s3://eras/").env("AWS_ENDPOINT_URL", empty).end().exits(6).says("no .era1, .ere or .erae file is listed");
    let run = world.trusting("runner").args(["run", "--seed", "s3://"]).alone();
    run.end().exits(3).says("--seed: s3://: not an address of a mirror");
}
