//! How many peers hold what, as far as this node can see: from what the peers that it is connected with say.

use std::collections::BTreeMap;

use cairn_archive::MAX_BLOCKS;
use cairn_swarm::geometry::{Component, RUN_BLOCKS};
use cairn_swarm::quic::Swarm;
use serde::{Deserialize, Serialize};

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

impl EraCoverage {
    /// How many peers hold the scarcest run of bodies or receipts.
    pub fn scarcest(&self) -> u32 {
        self.bodies.iter().chain(&self.receipts).copied().min().unwrap_or(0)
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
