//! The verdict: everything that the run left behind, compared with the truth. Each finding starts with the name of the
//! invariant or check that it breaks. Shares nothing with the product but its tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::events::{Event, Fate, PARTITIONS, QuoteKey, event, id_of};
use crate::producers::{End, Ledger, Outcome};
use crate::sql::{Row, Sql, number, text};
use crate::truth::Truth;
use crate::witness::{Digest, Sights, has_actions};
use crate::world::World;

/// Where a record lies.
type Place = (i32, i64);

/// The database in the end.
pub struct Stored {
    quotes: Vec<(QuoteKey, String, Option<f64>, Place)>,
    dead: BTreeMap<Place, (Vec<u8>, Vec<u8>, String)>,
    ledger: Vec<Row>,
    positions: BTreeMap<i32, (i64, i64)>,
    /// Partition, from, to, in order.
    resets: Vec<(i32, i64, i64)>,
}

impl Stored {
    pub async fn read(sql: &mut Sql, topic: &str) -> Self {
        let quotes = sql
            .must(
                "select coalesce(r.external_id, ''), coalesce(s.sportsbook, ''), coalesce(s.side, ''), \
                 to_char(o.observed_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS') || \
                 case when date_trunc('second', o.observed_at) = o.observed_at then 'Z' else '+' end, \
                 o.price, l.partition, o.record_offset, \
                 concat_ws('/', r.system, s.market, s.period, s.participant, s.alternate, o.line) \
                 from odds o left join selections s on s.id = o.selection_id \
                 left join game_refs r on r.id = s.game_ref_id left join lineages l on l.id = o.lineage_id",
            )
            .await;
        let dead = sql
            .must(&format!(
                "select partition, record_offset, encode(key, 'hex'), encode(payload, 'hex'), reason \
                 from dead_letters where topic = '{topic}'"
            ))
            .await;
        let ledger = sql
            .must(
                "select l.partition, o.epoch, o.from_offset, o.to_offset, \
                 o.applied + o.dead + o.tombstone + o.skipped + o.hole + o.lost, o.inserted, o.dead, o.tombstone, \
                 o.applied, o.lost + o.skipped \
                 from offset_ledger o join lineages l on l.id = o.lineage_id order by l.partition, o.epoch, o.hour",
            )
            .await;
        let positions = sql.must("select partition, start_offset, next_offset from partition_offsets").await;
        let resets = match has_actions(sql).await {
            true => {
                sql.must("select partition, from_offset, to_offset from operator_actions order by id").await
            }
            false => Vec::new(),
        };
        Self {
            quotes: quotes.iter().map(quote).collect(),
            dead: dead.iter().map(|row| (place(row, 0), (hex(row, 2), hex(row, 3), text(row, 4)))).collect(),
            ledger,
            positions: positions
                .iter()
                .map(|row| (partition(row, 0), (number(row, 1), number(row, 2))))
                .collect(),
            resets: resets.iter().map(|row| (partition(row, 0), number(row, 1), number(row, 2))).collect(),
        }
    }

    pub fn quotes(&self) -> usize {
        self.quotes.len()
    }

    pub fn dead_letters(&self) -> usize {
        self.dead.len()
    }

    pub fn resets(&self) -> usize {
        self.resets.len()
    }

    /// Ledger, positions and resets, for people.
    pub fn text(&self) -> String {
        let mut lines =
            vec!["ledger: partition epoch from to sum inserted dead tombstone applied lost".to_owned()];
        let line = |row: &Row| {
            row.iter().map(|column| column.as_deref().unwrap_or("-")).collect::<Vec<_>>().join(" ")
        };
        lines.extend(self.ledger.iter().map(line));
        lines.push(format!("positions (start, next): {:?}", self.positions));
        lines.push(format!("resets (partition, from, to): {:?}", self.resets));
        lines.join("\n")
    }
}

fn quote(row: &Row) -> (QuoteKey, String, Option<f64>, Place) {
    let price = row[4].as_deref().and_then(|text| text.parse().ok());
    ((text(row, 0), text(row, 1), text(row, 2), text(row, 3)), text(row, 7), price, place(row, 5))
}

fn partition(row: &Row, column: usize) -> i32 {
    row[column].as_deref().and_then(|text| text.parse().ok()).unwrap_or(-1)
}

