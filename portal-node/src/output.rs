//! The only place that writes results, and remarks beside them.
//!
//! Results go to standard output, one JSON document (or one line a record) with `--json`; everything else, the log
//! ([`crate::log`]) and the progress bars among it, goes to standard error, so that a pipe carries results alone.

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use crate::failure::Failure;

/// Characters of a failure or a remark, at most.
const MAX_SHOWN: usize = 8192;

/// Writes a line to standard output.
///
/// # Errors
/// As for each function here that writes results: [`Failure::Unread`] when the other end of a pipe was closed, which
/// ends the command.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    written(writeln!(io::stdout(), "{text}"))
}

/// Writes raw bytes to standard output.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// Writes what was asked for with `--help` or `--version`, which clap hands over as an error.
pub(crate) fn help(asked: &clap::Error) -> Result<(), Failure> {
    written(asked.print().and_then(|()| io::stdout().flush()))
}

/// Writes a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Internal(error.to_string()))?;
    line(text)
}

/// Says on standard error why the command failed. Of a reader that went away nobody needs to be told.
pub(crate) fn complain(failure: &Failure) {
    if !matches!(failure, Failure::Unread) {
        let _ = writeln!(io::stderr(), "cairn: {}", shown(&failure.to_string(), false));
    }
}

/// Writes a remark to standard error: something a person should know that is not a result.
pub(crate) fn remark(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{}", shown(&text.to_string(), true));
}

/// Text that may have come from outside, as a client's error has: without anything that a terminal would take for a command, and
/// no longer than a person reads.
fn shown(text: &str, has_lines: bool) -> String {
    let is_kept = |character: char| !character.is_control() || (has_lines && character == '\n');
    let mut shown: String =
        text.chars().take(MAX_SHOWN).map(|character| if is_kept(character) { character } else { ' ' }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::io(Path::new("standard output"), error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_commands_no_terminal() {
        assert_eq!(shown("error 1: \u{1b}]0;x\u{7}\ncairn: done", false), "error 1:  ]0;x  cairn: done");
        assert_eq!(shown("one\ntwo\u{1b}", true), "one\ntwo ");
        let long = "é".repeat(MAX_SHOWN + 1);
        assert_eq!(shown(&long, false).chars().count(), MAX_SHOWN + 1, "and a sign that something was left out");
        assert_eq!(shown(&long[2..], false), long[2..]);
    }
}
