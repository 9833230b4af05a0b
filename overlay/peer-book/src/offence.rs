//! What a peer can do wrong, and what it costs. This is the one list: a network that finds something new adds it here.

/// What a peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offence {
    /// It sent content that was proved wrong.
    Lie,
    /// It sent a header that cannot be judged with the lists that are here. That is nobody's fault where the lists end, and a
    /// lie where they do not, which is not known at the time.
    Doubt,
    /// It lacks what it was believed to hold. Costs little, since what is held may be a prediction.
    NotHeld,
    /// It offered something, was told to send it, and did not.
    Undelivered,
    /// It asked for something, was told to fetch it, and did not.
    Unfetched,
    /// It sent nothing for a long time while others did.
    Silent,
    /// It trickled while others could have delivered.
    Slow,
    /// It broke a request off, called it malformed, or sent an answer that is none.
    Broken,
    /// It sent more than anybody has use for.
    Flood,
}

impl Offence {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Lie,
        Self::Doubt,
        Self::NotHeld,
        Self::Undelivered,
        Self::Unfetched,
        Self::Silent,
        Self::Slow,
        Self::Broken,
        Self::Flood,
    ];

    /// In a word or two, as progress and metrics say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lie => "lie",
            Self::Doubt => "unprovable header",
            Self::NotHeld => "not held",
            Self::Undelivered => "not delivered",
            Self::Unfetched => "not fetched",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Broken => "broken off",
            Self::Flood => "flood",
        }
    }

    /// Points that it costs; `None` if no points make up for it.
    pub(crate) const fn cost(self) -> Option<i32> {
        match self {
            Self::Lie => None,
            Self::NotHeld | Self::Unfetched => Some(1),
            Self::Broken | Self::Undelivered => Some(2),
            Self::Doubt | Self::Slow => Some(5),
            Self::Silent | Self::Flood => Some(10),
        }
    }
}
