//! Append-only kinds, signals and analyses: what a batch of them comes to against what is stored. Each record is one row with a
//! natural key; used by `signals.rs`, `analyses.rs` and, to look again, by `recheck.rs`.
//!
//! What must stay true: equal content under a key is a duplicate, another content a conflict, and nothing is dropped in silence;
//! rows go in by the order of their keys, as all writers do.

use std::collections::{BTreeSet, HashMap};

use diesel::QueryResult;

use super::error::{StoreError, WriteError};
use super::recheck::Unapplied;
use super::rows::{Applied, RefKey};
use crate::batch::{DeadRecord, RowCounts};
use crate::events::betting_analysis::AnalysisRow;
use crate::events::sharp_signal::SignalRow;
use crate::events::{Reason, Rejection};
use crate::time::UtcMicros;

/// The natural key: the game's ref, the time that is part of it, and the rest in the order of the unique key.
pub(super) type Key = (i64, UtcMicros, Vec<String>);

/// The hash of the content that is stored under each key.
pub(super) type Standing = HashMap<Key, Vec<u8>>;

/// The line in a key where there is none; lines are 100,000 at most.
pub(super) const NO_LINE: f32 = 1_000_000.0;
/// Rows of one question, and of one insert: 32 parameters each, PostgreSQL takes 65,535.
pub(super) const ROWS_PER_STATEMENT: usize = 1_000;

/// A row of an append-only kind.
pub(super) trait Fact {
    fn record(&self) -> u32;
    fn game(&self) -> &RefKey;
    fn content_hash(&self) -> &[u8];
    /// The key but for the game.
    fn key(&self) -> (UtcMicros, Vec<String>);
}

impl Fact for SignalRow {
    fn record(&self) -> u32 {
        self.record
    }

    fn game(&self) -> &RefKey {
        &self.game
    }

    fn content_hash(&self) -> &[u8] {
        &self.content_hash
    }

    fn key(&self) -> (UtcMicros, Vec<String>) {
        let s = &self.signal;
        let bet = [s.signal_type, s.market, s.period, &s.participant, s.side];
        let names = [&*s.detector, &s.detector_version].into_iter().chain(bet);
        (s.window_end.minute(), names.map(str::to_owned).collect())
    }
}

impl Fact for AnalysisRow {
    fn record(&self) -> u32 {
        self.record
    }

    fn game(&self) -> &RefKey {
        &self.game
    }

    fn content_hash(&self) -> &[u8] {
        &self.content_hash
    }

    fn key(&self) -> (UtcMicros, Vec<String>) {
        let a = &self.analysis;
        let names = [&*a.model, &a.model_version, a.market, a.period, &a.participant, a.side];
        let line = line_name(a.line.unwrap_or(NO_LINE));
        (a.as_of, names.into_iter().map(str::to_owned).chain([line]).collect())
    }
}

/// A line as a part of a key.
pub(super) fn line_name(line: f32) -> String {
    line.to_bits().to_string()
}

/// A row with its key.
#[derive(Debug)]
pub(super) struct Keyed<'a, F> {
    pub(super) key: Key,
    pub(super) row: &'a F,
}

/// The rows whose game has a ref, in the order of their records.
pub(super) fn keyed<'a, F: Fact>(rows: &'a [F], refs: &HashMap<RefKey, i64>) -> Vec<Keyed<'a, F>> {
    let keyed = |row: &'a F| {
        let game_ref_id = *refs.get(row.game())?;
        let (at, names) = row.key();
        Some(Keyed { key: (game_ref_id, at, names), row })
    };
    rows.iter().filter_map(keyed).collect()
}

/// The same, where every game has to have one.
pub(super) fn interned<'a, F: Fact>(
    rows: &'a [F],
    refs: &HashMap<RefKey, i64>,
) -> QueryResult<Vec<Keyed<'a, F>>> {
    let keyed = keyed(rows, refs);
    if keyed.len() == rows.len() { Ok(keyed) } else { Err(diesel::result::Error::NotFound) }
}

/// The refs and the times of the rows, in lists that fit one statement.
pub(super) fn questions<F>(rows: &[Keyed<'_, F>]) -> Vec<(Vec<i64>, Vec<UtcMicros>)> {
    let keys: BTreeSet<(i64, UtcMicros)> = rows.iter().map(|row| (row.key.0, row.key.1)).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let question = |keys: &[(i64, UtcMicros)]| {
        let refs: BTreeSet<i64> = keys.iter().map(|(game_ref_id, _)| *game_ref_id).collect();
        let times: BTreeSet<UtcMicros> = keys.iter().map(|(_, at)| *at).collect();
        (refs.into_iter().collect(), times.into_iter().collect())
    };
    keys.chunks(ROWS_PER_STATEMENT).map(question).collect()
}

/// What a batch comes to.
#[derive(Debug)]
pub(super) struct Settled<'a, F> {
    /// Rows to insert, by the order of their keys.
    pub(super) new: Vec<Keyed<'a, F>>,
    duplicate: i64,
    conflicts: Vec<DeadRecord>,
}

