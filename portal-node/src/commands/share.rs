//! `cairn share`: a ticket for eras, with the records of the running peer and of others that it knows to be there.

use cairn_node::{
    Ticket,
    rpc::calls::{GetCoverage, GetPeers},
    swarm::Coverage,
    ticket::MAX_RECORDS,
};
use overlay::Enr;
use serde_json::json;

use super::running::RunningPeer;
use crate::{
    cli::{BlockRange, ShareArgs},
    failure::Failure,
    output,
    settings::Settings,
    values::Setting,
};

pub(crate) async fn share(settings: &Settings, args: ShareArgs) -> Result<(), Failure> {
    let chain = settings.chain()?;
    let peer = RunningPeer::named(settings, args.rpc).await?;
    let records: Vec<Enr> = peer.ask(GetPeers {}).await?.iter().filter_map(|text| Enr::read(text).ok()).collect();
    let coverage = peer.ask(GetCoverage {}).await?;
    // Its own comes first.
    let has_address = records.first().is_some_and(|own| own.ip4().is_some() || own.ip6().is_some());
    let eras = (args.eras.first, args.eras.last);
    let ticket = Ticket::new(&chain, eras, records.into_iter().take(MAX_RECORDS))
        .map_err(|error| Failure::Configuration(format!("{}..={}: {error}", eras.0, eras.1)))?;
    if settings.json {
        output::json(
            &json!({ "ticket": ticket.to_string(), "eras": [eras.0, eras.1], "peers": ticket.records().len() }),
        )?;
    } else {
        output::line(&ticket)?;
    }
    if let Some(era) = missing(&coverage, args.eras) {
        output::remark(format_args!(
            "neither this peer nor any that it is connected with holds all of era {era}: who takes the ticket waits for it"
        ));
    }
    if !has_address {
        output::remark(
            "this peer knows no address of its own yet at which others would reach it: `cairn status` shows it",
        );
    }
    Ok(())
}

/// The first of some eras of which nobody holds all.
fn missing(coverage: &Coverage, eras: BlockRange) -> Option<u64> {
    let whole =
        coverage.eras.iter().filter(|era| era.rarest().is_some_and(|rarest| rarest.copies > 0)).map(|era| era.era);
    // Ascending, so that the first gap shows without a look at each era of a range that may be endless.
    let mut next = eras.first;
    for era in whole.filter(|era| eras.numbers().contains(era)) {
        if era != next {
            break;
        }
        next = next.saturating_add(1);
    }
    (next <= eras.last).then_some(next)
}

#[cfg(test)]
mod tests {
    use cairn_node::swarm::EraCoverage;

    use super::*;

    #[test]
    fn the_first_era_that_is_not_whole_is_told() {
        let era = |era, copies| EraCoverage { era, headers: vec![9], bodies: vec![copies, 2], receipts: vec![3] };
        let coverage = Coverage { peers: 1, eras: vec![era(2, 1), era(3, 1), era(4, 0), era(6, 1)] };
        let missing = |first, last| missing(&coverage, BlockRange { first, last });
        assert_eq!([missing(2, 3), missing(3, 3), missing(6, 6)], [None; 3]);
        assert_eq!([missing(2, 9), missing(1, 3), missing(5, 6), missing(7, u64::MAX)], [4, 1, 5, 7].map(Some));
    }
}
