//! Progress of whatever takes longer than a second: rate and time left on a terminal, silence elsewhere.

use std::{
    fmt::Write,
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{
    BinaryBytes, HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

/// How often the bar is drawn, in draws a second.
const DRAWS_A_SECOND: u8 = 8;
/// How often the bar moves by itself while nothing is reported.
const TICK: Duration = Duration::from_millis(250);

/// What a bar says after its message and the bar itself.
const COUNTED: &str = "{msg} {wide_bar} {counted}";
/// What there is to say of work whose length nobody knows.
const UNCOUNTED: &str = "{spinner} {msg} {elapsed}";

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
