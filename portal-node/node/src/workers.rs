//! Threads for work that would hold up the reactor: hashing and proofs on one side, the disk on the other, each with a
//! bounded number of jobs at once. A job that finds no place waits; the queue is bounded by those who await.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Jobs that read or write files at once. Writers that wait together share one sync, so many are good; a slow disk should not take the
/// threads of the processor's work.
const DISK_JOBS: usize = 32;

/// Places for blocking work. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    cpu: Arc<Semaphore>,
    disk: Arc<Semaphore>,
}

/// The runtime is stopping, so the job was not run or its result is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopping;

impl Workers {
    /// As many processor jobs at once as there are cores.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cpu: Arc::new(Semaphore::new(cores)), disk: Arc::new(Semaphore::new(DISK_JOBS)) }
    }

    /// Runs work that hashes or decodes.
    ///
    /// # Errors
    /// [`Stopping`] when the runtime goes down before it is done.
    pub(crate) async fn cpu<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopping> {
        run(&self.cpu, job).await
    }

    /// Runs work that reads or writes files.
    ///
    /// # Errors
    /// [`Stopping`] when the runtime goes down before it is done.
    pub(crate) async fn disk<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopping> {
        run(&self.disk, job).await
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self::new()
    }
}

async fn run<T: Send + 'static>(
    places: &Arc<Semaphore>,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopping> {
    let place = Arc::clone(places).acquire_owned().await.map_err(|_| Stopping)?;
    // The place goes into the job: one whose caller stopped waiting still counts until it ends.
    tokio::task::spawn_blocking(move || {
        let result = job();
        drop(place);
        result
    })
    .await
    .map_err(|_| Stopping)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_jobs_run_at_once_than_there_are_places() {
        let workers = Workers::new();
        let places = workers.disk.available_permits();
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let jobs = (0..places * 4).map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            workers.disk(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures::future::try_join_all(jobs).await.unwrap();
        assert!(most.load(Ordering::SeqCst) <= places);
        assert_eq!(workers.disk.available_permits(), places);
    }
}
