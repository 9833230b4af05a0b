//! Messages of the control stream: what a peer is, what it holds, whom it serves, and others that it knows.
//!
//! A message is a frame: a type, then an SSZ container. Types that are not known are passed over, so that later versions
//! can add some.

use alloy_primitives::{B256, U256};
use content_types::Distance;
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};

use super::{Encodings, MAX_CONTROL_BYTES};
use crate::geometry::{Component, RunSet};

/// Records in one message of peers, at most.
pub const MAX_PEERS: usize = 16;

/// Bytes of a node record (EIP-778).
const MAX_RECORD_BYTES: usize = 300;

/// Bytes of a client's name.
const MAX_CLIENT_BYTES: usize = 64;

/// Runs that one message tells of, at most.
const MAX_HAVE_RUNS: u64 = 1 << 16;

/// What is wrong with a control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It has no type.
    #[error("an empty control message")]
    Empty,
    /// Its payload is not the type's SSZ.
    #[error("a control message of type {0} is malformed")]
    Malformed(u8),
}

/// The first message each way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// EIP-155.
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis: B256,
    /// Requests that the sender answers at once.
    pub max_requests: u16,
    /// Encodings that the sender reads and writes.
    pub encodings: Encodings,
    /// The sender's record, RLP; empty if it does not tell.
    pub enr: Vec<u8>,
    /// The program and its version, UTF-8; for people.
    pub client: Vec<u8>,
}

/// Runs of one component within a window that the sender holds; says nothing of runs outside of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Have {
    /// [`Component::index`].
    pub component: u8,
    /// The window's first run.
    pub first_run: u64,
    /// A bit for each run of the window, the lowest bit of the first byte first.
    pub runs: Vec<u8>,
}

/// "I hold the bodies and receipts that my node ID and this radius say, up to this block."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Predict {
    /// The radius on the History network.
    pub radius: U256,
    /// The last block that there is.
    pub last_block: u64,
}

/// Other peers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Peers {
    /// Their records, RLP.
    pub enrs: Vec<Vec<u8>>,
}

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Type 0.
    Hello(Hello),
    /// Type 1.
    Have(Have),
    /// Type 2.
    Predict(Predict),
    /// Type 3: the sender does not answer requests for ranges until it unchokes. So each connection begins.
    Choke,
    /// Type 4.
    Unchoke,
    /// Type 5.
    Peers(Peers),
    /// Type 6: the sender would ask for ranges.
    Interested,
    /// Type 7: it would not. So each connection begins.
    NotInterested,
}

impl Control {
    /// The message without the length of its frame.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Hello(hello) => (0, hello.as_ssz_bytes()),
            Self::Have(have) => (1, have.as_ssz_bytes()),
            Self::Predict(predict) => (2, predict.as_ssz_bytes()),
            Self::Choke => (3, Vec::new()),
            Self::Unchoke => (4, Vec::new()),
            Self::Peers(peers) => (5, peers.as_ssz_bytes()),
            Self::Interested => (6, Vec::new()),
            Self::NotInterested => (7, Vec::new()),
        };
        [&[kind], &payload[..]].concat()
    }

    /// A message out of a frame; `None` of a type that is not known.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub fn decode(frame: &[u8]) -> Result<Option<Self>, ControlError> {
        let (&kind, payload) = frame.split_first().ok_or(ControlError::Empty)?;
        let malformed = ControlError::Malformed(kind);
        let message = match kind {
            0 => Self::Hello(Hello::from_ssz_bytes(payload).map_err(|_| malformed)?),
            1 => Self::Have(Have::from_ssz_bytes(payload).map_err(|_| malformed)?),
            2 => Self::Predict(Predict::from_ssz_bytes(payload).map_err(|_| malformed)?),
            3 if payload.is_empty() => Self::Choke,
            4 if payload.is_empty() => Self::Unchoke,
            5 => Self::Peers(Peers::from_ssz_bytes(payload).map_err(|_| malformed)?),
            6 if payload.is_empty() => Self::Interested,
            7 if payload.is_empty() => Self::NotInterested,
            3 | 4 | 6 | 7 => return Err(malformed),
            _ => return Ok(None),
        };
        if message.is_within_limits() { Ok(Some(message)) } else { Err(malformed) }
    }

    fn is_within_limits(&self) -> bool {
        match self {
            Self::Hello(hello) => {
                hello.enr.len() <= MAX_RECORD_BYTES && hello.client.len() <= MAX_CLIENT_BYTES && hello.max_requests > 0
            }
            Self::Have(have) => {
                let runs = have.runs.len() as u64 * 8;
                Component::of_code(have.component).is_some()
                    && runs <= MAX_HAVE_RUNS
                    && have.first_run.checked_add(runs).is_some()
            }
            Self::Peers(peers) => {
                peers.enrs.len() <= MAX_PEERS && peers.enrs.iter().all(|enr| enr.len() <= MAX_RECORD_BYTES)
            }
            Self::Predict(_) | Self::Choke | Self::Unchoke | Self::Interested | Self::NotInterested => true,
        }
    }
}

