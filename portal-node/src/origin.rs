//! Where a setting came from: a complaint names what the person wrote, be it a flag or a variable.

use std::{env, error::Error as _, ffi::OsString};

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{cli::Cli, failure::Failure, values::none_of};

/// What all variables begin with.
const PREFIX: &str = "CAIRN_";
/// Variables that only this repository's tests read; whoever runs those has them set for the command too.
const OF_TESTS: [&str; 2] = ["CAIRN_VECTORS", "CAIRN_TEST_KILLS"];

/// What to call the setting whose flag is `--NAME`: the flag if it was typed, the variable if that is set, or the key.
pub(crate) fn named(name: &str) -> String {
    let flag = format!("--{name}");
    let variable = format!("{PREFIX}{}", name.replace('-', "_").to_uppercase());
    match () {
        () if is_typed(&flag, env::args_os()) => flag,
        () if env::var_os(&variable).is_some() => variable,
        () => format!("{name} in the configuration file"),
    }
}

/// Whether `--NAME` was typed.
pub(crate) fn is_flag(name: &str) -> bool {
    is_typed(&format!("--{name}"), env::args_os())
}

/// The command line. A variable that is set to nothing is taken not to be set, as by other programs.
pub(crate) fn command() -> clap::Command {
    without_empty_variables(Cli::command())
}

/// The same without any variable.
pub(crate) fn command_without_variables() -> clap::Command {
    without_variables(Cli::command())
}

fn without_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| argument.env(None::<&'static str>)).mut_subcommands(without_variables)
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty =
        |argument: &clap::Arg| argument.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| if is_empty(&argument) { argument.env(None::<&'static str>) } else { argument })
        .mut_subcommands(without_empty_variables)
}

/// The failure that stands for clap's error if that is about a value: one line, by the name that the person used.
pub(crate) fn bad_value(error: &clap::Error) -> Option<Failure> {
    if !matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) {
        return None;
    }
    let ContextValue::String(value) = error.get(ContextKind::InvalidValue)? else { return None };
    let ContextValue::String(usage) = error.get(ContextKind::InvalidArg)? else { return None };
    let name = usage.split(['[', ' ', '=']).next().filter(|name| name.starts_with("--"));
    let variable = name.filter(|name| !is_typed(name, env::args_os())).and_then(|name| variable(name, value));
    // A flag without its value is a command line that is not complete.
    if value.is_empty() && variable.is_none() && error.source().is_none() {
        return None;
    }
    let why = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(words))) => none_of(value, words.iter().cloned()),
        _ => format!("{value:?} does not fit"),
    };
    let name = variable.as_deref().or(name).unwrap_or_else(|| usage.trim_matches(['<', '>', '.', '[', ']']));
    Some(Failure::Configuration(format!("{name}: {why}")))
}

/// Variables that look like settings and are none, as after a slip of the finger.
pub(crate) fn unknown_variables() -> Vec<String> {
    let known = variables(&Cli::command());
    let set = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_unknown = |name: &String| {
        name.starts_with(PREFIX)
            && !OF_TESTS.contains(&name.as_str())
            && known.iter().all(|(_, variable)| variable != name)
    };
    set.filter(is_unknown).collect()
}

fn is_typed(flag: &str, line: impl Iterator<Item = OsString>) -> bool {
    line.skip(1).any(|word| {
        let word = word.to_string_lossy();
        word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// The variable of a flag that holds `value`. Two commands may have a flag of the same name: it is one of the command that was
/// typed, or of all.
fn variable(flag: &str, value: &str) -> Option<String> {
    let holds = |name: &String| env::var_os(name).is_some_and(|set| set.to_string_lossy().contains(value));
    let all = Cli::command();
    let chosen = env::args().skip(1).find_map(|word| all.find_subcommand(word));
    let of_chosen = chosen.map(variables).unwrap_or_default();
    let known = of_chosen.into_iter().chain(variables(&all));
    known.into_iter().find(|(of, name)| flag == of && holds(name)).map(|(_, name)| name)
}

/// Flags and their variables, of a command and those under it.
fn variables(command: &clap::Command) -> Vec<(String, String)> {
    let own = command.get_arguments().filter_map(|argument| {
        Some((format!("--{}", argument.get_long()?), argument.get_env()?.to_string_lossy().into_owned()))
    });
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_known_by_its_whole_name() {
        let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        assert!(is_typed("--nat", line(&["cairn", "run", "--nat", "none"])));
        assert!(is_typed("--nat", line(&["cairn", "run", "--nat=none"])));
        assert!(!is_typed("--nat", line(&["cairn", "run", "--native", "nat"])));
    }

    #[test]
    fn each_variable_is_named_after_its_flag() {
        for (flag, variable) in variables(&Cli::command()) {
            // Where `run` listens is not where `status` asks.
            if variable != "CAIRN_STATUS_RPC" {
                assert_eq!(variable, flag.replacen("--", PREFIX, 1).replace('-', "_").to_uppercase());
            }
        }
    }
}