fn place(row: &Row, column: usize) -> Place {
    (partition(row, column), number(row, column + 1))
}

fn hex(row: &Row, column: usize) -> Vec<u8> {
    let digits = text(row, column).into_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    digits.chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
}

/// Findings; only the first of a kind are spelled out.
#[derive(Default)]
pub struct Findings(pub Vec<String>);

impl Findings {
    fn add(&mut self, what: &str, found: Vec<String>) {
        let count = found.len();
        self.0.extend(found.into_iter().take(10).map(|line| format!("{what}: {line}")));
        if count > 10 {
            self.0.push(format!("{what}: {} more", count - 10));
        }
    }
}

/// Compares everything.
pub fn check(world: &World, truth: &Truth, ledgers: &[Ledger], stored: &Stored, sights: &Sights) -> Findings {
    let mut findings = Findings::default();
    let (events, strange) = understood(world.seed, truth);
    findings.add("truth", strange);
    findings.add("producers", producers(truth, ledgers));
    findings.add("C1 quotes", quotes(&events, stored));
    findings.add("C2 natural keys", twice(stored));
    findings.add("C7 dead letters", dead_letters(truth, &events, stored));
    findings.add("C4 chain", (0..PARTITIONS).flat_map(|partition| chain(truth, stored, partition)).collect());
    findings.add("C4 sums", sums(&events, stored));
    findings.add("I1 snapshot", snapshots(&events, stored, sights));
    findings.add("during the run", sights.violations.clone());
    findings
}

/// What each record is, and those that nobody can have sent.
fn understood(seed: u64, truth: &Truth) -> (BTreeMap<Place, Event>, Vec<String>) {
    let (mut events, mut strange) = (BTreeMap::new(), Vec::new());
    for (place, record) in &truth.records {
        let event = id_of(&record.key).map(|id| event(seed, id));
        match event.filter(|event| event.payload == record.payload && event.partition == place.0) {
            Some(event) => drop(events.insert(*place, event)),
            None => strange.push(format!("{place:?} is not what its key says")),
        }
    }
    (events, strange)
}

/// What was acknowledged is there, what was aborted is not.
fn producers(truth: &Truth, ledgers: &[Ledger]) -> Vec<String> {
    let mut wrong = Vec::new();
    let keys: BTreeSet<&[u8]> = truth.records.values().map(|record| record.key.as_slice()).collect();
    for (producer, ledger) in ledgers.iter().enumerate() {
        let there = |number: u32| {
            let key = format!("chaos:{producer}-{number}");
            match ledger.outcomes[number as usize] {
                // A broker that has come back tells of a record that it has already, and not where: the client then says so.
                Outcome::Acked(_, offset) if offset < 0 => Some(keys.contains(key.as_bytes())),
                Outcome::Acked(partition, offset) => {
                    let found = truth.records.get(&(partition, offset));
                    Some(found.is_some_and(|record| record.key == key.as_bytes()))
                }
                Outcome::Unknown | Outcome::Failed => None,
            }
        };
        if producer < 2 {
            let numbers = 0..u32::try_from(ledger.outcomes.len()).expect("a number");
            let lost = numbers.filter(|number| there(*number) == Some(false));
            wrong.extend(lost.map(|number| {
                let outcome = ledger.outcomes[number as usize];
                format!("record {number} of {producer} was acknowledged ({outcome:?}) and is gone")
            }));
        }
        for (first, end, how) in &ledger.transactions {
            let known: Vec<bool> = (*first..*end).filter_map(there).collect();
            let right = match how {
                End::Committed => known.iter().all(|there| *there),
                End::Aborted => !known.contains(&true),
                End::Unknown => known.windows(2).all(|two| two[0] == two[1]),
            };
            if !right {
                wrong.push(format!("transaction {first}..{end} of {producer} ({how:?}) is there in part"));
            }
        }
    }
    wrong
}

