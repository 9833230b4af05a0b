//! The log: lines on standard error, in order, that never hold up or end what they tell of.
//!
//! [`writer`] takes lines and writes them on a thread of its own, [`repeats`] decides which are too many of a kind.

mod repeats;
mod writer;

use std::{
    env, io,
    io::IsTerminal,
    time::{Duration, Instant},
};

use tracing::{Event, Metadata};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt,
    layer::{Context, Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use self::{repeats::Repeats, writer::LineWriter};
use crate::{failure::Failure, settings::Settings, values::LogFormat};

/// How long the end of the program waits for what is still to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log, until it is dropped: then what waits is written, if anybody takes it.
pub(crate) struct Log(LineWriter);

/// Starts logging to standard error, by `--log`: levels, and levels by target, as in `RUST_LOG`.
///
/// # Errors
/// When `--log` cannot be read, or no thread can be started.
pub(crate) fn start(settings: &Settings) -> Result<Log, Failure> {
    let wanted = filter(&settings.log)
        .parse::<Targets>()
        .map_err(|error| Failure::Configuration(format!("--log {:?}: {error}", settings.log)))?;
    let repeats = Repeats::default();
    let count = {
        let repeats = repeats.clone();
        move || repeats.report()
    };
    let writer = LineWriter::start(io::stderr(), count)
        .map_err(|error| Failure::Internal(format!("cannot start the thread that writes the log: {error}")))?;
    // What a line cannot be written for is the writer's to know. By itself the subscriber would say so on standard error, and
    // panic when that is what cannot be written.
    let lines = fmt::layer().log_internal_errors(false).with_writer(writer.clone()).with_ansi(is_coloured());
    let limit = NoRepeats(repeats);
    let registry = tracing_subscriber::registry().with(wanted);
    match settings.log_format {
        LogFormat::Text => registry.with(lines.with_target(false).with_filter(limit)).init(),
        LogFormat::Json => registry.with(lines.json().with_filter(limit)).init(),
    }
    Ok(Log(writer))
}

/// What is logged by `--log`. discv5 warns of every peer that went away and of every call that nobody waits for any more, which is of
/// interest to whoever names it.
fn filter(wanted: &str) -> String {
    let says_all = wanted.trim().is_empty() || wanted.trim() == "off";
    if says_all || wanted.contains("discv5") { wanted.to_owned() } else { format!("discv5=error,{wanted}") }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.finish(LAST_LINES);
    }
}

/// Colours are for terminals that show them, and for people who want them (<https://no-color.org>).
fn is_coloured() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Lets a line pass unless it is one too many.
struct NoRepeats(Repeats);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Filter<S> for NoRepeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.admit(event, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_of_discv5_are_for_who_names_it() {
        for (wanted, filter_of_it) in [
            ("info", "discv5=error,info"),
            ("info,discv5=debug", "info,discv5=debug"),
            ("info,discv5::service=warn", "info,discv5::service=warn"),
        ] {
            assert_eq!(filter(wanted), filter_of_it);
            assert!(filter(wanted).parse::<Targets>().is_ok(), "{wanted}");
        }
    }
}
