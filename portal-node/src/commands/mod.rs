//! What each command does.

mod accounts;
mod capsule;
mod convert;
mod coverage;
mod demo;
mod enr;
mod fetch;
mod peer;
mod run;
mod running;
mod share;
mod state;
mod status;
mod sync;
mod synthetic;
mod trust;
mod verify;
mod without_trust;

use crate::{
    cli::{Command, StateCommand},
    failure::Failure,
    panics::Panics,
    settings::Settings,
    signals::Signals,
};

/// Runs a command to its end, or until the person interrupts it.
pub(crate) async fn run(command: Command, settings: Settings, panics: Panics) -> Result<(), Failure> {
    let mut signals = Signals::catch(panics)?;
    match command {
        // A running peer stops by itself, cleanly, when it is told to.
        Command::Run(flags) => run::run(&settings, flags, &mut signals).await,
        Command::Seed(flags) => run::seed(&settings, flags, &mut signals).await,
        #[cfg(feature = "replay")]
        Command::State(StateCommand::Replay(flags)) => state::replay(&settings, *flags, &mut signals).await,
        other => {
            let goes_on = other.goes_on();
            tokio::select! {
                outcome = short(other, &settings) => outcome,
                ended = signals.next() => Err(match ended {
                    Failure::Interrupted if goes_on => Failure::Paused("what has come is kept".to_owned()),
                    ended => ended,
                }),
            }
        }
    }
}

async fn short(command: Command, settings: &Settings) -> Result<(), Failure> {
    match command {
        Command::Run(_) | Command::Seed(_) => Ok(()),
        #[cfg(feature = "replay")]
        Command::State(StateCommand::Replay(_)) => Ok(()),
        Command::State(StateCommand::Follow(flags)) => state::follow(settings, *flags).await,
        Command::State(StateCommand::Get(flags)) => state::get(settings, *flags).await,
        Command::Fetch(flags) => fetch::fetch(settings, flags).await,
        Command::Sync(flags) => sync::sync(settings, flags).await,
        Command::Trust(command) => trust::trust(settings, command).await,
        Command::Verify(flags) => verify::verify(settings, flags).await,
        Command::Capsule(command) => capsule::capsule(settings, command).await,
        Command::Convert(flags) => convert::convert(settings, flags).await,
        Command::Status(flags) => status::status(settings, flags).await,
        Command::Coverage(flags) => coverage::coverage(settings, flags).await,
        Command::Share(flags) => share::share(settings, flags).await,
        Command::Enr(flags) => enr::enr(settings, flags).await,
        Command::Demo(flags) => demo::demo(settings, flags).await,
    }
}

/// Runs work that blocks (disk, hashing) away from the reactor.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Failure::Internal(error.to_string())),
    }
}