/// C1: exactly the quotes of the good events, each from one of the places where its event lies: the first of a partition.
fn quotes(events: &BTreeMap<Place, Event>, stored: &Stored) -> Vec<String> {
    let mut expected: HashMap<&QuoteKey, (f64, Vec<Place>)> = HashMap::new();
    for (place, event) in events {
        let Fate::Quotes(quotes) = &event.fate else { continue };
        for (key, price) in quotes {
            let (_, places) = expected.entry(key).or_insert((*price, Vec::new()));
            if places.last().is_none_or(|last| last.0 != place.0) {
                places.push(*place); // in the order of partition and offset
            }
        }
    }
    let mut wrong = Vec::new();
    for (key, rest, price, origin) in &stored.quotes {
        match expected.remove(key) {
            None => wrong.push(format!("{key:?} from {origin:?} is stored twice or should not exist")),
            Some((_, places)) if !places.contains(origin) => {
                wrong.push(format!("{key:?} is said to come from {origin:?}; it lies at {places:?}"));
            }
            Some((expected, _)) if *price != Some(expected) => {
                wrong.push(format!("{key:?} from {origin:?} has the price {price:?} instead of {expected}"));
            }
            Some(_) if rest != "chaos/moneyline/full_game//f" => wrong.push(format!("{key:?}: {rest}")),
            Some(_) => {}
        }
    }
    let mut missing: Vec<_> = expected.into_iter().map(|(key, (_, places))| (places, key)).collect();
    missing.sort();
    wrong.extend(missing.into_iter().map(|(places, key)| format!("{key:?} of {places:?} is missing")));
    wrong
}

fn twice(stored: &Stored) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let again = stored.quotes.iter().filter(|(key, ..)| !seen.insert(key));
    again.map(|(key, _, _, origin)| format!("{key:?} again, from {origin:?}")).collect()
}

/// C7: one dead letter for each poisoned record, with its bytes, its key and its reason; and no other.
fn dead_letters(truth: &Truth, events: &BTreeMap<Place, Event>, stored: &Stored) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, event) in events {
        let (Fate::Dead(reason), record) = (&event.fate, &truth.records[place]) else { continue };
        let payload = record.payload.clone().unwrap_or_default();
        match stored.dead.get(place) {
            None => wrong.push(format!("{place:?} ({reason}) is missing")),
            Some(letter) if *letter != (record.key.clone(), payload, (*reason).to_owned()) => {
                wrong.push(format!("{place:?} differs: {letter:?}, expected {reason}"));
            }
            Some(_) => {}
        }
    }
    let poison = |place: &Place| events.get(place).is_some_and(|event| matches!(event.fate, Fate::Dead(_)));
    let innocent = stored.dead.iter().filter(|(place, _)| !poison(place));
    wrong.extend(
        innocent
            .map(|(place, letter)| format!("{place:?} is no poison, and yet a dead letter: {}", letter.2)),
    );
    wrong
}

/// C4: the segments of a partition follow each other without gap or overlap, but where an operator set the position.
fn chain(truth: &Truth, stored: &Stored, partition: i32) -> Vec<String> {
    let Some((start, next)) = stored.positions.get(&partition).copied() else {
        return vec![format!("partition {partition} has no position")];
    };
    let mut jumps: Vec<(i64, i64)> =
        stored.resets.iter().filter(|reset| reset.0 == partition).map(|reset| (reset.1, reset.2)).collect();
    let mut wrong = Vec::new();
    let mut at = start;
    for row in stored.ledger.iter().filter(|row| number(row, 0) == i64::from(partition)) {
        let (epoch, from, to) = (number(row, 1), number(row, 2), number(row, 3));
        at = jumped(&mut jumps, at, from);
        if at != from {
            wrong.push(format!("partition {partition} epoch {epoch}: {from} to {to} follows {at}"));
        }
        at = to;
    }
    at = jumped(&mut jumps, at, next);
    let end = truth.ends.get(&partition).copied().unwrap_or(-1);
    if at != next || next != end {
        wrong.push(format!("partition {partition}: ledger ends at {at}, position {next}, log {end}"));
    }
    wrong.extend(
        jumps
            .iter()
            .map(|(from, to)| format!("partition {partition}: reset from {from} to {to} has no trace")),
    );
    wrong
}

/// Follows operators' resets from `at` until the place that is wanted.
fn jumped(jumps: &mut Vec<(i64, i64)>, mut at: i64, wanted: i64) -> i64 {
    while at != wanted && jumps.first().is_some_and(|(from, _)| *from == at) {
        at = jumps.remove(0).1;
    }
    at
}

