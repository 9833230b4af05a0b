//! Progress of whatever takes longer than a second: rate and time left on a terminal, silence elsewhere, unless somebody asks
//! for a line for each peer. Work of days (`journal`) has a line now and then elsewhere, too.

#[cfg(feature = "replay")]
mod journal;

use std::{
    collections::BTreeMap,
    fmt::Write,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use cairn_node::swarm::PeerState;
use indicatif::{
    BinaryBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState,
    ProgressStyle,
};

use crate::output;

#[cfg(feature = "replay")]
pub(crate) use journal::Journal;

/// How often the bar is drawn, in draws a second.
const DRAWS_A_SECOND: u8 = 8;
/// How often the bar moves by itself while nothing is reported.
const TICK: Duration = Duration::from_millis(250);

/// What a bar says after its message and the bar itself.
const COUNTED: &str = "{msg} {wide_bar} {counted}";
/// What there is to say of work whose length nobody knows.
const UNCOUNTED: &str = "{spinner} {msg} {elapsed}";

/// Characters of a node ID that tell it from others on a screen: `0x` and eight digits.
const SHORT_ID: usize = 10;

/// How often lines are written where there is no terminal to draw on.
const LINES_INTERVAL: Duration = Duration::from_secs(5);
/// Peers that have a line on a terminal; those that gave most.
const PEER_LINES: usize = 16;
/// A peer's line on a terminal.
const PEER: &str = "  {msg}";

/// A bar that counts bytes. A total of 0 is one that is not known yet.
pub(crate) fn bytes(total: u64, what: &str) -> ProgressBar {
    bar(target(), total, what, |bytes| BinaryBytes(bytes).to_string())
}

/// A bar that counts items. A total of 0 is one that is not known yet.
pub(crate) fn items(total: u64, what: &str) -> ProgressBar {
    bar(target(), total, what, |items| HumanCount(items).to_string())
}

/// A spinner for work of unknown length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    drawn(target(), None, what, style(UNCOUNTED))
}

/// How far something is that is made of items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stand {
    pub(crate) what: String,
    pub(crate) items: u64,
    pub(crate) done: u64,
}

/// Several fetches at once, a bar for each, and on request a line for each peer below them: redrawn in place on a terminal, a
/// line now and then elsewhere.
#[derive(Debug)]
pub(crate) struct Board {
    multi: MultiProgress,
    wholes: BTreeMap<u64, ProgressBar>,
    peers: Vec<ProgressBar>,
    per_peer: bool,
    is_drawn: bool,
    last: Option<Lines>,
}

/// What was last said in lines.
#[derive(Debug)]
struct Lines {
    at: Instant,
    unsaid: Vec<String>,
}

impl Board {
    /// An empty one.
    pub(crate) fn new(per_peer: bool) -> Self {
        let target = target();
        let is_drawn = !target.is_hidden();
        let multi = MultiProgress::with_draw_target(target);
        Self { multi, wholes: BTreeMap::new(), peers: Vec::new(), per_peer, is_drawn, last: None }
    }

    /// Shows these fetches, and no others, and their peers.
    pub(crate) fn show(&mut self, stands: &BTreeMap<u64, Stand>, peers: &[PeerState]) {
        let gone: Vec<u64> = self.wholes.keys().filter(|key| !stands.contains_key(key)).copied().collect();
        for bar in gone.into_iter().filter_map(|key| self.wholes.remove(&key)) {
            self.multi.remove(&bar);
        }
        for (place, (key, stand)) in stands.iter().enumerate() {
            let bar = self.wholes.entry(*key).or_insert_with(|| {
                let bar = bar(ProgressDrawTarget::hidden(), stand.items, &stand.what, |of| HumanCount(of).to_string());
                self.multi.insert(place, bar)
            });
            bar.set_length(stand.items);
            bar.set_position(stand.done);
            bar.set_message(stand.what.clone());
        }
        if self.per_peer && self.is_drawn {
            self.draw(peers);
        } else if self.per_peer {
            self.say(stands, peers);
        }
    }

    /// Writes something else, with the bars out of the way.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.multi.suspend(write)
    }

    fn draw(&mut self, peers: &[PeerState]) {
        let mut peers: Vec<_> = peers.iter().collect();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.received));
        peers.truncate(PEER_LINES);
        while self.peers.len() > peers.len() {
            self.peers.pop().iter().for_each(|bar| self.multi.remove(bar));
        }
        while self.peers.len() < peers.len() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style(PEER));
            self.peers.push(self.multi.add(bar));
        }
        for (bar, peer) in self.peers.iter().zip(peers) {
            bar.set_message(line_of(peer));
        }
    }

    /// The first time at once, then now and then; what was not said by then is said at the end.
    fn say(&mut self, stands: &BTreeMap<u64, Stand>, peers: &[PeerState]) {
        let wholes = stands.values().map(|stand| format!("{}: {} of {} items", stand.what, stand.done, stand.items));
        let lines: Vec<_> = wholes.chain(peers.iter().map(|peer| format!("  {}", line_of(peer)))).collect();
        if peers.is_empty() {
            return;
        }
        match &mut self.last {
            Some(last) if last.at.elapsed() < LINES_INTERVAL => last.unsaid = lines,
            _ => {
                lines.iter().for_each(output::remark);
                self.last = Some(Lines { at: Instant::now(), unsaid: Vec::new() });
            }
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(last) = &self.last {
            last.unsaid.iter().for_each(output::remark);
        }
        // Bars that are left would stay on the screen.
        let _ = self.multi.clear();
    }
}

