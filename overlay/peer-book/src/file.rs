//! The bars as text: a line for each, `peer` or `subnet`, who, until when in seconds since 1970, and how often before. Only
//! what holds is written, so a file is as short as it can be, and whoever wants to free a peer deletes its line.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cairn_limits::Subnet;
use content_types::NodeId;

use crate::book::{Bar, Book, MAX_BAR, MAX_NOTED, MAX_SUBNETS};

/// The first line.
const HEAD: &str = "# Peers that are not spoken to: who, until when (seconds since 1970), lies or bars so far";

/// Bytes of a file at most: what is longer was not written by this.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

impl Book {
    /// The bars that hold.
    pub fn to_text(&self, now: Instant, wall: SystemTime) -> String {
        let seconds = |bar: &Bar| {
            let until = wall + bar.until.saturating_duration_since(now);
            until.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
        };
        let mut text = format!("{HEAD}\n");
        for (peer, bar) in self.bars(now) {
            let _ = writeln!(text, "peer {} {} {}", hex::encode(peer.as_bytes()), seconds(&bar), bar.times);
        }
        for (subnet, bar) in self.subnet_bars(now) {
            let _ = writeln!(text, "subnet {} {} {}", first_address(subnet), seconds(&bar), bar.times);
        }
        text
    }

    /// The bars of a text that still hold; and how many lines of it make no sense.
    pub fn from_text(text: &str, now: Instant, wall: SystemTime) -> (Self, usize) {
        let (mut book, mut unread) = (Self::default(), 0);
        let is_bar = |line: &&str| !line.is_empty() && !line.starts_with('#');
        for line in text.lines().map(str::trim).filter(is_bar).take(MAX_NOTED + MAX_SUBNETS) {
            let Some((who, until, times)) = read_line(line) else {
                unread += 1;
                continue;
            };
            let left = (UNIX_EPOCH + Duration::from_secs(until)).duration_since(wall).unwrap_or_default();
            if left.is_zero() {
                continue;
            }
            // No clock that was wrong for a while bars anybody for years.
            let bar = Bar { until: now + left.min(MAX_BAR), times };
            match who {
                Barred::Peer(peer) => book.restore(now, peer, bar),
                Barred::Subnet(subnet) => book.restore_subnet(subnet, bar),
            }
        }
        (book, unread)
    }
}

enum Barred {
    Peer(NodeId),
    Subnet(Subnet),
}

/// Seconds that a bar may end at, so that no number from a file leaves what a clock can tell.
const MAX_SECONDS: u64 = 1 << 40;

fn read_line(line: &str) -> Option<(Barred, u64, u32)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [kind, who, until, times] = fields[..] else { return None };
    let who = match kind {
        "peer" => {
            let mut id = [0; 32];
            hex::decode_to_slice(who, &mut id).ok()?;
            Barred::Peer(id.into())
        }
        "subnet" => Barred::Subnet(Subnet::of_stranger(who.parse().ok()?)?),
        _ => return None,
    };
    Some((who, until.parse().ok().filter(|until| *until <= MAX_SECONDS)?, times.parse().ok()?))
}

