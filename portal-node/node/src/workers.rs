//! Threads for work that would hold up the reactor: hashing and proofs, reads and writes of files, each with a bounded
//! number of jobs at once. A job that finds no place waits; the queue is bounded by those who await.

use std::sync::Arc;
use std::time::Duration;

use cairn_limits::{Allowance, Holder, Limiter, Meter, Permit, Quota};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::Instant;

/// Jobs that read files at once. A slow disk should not take the threads of the processor's work.
const READS: usize = 32;
/// Jobs that write files at once. Writers that wait together share one sync, so many are good; reads have their own
/// places, so that neither waits for the other.
const WRITES: usize = 32;
/// Jobs at once that read for peers: fewer than there are places for reads, so that users have the others. One peer may have
/// some of them, and the peers of a subnet a quarter.
const PEER_READS: Quota = Quota::new(24).of_peer(6);
/// Jobs at once that read archives for peers, which takes decompression and, the first time, a check.
const PEER_ARCHIVE_READS: Quota = Quota::new(8).of_peer(4);
/// Trees of epochs that are built for peers at once, out of 8,192 headers each: whoever asks all over the archives has one
/// built for each request.
const PEER_TREES: Quota = Quota::new(1);
/// Trees that the peers of a subnet may have built.
const TREES_OF_SUBNET: Allowance = Allowance { rate: 1, burst: 8 };
/// How long such a job waits for a place. What is asked for can be had elsewhere, so that it is better to say so soon.
const PLACE_PATIENCE: Duration = Duration::from_millis(250);
/// How long is waited while a tree is built for another: often it is the same one, and then the wait was for something.
const TREE_PATIENCE: Duration = Duration::from_millis(500);

/// What is read for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerRead {
    /// The index, or a value in the store.
    Store,
    /// An archive.
    Archive,
}

/// The place for building an epoch's tree for a peer.
#[derive(Debug)]
pub(crate) struct TreePlace(Permit);

/// Places for blocking work. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    cpu: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    peer_reads: Limiter,
    peer_archive_reads: Limiter,
    peer_trees: Limiter,
    trees_of_subnet: Arc<Mutex<Meter>>,
}

/// The runtime is stopping, so the job was not run or its result is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopping;

impl Workers {
    /// As many processor jobs at once as there are cores.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            cpu: Arc::new(Semaphore::new(cores)),
            reads: Arc::new(Semaphore::new(READS)),
            writes: Arc::new(Semaphore::new(WRITES)),
            peer_reads: Limiter::new(PEER_READS),
            peer_archive_reads: Limiter::new(PEER_ARCHIVE_READS),
            peer_trees: Limiter::new(PEER_TREES),
            trees_of_subnet: Arc::new(Mutex::new(Meter::new(TREES_OF_SUBNET))),
        }
    }

    /// Runs work that hashes or decodes.
    ///
    /// # Errors
    /// [`Stopping`] when the runtime goes down before it is done.
    pub(crate) async fn cpu<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopping> {
        run(place(&self.cpu).await?, job).await
    }

    /// Runs work that reads files.
    ///
    /// # Errors
    /// [`Stopping`] when the runtime goes down before it is done.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        run(place(&self.reads).await?, job).await
    }

    /// Runs work that writes files.
    ///
    /// # Errors
    /// [`Stopping`] when the runtime goes down before it is done.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        run(place(&self.writes).await?, job).await
    }

    /// Runs work that reads for a peer; `None` when too much of it is under way, in all or for this peer.
    ///
    /// # Errors
    /// [`Stopping`] when the runtime goes down before it is done.
    pub(crate) async fn read_for_peer<T: Send + 'static>(
        &self,
        peer: Holder,
        what: PeerRead,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Stopping> {
        let places = match what {
            PeerRead::Store => &self.peer_reads,
            PeerRead::Archive => &self.peer_archive_reads,
        };
        let Ok(permit) = places.take_within(peer, 1, PLACE_PATIENCE).await else { return Ok(None) };
        run(permit, job).await.map(Some)
    }

    /// A place for building an epoch's tree for a peer; `None` when others have it for too long.
    pub(crate) async fn tree_place(&self, peer: Holder) -> Option<TreePlace> {
        self.peer_trees.take_within(peer, 1, TREE_PATIENCE).await.ok().map(TreePlace)
    }

    /// Runs work for a peer that builds an epoch's tree; `None` when the peers of its subnet have had enough of them.
    ///
    /// # Errors
    /// [`Stopping`] when the runtime goes down before it is done.
    pub(crate) async fn build_for_peer<T: Send + 'static>(
        &self,
        peer: Holder,
        TreePlace(permit): TreePlace,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Stopping> {
        if !self.trees_of_subnet.lock().charge(Instant::now().into_std(), &peer, 1) {
            return Ok(None);
        }
        run(permit, job).await.map(Some)
    }

    /// Takes all places for reading this for peers, as many requests do.
    #[cfg(test)]
    pub(crate) async fn all_reads_for_peers(&self, what: PeerRead) -> cairn_limits::Permit {
        let (places, all) = match what {
            PeerRead::Store => (&self.peer_reads, PEER_READS.total),
            PeerRead::Archive => (&self.peer_archive_reads, PEER_ARCHIVE_READS.total),
        };
        places.take(Holder::nobody(), all).await.unwrap()
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Stopping> {
    Arc::clone(places).acquire_owned().await.map_err(|_| Stopping)
}

async fn run<T: Send + 'static>(
    place: impl Send + 'static,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopping> {
    // The place goes into the job: one whose caller stopped waiting still counts until it ends.
    blocking(move || {
        let result = job();
        drop(place);
        result
    })
    .await
}

