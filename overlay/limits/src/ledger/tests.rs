use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const IDLE: Duration = Duration::from_secs(1);

fn peer(id: u8, ip: [u8; 4]) -> Holder {
    Holder::peer([id; 32], IpAddr::from(ip))
}

fn local(id: u8) -> Holder {
    peer(id, [127, 0, 0, 1])
}

fn fill(ledger: &mut Ledger, now: Instant, holder: Holder) -> Vec<HoldId> {
    std::iter::from_fn(|| ledger.take(now, holder, 1).ok()).collect()
}

#[test]
fn neither_a_peer_nor_a_subnet_ever_has_it_all() {
    let now = Instant::now();
    let mut ledger = Ledger::new(Quota::new(64).of_peer(5));
    assert_eq!(fill(&mut ledger, now, peer(0, [8, 8, 8, 1])).len(), 5);
    assert_eq!(ledger.take(now, peer(0, [8, 8, 8, 1]), 1), Err(Full::Peer(5)));
    for id in 1..9 {
        fill(&mut ledger, now, peer(id, [8, 8, 8, id]));
    }
    assert_eq!(ledger.total(), 16, "a quarter for the subnet");
    assert_eq!(ledger.take(now, peer(9, [8, 8, 8, 9]), 1), Err(Full::Subnet(16)));
    for id in 10..30 {
        fill(&mut ledger, now, peer(id, [8, 8, id, 1]));
    }
    assert_eq!(ledger.total(), 64);
    assert_eq!(ledger.take(now, local(40), 1), Err(Full::Total(64)));
}

#[test]
fn a_newcomer_has_less_until_it_has_finished_something() {
    let now = Instant::now();
    let mut ledger = Ledger::new(Quota::new(64).of_peer(8).of_newcomer(2));
    let held = fill(&mut ledger, now, local(1));
    assert_eq!(held.len(), 2);
    assert_eq!(ledger.take(now, local(1), 1), Err(Full::Newcomer(2)));
    ledger.prove(now, held[0]);
    assert_eq!(fill(&mut ledger, now, local(1)).len(), 6);
    assert_eq!(fill(&mut ledger, now, local(2)).len(), 2);
}

#[test]
fn who_takes_nothing_loses_its_place_to_whoever_waits() {
    let begun = Instant::now();
    let mut ledger = Ledger::new(Quota::new(4).yields_after(IDLE));
    let idle: Vec<_> = fill(&mut ledger, begun, local(1));
    assert_eq!(idle.len(), 4);
    let busy = idle[0];
    let waiter = ledger.wait(begun, local(2), 1).unwrap();
    assert_eq!(ledger.poll_output(), None);
    assert_eq!(ledger.poll_timeout(begun), Some(begun + IDLE));
    ledger.progress(begun + IDLE / 2, busy, MIN_PROGRESS);
    ledger.progress(begun + IDLE / 2, idle[1], MIN_PROGRESS - 1);
    ledger.handle_timeout(begun + IDLE);
    assert_eq!(ledger.poll_output(), Some(Decision::Revoked(idle[1])), "a trickle is no progress");
    assert!(matches!(ledger.poll_output(), Some(Decision::Granted(of, _)) if of == waiter));
    // Those who hold less than the one who asks lose nothing to it, and those who move never do.
    let now = begun + IDLE * 5 / 4;
    for id in 3..5 {
        assert!(ledger.take(now, local(id), 1).is_ok());
    }
    assert_eq!(ledger.take(now, local(6), 1), Err(Full::Total(4)), "the only one left makes progress");
    let later = now + IDLE * 9;
    let own = ledger.take(later, local(2), 1).unwrap();
    assert!(matches!(ledger.poll_output(), Some(Decision::Revoked(_))), "its own idle one made room, not the others'");
    assert_eq!(ledger.of_peer(&local(2)), 1);
    assert_eq!(ledger.take(later, local(2), 1), Err(Full::Total(4)), "it would have two, the others one");
    ledger.release(later, own);
    assert!(ledger.take(later, local(2), 1).is_ok());
    // What was revoked is gone: giving it back changes nothing.
    ledger.release(now, idle[1]);
    assert_eq!(ledger.total(), 4);
}

