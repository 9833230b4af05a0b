//! Where in a trie a node is: the first nibbles of every key that lies below it.

use alloy_primitives::B256;
use content_types::trie::Nibbles;

/// Nibbles of a whole key, which is a hash.
pub(crate) const KEY_NIBBLES: u8 = 64;

/// The nibble of `key` at `position`, which is less than [`KEY_NIBBLES`].
pub(crate) fn nibble(key: &B256, position: u8) -> u8 {
    let byte = key.0.get(usize::from(position / 2)).copied().unwrap_or_default();
    if position.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f }
}

/// How many nibbles two keys have in common at their beginning.
pub(crate) fn common_nibbles(a: &B256, b: &B256) -> u8 {
    let pairs = a.iter().zip(b.iter());
    let mut common = 0;
    for (a, b) in pairs {
        match a ^ b {
            0 => common += 2,
            0x01..=0x0f => return common + 1,
            _ => return common,
        }
    }
    common
}

/// The first nibbles of a key; the rest of it is zero, so that equal paths are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TriePath {
    len: u8,
    key: B256,
}

impl TriePath {
    /// The path of a trie's root.
    pub(crate) const ROOT: Self = Self { len: 0, key: B256::ZERO };

    /// The first `len` nibbles of `key`.
    pub(crate) fn of(key: &B256, len: u8) -> Self {
        let mut cut = B256::ZERO;
        let whole = usize::from(len / 2);
        let (kept, rest) = cut.0.split_at_mut(whole.min(B256::len_bytes()));
        kept.copy_from_slice(&key.0[..kept.len()]);
        if let (false, Some(byte)) = (len.is_multiple_of(2), rest.first_mut()) {
            *byte = nibble(key, len - 1) << 4;
        }
        Self { len, key: cut }
    }

    /// The path one nibble longer.
    pub(crate) fn child(&self, nibble: u8) -> Self {
        let mut child = Self { len: self.len + 1, key: self.key };
        if let Some(byte) = child.key.0.get_mut(usize::from(self.len / 2)) {
            *byte |= if self.len.is_multiple_of(2) { nibble << 4 } else { nibble };
        }
        child
    }

    /// A key that begins with the path.
    pub(crate) fn key(&self) -> &B256 {
        &self.key
    }

    pub(crate) fn len(&self) -> u8 {
        self.len
    }

    /// The nibbles, two in a byte; the last byte's second is zero where their number is odd.
    pub(crate) fn packed(&self) -> &[u8] {
        &self.key.0[..usize::from(self.len.div_ceil(2)).min(B256::len_bytes())]
    }

    /// The path as the Portal Network's keys have it.
    pub(crate) fn nibbles(&self) -> Nibbles {
        let mut nibbles = [0; KEY_NIBBLES as usize];
        for (nibble_of, position) in nibbles.iter_mut().zip(0..self.len) {
            *nibble_of = nibble(&self.key, position);
        }
        // Every one is a nibble, and no path is longer than a key.
        Nibbles::new(&nibbles[..usize::from(self.len.min(KEY_NIBBLES))]).unwrap_or(Nibbles::ROOT)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::b256;

    use super::*;

    const KEY: B256 = b256!("123456789abcdef0000000000000000000000000000000000000000000000009");

    #[test]
    fn paths_grow_by_nibbles() {
        let mut path = TriePath::ROOT;
        for position in 0..KEY_NIBBLES {
            assert_eq!(path, TriePath::of(&KEY, position));
            assert_eq!(path.nibbles().as_slice().len(), usize::from(position));
            path = path.child(nibble(&KEY, position));
        }
        assert_eq!(path, TriePath::of(&KEY, KEY_NIBBLES));
        assert_eq!(path.nibbles(), Nibbles::of_key(&KEY));
        assert_eq!(TriePath::of(&KEY, 3).packed(), [0x12, 0x30]);
    }

    #[test]
    fn what_keys_have_in_common() {
        assert_eq!(common_nibbles(&KEY, &KEY), KEY_NIBBLES);
        for position in 0..KEY_NIBBLES {
            let mut other = KEY;
            other.0[usize::from(position / 2)] ^= if position % 2 == 0 { 0x90 } else { 0x09 };
            assert_eq!(common_nibbles(&KEY, &other), position);
        }
    }
}
