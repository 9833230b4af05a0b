//! How long a path is, from round trips that have more in them than the path.

use std::time::Duration;

/// A round trip below this in the handshake is of a short path: it has the cryptography in it, and that is nearly all of it.
const SHORT: Duration = Duration::from_millis(10);

/// The shortest round trip of a path.
///
/// What is told of round trips is a mean, and where somebody else keeps the processor busy most of it is that. Windows that followed it
/// were ten times too large on loopback, and all that is in a window is lost with a kill.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    shortest: Option<Duration>,
}

impl RoundTrips {
    /// Takes note of a round trip, the first one right after the handshake; the shortest one if that is new.
    pub(super) fn look(&mut self, rtt: Duration) -> Option<Duration> {
        let shortest = match self.shortest {
            // Until it is seen what it is like without a handshake.
            None if rtt < SHORT => {
                self.shortest = Some(Duration::MAX);
                return None;
            }
            None => rtt,
            Some(before) if rtt < before => rtt,
            Some(_) => return None,
        };
        self.shortest = Some(shortest);
        Some(shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(millis: &[u64]) -> Vec<Option<u64>> {
        let mut round_trips = RoundTrips::default();
        let looks = millis.iter().map(|rtt| round_trips.look(Duration::from_millis(*rtt)));
        looks.map(|shortest| shortest.map(|rtt| u64::try_from(rtt.as_millis()).unwrap())).collect()
    }

    #[test]
    fn the_shortest_counts_but_not_that_of_a_handshake_on_a_short_path() {
        assert_eq!(looks(&[5, 1, 3, 1, 0]), [None, Some(1), None, None, Some(0)]);
        assert_eq!(looks(&[9, 30, 8]), [None, Some(30), Some(8)]);
        assert_eq!(looks(&[100, 104, 98]), [Some(100), None, Some(98)]);
    }
}
