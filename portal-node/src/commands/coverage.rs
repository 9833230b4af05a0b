//! `cairn coverage`: how many peers hold each era and run, as far as a running peer can see.

use cairn_node::rpc::calls::GetCoverage;

use super::running::RunningPeer;
use crate::{cli::StatusArgs, failure::Failure, output, settings::Settings};

pub(crate) async fn coverage(settings: &Settings, args: StatusArgs) -> Result<(), Failure> {
    let peer = RunningPeer::named(settings, args.rpc).await?;
    let coverage = peer.ask(GetCoverage {}).await?;
    if settings.json {
        return output::json(&coverage);
    }
    output::line(format_args!(
        "connected over QUIC: {} peers; runs of 256 blocks, this peer's own included",
        coverage.peers
    ))?;
    output::line(format_args!("{:>6}  {:>6}  {:>9}  {:>9}  {:>9}", "era", "copies", "headers", "bodies", "receipts"))?;
    for era in &coverage.eras {
        let cells = [&era.headers, &era.bodies, &era.receipts].map(|runs| span(runs));
        let copies = era.rarest().map_or(0, |run| run.copies);
        output::line(format_args!("{:>6}  {copies:>6}  {:>9}  {:>9}  {:>9}", era.era, cells[0], cells[1], cells[2]))?;
    }
    if let Some(run) = coverage.rarest() {
        output::line(format_args!("rarest: {run}"))?;
    }
    if coverage.eras.is_empty() {
        output::remark("nobody holds a whole run of 256 blocks, this peer included; what is less is not counted");
    }
    Ok(())
}

/// The fewest and the most peers that hold a run.
fn span(runs: &[u32]) -> String {
    let (least, most) = (runs.iter().min().unwrap_or(&0), runs.iter().max().unwrap_or(&0));
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_number_or_two() {
        assert_eq!(span(&[3, 3, 3]), "3");
        assert_eq!(span(&[3, 0, 5]), "0 to 5");
        assert_eq!(span(&[]), "0");
    }
}
