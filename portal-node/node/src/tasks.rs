//! What runs beside the services.

use std::path::PathBuf;

use overlay::Discovery;

use crate::identity;
use crate::workers::Workers;

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
