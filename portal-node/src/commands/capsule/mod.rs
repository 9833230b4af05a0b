//! `cairn capsule`: accounts of one block with everything that proves them, made, checked, shown, and kept by peers.

mod checked;
mod make;
mod share;

use self::checked::{checked, export, show};
pub(super) use self::make::{client_failure, of_no_use, source_failure};
use crate::{cli::CapsuleCommand, failure::Failure, output, settings::Settings};

pub(crate) async fn capsule(settings: &Settings, command: CapsuleCommand) -> Result<(), Failure> {
    match command {
        CapsuleCommand::Make(args) => make::make(settings, *args).await,
        CapsuleCommand::Verify(args) => {
            let checked = checked(settings, args).await?;
            output::line(checked.verdict())?;
            checked.outcome()
        }
        CapsuleCommand::Show(args) => {
            let checked = checked(settings, args).await?;
            show(settings, &checked)?;
            checked.outcome()
        }
        CapsuleCommand::Export(args) => {
            let checked = checked(settings, args).await?;
            export(&checked)?;
            checked.outcome()
        }
        CapsuleCommand::Put(args) => share::put(settings, *args).await,
        CapsuleCommand::Get(args) => share::get(settings, *args).await,
    }
}
