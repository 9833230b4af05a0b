//! The decisions about port mappings, against routers of all kinds.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::keeper::{FIRST_PAUSE, LEASE, MAX_PAUSE, MIN_LEASE, MappingKeeper, OTHER_PORTS, Output, PORTS_A_ROUND};
use super::mapping::MappingProtocol::{NatPmp, Pcp, Upnp};
use super::mapping::{Granted, MapRequest, MappingFailure, MappingProtocol, MappingState, Removal};

const ALL: [MappingProtocol; 3] = [Pcp, NatPmp, Upnp];

fn local(index: u16) -> SocketAddrV4 {
    SocketAddrV4::new([192, 168, 1, 2].into(), 9009 + 1000 * index)
}

fn outer(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([8, 8, 8, last].into(), port)
}

/// A keeper with its clock. What it wants done beside asking is collected.
struct Bench {
    keeper: MappingKeeper,
    now: Instant,
    done: Vec<Output>,
}

type Answer = Result<Granted, MappingFailure>;

impl Bench {
    fn new(services: u16, protocols: &[MappingProtocol]) -> Self {
        let now = Instant::now();
        let keeper = MappingKeeper::new((0..services).map(local).collect(), protocols, 7, now);
        Self { keeper, now, done: Vec::new() }
    }

    /// Answers all that is asked now, and returns what was.
    fn round(&mut self, router: &mut dyn FnMut(MapRequest) -> Answer) -> Vec<MapRequest> {
        let mut asked = Vec::new();
        self.keeper.handle_timeout(self.now);
        while let Some(output) = self.keeper.poll_output() {
            match output {
                Output::Map(request) => {
                    assert_eq!(self.keeper.next_timeout(), None, "one at a time");
                    asked.push(request);
                    assert!(asked.len() < 100, "asked without end");
                    self.keeper.handle_answer(self.now, router(request));
                }
                other => self.done.push(other),
            }
        }
        asked
    }

    /// The same as soon as it has something to do again, with how long that takes.
    fn next_round(&mut self, router: &mut dyn FnMut(MapRequest) -> Answer) -> (Duration, Vec<MapRequest>) {
        let due = self.keeper.next_timeout().unwrap();
        let pause = due - self.now;
        assert!(pause > Duration::ZERO);
        self.now = due;
        (pause, self.round(router))
    }

    /// The same, or the first one.
    fn next_or_first(&mut self, router: &mut dyn FnMut(MapRequest) -> Answer) -> Vec<MapRequest> {
        let due = self.keeper.next_timeout().unwrap();
        let had_something = due > self.now;
        self.now = self.now.max(due);
        let asked = self.round(router);
        assert!(had_something || !asked.is_empty(), "woken for nothing");
        asked
    }

    fn done(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.done)
    }

    fn states(&self) -> Vec<MappingState> {
        self.keeper.states().collect()
    }
}

fn grant(request: MapRequest) -> Answer {
    Ok(Granted { external: outer(1, request.outer_port), lease: request.lease })
}

fn silent(_: MapRequest) -> Answer {
    Err(MappingFailure::NoGateway)
}

fn by_upnp(request: MapRequest) -> Answer {
    if request.by == Upnp { grant(request) } else { silent(request) }
}

#[test]
fn every_service_is_mapped_announced_renewed_and_in_the_end_removed() {
    let mut bench = Bench::new(3, &ALL);
    assert_eq!(bench.states(), [MappingState::Asking, MappingState::Asking, MappingState::Asking]);
    let asked = bench.round(&mut grant);
    assert_eq!(asked.iter().map(|request| request.local).collect::<Vec<_>>(), [local(0), local(1), local(2)]);
    assert!(asked.iter().all(|request| request.by == Pcp && request.outer_port == request.local.port()));
    let places = [(0, outer(1, 9009)), (1, outer(1, 10_009)), (2, outer(1, 11_009))];
    assert_eq!(bench.done(), places.map(|(index, external)| Output::Announce(index, external)));
    let mapped = |external| MappingState::Mapped { external, by: Pcp };
    assert_eq!(bench.states(), places.map(|(_, external)| mapped(external)));

    let (pause, renewed) = bench.next_round(&mut grant);
    assert_eq!((pause, renewed.len()), (LEASE / 2, 3));
    assert_eq!(bench.done(), [], "what stays is not told again");

    bench.keeper.handle_stop();
    let removed: Vec<_> = std::iter::from_fn(|| bench.keeper.poll_output()).collect();
    let removal = |(index, external)| Output::Unmap(Removal { by: Pcp, local: local(index), external });
    assert_eq!(removed, [(0, places[0].1), (1, places[1].1), (2, places[2].1)].map(removal));
    assert_eq!(bench.keeper.next_timeout(), None);
}

