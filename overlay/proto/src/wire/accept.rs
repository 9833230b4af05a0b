//! The answer to one offered content key.

/// One byte of ACCEPT: what becomes of the content key at its position in the OFFER.
///
/// Specification: `portal-wire-protocol.md`, "Accept (0x07)".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcceptCode {
    /// 0: the content is wanted.
    Accepted,
    /// 1: declined, for a reason that has no code.
    Declined,
    /// 2: declined, already stored.
    AlreadyStored,
    /// 3: declined, not within the radius.
    OutsideRadius,
    /// 4: declined, no room for another transfer.
    RateLimited,
    /// 5: declined, this content is being taken from another peer.
    InboundKeyLimited,
    /// 6: declined, the content key cannot be verified.
    NotVerifiable,
    /// 7 to 255: declined; the specification gives these no meaning and asks not to send them.
    Unspecified(u8),
}

impl AcceptCode {
    /// Whether the content is wanted.
    pub fn is_accepted(self) -> bool {
        self == AcceptCode::Accepted
    }
}

impl From<u8> for AcceptCode {
    fn from(code: u8) -> Self {
        match code {
            0 => AcceptCode::Accepted,
            1 => AcceptCode::Declined,
            2 => AcceptCode::AlreadyStored,
            3 => AcceptCode::OutsideRadius,
            4 => AcceptCode::RateLimited,
            5 => AcceptCode::InboundKeyLimited,
            6 => AcceptCode::NotVerifiable,
            other => AcceptCode::Unspecified(other),
        }
    }
}

impl From<AcceptCode> for u8 {
    fn from(code: AcceptCode) -> Self {
        match code {
            AcceptCode::Accepted => 0,
            AcceptCode::Declined => 1,
            AcceptCode::AlreadyStored => 2,
            AcceptCode::OutsideRadius => 3,
            AcceptCode::RateLimited => 4,
            AcceptCode::InboundKeyLimited => 5,
            AcceptCode::NotVerifiable => 6,
            AcceptCode::Unspecified(other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_round_trips_and_only_zero_accepts() {
        for byte in 0..=u8::MAX {
            let code = AcceptCode::from(byte);
            assert_eq!(u8::from(code), byte);
            assert_eq!(code.is_accepted(), byte == 0);
        }
    }
}
