//! The pace at which mirrors are read: all of them together have the limit that all peers together have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_limits::TokenBucket;
use cairn_swarm::quic::Swarm;
use parking_lot::Mutex;

/// How often it is looked whether a limit of nothing was changed.
const LOOK: Duration = Duration::from_secs(1);

/// What all fetches from mirrors share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MirrorRate {
    swarm: Swarm,
    bucket: Arc<Mutex<TokenBucket>>,
}

impl MirrorRate {
    /// With the limit of a swarm, as it is at any time.
    pub(crate) fn new(swarm: Swarm) -> Self {
        let bucket = TokenBucket::new(Instant::now(), swarm.limits().download);
        Self { swarm, bucket: Arc::new(Mutex::new(bucket)) }
    }

    /// Waits until what follows so many bytes may be read. Meanwhile the server is not read from, and so sends no more.
    pub(crate) async fn wait(&self, bytes: u64) {
        loop {
            let until = {
                let mut bucket = self.bucket.lock();
                let now = Instant::now();
                let limit = self.swarm.limits().download;
                if bucket.rate() != limit {
                    bucket.set_rate(now, limit);
                }
                match bucket.take(now, bytes) {
                    Ok(()) => return,
                    Err(until) => until,
                }
            };
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                // At a limit of nothing somebody has to change it first.
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}