#[test]
fn who_is_silent_is_asked_once_for_all_services_and_again_after_growing_pauses() {
    let mut bench = Bench::new(3, &ALL);
    let asked = bench.round(&mut silent);
    assert_eq!(
        asked.iter().map(|request| (request.local, request.by)).collect::<Vec<_>>(),
        ALL.map(|by| (local(0), by))
    );
    let no_gateway = MappingState::NotMapped(MappingFailure::NoGateway);
    assert_eq!(bench.states(), [no_gateway.clone(), no_gateway.clone(), no_gateway]);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let (pause, asked) = bench.next_round(&mut silent);
        assert_eq!(asked.len(), 3);
        pauses.push(pause);
    }
    assert_eq!(pauses[..4], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8]);
    assert_eq!(pauses[7], MAX_PAUSE);
    // Once it answers, the pauses begin anew.
    bench.next_round(&mut grant);
    bench.next_round(&mut silent);
    assert_eq!(bench.next_round(&mut silent).0, FIRST_PAUSE);
    assert!(bench.done().iter().all(|output| matches!(output, Output::Announce(..))));
}

#[test]
fn the_first_protocol_that_works_is_used_and_asked_first_from_then_on() {
    let mut bench = Bench::new(2, &ALL);
    let asked: Vec<_> = bench.round(&mut by_upnp).iter().map(|request| request.by).collect();
    assert_eq!(asked, [Pcp, NatPmp, Upnp, Upnp]);
    let (_, renewed) = bench.next_round(&mut grant);
    assert_eq!(renewed.iter().map(|request| request.by).collect::<Vec<_>>(), [Upnp, Upnp]);
    bench.done();
    // The other way round it takes over, and what the first one made is removed.
    let (_, asked) = bench.next_round(&mut |request| if request.by == Pcp { grant(request) } else { silent(request) });
    assert_eq!(asked.iter().map(|request| request.by).collect::<Vec<_>>(), [Upnp, Pcp, Pcp]);
    let removal =
        |index| Output::Unmap(Removal { by: Upnp, local: local(index), external: outer(1, local(index).port()) });
    assert_eq!(bench.done(), [removal(0), removal(1)]);
}

#[test]
fn a_taken_port_is_passed_by_and_the_other_one_kept() {
    let mut bench = Bench::new(1, &[Upnp]);
    let mut taken = |request: MapRequest| {
        if request.outer_port == 9009 { Err(MappingFailure::Taken) } else { grant(request) }
    };
    let asked = bench.round(&mut taken);
    let [first, second] = asked[..] else { panic!("{asked:?}") };
    assert_eq!(first.outer_port, 9009);
    assert!(OTHER_PORTS.contains(&second.outer_port));
    assert_eq!(bench.done(), [Output::Announce(0, outer(1, second.outer_port))]);
    let (_, renewed) = bench.next_round(&mut taken);
    assert_eq!(renewed.iter().map(|request| request.outer_port).collect::<Vec<_>>(), [second.outer_port]);
    // Somebody else has it when the router has been reset.
    let lost = second.outer_port;
    let (_, asked) = bench.next_round(&mut |request| {
        if request.outer_port == lost { Err(MappingFailure::Taken) } else { grant(request) }
    });
    assert_eq!(asked.len(), 2);
    assert_eq!(bench.done(), [Output::Announce(0, outer(1, asked[1].outer_port))]);
}

#[test]
fn a_router_on_which_everything_is_taken_is_asked_for_few_ports() {
    let mut bench = Bench::new(1, &[Upnp, Pcp]);
    let asked = bench
        .round(&mut |request| Err(if request.by == Upnp { MappingFailure::Taken } else { MappingFailure::NoGateway }));
    assert_eq!(asked.iter().filter(|request| request.by == Upnp).count(), PORTS_A_ROUND as usize);
    assert_eq!(asked.len(), PORTS_A_ROUND as usize + 1);
    assert_eq!(bench.states(), [MappingState::NotMapped(MappingFailure::Taken)]);
    assert_eq!(bench.next_round(&mut silent).0, FIRST_PAUSE);
}