#[test]
fn what_waits_for_this_node_itself_is_not_idle() {
    let begun = Instant::now();
    let mut ledger = Ledger::new(Quota::new(2).yields_after(IDLE));
    let held = fill(&mut ledger, begun, local(1));
    held.iter().for_each(|hold| ledger.set_yielding(begun, *hold, false));
    let now = begun + 9 * IDLE;
    assert_eq!(ledger.next_idle(begun), None);
    assert_eq!(ledger.could_take(now, &local(2), 1), Err(Full::Total(2)));
    ledger.set_yielding(now, held[1], true);
    assert_eq!(ledger.next_idle(now), Some(now + IDLE), "its time stood still");
    assert_eq!(ledger.take(now, local(2), 1), Err(Full::Total(2)));
    assert_eq!(ledger.could_take(now + IDLE, &local(2), 1), Ok(()));
    assert_eq!((ledger.total(), ledger.poll_output()), (2, None), "asking takes nothing");
    assert!(ledger.take(now + IDLE, local(2), 1).is_ok());
    assert_eq!(ledger.poll_output(), Some(Decision::Revoked(held[1])));
}

/// A byte now and then is looked at for a moment each time.
#[test]
fn a_trickle_that_this_node_looks_at_is_no_progress_either() {
    let begun = Instant::now();
    let mut ledger = Ledger::new(Quota::new(1).yields_after(IDLE));
    let held = fill(&mut ledger, begun, local(1))[0];
    for quarter in 1..4 {
        let now = begun + IDLE * quarter / 4;
        ledger.set_yielding(now, held, false);
        ledger.progress(now, held, 1);
        ledger.set_yielding(now, held, true);
        assert_eq!(ledger.could_take(now, &local(2), 1), Err(Full::Total(1)));
    }
    assert_eq!(ledger.next_idle(begun), Some(begun + IDLE));
    assert!(ledger.take(begun + IDLE, local(2), 1).is_ok());
}

#[test]
fn who_has_least_is_served_first() {
    let now = Instant::now();
    let mut ledger = Ledger::new(Quota::new(3));
    let held = fill(&mut ledger, now, local(1));
    let [second, other, third] = [1, 2, 1].map(|id| ledger.wait(now, local(id), 1).unwrap());
    let mut granted = Vec::new();
    for hold in held {
        ledger.release(now, hold);
        while let Some(Decision::Granted(waiter, _)) = ledger.poll_output() {
            granted.push(waiter);
        }
    }
    assert_eq!(granted, [other, second, third]);
}

#[test]
fn who_has_finished_something_comes_before_newcomers() {
    let begun = Instant::now();
    let mut ledger = Ledger::new(Quota::new(3).yields_after(IDLE));
    ledger.prove_holder(begun, local(1));
    let first = ledger.take(begun, local(1), 2).unwrap();
    let last = ledger.take(begun, local(2), 1).unwrap();
    let newcomer = ledger.wait(begun, local(3), 1).unwrap();
    let known = ledger.wait(begun, local(1), 1).unwrap();
    ledger.release(begun, last);
    assert!(matches!(ledger.poll_output(), Some(Decision::Granted(of, _)) if of == known));
    ledger.handle_timeout(begun + IDLE);
    assert_eq!(ledger.poll_output(), None, "a newcomer takes nothing from it");
    ledger.release(begun + IDLE, first);
    assert!(matches!(ledger.poll_output(), Some(Decision::Granted(of, _)) if of == newcomer));
    let now = begun + 3 * IDLE;
    assert!(ledger.take(now, local(4), 1).is_ok());
    assert!(ledger.take(now, local(1), 1).is_ok(), "it takes from newcomers that have less");
}

#[test]
fn who_waits_for_its_own_share_keeps_nobody_and_nobody_passes_who_waits_for_all() {
    let now = Instant::now();
    let mut ledger = Ledger::new(Quota::new(10).of_peer(6));
    let first = ledger.take(now, local(1), 6).unwrap();
    ledger.wait(now, local(1), 1).unwrap();
    let second = ledger.take(now, local(2), 2).unwrap();
    let large = ledger.wait(now, local(3), 5).unwrap();
    assert_eq!(ledger.take(now, local(4), 1), Err(Full::Total(10)), "there is room, but somebody waits for more");
    assert_eq!(ledger.take(now, local(2), 3), Err(Full::Total(10)), "nor does who has more pass");
    ledger.release(now, second);
    ledger.shrink(now, first, 5);
    assert!(matches!(ledger.poll_output(), Some(Decision::Granted(of, _)) if of == large));
    assert_eq!(ledger.poll_output(), None);
    ledger.shrink(now, first, 4);
    assert!(matches!(ledger.poll_output(), Some(Decision::Granted(..))), "the first one's second");
}

