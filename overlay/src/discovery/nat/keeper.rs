//! Which port mapping is asked of the router next, by which protocol and when, and what is told to others of it. No I/O: time
//! and answers go in by `handle_…`, what is to be done comes out of [`MappingKeeper::poll_output`].
//!
//! A round for a service asks the protocol that made its mapping first, then the others in their order, until one maps its
//! port. A protocol that nobody answers to is left alone by all services for a while: they share a gateway. Requests are made
//! one at a time.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cairn_proto::routing::AddressPolicy;

use super::mapping::{Granted, MapRequest, MappingFailure, MappingProtocol, MappingState, Removal};

/// How long a mapping is asked for: a node that dies leaves none behind for long. It is renewed when half of it is over.
pub(super) const LEASE: Duration = Duration::from_secs(3600);

/// A router that grants less would have to be asked all the time.
pub(super) const MIN_LEASE: Duration = Duration::from_secs(120);

/// Pause after the first failure: the router may be starting. It doubles with each further one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Outer ports asked for in a round: the local one or that of last time, then others.
pub(super) const PORTS_A_ROUND: u32 = 4;

/// Where other outer ports are taken from: neither those of known services nor those that systems hand out.
pub(super) const OTHER_PORTS: std::ops::Range<u16> = 10_000..30_000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Ask, and give what comes of it to [`MappingKeeper::handle_answer`].
    Map(MapRequest),
    /// Remove a mapping that is not wanted any more.
    Unmap(Removal),
    /// From now on the service is reached at this address.
    Announce(usize, SocketAddrV4),
    /// The address that was announced leads nowhere, or to somebody else.
    Withdraw(usize, SocketAddrV4),
}

/// Decides for all services of a node. They go by their place in the list that they were given in; the first is discv5.
#[derive(Debug)]
pub(super) struct MappingKeeper {
    services: Vec<Service>,
    protocols: Vec<Protocol>,
    /// The service whose request is under way, with that.
    asked: Option<(usize, MapRequest)>,
    outputs: VecDeque<Output>,
    random: u64,
    is_stopped: bool,
}

#[derive(Debug)]
struct Service {
    local: SocketAddrV4,
    held: Option<Held>,
    announced: Option<SocketAddrV4>,
    /// When the next round begins.
    due: Instant,
    /// Rounds that failed since one did not.
    failures: u32,
    why: Option<MappingFailure>,
    round: Round,
}

/// What has been asked since the round began.
#[derive(Debug, Default)]
struct Round {
    /// Protocols whose answer is here, as bits by their place.
    tried: u8,
    ports: u32,
    why: Option<MappingFailure>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    by: MappingProtocol,
    external: SocketAddrV4,
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Protocol {
    which: MappingProtocol,
    /// Times in a row that nobody answered to it.
    silent: u32,
    /// Until when it is left alone for that.
    rests_until: Option<Instant>,
}

impl MappingKeeper {
    /// Services with the addresses that they listen on, and protocols in the order in which they are tried. `random` decides
    /// which ports are asked for where the local one is taken.
    pub(super) fn new(local: Vec<SocketAddrV4>, protocols: &[MappingProtocol], random: u64, now: Instant) -> Self {
        let service = |local| Service {
            local,
            held: None,
            announced: None,
            due: now,
            failures: 0,
            why: None,
            round: Round::default(),
        };
        let protocol = |which: &MappingProtocol| Protocol { which: *which, silent: 0, rests_until: None };
        Self {
            services: local.into_iter().map(service).collect(),
            protocols: protocols.iter().map(protocol).collect(),
            asked: None,
            outputs: VecDeque::new(),
            random,
            is_stopped: false,
        }
    }