#[test]
fn a_refusal_is_said_and_asked_again_after_growing_pauses() {
    let mut bench = Bench::new(1, &ALL);
    let mut refuse = |request: MapRequest| {
        if request.by == Upnp { Err(MappingFailure::refused("not authorized")) } else { silent(request) }
    };
    bench.round(&mut refuse);
    assert_eq!(bench.states(), [MappingState::NotMapped(MappingFailure::refused("not authorized"))]);
    let pauses: Vec<_> = (0..3).map(|_| bench.next_round(&mut refuse).0).collect();
    assert_eq!(pauses, [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
}

#[test]
fn what_is_not_renewed_is_tried_again_and_withdrawn_when_its_lease_is_over() {
    let mut bench = Bench::new(2, &[Upnp]);
    let mapped_at = bench.now;
    bench.round(&mut grant);
    bench.done();
    let mut tries = 0;
    while bench.done.is_empty() {
        let mapped = matches!(bench.states()[..], [MappingState::Mapped { .. }, MappingState::Mapped { .. }]);
        assert!(mapped, "{:?}", bench.states());
        bench.next_round(&mut silent);
        tries += 1;
    }
    assert!(tries > 3);
    assert_eq!(bench.now, mapped_at + LEASE);
    let lost = [Output::Withdraw(0, outer(1, 9009)), Output::Withdraw(1, outer(1, 10_009))];
    assert_eq!(bench.done(), lost);
    let no_gateway = MappingState::NotMapped(MappingFailure::NoGateway);
    assert_eq!(bench.states(), [no_gateway.clone(), no_gateway]);
    while bench.done.is_empty() {
        bench.next_round(&mut grant);
    }
    assert_eq!(bench.done(), [Output::Announce(0, outer(1, 9009)), Output::Announce(1, outer(1, 10_009))]);
}

#[test]
fn a_shorter_lease_is_renewed_sooner_and_one_that_is_too_short_not_taken() {
    let mut bench = Bench::new(1, &[Pcp]);
    let lasting = |lease| move |request: MapRequest| Ok(Granted { external: outer(1, request.outer_port), lease });
    bench.round(&mut lasting(MIN_LEASE));
    assert_eq!(bench.next_round(&mut lasting(Duration::from_secs(u64::MAX))).0, MIN_LEASE / 2);
    assert_eq!(bench.next_round(&mut lasting(MIN_LEASE / 2)).0, LEASE / 2);
    assert_eq!(
        bench.done().last(),
        Some(&Output::Unmap(Removal { by: Pcp, local: local(0), external: outer(1, 9009) }))
    );
}

#[test]
fn an_address_of_nonsense_is_never_announced() {
    let nonsense = [
        [10, 0, 0, 1],
        [192, 168, 0, 1],
        [100, 64, 0, 1],
        [169, 254, 0, 1],
        [127, 0, 0, 1],
        [0, 0, 0, 0],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
    ];
    for address in nonsense.map(Ipv4Addr::from) {
        let mut bench = Bench::new(1, &[Upnp]);
        let external = SocketAddrV4::new(address, 9009);
        bench.round(&mut |request| Ok(Granted { external, lease: request.lease }));
        assert_eq!(bench.done(), [Output::Unmap(Removal { by: Upnp, local: local(0), external })]);
        assert_eq!(bench.states(), [MappingState::NotMapped(MappingFailure::BehindNat(address))]);
    }
    let mut bench = Bench::new(1, &[Upnp]);
    bench.round(&mut |request| Ok(Granted { external: outer(1, 0), lease: request.lease }));
    assert!(!bench.done().iter().any(|output| matches!(output, Output::Announce(..))));
}

#[test]
fn when_the_router_has_another_address_all_are_renewed_at_once() {
    let mut bench = Bench::new(3, &[Upnp]);
    // One has a shorter lease, so it is renewed first.
    let short = LEASE / 6;
    bench.round(&mut |request| {
        let lease = if request.local == local(1) { short } else { request.lease };
        Ok(Granted { external: outer(1, request.outer_port), lease })
    });
    bench.done();
    let mut moved = |request: MapRequest| Ok(Granted { external: outer(2, request.outer_port), lease: request.lease });
    let (pause, asked) = bench.next_round(&mut moved);
    assert_eq!(pause, short / 2);
    assert_eq!(asked.iter().map(|request| request.local).collect::<Vec<_>>(), [local(1), local(0), local(2)]);
    // Until discv5 has the new address too, the others are not told at it.
    let told = [
        Output::Withdraw(1, outer(1, 10_009)),
        Output::Announce(0, outer(2, 9009)),
        Output::Announce(1, outer(2, 10_009)),
        Output::Withdraw(2, outer(1, 11_009)),
        Output::Announce(2, outer(2, 11_009)),
    ];
    assert_eq!(bench.done(), told);
}

#[test]
fn a_service_at_another_address_than_discv5_is_not_announced() {
    let mut bench = Bench::new(2, &[Pcp]);
    let mut apart = |request: MapRequest| {
        let last = if request.local == local(0) { 1 } else { 2 };
        Ok(Granted { external: outer(last, request.outer_port), lease: request.lease })
    };
    bench.round(&mut apart);
    assert_eq!(bench.done(), [Output::Announce(0, outer(1, 9009))]);
    assert_eq!(bench.states()[1], MappingState::NotMapped(MappingFailure::OtherAddress([8, 8, 8, 2].into())));
    // It says which address it wants, and they do not chase each other.
    let (pause, asked) = bench.next_round(&mut apart);
    assert!(pause >= FIRST_PAUSE && asked.len() <= 2 * 2, "{pause:?} {asked:?}");
    assert!(asked.iter().all(|request| request.outer_address == Some([8, 8, 8, 1].into())));
}

fn answers() -> impl Strategy<Value = Answer> {
    let granted = (any::<[u8; 4]>(), any::<u16>(), 0..10_000_u64).prop_map(|(address, port, seconds)| {
        Ok(Granted { external: SocketAddrV4::new(address.into(), port), lease: Duration::from_secs(seconds) })
    });
    let usual =
        (1..3_u8, 1..60_000_u16).prop_map(|(last, port)| Ok(Granted { external: outer(last, port), lease: LEASE }));
    prop_oneof![
        granted,
        usual,
        Just(Err(MappingFailure::NoGateway)),
        Just(Err(MappingFailure::Taken)),
        Just(Err(MappingFailure::refused("no"))),
    ]
}

proptest! {
    /// Whatever a router answers: it is asked seldom, what is announced is what was granted, all at one address, and what is
    /// withdrawn had been announced.
    #[test]
    fn whatever_a_router_answers(answers in proptest::collection::vec(answers(), 1..200)) {
        let mut bench = Bench::new(3, &ALL);
        let mut answers = answers.into_iter();
        let mut last = Vec::new();
        let mut announced = [None; 3];
        let begun = bench.now;
        let mut asked = 0_u32;
        while answers.len() > 0 {
            let mut granted = Vec::new();
            asked += u32::try_from(bench.next_or_first(&mut |_| {
                let answer = answers.next().unwrap_or(Err(MappingFailure::NoGateway));
                granted.extend(answer.as_ref().ok().map(|granted| granted.external));
                answer
            }).len()).unwrap();
            for output in bench.done() {
                match output {
                    Output::Announce(index, external) => {
                        prop_assert!(granted.contains(&external) || last.contains(&external));
                        prop_assert!(external.port() > 0 && !external.ip().is_loopback() && !external.ip().is_multicast());
                        announced[index] = Some(external);
                    }
                    Output::Withdraw(index, external) => prop_assert_eq!(announced[index].take(), Some(external)),
                    Output::Map(_) | Output::Unmap(_) => {}
                }
            }
            last.extend(granted);
            if let Some(discv5) = announced[0] {
                prop_assert!(announced.iter().flatten().all(|external: &SocketAddrV4| external.ip() == discv5.ip()));
            }
        }
        let rounds = 1 + (bench.now - begun).as_secs() / MIN_LEASE.as_secs().min(FIRST_PAUSE.as_secs());
        let a_round = 3 * 3 * u64::from(PORTS_A_ROUND) * 2;
        prop_assert!(u64::from(asked) <= rounds * a_round);
    }
}