/// What each waits for itself, in whichever order, and what it holds idle itself.
#[test]
fn who_has_used_up_its_share_gets_back_what_it_holds_idle() {
    let begun = Instant::now();
    let mut ledger = Ledger::new(Quota::new(100).of_peer(4).yields_after(IDLE));
    let peers = [1, 2, 3].map(local);
    for peer in peers {
        fill(&mut ledger, begun, peer);
    }
    let (large, small) = (ledger.wait(begun, peers[0], 3).unwrap(), ledger.wait(begun, peers[0], 1).unwrap());
    let other = ledger.wait(begun, peers[1], 4).unwrap();
    ledger.handle_timeout(begun + IDLE);
    let mut granted = Vec::new();
    while let Some(decision) = ledger.poll_output() {
        granted.extend(match decision {
            Decision::Granted(waiter, _) => Some(waiter),
            Decision::Revoked(_) => None,
        });
    }
    assert_eq!(granted, [large, other], "one of each at a time");
    let next = ledger.poll_timeout(begun + IDLE).unwrap();
    assert!(next < begun + 2 * IDLE);
    ledger.handle_timeout(next);
    assert!(matches!(ledger.poll_output(), Some(Decision::Revoked(_))));
    assert!(matches!(ledger.poll_output(), Some(Decision::Granted(of, _)) if of == small));
    assert_eq!((ledger.of_peer(&peers[0]), ledger.of_peer(&peers[2])), (4, 4), "nobody else has lost anything");
}

#[test]
fn what_is_granted_to_who_has_gone_is_given_back() {
    let now = Instant::now();
    let mut ledger = Ledger::new(Quota::new(1));
    let held = ledger.take(now, local(1), 1).unwrap();
    let waiter = ledger.wait(now, local(2), 1).unwrap();
    ledger.release(now, held);
    ledger.give_up(now, &local(2), waiter);
    assert_eq!((ledger.total(), ledger.poll_output()), (0, None));
    assert_eq!(ledger.wait(now, local(2), 2), Err(Full::Total(1)), "more than there ever is");
}

#[derive(Debug, Clone)]
enum Op {
    Take(u8, u64),
    Wait(u8, u64),
    GiveUp(usize),
    Release(usize),
    Split(usize, u64),
    Join(usize, usize),
    Progress(usize, u64),
    Yield(usize, bool),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..12_u8, 1..6_u64).prop_map(|(id, amount)| Op::Take(id, amount)),
        (0..12_u8, 1..6_u64).prop_map(|(id, amount)| Op::Wait(id, amount)),
        any::<usize>().prop_map(Op::GiveUp),
        any::<usize>().prop_map(Op::Release),
        (any::<usize>(), 0..6_u64).prop_map(|(hold, amount)| Op::Split(hold, amount)),
        any::<(usize, usize)>().prop_map(|(hold, other)| Op::Join(hold, other)),
        (any::<usize>(), 0..2 * MIN_PROGRESS).prop_map(|(hold, bytes)| Op::Progress(hold, bytes)),
        any::<(usize, bool)>().prop_map(|(hold, yields)| Op::Yield(hold, yields)),
        (0..1500_u64).prop_map(Op::Pass),
    ]
}

