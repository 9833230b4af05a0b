//! Archives that are served from a web server: they come and go with its listing, and are offered when they can be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use cairn_node::seeding::SeedOptions;
use content_types::{ContentKey, history};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{World, connect, stop, until};

type Files = BTreeMap<String, Vec<u8>>;

/// A folder on a web server, which may answer nothing but errors.
#[derive(Clone, Default)]
struct Folder {
    files: Arc<Mutex<Files>>,
    is_broken: Arc<Mutex<bool>>,
}

impl Folder {
    async fn serve(&self) -> PathBuf {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let folder = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let folder = folder.clone();
                tokio::spawn(async move { folder.converse(stream).await });
            }
        });
        url.into()
    }

    async fn converse(self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut request, mut line, mut range) = (String::new(), String::new(), None);
            if stream.read_line(&mut request).await? == 0 {
                return Ok(());
            }
            while stream.read_line(&mut line).await? > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("range: bytes=") {
                    let (first, last) = value.trim().split_once('-').unwrap();
                    range = Some((first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap()));
                }
                line.clear();
            }
            let name = request.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            let (head, body) = self.answer(&name, range);
            let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        }
    }

    fn answer(&self, name: &str, range: Option<(usize, usize)>) -> (String, Vec<u8>) {
        let files = self.files.lock().unwrap();
        match (files.get(name), range) {
            _ if *self.is_broken.lock().unwrap() => ("500 Broken".to_owned(), Vec::new()),
            (Some(file), Some((first, last))) => {
                let last = last.min(file.len() - 1);
                let head = format!(
                    "206 Part\r\netag: \"{}\"\r\ncontent-range: bytes {first}-{last}/{}",
                    file.len(),
                    file.len()
                );
                (head, file[first..=last].to_vec())
            }
            _ if name.is_empty() => {
                let links = files.keys().map(|name| format!("<a href=\"{name}\">"));
                ("200 OK".to_owned(), links.collect::<String>().into_bytes())
            }
            _ => ("404 None".to_owned(), Vec::new()),
        }
    }

    fn put(&self, world: &World) {
        for entry in std::fs::read_dir(world.archives()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            self.files.lock().unwrap().insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn body(number: u64) -> ContentKey {
    history::ContentKey::BlockBody { number }.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_and_go_with_the_listing_and_are_offered_when_they_come() {
    let (world, folder) = (World::new(), Folder::default());
    let mut config = world.config("seeder");
    config.seeds = vec![folder.serve().await];
    let seeder = cairn_node::Node::start(config).await.unwrap();
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    seeder.archives().scan().await;
    let job = seeder.offer_archives(SeedOptions::default());
    let progress = job.progress();
    until("nothing to offer", || progress.borrow().finished).await;
    assert_eq!((seeder.archives().count(), progress.borrow().blocks_total), (0, 0));

    folder.put(&world);
    seeder.archives().scan().await;
    assert_eq!((seeder.archives().count(), seeder.archives().list().len()), (1, 1));
    let blocks = world.chain.config().blocks();
    until("all offered", || progress.borrow().finished && progress.borrow().blocks_done == blocks).await;
    assert_eq!(progress.borrow().pieces, 6 * blocks);
    assert_eq!(peer.store().get(&body(9)).unwrap(), Some(world.chain.block(9).unwrap().body));
    drop(job);

    // A restart goes on from there.
    let again = seeder.offer_archives(SeedOptions::default()).wait().await;
    assert_eq!((again.blocks_done, again.pieces), (blocks, 0));

    folder.files.lock().unwrap().clear();
    seeder.archives().scan().await;
    assert_eq!(seeder.archives().count(), 0);
    assert!(!seeder.store().contains(&body(9)).unwrap());
    stop(seeder).await;
    stop(peer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_is_a_problem_until_it_answers_and_what_waits_is_offered_then() {
    let (world, folder) = (World::new(), Folder::default());
    folder.put(&world);
    *folder.is_broken.lock().unwrap() = true;
    let mut config = world.config("seeder");
    config.seeds = vec![folder.serve().await, world.dir.path().join("none.ere")];
    let seeder = cairn_node::Node::start(config).await.unwrap();
    // A path's problem is there though the server keeps failing.
    seeder.archives().wait_until_scanned().await;
    seeder.archives().scan().await;
    assert_eq!((seeder.archives().count(), seeder.archives().problems().len()), (0, 2));

    *folder.is_broken.lock().unwrap() = false;
    seeder.archives().scan().await;
    assert_eq!((seeder.archives().count(), seeder.archives().problems().len()), (1, 1));
    *folder.is_broken.lock().unwrap() = true;
    let peer = world.start("peer").await;
    connect(&seeder, &peer).await;
    let blocks = world.chain.config().blocks();
    let job = seeder.offer_archives(SeedOptions::default());
    let progress = job.progress();
    until("blocks that wait", || progress.borrow().finished).await;
    assert!(progress.borrow().blocks_waiting > 0, "{:?}", progress.borrow());
    // Still open: what comes back is the same file.
    assert_eq!(seeder.archives().count(), 1);

    *folder.is_broken.lock().unwrap() = false;
    seeder.archives().scan().await;
    until("all offered", || progress.borrow().finished && progress.borrow().blocks_done == blocks).await;
    assert_eq!((progress.borrow().blocks_waiting, progress.borrow().pieces), (0, 6 * blocks));
    stop(seeder).await;
    stop(peer).await;
}
