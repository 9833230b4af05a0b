//! Progress of whatever takes longer than a second: rate and time left on a terminal, silence elsewhere.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bar is drawn, in draws a second.
const DRAWS_A_SECOND: u8 = 8;
/// How often the bar moves by itself while nothing is reported.
const TICK: Duration = Duration::from_millis(250);

/// A bar that counts bytes of a known total.
pub(crate) fn bytes(total: u64, what: &str) -> ProgressBar {
    bar(total, what, "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left")
}

/// A bar that counts items of a known total.
pub(crate) fn items(total: u64, what: &str) -> ProgressBar {
    bar(total, what, "{msg} {wide_bar} {human_pos}/{human_len} {per_sec:.1} {eta} left")
}

/// A spinner for work of unknown length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, target()).with_message(what.to_owned());
    spinner.enable_steady_tick(TICK);
    spinner
}

fn bar(total: u64, what: &str, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), target()).with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND)
    } else {
        ProgressDrawTarget::hidden()
    }
}