    /// What is to be done next.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; nothing while a request is under way.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.asked.is_some() || self.is_stopped {
            return None;
        }
        let lease_ends = self.services.iter().filter_map(|service| service.held.map(|held| held.until));
        self.services.iter().map(|service| service.due).chain(lease_ends).min()
    }

    /// Lets go of what ran out, and asks for what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.ask_next(now);
    }

    /// What came of the request that was made last.
    pub(super) fn handle_answer(&mut self, now: Instant, answer: Result<Granted, MappingFailure>) {
        let Some((index, request)) = self.asked.take() else { return };
        match answer.and_then(|granted| self.check(request, granted)) {
            Ok(granted) => self.mapped(now, index, request, granted),
            Err(failure) => self.failed(now, index, request, failure),
        }
        self.expire(now);
        self.ask_next(now);
    }

    /// Nothing more is asked for, and what is held is to be removed. A request under way is forgotten: what comes of it lasts no
    /// longer than its lease.
    pub(super) fn handle_stop(&mut self) {
        self.is_stopped = true;
        self.asked = None;
        self.outputs.clear();
        for service in &mut self.services {
            if let Some(Held { by, external, .. }) = service.held.take() {
                self.outputs.push_back(Output::Unmap(Removal { by, local: service.local, external }));
            }
        }
    }

    /// What has become of each service.
    pub(super) fn states(&self) -> impl Iterator<Item = MappingState> + '_ {
        self.services.iter().map(|service| match (service.held, service.announced, &service.why) {
            (Some(held), Some(external), _) => MappingState::Mapped { external, by: held.by },
            (Some(held), None, _) => MappingState::NotMapped(MappingFailure::OtherAddress(*held.external.ip())),
            (None, _, Some(why)) => MappingState::NotMapped(why.clone()),
            (None, _, None) => MappingState::Asking,
        })
    }

    /// What a router says it has done is not believed if it leads nowhere, and of no use if it does not last.
    fn check(&mut self, request: MapRequest, granted: Granted) -> Result<Granted, MappingFailure> {
        let (address, policy) = (*granted.external.ip(), AddressPolicy::Internet);
        let failure = if !policy.admits(address.into()) || !policy.believes(address.into()) {
            MappingFailure::BehindNat(address)
        } else if granted.external.port() == 0 {
            MappingFailure::refused("the router names port 0")
        } else if granted.lease < MIN_LEASE {
            MappingFailure::refused(format_args!("the router maps for {} s only", granted.lease.as_secs()))
        } else {
            return Ok(Granted { lease: granted.lease.min(LEASE), ..granted });
        };
        self.unmap(request, granted.external);
        Err(failure)
    }

    fn mapped(&mut self, now: Instant, index: usize, request: MapRequest, granted: Granted) {
        self.answered(request.by);
        let Some(service) = self.services.get_mut(index) else { return };
        let held = Held { by: request.by, external: granted.external, since: now, until: now + granted.lease };
        let before = service.held.replace(held);
        service.due = now + granted.lease / 2;
        (service.failures, service.why, service.round) = (0, None, Round::default());
        let local = service.local;
        // One protocol knows nothing of what was mapped by another, and does not replace it.
        if let Some(before) = before.filter(|before| before.by != held.by) {
            self.outputs.push_back(Output::Unmap(Removal { by: before.by, local, external: before.external }));
        }
        // The router has another address: the other mappings have it as well, or are gone.
        for other in &mut self.services {
            let is_elsewhere = |of: &Held| of.external.ip() != held.external.ip() && of.since + FIRST_PAUSE <= now;
            if other.held.as_ref().is_some_and(is_elsewhere) {
                other.due = now;
            }
        }
        self.tell();
    }

    fn failed(&mut self, now: Instant, index: usize, request: MapRequest, failure: MappingFailure) {
        let is_silent = failure == MappingFailure::NoGateway;
        if is_silent {
            if let Some(protocol) = self.protocols.iter_mut().find(|protocol| protocol.which == request.by) {
                protocol.silent = protocol.silent.saturating_add(1);
                protocol.rests_until = Some(now + pause(protocol.silent));
            }
        } else {
            self.answered(request.by);
        }
        let place = self.protocols.iter().position(|protocol| protocol.which == request.by);
        let Some(service) = self.services.get_mut(index) else { return };
        let round = &mut service.round;
        let asks_other_port = failure == MappingFailure::Taken && round.ports < PORTS_A_ROUND;
        if !asks_other_port {
            round.tried |= place.map_or(0, bit);
            round.ports = 0;
        }
        if round.why.as_ref().is_none_or(|why| why.weight() < failure.weight()) {
            round.why = Some(failure);
        }
        self.go_on(now, index, asks_other_port.then_some(request.by));
    }

    fn answered(&mut self, by: MappingProtocol) {
        if let Some(protocol) = self.protocols.iter_mut().find(|protocol| protocol.which == by) {
            (protocol.silent, protocol.rests_until) = (0, None);
        }
    }

    /// Begins the round that is due first.
    fn ask_next(&mut self, now: Instant) {
        while self.asked.is_none() && !self.is_stopped {
            let due = self.services.iter().enumerate().filter(|(_, service)| service.due <= now);
            let Some((index, _)) = due.min_by_key(|(_, service)| service.due) else { return };
            self.go_on(now, index, None);
        }
    }

    /// Asks what comes next in a service's round, or ends it. `again` is asked for another port.
    fn go_on(&mut self, now: Instant, index: usize, again: Option<MappingProtocol>) {
        let by = again.or_else(|| self.next_protocol(now, index));
        let other_port = self.other_port();
        let outer_address = self.discv5_address();
        let Some(service) = self.services.get_mut(index) else { return };
        let Some(by) = by else {
            service.failures = service.failures.saturating_add(1);
            let Round { why, .. } = std::mem::take(&mut service.round);
            // A router that said no has its pause; otherwise it depends on when one is looked for again.
            service.due = now + pause(service.failures);
            if why.as_ref().is_none_or(|why| *why == MappingFailure::NoGateway) {
                let looks_again = self.protocols.iter().filter_map(|protocol| protocol.rests_until).min();
                service.due = looks_again.filter(|time| *time > now).unwrap_or(service.due);
            }
            service.why = Some(why.unwrap_or(MappingFailure::NoGateway));
            return;
        };
        let wanted = service.held.map_or(service.local, |held| held.external).port();
        let outer_port = if service.round.ports == 0 { wanted } else { other_port };
        service.round.ports += 1;
        let request = MapRequest { by, local: service.local, outer_address, outer_port, lease: LEASE };
        self.asked = Some((index, request));
        self.outputs.push_back(Output::Map(request));
    }

    /// The protocol of the mapping that is held, then the others in their order; none that was tried or rests.
    fn next_protocol(&self, now: Instant, index: usize) -> Option<MappingProtocol> {
        let service = self.services.get(index)?;
        let held = service.held.map(|held| held.by);
        let open = self.protocols.iter().enumerate().filter(|(place, protocol)| {
            service.round.tried & bit(*place) == 0 && protocol.rests_until.is_none_or(|until| until <= now)
        });
        open.map(|(_, protocol)| protocol.which).min_by_key(|which| Some(*which) != held)
    }

    fn discv5_address(&self) -> Option<Ipv4Addr> {
        self.services.first().and_then(|discv5| discv5.held).map(|held| *held.external.ip())
    }

    fn other_port(&mut self) -> u16 {
        // SplitMix64: the numbers need to differ, not to be unpredictable.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let ports = u64::from(OTHER_PORTS.end - OTHER_PORTS.start);
        OTHER_PORTS.start + u16::try_from((mixed ^ (mixed >> 31)) % ports).unwrap_or(0)
    }

    fn expire(&mut self, now: Instant) {
        for service in &mut self.services {
            service.held = service.held.filter(|held| held.until > now);
        }
        self.tell();
    }

    /// Announces and withdraws what is told otherwise than it is. The record has one address, which is that of discv5.
    fn tell(&mut self) {
        let first = self.discv5_address();
        for (index, service) in self.services.iter_mut().enumerate() {
            let held = service.held.map(|held| held.external);
            let told = held.filter(|held| first.is_none_or(|first| first == *held.ip()));
            if told == service.announced {
                continue;
            }
            let before = std::mem::replace(&mut service.announced, told);
            let output = match (told, before) {
                (Some(external), _) => Output::Announce(index, external),
                (None, Some(external)) => Output::Withdraw(index, external),
                (None, None) => continue,
            };
            self.outputs.push_back(output);
        }
    }

    fn unmap(&mut self, MapRequest { by, local, .. }: MapRequest, external: SocketAddrV4) {
        self.outputs.push_back(Output::Unmap(Removal { by, local, external }));
    }
}

fn bit(place: usize) -> u8 {
    1_u8.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0)
}

fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE)
}