/// Every segment's dispositions are those of the records in it, and every quote was counted once.
fn sums(events: &BTreeMap<Place, Event>, stored: &Stored) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in &stored.ledger {
        let (from, to) = ((partition(row, 0), number(row, 2)), (partition(row, 0), number(row, 3)));
        let mut expected = [0, 0, 0]; // applied, dead, tombstone
        for (_, event) in events.range(from..to) {
            expected[match event.fate {
                Fate::Quotes(_) => 0,
                Fate::Dead(_) => 1,
                Fate::Tombstone => 2,
            }] += 1;
        }
        let counted = [number(row, 8), number(row, 6), number(row, 7)];
        if number(row, 4) != to.1 - from.1 || number(row, 9) != 0 || counted != expected {
            wrong.push(format!(
                "{row:?}: applied, dead, tombstone should be {expected:?}, and the sum {}",
                to.1 - from.1
            ));
        }
    }
    let inserted: i64 = stored.ledger.iter().map(|row| number(row, 5)).sum();
    if inserted != stored.quotes.len() as i64 {
        wrong.push(format!("{inserted} quotes inserted, {} stored", stored.quotes.len()));
    }
    wrong
}

/// I1: every snapshot shows exactly what lies before its positions. Quotes count where they were inserted in the end.
fn snapshots(events: &BTreeMap<Place, Event>, stored: &Stored, sights: &Sights) -> Vec<String> {
    let origins: BTreeSet<Place> = stored.quotes.iter().map(|(_, _, _, origin)| *origin).collect();
    let poison = events.iter().filter(|(_, event)| matches!(event.fate, Fate::Dead(_)));
    let poison: BTreeSet<Place> = poison.map(|(place, _)| *place).collect();
    let mut wrong = Vec::new();
    for (at, seen) in &sights.snapshots {
        for (partition, seen) in seen {
            let before = |all: &BTreeSet<Place>| digest(all, *partition, seen.written());
            let expected = (before(&origins), before(&poison));
            if (seen.quotes, seen.dead) != expected {
                wrong.push(format!(
                    "at {at:.2} s partition {partition} at {}: quotes and dead letters {:?}, expected {expected:?}",
                    seen.next,
                    (seen.quotes, seen.dead)
                ));
            }
        }
    }
    wrong
}

fn digest(all: &BTreeSet<Place>, partition: i32, end: i64) -> Digest {
    let offsets = all.range((partition, 0)..(partition, end)).map(|(_, offset)| *offset);
    offsets.fold((0, 0, 0), |(count, sum, xor), offset| (count + 1, sum + offset, xor ^ offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(segments: &[(i64, i64)], next: i64, resets: &[(i64, i64)]) -> Stored {
        let row = |(index, (from, to)): (usize, &(i64, i64))| {
            [0, index as i64, *from, *to].map(|number| Some(number.to_string())).to_vec()
        };
        Stored {
            quotes: Vec::new(),
            dead: BTreeMap::new(),
            ledger: segments.iter().enumerate().map(row).collect(),
            positions: BTreeMap::from([(0, (0, next))]),
            resets: resets.iter().map(|(from, to)| (0, *from, *to)).collect(),
        }
    }

    fn found(segments: &[(i64, i64)], next: i64, resets: &[(i64, i64)]) -> usize {
        let truth = Truth { ends: BTreeMap::from([(0, 9)]), ..Truth::default() };
        chain(&truth, &stored(segments, next, resets), 0).len()
    }

    #[test]
    fn a_chain_is_explained_by_resets_and_nothing_else() {
        assert_eq!(found(&[(0, 5), (5, 9)], 9, &[]), 0);
        assert_eq!(found(&[(0, 5), (3, 9)], 9, &[(5, 3)]), 0);
        assert_eq!(found(&[(0, 5), (1, 9)], 9, &[(5, 3), (3, 1)]), 0, "twice in a row");
        assert_eq!(found(&[(0, 9), (4, 9)], 9, &[(9, 4)]), 0, "the whole log again");
        assert_eq!(found(&[(0, 5), (3, 9)], 9, &[]), 1, "an overlap");
        assert_eq!(found(&[(0, 5), (6, 9)], 9, &[]), 1, "a gap");
        assert_eq!(found(&[(0, 5), (3, 9)], 9, &[(4, 3)]), 2, "a reset from elsewhere, which has no trace");
        assert_eq!(found(&[(0, 5)], 9, &[]), 1, "a position beyond the ledger");
        assert_eq!(found(&[(0, 5)], 5, &[]), 1, "not at the end of the log");
    }
}
