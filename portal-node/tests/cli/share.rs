//! Tickets: eras that one person shares and another one fetches, by `cairn` processes.

use std::fs;

use cairn_synthetic::SyntheticConfig;

use crate::support::{Call, World};

#[test]
fn who_gets_a_ticket_fetches_what_it_is_for() {
    let world = World::of(SyntheticConfig::of_every_fork(1, 8192, 300));
    let mut seeder = world.seed("seeder", "none");
    seeder.wait_for_log("archive served in place");
    let share = |eras: &str| world.trusting("seeder").args(["share", eras]).end();
    let ticket = String::from_utf8(share("0").exits(0).out()).unwrap().trim().to_owned();
    assert!(ticket.starts_with("cairn1"), "{ticket}");
    let fetch = |ticket: &str| world.trusting("fetcher").arg("fetch").alone().arg(ticket);
    let folder = world.path("fetched");
    fetch(&ticket).arg("--out").arg(&folder).end().exits(0);
    let fetched = folder.join(world.archives[0].file_name().unwrap());
    assert!(fs::read(fetched).unwrap() == fs::read(&world.archives[0]).unwrap(), "not the file that was shared");

    // What nobody holds is shared with a remark; what is no ticket, or for something else, is told.
    share("0..3").exits(0).says("holds all of era 1");
    fetch(&ticket).end().exits(3).says("name the folder for them with --out");
    fetch(&ticket[..ticket.len() - 1]).arg("--out").arg(&folder).end().exits(3).says("was not copied whole");
    let on_mainnet = Call::new(world.path("home")).arg("fetch").alone().arg(&ticket).arg("--out").arg(&folder);
    on_mainnet.end().exits(3).says("name its chain with --chain");
}