fn first_address(subnet: Subnet) -> IpAddr {
    match subnet {
        Subnet::V4([a, b, c]) => [a, b, c, 0].into(),
        Subnet::V6(head) => {
            let mut address = [0; 16];
            address.iter_mut().zip(head).for_each(|(byte, of)| *byte = of);
            address.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Offence, Who, book::LIE_BAR};

    #[test]
    fn a_restart_frees_nobody_and_forgets_who_is_free() {
        let (now, wall) = (Instant::now(), UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let mut book = Book::default();
        for id in 0..4_u8 {
            let ip: IpAddr = if id < 3 { [8, 8, 8, id].into() } else { "2001:db8::1".parse().unwrap() };
            book.handle_offence(now, &Who::new([id; 32].into(), ip), Offence::Lie);
        }
        book.handle_offence(now, &Who::new([9; 32].into(), [9, 9, 9, 9].into()), Offence::Slow);
        let text = book.to_text(now, wall);
        assert_eq!(text.lines().count(), 1 + 4 + 1);

        // Another process, whose clock of instants has nothing to do with the one before.
        let (now, wall) = (now + Duration::from_secs(7_777), wall + LIE_BAR / 2);
        let (mut read, unread) = Book::from_text(&text, now, wall);
        assert_eq!((unread, read.barred(now)), (0, 4));
        assert_eq!(read.barred_for(now, &[3; 32].into(), None), Some(LIE_BAR / 2));
        assert_eq!(read.barred_for(now, &[77; 32].into(), Some([8, 8, 8, 77].into())), Some(LIE_BAR / 2));
        assert_eq!(read.barred_for(now, &[9; 32].into(), None), None);
        let again = read.handle_offence(now + LIE_BAR, &Who::new([3; 32].into(), [8, 8, 4, 4].into()), Offence::Lie);
        assert_eq!(again, Some(2 * LIE_BAR), "lies are remembered, too");
        assert!(Book::from_text(&text, now, wall + LIE_BAR).0.is_empty());
    }

    #[test]
    fn a_clock_that_was_ahead_bars_nobody_for_longer_than_any_bar_and_one_that_was_behind_frees_sooner() {
        let (now, wall) = (Instant::now(), UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let mut book = Book::default();
        book.handle_offence(now, &Who::new([3; 32].into(), [8, 8, 8, 8].into()), Offence::Lie);
        let left = |written: SystemTime| {
            let text = book.to_text(now, written);
            Book::from_text(&text, now, wall).0.barred_for(now, &[3; 32].into(), None)
        };
        assert_eq!(left(wall), Some(LIE_BAR));
        assert_eq!(left(wall + 366 * MAX_BAR), Some(MAX_BAR));
        assert_eq!(left(wall - Duration::from_secs(3600)), None);
    }

    /// Offences of a few peers in a few subnets, one of them of a local network, and the seconds before each.
    fn offences() -> impl Strategy<Value = Vec<(u64, Who, Offence)>> {
        let ips = ["8.8.8.8", "8.8.4.4", "2001:db8::1", "192.168.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
        let who = (0..12_u8, proptest::sample::select(ips.to_vec())).prop_map(|(id, ip)| Who::new([id; 32].into(), ip));
        // Lies are what most bars are for.
        let offence = prop_oneof![Just(Offence::Lie), proptest::sample::select(&Offence::ALL[..])];
        proptest::collection::vec((0..3600_u64, who, offence), 0..64)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(offences in offences(), wall in 0..MAX_SECONDS / 2) {
            let (mut now, wall, mut book) = (Instant::now(), UNIX_EPOCH + Duration::from_secs(wall), Book::default());
            for (seconds, who, offence) in offences {
                now += Duration::from_secs(seconds);
                book.handle_offence(now, &who, offence);
            }
            let (read, unread) = Book::from_text(&book.to_text(now, wall), now, wall);
            prop_assert_eq!(unread, 0);
            prop_assert_eq!(read.bars(now).collect::<Vec<_>>(), book.bars(now).collect::<Vec<_>>());
            prop_assert_eq!(read.subnet_bars(now).collect::<Vec<_>>(), book.subnet_bars(now).collect::<Vec<_>>());
        }

        #[test]
        fn whatever_is_in_the_file_is_read(text in "(peer|subnet|x) [0-9a-f:.]{0,64} [0-9]{0,20} [0-9]{0,12}\n?.{0,40}") {
            let (now, wall) = (Instant::now(), SystemTime::now());
            let (book, _) = Book::from_text(&text, now, wall);
            let (_, unread) = Book::from_text(&book.to_text(now, wall), now, wall);
            prop_assert_eq!(unread, 0);
        }
    }
}
