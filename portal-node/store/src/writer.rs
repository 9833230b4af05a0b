//! The end of the last volume, where everything is appended.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    sync::Arc,
};

use content_types::{NodeId, SubNetwork};

use crate::{
    error::StoreError,
    ledger::Usage,
    record::{Marker, Place, VolumeHeader, encode_radius},
    volumes::Volumes,
};

/// Bytes of memory that are kept from one append to the next.
const MAX_KEPT_BUFFER: usize = 1 << 20;

/// Appends to volumes, one after another.
#[derive(Debug)]
pub(crate) struct Writer {
    volumes: Arc<Volumes>,
    node_id: NodeId,
    volume_len: u32,
    next_number: u32,
    /// Where the last append ended.
    end: Place,
    current: Option<Current>,
    /// What is being appended; kept for its memory.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Current {
    number: u32,
    marker: Marker,
    file: Arc<File>,
    end: u32,
}

impl Writer {
    /// A writer that begins a new volume, `next_number`, with the first append.
    pub(crate) fn new(volumes: Arc<Volumes>, node_id: NodeId, volume_len: u32, next_number: u32) -> Self {
        Self { volumes, node_id, volume_len, next_number, end: Place::NOWHERE, current: None, buffer: Vec::new() }
    }

    /// Goes on at `end`, where the last volume ends.
    pub(crate) fn resume(&mut self, end: Place, marker: Marker) -> Result<(), StoreError> {
        let failed = StoreError::io("open", self.volumes.path(end.volume));
        let file = self.volumes.file(end.volume).map_err(failed)?;
        self.end = end;
        self.current = Some(Current { number: end.volume, marker, file, end: end.offset });
        Ok(())
    }

    /// Appends the bytes that `fill` makes for their place, `len` at most, and returns when they are safe from a crash: the place
    /// where they end. A new volume is begun when they don't fit into this one; it opens with the radii, so that the
    /// last ones are never in a volume that is deleted.
    ///
    /// After a failure nothing of them counts, and the next append begins a new volume: what the disk did with the end of
    /// this one is unknown.
    pub(crate) fn append(
        &mut self,
        len: usize,
        networks: &[Usage],
        fill: impl FnOnce(Place, &Marker, &mut Vec<u8>),
    ) -> Result<Place, StoreError> {
        let mut current = match self.current.take().filter(|current| current.has_room(len, self.volume_len)) {
            Some(current) => current,
            None => self.begin(networks)?,
        };
        let bytes = &mut self.buffer;
        bytes.clear();
        bytes.shrink_to(MAX_KEPT_BUFFER);
        bytes.reserve(len);
        fill(current.end_place(), &current.marker, bytes);
        let path = self.volumes.path(current.number);
        let written = current
            .file
            .write_all_at(bytes, u64::from(current.end))
            .map_err(StoreError::io("write", &path))
            .and_then(|()| current.file.sync_data().map_err(StoreError::io("sync", &path)));
        if let Err(error) = written {
            let is_new = self.end.volume != current.number;
            let undone =
                if is_new { self.volumes.delete(current.number) } else { current.file.set_len(u64::from(current.end)) };
            if let Err(error) = undone {
                tracing::warn!(path = %path.display(), %error, "cannot undo a write that failed");
            }
            return Err(error);
        }
        current.end += bytes.len() as u32;
        self.end = current.end_place();
        self.current = Some(current);
        Ok(self.end)
    }

    fn begin(&mut self, networks: &[Usage]) -> Result<Current, StoreError> {
        let number = self.next_number;
        let path = self.volumes.path(number);
        let current = self.create(number, networks).inspect_err(|_| {
            // Half a header is no volume; if it cannot be deleted either, its number is not used again.
            if fs::remove_file(&path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                self.next_number += 1;
            }
        })?;
        self.next_number += 1;
        self.volumes.keep_open(number, current.file.clone());
        Ok(current)
    }

    fn create(&self, number: u32, networks: &[Usage]) -> Result<Current, StoreError> {
        let path = self.volumes.path(number);
        let marker: Marker = rand::random();
        let mut bytes = VolumeHeader { number, marker, previous_end: self.end }.encode().to_vec();
        for network in SubNetwork::ALL {
            encode_radius(&marker, network, &self.node_id, networks[network.index()].radius, &mut bytes);
        }
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(StoreError::io("create", &path))?;
        file.write_all_at(&bytes, 0).map_err(StoreError::io("write", &path))?;
        file.sync_all().map_err(StoreError::io("sync", &path))?;
        let dir = self.volumes.dir();
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))?;
        Ok(Current { number, marker, file: Arc::new(file), end: bytes.len() as u32 })
    }
}

impl Current {
    fn end_place(&self) -> Place {
        Place { volume: self.number, offset: self.end }
    }

    fn has_room(&self, len: usize, volume_len: u32) -> bool {
        self.end as usize + len <= volume_len as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/full` takes nothing, like a disk without room.
    #[test]
    fn after_a_failed_write_a_new_volume_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Arc::new(Volumes::new(dir.path().to_owned()).unwrap());
        let mut writer = Writer::new(volumes, [1; 32].into(), 1 << 20, 1);
        let networks = [Usage::EMPTY; 4];
        let first = writer.append(3, &networks, |_, _, bytes| bytes.extend(b"abc")).unwrap();
        assert_eq!(first.volume, 1);

        let full = File::options().write(true).open("/dev/full").unwrap();
        writer.current.as_mut().unwrap().file = Arc::new(full);
        assert!(writer.append(3, &networks, |_, _, bytes| bytes.extend(b"def")).unwrap_err().is_disk_full());

        let next = writer.append(3, &networks, |_, _, bytes| bytes.extend(b"ghi")).unwrap();
        assert_eq!(next, Place { volume: 2, offset: first.offset });
        let header = std::fs::read(dir.path().join("00000002.volume")).unwrap();
        assert_eq!(VolumeHeader::decode(&header).unwrap().previous_end, first);
    }
}
