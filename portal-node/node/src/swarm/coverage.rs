//! How many peers hold what, as far as this node can see: from what the peers that it is connected with say.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_archive::MAX_BLOCKS;
use cairn_archive::write::Plan;
use cairn_swarm::geometry::{Component, RUN_BLOCKS};
use cairn_swarm::quic::{Held, Swarm};
use content_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::parts::record_of;

/// Runs of an era.
const ERA_RUNS: u64 = MAX_BLOCKS / RUN_BLOCKS;
/// Eras that are told of at most.
const MAX_ERAS: usize = 8192;

/// How many peers hold the runs of an era.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EraCoverage {
    /// The era's number.
    pub era: u64,
    /// For each of its runs of headers, how many peers hold it.
    pub headers: Vec<u32>,
    /// The same of bodies.
    pub bodies: Vec<u32>,
    /// The same of receipts.
    pub receipts: Vec<u32>,
}

/// A run, and how many peers hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RareRun {
    /// What of the blocks.
    pub component: Component,
    /// The first and the last of its blocks.
    pub blocks: (u64, u64),
    /// How many peers hold it.
    pub copies: u32,
}

impl std::fmt::Display for RareRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.component {
            Component::Headers => "headers",
            Component::Bodies => "bodies",
            Component::Receipts => "receipts",
        };
        let (first, last) = self.blocks;
        write!(f, "{what} of blocks {first} to {last}, held by {}", self.copies)
    }
}

impl EraCoverage {
    /// The run of bodies or receipts that the fewest peers hold, the first one of several: of as many copies there are of the era.
    /// `None` for an era without runs, which nobody tells of.
    pub fn rarest(&self) -> Option<RareRun> {
        let runs = |component, runs: &[u32]| {
            let of_run = |(run, copies): (u64, &u32)| (*copies, run, component);
            (0_u64..).zip(runs).map(of_run).min_by_key(|(copies, run, _)| (*copies, *run))
        };
        let [bodies, receipts] = [runs(Component::Bodies, &self.bodies), runs(Component::Receipts, &self.receipts)];
        let rarest = bodies.into_iter().chain(receipts).min_by_key(|(copies, run, _)| (*copies, *run));
        rarest.map(|(copies, run, component)| {
            let first = self.era.saturating_mul(MAX_BLOCKS).saturating_add(run * RUN_BLOCKS);
            RareRun { component, blocks: (first, first.saturating_add(RUN_BLOCKS - 1)), copies }
        })
    }
}

impl Coverage {
    /// The rarest run of all eras of which somebody holds something.
    pub fn rarest(&self) -> Option<RareRun> {
        self.eras.iter().filter_map(EraCoverage::rarest).min_by_key(|run| (run.copies, run.blocks))
    }
}

/// What a node sees of who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The peers that are connected over QUIC.
    pub peers: usize,
    /// Eras of which somebody holds something, this node included, ascending.
    pub eras: Vec<EraCoverage>,
}

/// Counts what the connected peers, and this node, hold.
pub(crate) fn coverage(swarm: &Swarm) -> Coverage {
    let sessions = swarm.sessions();
    let mut eras = BTreeMap::<u64, [Vec<u32>; Component::COUNT]>::new();
    let views = sessions.iter().map(|session| session.view().held).chain([swarm.held()]);
    for held in views {
        for (component, runs) in held.iter().enumerate() {
            for run in runs.ranges().flatten() {
                let era = run / ERA_RUNS;
                if eras.len() >= MAX_ERAS && !eras.contains_key(&era) {
                    break;
                }
                let counts = eras.entry(era).or_insert_with(|| std::array::from_fn(|_| vec![0; ERA_RUNS as usize]));
                if let Some(count) = counts[component].get_mut((run % ERA_RUNS) as usize) {
                    *count += 1;
                }
            }
        }
    }
    let eras =
        eras.into_iter().map(|(era, [headers, bodies, receipts])| EraCoverage { era, headers, bodies, receipts });
    Coverage { peers: sessions.len(), eras: eras.collect() }
}

/// What each connected peer says to hold.
pub(super) fn holdings(swarm: &Swarm) -> BTreeMap<NodeId, Arc<Held>> {
    swarm.sessions().iter().map(|session| (session.node_id(), session.view().held)).collect()
}

/// How many peers hold the scarcest run of an archive, and how many the most common one.
pub(super) fn holders<'a>(plan: &Plan, held: impl Iterator<Item = &'a Arc<Held>> + Clone) -> (u32, u32) {
    let runs = plan.blocks().start() / RUN_BLOCKS..=plan.blocks().end() / RUN_BLOCKS;
    let wanted = Component::ALL.into_iter().filter(|component| plan.components().has(record_of(*component)));
    let counts = wanted.flat_map(|component| {
        let held = held.clone();
        let count = move |run| held.clone().filter(|held| held[component.index()].contains(run)).count() as u32;
        runs.clone().map(count)
    });
    counts.fold((u32::MAX, 0), |(fewest, most), count| (fewest.min(count), most.max(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_run_is_named() {
        let era = |era, bodies: &[u32], receipts: &[u32]| EraCoverage {
            era,
            headers: vec![0; bodies.len()],
            bodies: bodies.to_vec(),
            receipts: receipts.to_vec(),
        };
        let coverage =
            Coverage { peers: 3, eras: vec![era(0, &[3, 2, 2], &[3, 3, 3]), era(2, &[3, 3, 3], &[3, 3, 1])] };
        let rarest = |era: usize| coverage.eras[era].rarest().map(|run| (run.component, run.blocks, run.copies));
        assert_eq!(rarest(0), Some((Component::Bodies, (256, 511), 2)));
        assert_eq!(rarest(1), Some((Component::Receipts, (16_384 + 512, 16_384 + 767), 1)));
        assert_eq!(coverage.rarest(), coverage.eras[1].rarest());
        assert_eq!((Coverage::default().rarest(), era(0, &[], &[]).rarest()), (None, None));
    }

    #[test]
    fn an_era_is_as_rare_as_its_scarcest_run() {
        let plan = Plan::era1("test", 8192..=16383);
        let holding = |runs: std::ops::Range<u64>| {
            let mut held = Held::default();
            held.iter_mut().for_each(|held| assert!(held.insert(runs.clone())));
            Arc::new(held)
        };
        let count = |held: &[Arc<Held>]| holders(&plan, held.iter());
        assert_eq!(count(&[]), (0, 0));
        assert_eq!(count(&[holding(0..32), holding(64..96)]), (0, 0));
        assert_eq!(count(&[holding(32..64), holding(0..40)]), (1, 2));
        let mut without_receipts = Held::clone(&holding(32..64));
        without_receipts[Component::Receipts.index()] = cairn_swarm::geometry::RunSet::default();
        assert_eq!(count(&[holding(32..64), Arc::new(without_receipts)]), (1, 2));
    }
}
