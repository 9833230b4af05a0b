//! Why mirrors gave nothing of what is missing, kept for whoever has to say so at the end: in the log it stands far above the last
//! line, and a mirror that refuses is another matter than blocks that nobody has.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_web_seed::{Error, Reason, Waiting};
use parking_lot::Mutex;

/// What kind of trouble it is: what a person can do least about comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// None of its archives has those blocks.
    Lacks,
    /// What it has cannot be proved here.
    Unproved,
    /// What it gave is damaged or not of the chain.
    Damaged,
    /// It does not answer.
    Unreachable,
    /// It answers that it cannot now, or that it is asked too often.
    Busy,
    /// It refuses, or is no mirror of archives.
    Refused,
}

impl TroubleKind {
    pub(super) fn of(error: &Error) -> Self {
        Self::for_reason(&error.reason)
    }

    fn for_reason(reason: &Reason) -> Self {
        match reason {
            Reason::Transport(_) | Reason::TimeOut | Reason::Short { .. } => Self::Unreachable,
            Reason::Busy { .. } => Self::Busy,
            Reason::Status(408 | 500..) => Self::Busy,
            Reason::Record(_) | Reason::Archive(_) | Reason::Costly { .. } => Self::Damaged,
            _ => Self::Refused,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Lacks | Self::Unproved => "a mirror is of no use",
            Self::Damaged => "a mirror's file is damaged or not of this chain",
            Self::Unreachable => "a mirror cannot be reached",
            Self::Busy => "a mirror is busy or broken",
            Self::Refused => "a mirror refuses",
        }
    }
}

/// Why a mirror that was named gave nothing of what is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", kind.words())]
pub struct MirrorTrouble {
    /// What kind of trouble it is.
    pub kind: TroubleKind,
    /// The mirror or its file, without secrets, and the reason.
    pub why: String,
}

/// What is known of a mirror that was asked.
#[derive(Clone, Debug)]
enum Standing {
    /// It has not answered to the end; why it is asked again, if it is, is to be found there.
    Asked { shown: String, waiting: Waiting },
    /// What kept it from giving more.
    Told(MirrorTrouble),
}

impl Standing {
    fn trouble(&self) -> MirrorTrouble {
        match self {
            Self::Told(trouble) => trouble.clone(),
            Self::Asked { shown, waiting } => match waiting.reason() {
                Some(reason) => {
                    MirrorTrouble { kind: TroubleKind::for_reason(&reason), why: format!("{shown}: {reason}") }
                }
                None => {
                    MirrorTrouble { kind: TroubleKind::Unreachable, why: format!("{shown}: it has given nothing yet") }
                }
            },
        }
    }
}

/// The trouble that each mirror of a fetch has at the moment. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(in crate::swarm) struct Troubles(Arc<Mutex<BTreeMap<usize, Standing>>>);

impl Troubles {
    /// What there is to say, in the order in which the mirrors were named.
    pub(in crate::swarm) fn all(&self) -> Vec<MirrorTrouble> {
        self.0.lock().values().map(Standing::trouble).collect()
    }

    /// What keeps the mirror `at` from giving more, or that nothing does.
    pub(super) fn note(&self, at: usize, trouble: Option<MirrorTrouble>) {
        let mut all = self.0.lock();
        match trouble {
            Some(trouble) => drop(all.insert(at, Standing::Told(trouble))),
            None => drop(all.remove(&at)),
        }
    }

    /// The mirror `at` is being asked. What it answered before counts until it has answered again.
    pub(super) fn asking(&self, at: usize, shown: &str, waiting: &Waiting) {
        let asked = || Standing::Asked { shown: shown.to_owned(), waiting: waiting.clone() };
        self.0.lock().entry(at).or_insert_with(asked);
    }
}