/// Runs a job on a thread of its own, in none of the places. A panic in it goes on in whoever awaits it.
///
/// # Errors
/// [`Stopping`] when the runtime goes down before it is done.
pub(crate) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopping> {
    result_of(tokio::task::spawn_blocking(job).await)
}

/// What a task ended with. A panic in it goes on here.
///
/// # Errors
/// [`Stopping`] when the task was ended before it was done.
pub(crate) fn result_of<T>(joined: Result<T, JoinError>) -> Result<T, Stopping> {
    joined.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Stopping,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_jobs_run_at_once_than_there_are_places() {
        let workers = Workers::new();
        let (begun, mut begins) = tokio::sync::mpsc::channel(READS * 2);
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(parking_lot::Mutex::new(released));
        let mut jobs: Vec<_> = (0..READS * 2)
            .map(|_| {
                let (begun, released) = (begun.clone(), Arc::clone(&released));
                let job = workers.read(move || {
                    begun.blocking_send(()).unwrap();
                    released.lock().recv().is_ok()
                });
                Box::pin(job)
            })
            .collect();
        // Each is polled, and so has begun unless it waits for a place.
        for job in &mut jobs {
            assert!(futures::poll!(job).is_pending());
        }
        for _ in 0..READS {
            begins.recv().await.unwrap();
        }
        // As many as may have begun; the others wait.
        assert_eq!(workers.reads.available_permits(), 0);
        assert!(begins.try_recv().is_err());
        for _ in 0..READS * 2 {
            release.send(()).unwrap();
        }
        assert_eq!(futures::future::try_join_all(jobs).await.unwrap(), [true; READS * 2]);
        assert_eq!(workers.reads.available_permits(), READS);
    }

    #[tokio::test]
    #[should_panic(expected = "a fault in the job")]
    async fn a_panic_in_a_job_is_not_taken_for_the_end_of_the_node() {
        let _ = Workers::new().cpu(|| panic!("a fault in the job")).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reads_that_wait_for_the_disk_hold_up_no_writes() {
        let workers = Workers::new();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(parking_lot::Mutex::new(released));
        let reads = (0..READS * 2).map(|_| {
            let (workers, released) = (workers.clone(), Arc::clone(&released));
            tokio::spawn(async move { workers.read(move || released.lock().recv().is_err()).await })
        });
        let reads: Vec<_> = reads.collect();
        assert_eq!(workers.write(|| 1).await, Ok(1));
        drop(release);
        for read in reads {
            assert_eq!(read.await.unwrap(), Ok(true));
        }
    }
}
