//! Looks at the seeds again and again: at folders, and at buckets and web servers, each in its own time.

use std::sync::Arc;
use std::time::Duration;

use super::archives::Archives;

/// How often the seed folders are looked at.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);
/// How often depots are listed. A bucket's thousand files are one request.
const LIST_INTERVAL: Duration = Duration::from_secs(60);

impl Archives {
    /// Looks at all seeds now: opens what is new, drops what is gone.
    pub async fn scan(self: &Arc<Self>) {
        tokio::join!(self.scan_folders(), self.look_at_depots());
    }

    pub(crate) async fn watch(self: Arc<Self>) {
        let watch_folders = async {
            loop {
                self.scan_folders().await;
                if !self.has_seeds() {
                    return;
                }
                tokio::time::sleep(SCAN_INTERVAL).await;
            }
        };
        let watch_depots = async {
            while !self.depots.is_empty() {
                self.look_at_depots().await;
                tokio::time::sleep(LIST_INTERVAL).await;
            }
        };
        tokio::join!(watch_folders, watch_depots);
    }
}
