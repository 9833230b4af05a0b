//! A command line that cannot be parsed: what clap says of it, and in the last line what to do.

use std::{env, ffi::OsString};

use cairn_node::without_secrets;
use clap::error::ErrorKind;

use crate::{failure::Failure, origin, output};

/// The failure that clap's error is. What there is to say before its last line is said.
pub(crate) fn failure(error: &clap::Error) -> Failure {
    let line: Vec<OsString> = env::args_os().collect();
    // clap takes flags that variables stand for as typed, and would show them as a part of how the command is used.
    let plain = origin::command_without_variables().try_get_matches_from(&line).err();
    let error = plain.as_ref().filter(|plain| plain.kind() == error.kind()).unwrap_or(error);
    let (what, rest) = told(error);
    if !rest.is_empty() {
        output::remark(rest);
    }
    Failure::Usage(format!("{what}: `{} --help` tells what it takes", named(&line)))
}

/// What is wrong, in one line, and what else clap tells.
fn told(error: &clap::Error) -> (String, String) {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ("a command is missing".to_owned(), text);
    }
    let text = text.trim_end();
    let text = text.strip_suffix("For more information, try '--help'.").unwrap_or(text);
    let (what, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let what: Vec<_> = what.strip_prefix("error: ").unwrap_or(what).split_whitespace().collect();
    // Words of the line are quoted. One that is a URL may have a password in it.
    let what = what.join(" ");
    let without = |part: &str| if part.contains("://") { without_secrets(part) } else { part.to_owned() };
    let what = what.split('\'').map(without).collect::<Vec<_>>().join("'");
    (what, rest.trim_end().to_owned())
}

/// The command that was meant, as far as the line names one.
fn named(line: &[OsString]) -> String {
    let mut named = "cairn".to_owned();
    let mut command = origin::command_without_variables();
    for word in line.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = command.find_subcommand(word) {
            named = format!("{named} {}", found.get_name());
            command = found.clone();
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_one_line_and_the_rest_another_matter() {
        let error = |line: &[&str]| origin::command_without_variables().try_get_matches_from(line).unwrap_err();
        let (what, rest) = told(&error(&["cairn", "fetch"]));
        assert_eq!(what, "the following required arguments were not provided: <BLOCKS|TICKET>");
        assert_eq!(rest, "Usage: cairn fetch <BLOCKS|TICKET>");
        let (what, rest) = told(&error(&["cairn", "ftch"]));
        assert_eq!(what, "unrecognized subcommand 'ftch'");
        assert!(rest.contains("'fetch'"), "{rest}");
        assert_eq!(told(&error(&["cairn", "fetch", "5", "--out"])).1, "");
        let (what, _) = told(&error(&["cairn", "trust", "fetch", "http://me:hunter2@host/"]));
        assert_eq!(what, "unexpected argument 'http://host/' found");
    }

    #[test]
    fn the_command_is_named_with_those_above_it() {
        let named = |line: &[&str]| named(&line.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(named(&["cairn", "--json", "trust", "fetch", "--nonsense"]), "cairn trust fetch");
        assert_eq!(named(&["cairn", "fetch", "run"]), "cairn fetch");
        assert_eq!(named(&["cairn"]), "cairn");
    }
}
