//! A ticket as what is fetched: the eras that it is for, from the peers that it names first.

use std::net::IpAddr;

use cairn_node::Ticket;
use cairn_proto::routing::AddressPolicy;
use overlay::Enr;

use crate::{
    bootnodes,
    cli::{BlockRange, FetchArgs},
    failure::Failure,
    settings::Settings,
    values::{Bootnode, Setting},
};

/// Makes the arguments what they would be without the ticket.
pub(super) fn ask_for(settings: &Settings, args: &mut FetchArgs, ticket: &Ticket) -> Result<(), Failure> {
    let chain = settings.chain()?;
    if !ticket.is_for(&chain) {
        return Err(Failure::Configuration(format!(
            "the ticket is for {}, and this is {}: name its chain with --chain",
            ticket.network(),
            chain.name()
        )));
    }
    if args.into_store || args.out.is_none() {
        return Err(Failure::Configuration(
            "a ticket is for eras as archives: name the folder for them with --out".into(),
        ));
    }
    let (first, last) = ticket.eras();
    args.era = Some(BlockRange { first, last });
    let named = ticket.records().iter().map(|enr| Bootnode::At(Box::new(enr.clone())));
    let given = args.from_peers.network.bootnodes.take();
    let others = given.unwrap_or_else(|| usual(chain.chain_id(), ticket.records()));
    // Who says that there is nobody else to begin with has no ticket in mind.
    let others = others.into_iter().filter(|other| *other != Bootnode::Nobody);
    args.from_peers.network.bootnodes = Some(named.chain(others).collect());
    Ok(())
}

/// Others to begin with: those of the chain, unless what the ticket names lies in the local network, where nobody of the Internet is
/// to be asked.
fn usual(chain_id: u64, named: &[Enr]) -> Vec<Bootnode> {
    let addresses = |enr: &Enr| enr.ip4().map(IpAddr::V4).into_iter().chain(enr.ip6().map(IpAddr::V6));
    let mut addresses = named.iter().flat_map(addresses).peekable();
    if addresses.peek().is_some() && addresses.all(|ip| !AddressPolicy::Internet.believes(ip)) {
        return Vec::new();
    }
    bootnodes::of(chain_id)
        .iter()
        .filter_map(|text| Enr::read(text).ok())
        .map(|enr| Bootnode::At(Box::new(enr)))
        .collect()
}
