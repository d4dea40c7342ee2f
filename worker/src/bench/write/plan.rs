//! What is compared, and how much of it each method stores.

use ledgerline_schema::store::Rival;

use crate::bench::quotes::{QUOTES_PER_EVENT, Shape};

/// 4,320 selections, so that a batch of 5,000 quotes is a little more than a round.
pub const SHAPE: Shape = Shape { games: 35, rounds_per_game: None };
/// Most rows before the clock starts, where rows go one by one.
const WARM_UP_ROWS: usize = 200;

/// A way to store quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A rival's.
    Rival(Rival),
    /// Ours.
    Ledgerline,
    /// Ours, where every quote is stored already.
    Duplicates,
}

impl Method {
    /// All, in the order in which they take turns: duplicates need what ours has just stored.
    pub const ALL: [Self; 7] = [
        Self::Rival(Rival::Copy),
        Self::Ledgerline,
        Self::Duplicates,
        Self::Rival(Rival::Values),
        Self::Rival(Rival::RowsOneTransaction),
        Self::Rival(Rival::RowsOwnTransaction),
        Self::Rival(Rival::RowsOwnConnection),
    ];

    /// Its name in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rival(Rival::Copy) => "copy",
            Self::Ledgerline => "ledgerline",
            Self::Rival(Rival::Values) => "values",
            Self::Rival(Rival::RowsOneTransaction) => "rows_one_transaction",
            Self::Rival(Rival::RowsOwnTransaction) => "rows_own_transaction",
            Self::Rival(Rival::RowsOwnConnection) => "rows_own_connection",
            Self::Duplicates => "ledgerline_duplicates",
        }
    }
}

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Quotes of one batch.
    pub batch_rows: usize,
    /// Batches before the clock starts: until every selection was seen.
    pub warm_up_batches: usize,
    /// Batches on the clock.
    pub batches: usize,
    /// Runs of each method.
    pub runs: u32,
}

impl Plan {
    /// Whole batches only.
    pub fn new(rows: u64, batch_rows: u32, runs: u32) -> Self {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX) / QUOTES_PER_EVENT * QUOTES_PER_EVENT;
        let batch_rows = (batch_rows as usize).min(rows);
        let warm_up_batches = SHAPE.selections().div_ceil(batch_rows);
        Self { batch_rows, warm_up_batches, batches: rows / batch_rows, runs }
    }

    /// Rows that a method stores on the clock.
    pub fn rows(self, method: Method) -> usize {
        let all = self.batches * self.batch_rows;
        let part = match method {
            Method::Rival(Rival::Copy | Rival::Values) | Method::Ledgerline | Method::Duplicates => 1,
            Method::Rival(Rival::RowsOneTransaction) => 10,
            Method::Rival(Rival::RowsOwnTransaction) => 50,
            Method::Rival(Rival::RowsOwnConnection) => 250,
        };
        (all / part).max(1)
    }

    /// Rows that a method stores before the clock starts.
    pub fn warm_up_rows(self, method: Method) -> usize {
        match method {
            Method::Rival(Rival::Copy | Rival::Values) | Method::Ledgerline | Method::Duplicates => {
                self.warm_up_batches * self.batch_rows
            }
            Method::Rival(_) => self.rows(method).min(WARM_UP_ROWS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_methods_store_a_part() {
        let plan = Plan::new(500_000, 5_000, 5);
        assert_eq!((plan.batches, plan.warm_up_batches), (100, 1));
        let rows = Method::ALL.map(|method| plan.rows(method));
        assert_eq!(rows, [500_000, 500_000, 500_000, 500_000, 50_000, 10_000, 2_000]);
        assert_eq!(plan.warm_up_rows(Method::Ledgerline), 5_000);
        assert_eq!(plan.warm_up_rows(Method::Rival(Rival::RowsOwnTransaction)), WARM_UP_ROWS);
    }

    #[test]
    fn few_rows_are_one_batch() {
        let plan = Plan::new(2_001, 5_000, 1);
        assert_eq!((plan.batch_rows, plan.batches, plan.warm_up_batches), (2_000, 1, 1));
        assert_eq!(plan.rows(Method::Rival(Rival::RowsOwnConnection)), 8);
    }
}
