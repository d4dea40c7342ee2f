//! Slots to blocks: consecutive equal quotes of a selection are one run. Called by `movement.rs` and, for the newest ones alone, by the
//! status page.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::schema::odds;
use crate::store::{Store, StoreError, with_conn};
use crate::time::UtcMicros;

/// When, price, line.
pub(super) type Quote = (UtcMicros, Option<f64>, Option<f32>);

/// A run of equal quotes of one selection: the price stood from `from` to `to`.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// First observation.
    pub from: UtcMicros,
    /// Last observation.
    pub to: UtcMicros,
    /// Decimal price; null = not offered.
    pub price: Option<f64>,
    /// Points.
    pub line: Option<f32>,
}

/// Takes the next quote into the open run, or ends that one and opens another.
pub(super) fn extend(open: &mut Option<Run>, (at, price, line): Quote) -> Option<Run> {
    match open {
        Some(run) if run.price == price && run.line == line => {
            run.to = at;
            None
        }
        Some(_) | None => open.replace(Run { from: at, to: at, price, line }),
    }
}

impl Store {
    /// The newest `quotes` of a selection as runs of equal ones, time ascending.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn recent_movement(&self, selection_id: i64, quotes: i64) -> Result<Vec<Run>, StoreError> {
        let query = odds::table
            .filter(odds::selection_id.eq(selection_id))
            .order(odds::observed_at.desc())
            .limit(quotes)
            .select((odds::observed_at, odds::price, odds::line));
        let mut session = self.checkout().await?;
        let newest_first: Vec<Quote> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        Ok(runs(newest_first.into_iter().rev()))
    }
}

fn runs(quotes: impl Iterator<Item = Quote>) -> Vec<Run> {
    let mut open = None;
    let mut runs: Vec<Run> = quotes.filter_map(|quote| extend(&mut open, quote)).collect();
    runs.extend(open);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_neighbours_become_one_run() {
        let quote = |at, price| (UtcMicros(at), Some(price), None);
        let found = runs([quote(1, 2.0), quote(2, 2.0), quote(3, 2.1), quote(4, 2.0)].into_iter());
        let spans: Vec<_> = found.iter().map(|run| (run.from.0, run.to.0, run.price)).collect();
        assert_eq!(spans, [(1, 2, Some(2.0)), (3, 3, Some(2.1)), (4, 4, Some(2.0))]);
    }
}
