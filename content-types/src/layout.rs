//! SSZ containers and lists whose parts are of variable length: their offsets come first. Parts are slices of the whole, and what
//! they may be is known before any of them is read.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::OFFSET_LENGTH;

/// Parts that do not lie where their container's type says, or that are too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// An offset is cut off, or leads elsewhere.
    #[error("malformed SSZ: {0}")]
    Offsets(&'static str),
    /// A list of too many parts.
    #[error("malformed SSZ: {actual} parts where {limit} are allowed")]
    TooMany {
        /// Parts that there are.
        actual: usize,
        /// Parts that are allowed.
        limit: usize,
    },
    /// A part is too long.
    #[error("a part of {actual} bytes where {limit} are allowed")]
    TooLong {
        /// Bytes that there are.
        actual: usize,
        /// Bytes that are allowed.
        limit: usize,
    },
}

/// Where the `nth` part begins, as its offset says.
fn offset_of(nth: usize, whole: &[u8]) -> Result<usize, LayoutError> {
    let bytes = whole.get(nth * OFFSET_LENGTH..).and_then(<[u8]>::first_chunk::<OFFSET_LENGTH>);
    bytes.map(|bytes| u32::from_le_bytes(*bytes) as usize).ok_or(LayoutError::Offsets("an offset is cut off"))
}

/// The `N` parts of variable length of a container, behind their offsets and `fixed` bytes more.
pub(crate) fn parts<const N: usize>(whole: &Bytes, fixed: usize) -> Result<[Bytes; N], LayoutError> {
    if offset_of(0, whole)? != N * OFFSET_LENGTH + fixed {
        return Err(LayoutError::Offsets("the first part does not follow the offsets"));
    }
    let mut parts = [const { Bytes::new() }; N];
    for (nth, part) in parts.iter_mut().enumerate() {
        *part = part_of(nth, N, whole)?;
    }
    Ok(parts)
}

/// A list of at most `max_items` parts of at most `max_len` bytes.
pub(crate) fn list_of(whole: &Bytes, max_items: usize, max_len: usize) -> Result<Vec<Bytes>, LayoutError> {
    if whole.is_empty() {
        return Ok(Vec::new());
    }
    let first = offset_of(0, whole)?;
    if first == 0 || !first.is_multiple_of(OFFSET_LENGTH) {
        return Err(LayoutError::Offsets("the first part does not follow the offsets"));
    }
    let (actual, limit) = (first / OFFSET_LENGTH, max_items);
    if actual > limit {
        return Err(LayoutError::TooMany { actual, limit });
    }
    let item = |nth| {
        let item = part_of(nth, actual, whole)?;
        let (actual, limit) = (item.len(), max_len);
        if actual > limit { Err(LayoutError::TooLong { actual, limit }) } else { Ok(item) }
    };
    (0..actual).map(item).collect()
}

/// The `nth` of `count` parts, whose offsets stand at the beginning of `whole`.
fn part_of(nth: usize, count: usize, whole: &Bytes) -> Result<Bytes, LayoutError> {
    let start = offset_of(nth, whole)?;
    let end = if nth + 1 == count { whole.len() } else { offset_of(nth + 1, whole)? };
    if start > end || end > whole.len() {
        return Err(LayoutError::Offsets("the parts do not follow each other"));
    }
    Ok(whole.slice(start..end))
}

/// A list as [`list_of`] reads it.
pub(crate) fn list(items: &[Bytes]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(items.iter().map(|item| OFFSET_LENGTH + item.len()).sum());
    let mut offset = items.len() * OFFSET_LENGTH;
    for item in items {
        whole.put_u32_le(offset as u32);
        offset += item.len();
    }
    items.iter().for_each(|item| whole.extend_from_slice(item));
    whole
}

/// A container as [`parts`] reads it: the offsets of `parts`, `fixed`, and the parts.
pub(crate) fn container(parts: &[Vec<u8>], fixed: &[u8]) -> Bytes {
    let mut offset = parts.len() * OFFSET_LENGTH + fixed.len();
    let mut whole = BytesMut::with_capacity(offset + parts.iter().map(Vec::len).sum::<usize>());
    for part in parts {
        whole.put_u32_le(offset as u32);
        offset += part.len();
    }
    whole.put_slice(fixed);
    parts.iter().for_each(|part| whole.put_slice(part));
    whole.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(items in vec(bytes(), 0..20), fixed in vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(list_of(&list(&items).into(), items.len(), 40), Ok(items.clone()));
            let longest = items.iter().map(Bytes::len).max().unwrap_or_default();
            if longest > 0 {
                let (actual, limit) = (longest, longest - 1);
                let is_refused = matches!(list_of(&list(&items).into(), 20, limit), Err(LayoutError::TooLong { .. }));
                prop_assert!(is_refused, "{} of {}", actual, limit);
                let fewer = list_of(&list(&items).into(), items.len() - 1, 40);
                prop_assert_eq!(fewer, Err(LayoutError::TooMany { actual: items.len(), limit: items.len() - 1 }));
            }
            let halves = [list(&items), fixed.clone()];
            let whole = container(&halves, &fixed);
            let read = parts::<2>(&whole, fixed.len()).unwrap();
            prop_assert_eq!(read.map(|part| part.to_vec()), halves);
        }

        #[test]
        fn whatever_is_read_is_written_the_same(bytes in bytes(), fixed in 0..9_usize) {
            if let Ok(items) = list_of(&bytes, 20, 40) {
                prop_assert_eq!(list(&items), bytes.to_vec());
            }
            if let Ok(read) = parts::<1>(&bytes, fixed) {
                let between = &bytes[OFFSET_LENGTH..OFFSET_LENGTH + fixed];
                prop_assert_eq!(container(&read.map(|part| part.to_vec()), between), bytes.clone());
            }
        }
    }
}
