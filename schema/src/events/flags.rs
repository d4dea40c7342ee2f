//! Flags: things worth a look that are no reason to refuse a record. Counted in a metric, never stored.

/// What was odd about an accepted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// The two lines of a spread are not opposite.
    SpreadNotOpposite,
    /// The two sides of a total stand at different lines.
    TotalsDiffer,
    /// The implied probabilities of the market sum outside 0.95 to 1.30.
    ImpliedSum,
    /// The book's own time is more than 15 minutes older than the observation.
    OldQuote,
    /// An article dated more than 24 hours after it was seen; its date is kept as unknown.
    FutureArticle,
    /// The edge of an analysis differs from fair probability times decimal price less 1 by more than 0.005.
    EdgeDiffers,
}

impl Flag {
    /// All flags, in the order of the counters in [`Flags`].
    pub const ALL: [Self; 6] = [
        Self::SpreadNotOpposite,
        Self::TotalsDiffer,
        Self::ImpliedSum,
        Self::OldQuote,
        Self::FutureArticle,
        Self::EdgeDiffers,
    ];

    /// The name in metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SpreadNotOpposite => "spread_not_opposite",
            Self::TotalsDiffer => "totals_differ",
            Self::ImpliedSum => "implied_sum",
            Self::OldQuote => "old_quote",
            Self::FutureArticle => "future_article",
            Self::EdgeDiffers => "edge_differs",
        }
    }
}

/// How often each flag was raised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags([u32; Flag::ALL.len()]);

impl Flags {
    /// Raises `flag` if `raised`.
    pub fn raise_if(&mut self, raised: bool, flag: Flag) {
        self.0[flag as usize] += u32::from(raised);
    }

    /// Adds the counts of another event.
    pub fn add(&mut self, other: Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Every flag with its count.
    pub fn counts(self) -> impl Iterator<Item = (Flag, u32)> {
        Flag::ALL.into_iter().zip(self.0)
    }
}
