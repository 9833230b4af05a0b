//! What runs beside the services.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use cairn_peer_book::{Book, PeerBook, file::MAX_FILE_BYTES};
use overlay::Discovery;

use crate::files;
use crate::identity;
use crate::workers::Workers;

/// The file in the data folder that the bars on peers are kept in.
const BARS_FILE: &str = "barred-peers";
/// How often it is written at most.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// Saves the node record now and whenever it changes, so that the next run goes on with its sequence number.
pub(crate) async fn save_record(discovery: Discovery, data_dir: PathBuf, workers: Workers) {
    let mut records = discovery.local_enr_updates();
    loop {
        let record = records.borrow_and_update().clone();
        let dir = data_dir.clone();
        match workers.write(move || identity::save_record(&dir, &record)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "node record not saved"),
            Err(_) => return,
        }
        if records.changed().await.is_err() {
            return;
        }
    }
}

/// The book of peers with the bars from before the start. A file that makes no sense bars nobody, and is said so: it holds
/// nothing that would not come again.
pub(crate) fn load_bars(data_dir: &Path) -> PeerBook {
    let path = data_dir.join(BARS_FILE);
    let text = match files::read_bounded(&path, MAX_FILE_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the bars on peers from before are not read");
            String::new()
        }
    };
    let (book, unread) = Book::from_text(&text, Instant::now(), SystemTime::now());
    if unread > 0 {
        tracing::warn!(path = %path.display(), lines = unread, "lines that are no bars on peers are passed over");
    }
    PeerBook::new(book)
}

/// Saves the bars on peers whenever there is a new one.
pub(crate) async fn save_bars(book: PeerBook, data_dir: PathBuf, workers: Workers) {
    let mut bars = book.bars();
    while bars.changed().await.is_ok() {
        bars.mark_unchanged();
        let text = book.read(|book| book.to_text(Instant::now(), SystemTime::now()));
        let path = data_dir.join(BARS_FILE);
        match workers.write(move || files::write_atomically(&path, text.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the bars on peers are not saved"),
            Err(_) => return,
        }
        tokio::time::sleep(SAVE_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use cairn_peer_book::{Offence, Who};

    use super::*;

    #[tokio::test]
    async fn bars_outlive_the_process_and_a_file_of_nonsense_bars_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let (now, liar) = (Instant::now(), Who::new([7; 32].into(), [8, 8, 8, 8].into()));
        let book = load_bars(dir.path());
        let mut written = book.bars();
        let saving = tokio::spawn(save_bars(book.clone(), dir.path().to_owned(), Workers::new()));
        tokio::task::yield_now().await;
        book.charge(now, &liar, Offence::Lie);
        written.changed().await.unwrap();
        let is_back = || load_bars(dir.path()).barred_for(now, &liar.node_id, None).is_some();
        while !is_back() {
            tokio::task::yield_now().await;
        }
        saving.abort();
        std::fs::write(dir.path().join(BARS_FILE), [0xff, 0, b'\n', b'x']).unwrap();
        assert!(!is_back());
    }
}