proptest! {
    /// Against a plain list of what is held: the counts are exact, no limit is passed, whoever could be served does not wait,
    /// and nobody who makes progress loses anything.
    #[test]
    fn counts_are_exact_and_no_limit_is_passed(ops in vec(op(), 0..200)) {
        let quota = Quota::new(16).of_peer(6).of_newcomer(5).of_subnet(8).yields_after(IDLE);
        let mut ledger = Ledger::new(quota);
        // Four subnets of two peers, and four local ones.
        let holder = |id: u8| if id < 8 { peer(id, [8, 8, id / 2, id]) } else { local(id) };
        let mut now = Instant::now();
        let mut held: BTreeMap<HoldId, (u8, u64, Instant)> = BTreeMap::new();
        let mut waiting: BTreeMap<WaiterId, (u8, u64)> = BTreeMap::new();
        for op in ops {
            let nth = |at: usize, held: &BTreeMap<HoldId, _>| held.keys().nth(at % held.len().max(1)).copied();
            match op {
                Op::Take(id, amount) => {
                    if let Ok(hold) = ledger.take(now, holder(id), amount) {
                        held.insert(hold, (id, amount, now));
                    }
                }
                Op::Wait(id, amount) => {
                    if let Ok(waiter) = ledger.wait(now, holder(id), amount) {
                        waiting.insert(waiter, (id, amount));
                    }
                }
                Op::GiveUp(at) => {
                    if let Some(waiter) = waiting.keys().nth(at % waiting.len().max(1)).copied() {
                        let (id, _) = waiting.remove(&waiter).unwrap();
                        ledger.give_up(now, &holder(id), waiter);
                    }
                }
                Op::Release(at) => {
                    if let Some(hold) = nth(at, &held) {
                        held.remove(&hold);
                        ledger.release(now, hold);
                    }
                }
                Op::Split(at, amount) => {
                    if let Some(hold) = nth(at, &held) {
                        let part = ledger.split(hold, amount).unwrap();
                        let of = held.get_mut(&hold).unwrap();
                        let amount = amount.min(of.1);
                        of.1 -= amount;
                        let (id, _, marked) = *of;
                        held.insert(part, (id, amount, marked));
                    }
                }
                Op::Join(at, other) => {
                    if let (Some(hold), Some(other)) = (nth(at, &held), nth(other, &held)) {
                        let is_same = hold != other && held[&hold].0 == held[&other].0;
                        prop_assert_eq!(ledger.join(now, hold, other), is_same);
                        if is_same {
                            let (_, amount, _) = held.remove(&other).unwrap();
                            held.get_mut(&hold).unwrap().1 += amount;
                        }
                    }
                }
                Op::Progress(at, bytes) => {
                    if let Some(hold) = nth(at, &held) {
                        ledger.progress(now, hold, bytes);
                        if bytes >= MIN_PROGRESS {
                            held.get_mut(&hold).unwrap().2 = now;
                        }
                    }
                }
                // Its time stands still meanwhile, so it is idle later than what is noted here says.
                Op::Yield(at, yields) => {
                    if let Some(hold) = nth(at, &held) {
                        ledger.set_yielding(now, hold, yields);
                    }
                }
                Op::Pass(millis) => {
                    now += Duration::from_millis(millis);
                    ledger.handle_timeout(now);
                }
            }
            while let Some(decision) = ledger.poll_output() {
                match decision {
                    Decision::Granted(waiter, hold) => {
                        let (id, amount) = waiting.remove(&waiter).unwrap();
                        held.insert(hold, (id, amount, now));
                    }
                    Decision::Revoked(hold) => {
                        let (_, _, marked) = held.remove(&hold).unwrap();
                        prop_assert!(now >= marked + IDLE);
                    }
                }
            }
            // Whoever waits for the time is woken before something may be lost.
            let (next, idle) = (ledger.poll_timeout(now), ledger.next_idle(now));
            prop_assert!(waiting.is_empty() || idle.is_none_or(|idle| next.is_some_and(|next| next <= idle)));
            prop_assert!(next.is_none_or(|next| next > now));
            let sum = |of: &dyn Fn(u8) -> bool| -> u64 {
                held.values().filter(|(id, ..)| of(*id)).map(|(_, amount, _)| amount).sum()
            };
            prop_assert_eq!(ledger.total(), sum(&|_| true));
            prop_assert!(ledger.total() <= quota.total);
            for id in 0..12 {
                prop_assert_eq!(ledger.of_peer(&holder(id)), sum(&|of| of == id));
                prop_assert!(sum(&|of| of == id) <= quota.of_newcomer);
                if id < 8 {
                    prop_assert_eq!(ledger.of_subnet(&holder(id)), sum(&|of| of / 2 == id / 2));
                    prop_assert!(sum(&|of| of / 2 == id / 2) <= quota.of_subnet);
                }
            }
            let has_turn = |(id, amount): &(u8, u64)| {
                !matches!(ledger.check(&holder(*id), *amount), Err(Full::Peer(_) | Full::Newcomer(_) | Full::Subnet(_)))
            };
            let turns = waiting.iter().filter(|(_, of)| has_turn(of));
            let first = turns.min_by_key(|(waiter, (id, _))| (ledger.of_peer(&holder(*id)), **waiter));
            if let Some((_, (id, amount))) = first {
                prop_assert!(ledger.check(&holder(*id), *amount).is_err(), "{} could have {}", id, amount);
            }
        }
        for hold in held.into_keys() {
            ledger.release(now, hold);
        }
        while let Some(decision) = ledger.poll_output() {
            if let Decision::Granted(_, hold) = decision {
                ledger.release(now, hold);
            }
        }
        prop_assert!(ledger.counts.is_empty() && ledger.holds.is_empty());
    }
}
