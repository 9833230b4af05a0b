//! The `cairn` command: a storage peer, a fetcher and a seeder of Ethereum's history.
//!
//! `main` only joins the parts: [`cli`] says what a person can type, [`settings`] lays flags, environment and the
//! configuration file over each other, [`commands`] does the work, [`failure`] turns what went wrong into one line and
//! an exit code.

mod advice;
mod bootnodes;
mod cli;
mod commands;
mod descriptors;
mod failure;
mod files;
mod flags;
mod log;
mod origin;
mod output;
mod panics;
mod progress;
mod settings;
mod signals;
mod usage;
mod values;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::{cli::Cli, failure::Failure};

fn main() -> ExitCode {
    let parsed = origin::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let outcome = match parsed {
        Ok(cli) => run(cli),
        Err(error) => match origin::bad_value(&error) {
            Some(failure) => Err(failure),
            None if error.use_stderr() => Err(usage::failure(&error)),
            // Help, or the version.
            None => output::help(&error),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    descriptors::check()?;
    let settings = settings::Settings::load(cli.global, cli.command.default_log())?;
    // Dropped last of all: then what is still to be logged is written.
    let _log = log::start(&settings)?;
    let panics = panics::Panics::watch();
    for variable in origin::unknown_variables() {
        tracing::warn!("{variable} is set, and no setting is called so: `cairn run --help` has those that there are");
    }
    // rustls takes no provider of cryptography by itself, and reqwest asks for one even where no TLS is spoken.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::Internal(format!("cannot start the asynchronous runtime: {}", advice::with_advice(&error)))
    })?;
    let outcome = runtime.block_on(commands::run(cli.command, settings, panics));
    // A blocking task (a disk read, a hash) may still be under way; the process does not wait for it for ever.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}
