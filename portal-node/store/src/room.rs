//! Looks whether the disk lets the store write, and tells when that changes.

use std::time::Instant;

use crate::{core::Core, error::StoreError, events::Event, refusal::Change};

impl Core {
    /// Why nothing can be put now, if nothing can. Costs next to nothing.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        self.refusal.reason(Instant::now())
    }

    /// Looks how much of the disk is free.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when nothing can be put.
    pub(crate) fn look_for_room(&self) -> Result<(), StoreError> {
        let dir = &self.config.dir;
        let room = match rustix::fs::statvfs(dir) {
            Ok(room) => room,
            Err(error) => {
                let error = StoreError::io("examine", dir)(error.into());
                self.learn_of_write(Err(&error));
                return Err(error);
            }
        };
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        let reserve = self.config.disk_reserve;
        let full = || StoreError::DiskFull { dir: dir.clone(), free, reserve };
        self.tell(&self.refusal.handle_free(free, reserve, full));
        self.refusal().map_or(Ok(()), Err)
    }

    /// Looks how much is free, if this store is there to be put into; what there is to say of it is said.
    pub(crate) fn watch_room(&self) {
        if self.config.budgets.is_any()
            && let Err(error) = self.look_for_room()
        {
            tracing::trace!(%error, "nothing can be put");
        }
    }

    /// Puts were written, or could not be.
    pub(crate) fn learn_of_write(&self, written: Result<(), &StoreError>) {
        self.tell(&self.refusal.handle_written(written, Instant::now()));
    }

    fn tell(&self, change: &Change) {
        match change {
            Change::None => {}
            Change::Begun => {
                let reason = self.refusal().map_or_else(String::new, |why| why.to_string());
                tracing::warn!(%reason, "nothing can be stored; what is here is served, and storing goes on when it can");
                (self.events)(&Event::NotStoring { reason });
            }
            Change::Ended => {
                tracing::warn!("content is stored again");
                (self.events)(&Event::StoringAgain);
            }
        }
    }
}