/// Takes the rows in order: each is new, equal to what stands under its key, or contradicts it.
pub(super) fn settle<'a, F: Fact>(rows: Vec<Keyed<'a, F>>, mut standing: Standing) -> Settled<'a, F> {
    let mut settled = Settled { new: Vec::new(), duplicate: 0, conflicts: Vec::new() };
    for row in rows {
        match standing.get(&row.key) {
            None => {
                standing.insert(row.key.clone(), row.row.content_hash().to_vec());
                settled.new.push(row);
            }
            Some(stored) if stored == row.row.content_hash() => settled.duplicate += 1,
            Some(_) => settled.conflicts.push(conflict(&row)),
        }
    }
    settled.new.sort_unstable_by(|a, b| a.key.cmp(&b.key)); // one order for all writers: no deadlock
    settled
}

fn conflict<F: Fact>(Keyed { key, row }: &Keyed<'_, F>) -> DeadRecord {
    let ((system, id), by) = (row.game(), key.2.first().map_or("", String::as_str));
    let detail = format!("another content is stored for game {system}:{id} at {} by {by}", key.1);
    DeadRecord { record: row.record(), rejection: Rejection::new(Reason::Conflict, detail) }
}

impl<F> Settled<'_, F> {
    /// Somebody stored one of the new rows since we looked, or a trigger drops them, where fewer went in.
    pub(super) fn applied(self, inserted: usize) -> Result<Applied, WriteError> {
        if inserted != self.new.len() {
            return Err(StoreError::Race.into());
        }
        let rows = RowCounts { inserted: inserted as i64, duplicate: self.duplicate, ..RowCounts::default() };
        Ok(Applied { rows, conflicts: self.conflicts, ..Applied::default() })
    }
}

/// Records whose row is not there, or has another content.
pub(super) fn unapplied<F: Fact>(rows: &[F], refs: &HashMap<RefKey, i64>, standing: &Standing) -> Unapplied {
    let mut unapplied = Unapplied::default();
    unapplied.absent.extend(rows.iter().filter(|row| !refs.contains_key(row.game())).map(Fact::record));
    for Keyed { key, row } in keyed(rows, refs) {
        match standing.get(&key) {
            None => unapplied.absent.insert(row.record()),
            Some(stored) if stored != row.content_hash() => unapplied.differing.insert(row.record()),
            Some(_) => false,
        };
    }
    unapplied
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Row {
        record: u32,
        game: RefKey,
        at: i64,
        content: Vec<u8>,
    }

    impl Fact for Row {
        fn record(&self) -> u32 {
            self.record
        }

        fn game(&self) -> &RefKey {
            &self.game
        }

        fn content_hash(&self) -> &[u8] {
            &self.content
        }

        fn key(&self) -> (UtcMicros, Vec<String>) {
            (UtcMicros(self.at), vec!["detector".into()])
        }
    }

    proptest::proptest! {
        #[test]
        fn every_row_is_new_duplicate_or_dead(rows in proptest::collection::vec((0u8..3, 0i64..3, 0u8..2), 0..40)) {
            let refs: HashMap<RefKey, i64> =
                (0u8..3).map(|game| (("s".to_owned(), game.to_string()), i64::from(game) + 1)).collect();
            let rows: Vec<Row> = (0u32..).zip(rows)
                .map(|(record, (game, at, content))| Row {
                    record, game: ("s".to_owned(), game.to_string()), at, content: vec![content],
                })
                .collect();
            let settled = settle(keyed(&rows, &refs), Standing::default());
            let sum = settled.new.len() + settled.duplicate as usize + settled.conflicts.len();
            proptest::prop_assert_eq!(sum, rows.len());
            proptest::prop_assert!(settled.new.windows(2).all(|pair| pair[0].key < pair[1].key));
            // The same again: nothing is new, and the same records contradict.
            let standing: Standing =
                settled.new.iter().map(|row| (row.key.clone(), row.row.content.clone())).collect();
            let dead: BTreeSet<u32> = settled.conflicts.iter().map(|dead| dead.record).collect();
            let found = unapplied(&rows, &refs, &standing);
            proptest::prop_assert!(found.absent.is_empty());
            proptest::prop_assert_eq!(found.differing.into_iter().collect::<BTreeSet<_>>(), dead);
            proptest::prop_assert!(settle(keyed(&rows, &refs), standing).new.is_empty());
        }
    }
}