/// How a peer of a fetch does, in a line.
fn line_of(peer: &PeerState) -> String {
    let PeerState { node_id, address, rate, received, requests, serves_us, offences, last_offence } = peer;
    let id = node_id.get(..SHORT_ID).unwrap_or(node_id);
    let (rate, received) = (BinaryBytes(*rate), BinaryBytes(*received));
    let mut line = format!("peer {id} {address}  {rate}/s  {received}  {requests} requests");
    if !serves_us {
        line.push_str("  does not serve us now");
    }
    if let (1.., Some(last)) = (offences, last_offence) {
        let plural = if *offences == 1 { "" } else { "s" };
        line.push_str(&format!("  {offences} offence{plural} ({last})"));
    }
    line
}

fn bar(target: ProgressDrawTarget, total: u64, what: &str, amount: fn(u64) -> String) -> ProgressBar {
    let style = style(COUNTED).with_key("counted", move |state: &ProgressState, text: &mut dyn Write| {
        // A bar of length 0 would be full, with no time left, before there is anything to count.
        if let Some(total) = state.len().filter(|total| *total > 0) {
            let _ = write!(text, "{}/{}", amount(state.pos()), amount(total));
            // Before the first step there is no rate, and the time left would be said to be none.
            if state.pos() > 0 {
                let (rate, left) = (rate(state.per_sec(), amount), HumanDuration(state.eta()));
                let _ = write!(text, " {rate}/s {left:#} left");
            }
        }
    });
    drawn(target, Some(total).filter(|total| *total > 0), what, style)
}

/// Whole numbers say enough of what is fast; of what is slow they would say 0.
fn rate(per_second: f64, amount: fn(u64) -> String) -> String {
    const SLOW: f64 = 10.0;
    if per_second < SLOW { format!("{per_second:.1}") } else { amount(per_second as u64) }
}

fn drawn(target: ProgressDrawTarget, total: Option<u64>, what: &str, style: ProgressStyle) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, target).with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// The default style shows no message, so a template that is none would be a bar that says nothing.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND)
    } else {
        ProgressDrawTarget::hidden()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// Keeps all that was ever drawn.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn target(&self) -> ProgressDrawTarget {
            ProgressDrawTarget::term_like(Box::new(self.clone()))
        }

        fn drawn(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_spinner_says_what_is_done() {
        let screen = Screen::default();
        drawn(screen.target(), None, "preparing history", style(UNCOUNTED)).abandon();
        assert!(screen.drawn().contains("preparing history"), "{}", screen.drawn());
    }

    #[test]
    fn a_board_has_a_line_for_each_peer_while_it_is_there() {
        let peer = |digit: &str, received| PeerState {
            node_id: format!("0x{}", digit.repeat(64)),
            address: "127.0.0.1:4".parse().unwrap(),
            rate: 0,
            received,
            requests: 3,
            serves_us: true,
            offences: 1,
            last_offence: Some("slow".to_owned()),
        };
        let screen = Screen::default();
        let mut board = Board::new(true);
        (board.multi, board.is_drawn) = (MultiProgress::with_draw_target(screen.target()), true);
        let stands = BTreeMap::from([(4, Stand { what: "era 4".to_owned(), items: 10, done: 5 })]);
        board.show(&stands, &[peer("a", 5), peer("b", 7)]);
        let drawn = screen.drawn();
        for text in ["era 4", "5/10", "0xaaaaaaaa", "0xbbbbbbbb", "127.0.0.1:4", "3 requests", "1 offence (slow)"] {
            assert!(drawn.contains(text), "no {text:?} in {drawn}");
        }
        board.show(&BTreeMap::new(), &[peer("c", 1)]);
        assert_eq!((board.wholes.len(), board.peers.len()), (0, 1));
    }

    #[test]
    fn a_bar_is_empty_until_there_is_something_to_count() {
        let screen = Screen::default();
        let bar = bar(screen.target(), 0, "verifying", |items| HumanCount(items).to_string());
        bar.force_draw();
        let before = screen.drawn();
        assert!(before.contains("verifying") && before.contains('░'), "{before}");
        assert!(!before.contains('█') && !before.contains("left"), "{before}");
        bar.set_length(4000);
        bar.force_draw();
        let begun = screen.drawn();
        assert!(begun.contains("0/4,000") && !begun.contains("left"), "{begun}");
        bar.set_position(1000);
        bar.force_draw();
        bar.abandon();
        let after = screen.drawn();
        assert!(after.contains('█') && after.contains("1,000/4,000") && after.contains(" left"), "{after}");
    }

    #[test]
    fn rates_have_no_more_digits_than_mean_something() {
        let count = |items| HumanCount(items).to_string();
        assert_eq!(rate(15_435.131_8, count), "15,435");
        assert_eq!(rate(0.25, count), "0.2");
        assert_eq!(rate(2_048.7, |bytes| BinaryBytes(bytes).to_string()), "2.00 KiB");
    }
}