impl Have {
    /// Messages that bring somebody who knows `before` to know `after`.
    pub fn changes(component: Component, before: &RunSet, after: &RunSet) -> Vec<Self> {
        const WINDOW_BYTES: u64 = (MAX_CONTROL_BYTES / 2) as u64;
        let mut changes = Vec::new();
        let mut changed = after.difference(before);
        changed.union(&before.difference(after));
        let mut next = 0;
        for range in changed.ranges() {
            while next < range.end {
                let first_run = next.max(range.start) / 8 * 8;
                let last = changed.last_before(first_run + WINDOW_BYTES * 8).unwrap_or(range.end - 1);
                let bytes = ((last - first_run) / 8 + 1).min(WINDOW_BYTES);
                let byte = |at: u64| {
                    (0..8).fold(0, |byte, bit| byte | u8::from(after.contains(first_run + at * 8 + bit)) << bit)
                };
                changes.push(Self { component: component.code(), first_run, runs: (0..bytes).map(byte).collect() });
                next = first_run + bytes * 8;
            }
        }
        changes
    }

    /// Applies the message to what is known of its sender; false if that would become too many ranges.
    pub fn apply(&self, to: &mut RunSet) -> bool {
        let window = self.first_run..self.first_run.saturating_add(self.runs.len() as u64 * 8);
        let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
        let bits = self.runs.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        for (run, _) in window.clone().zip(bits).filter(|(_, is_held)| *is_held) {
            match ranges.last_mut() {
                Some(last) if last.end == run => last.end += 1,
                _ => ranges.push(run..run + 1),
            }
        }
        to.replace(window, &ranges)
    }

    /// What it costs to take note of it, in bytes of a message that costs no more than to read it.
    pub const fn cost(&self) -> u64 {
        // Each bit may begin a range of its own.
        self.runs.len() as u64 * 8
    }
}

impl Predict {
    /// The message of a peer with this radius.
    pub fn new(radius: Distance, last_block: u64) -> Self {
        Self { radius: U256::from_be_bytes(radius.to_be_bytes()), last_block }
    }

    /// The radius.
    pub fn radius(&self) -> Distance {
        Distance::from_be_bytes(self.radius.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn runs(ranges: &[(u64, u64)]) -> RunSet {
        let mut runs = RunSet::default();
        ranges.iter().for_each(|(first, len)| assert!(runs.insert(*first..first + len)));
        runs
    }

    proptest! {
        #[test]
        fn changes_lead_from_what_was_to_what_is(
            before in vec((0..300_000_u64, 0..900_u64), 0..12), after in vec((0..300_000_u64, 0..900_u64), 0..12),
        ) {
            let (mut known, after) = (runs(&before), runs(&after));
            for have in Have::changes(Component::Bodies, &known.clone(), &after) {
                let message = Control::Have(have);
                prop_assert!(message.encode().len() <= MAX_CONTROL_BYTES);
                let Some(Control::Have(have)) = Control::decode(&message.encode()).unwrap() else { panic!() };
                prop_assert!(have.apply(&mut known));
            }
            prop_assert_eq!(known, after);
        }

        #[test]
        fn whatever_is_read_is_written_the_same(frame in vec(any::<u8>(), 0..200)) {
            if let Ok(Some(message)) = Control::decode(&frame) {
                prop_assert_eq!(message.encode(), frame);
            }
        }
    }

    #[test]
    fn messages_survive_the_wire_and_later_types_are_passed_over() {
        let hello = Hello {
            chain_id: 1,
            genesis: B256::repeat_byte(0xd4),
            max_requests: 64,
            encodings: Encodings::ALL,
            enr: vec![7; 200],
            client: b"cairn/0.1.0".to_vec(),
        };
        let radius = Distance::from_be_bytes([3; 32]);
        let peers = Peers { enrs: vec![vec![1; 120], vec![2; 300]] };
        let messages = [
            Control::Hello(hello),
            Control::Predict(Predict::new(radius, 22_000_000)),
            Control::Choke,
            Control::Unchoke,
            Control::Peers(peers),
            Control::Interested,
            Control::NotInterested,
        ];
        for message in messages {
            assert_eq!(Control::decode(&message.encode()), Ok(Some(message)));
        }
        assert_eq!(Predict::new(radius, 0).radius(), radius);
        assert_eq!(Control::decode(&[8, 1, 2, 3]), Ok(None));
    }

    #[test]
    fn what_is_beyond_the_limits_is_malformed() {
        let many = Control::Peers(Peers { enrs: vec![vec![]; MAX_PEERS + 1] });
        let long = Control::Peers(Peers { enrs: vec![vec![0; MAX_RECORD_BYTES + 1]] });
        let beyond = Control::Have(Have { component: 0, first_run: u64::MAX - 7, runs: vec![0xff] });
        let unknown = Control::Have(Have { component: 3, first_run: 0, runs: vec![] });
        for message in [many, long, beyond, unknown] {
            assert!(Control::decode(&message.encode()).is_err(), "{message:?}");
        }
        assert_eq!(Control::decode(&[]), Err(ControlError::Empty));
        assert_eq!(Control::decode(&[3, 0]), Err(ControlError::Malformed(3)));
    }
}
