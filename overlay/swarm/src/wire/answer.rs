//! How an answer begins. Its items follow as frames, in the order of their blocks and without a gap; it may end early,
//! after a whole item.

use super::Encoding;

/// Whether a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerStatus {
    /// Items follow.
    Ok,
    /// The asked peer does not serve the asking one now.
    Choked,
    /// It does not hold the first item.
    NotHeld,
    /// It has too much to do.
    Busy,
    /// It does not understand the request.
    BadRequest,
}

impl AnswerStatus {
    const ALL: [Self; 5] = [Self::Ok, Self::Choked, Self::NotHeld, Self::Busy, Self::BadRequest];

    /// Its code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Choked => 1,
            Self::NotHeld => 2,
            Self::Busy => 3,
            Self::BadRequest => 4,
        }
    }

    /// The status with a code.
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }
}

/// The two bytes that an answer begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHead {
    /// Whether there are items.
    pub status: AnswerStatus,
    /// How they are written.
    pub encoding: Encoding,
}

impl AnswerHead {
    /// The bytes.
    pub const fn encode(self) -> [u8; 2] {
        [self.status.code(), self.encoding.code()]
    }

    /// The head of these bytes; `None` if a code is not known.
    pub fn decode([status, encoding]: [u8; 2]) -> Option<Self> {
        Some(Self { status: AnswerStatus::of_code(status)?, encoding: Encoding::of_code(encoding)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_survive_the_wire_and_no_other_bytes_are_one() {
        let heads: Vec<_> = (0..=u16::MAX).filter_map(|bytes| AnswerHead::decode(bytes.to_le_bytes())).collect();
        assert_eq!(heads.len(), AnswerStatus::ALL.len() * 2);
        assert!(heads.iter().all(|head| AnswerHead::decode(head.encode()) == Some(*head)));
    }
}
