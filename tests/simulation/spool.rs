//! The model of a worker's spool: a file on the worker's disk that outlives its process, with a position and the batches that wait,
//! per partition. What the worker does with it is local: a step does it whole, or it fails. Called by `task.rs` and `worker.rs`.

use std::cell::Cell;
use std::rc::Rc;

use ledgerline_schema::store::{Claim, Halt, Position};
use ledgerline_worker::protocol::{
    ClaimOutcome, Event, FetchOutcome, Partition, PositionOutcome, WriteOutcome,
};

use crate::coverage::Seen;
use crate::database::{Batch, Segment, Table, slot};
use crate::kafka::Kind;
use crate::schedule::{Fault, PARTITIONS};
use crate::task::{Described, Stage, Task};
use crate::world::World;

/// Where spooling of a partition goes on.
#[derive(Debug, Clone, Copy)]
struct Place {
    lineage: usize,
    next: i64,
    epoch: i64,
}

#[derive(Debug, Default)]
struct Waiting {
    place: Option<Place>,
    segments: Vec<Rc<Batch>>,
    /// Log and first offset of segments that cannot be read: they are kept and looked past.
    damaged: Vec<(usize, i64)>,
}

impl Waiting {
    fn readable(&self, lineage: usize) -> impl Iterator<Item = &Rc<Batch>> {
        let of_log = move |batch: &&Rc<Batch>| batch.incarnation == lineage;
        self.segments
            .iter()
            .filter(of_log)
            .filter(move |batch| !self.damaged.contains(&(lineage, batch.from)))
    }
}

/// Steps that a position has to stand still for.
const STILL: usize = 60;

/// One worker's disk.
#[derive(Debug, Default)]
pub struct Disk([Waiting; PARTITIONS]);

impl Disk {
    /// Spooling goes on where the database stands, or behind what waits and follows that without a gap.
    fn begin(&mut self, partition: Partition, lineage: usize, at: i64) {
        let waiting = &mut self.0[slot(partition)];
        let mut held: Vec<(i64, i64)> = waiting
            .readable(lineage)
            .map(|batch| (batch.from, batch.to))
            .filter(|(_, to)| *to > at)
            .collect();
        held.sort_unstable();
        let place = &mut waiting.place;
        let next = held.iter().fold(at, |end, (from, to)| if *from <= end { end.max(*to) } else { end });
        let epoch = place.map_or(0, |place| place.epoch + 1);
        if place.is_none_or(|place| (place.lineage, place.next) != (lineage, next)) {
            *place = Some(Place { lineage, next, epoch });
        }
    }

    /// The part of a segment that goes on at a position.
    fn at(&self, partition: Partition, lineage: usize, position: i64) -> Option<Batch> {
        let goes_on = |batch: &&Rc<Batch>| batch.from <= position && position < batch.to;
        let segment =
            self.0[slot(partition)].readable(lineage).filter(goes_on).max_by_key(|batch| batch.to)?;
        Some(Batch {
            incarnation: lineage,
            from: position,
            to: segment.to,
            records: segment.records.iter().filter(|(offset, _)| *offset >= position).copied().collect(),
            committed: Cell::new(false),
            run: Rc::default(),
        })
    }

    /// Whether anything waits of the partition.
    pub fn holds(&self, partition: Partition) -> bool {
        !self.0[slot(partition)].segments.is_empty()
    }
}

/// Whether the ledger accounts for every offset of [from, to) in that log.
fn accounts_for(table: &Table, lineage: usize, from: i64, to: i64) -> bool {
    let mut ranges: Vec<(i64, i64)> = table
        .ledger
        .iter()
        .filter_map(|segment| match *segment {
            Segment::Batch { lineage: of, from, to, .. } => (of == lineage).then_some((from, to)),
            Segment::Audit { .. } => None,
        })
        .collect();
    ranges.sort_unstable();
    ranges.iter().fold(from, |at, (from, to)| if *from <= at { at.max(*to) } else { at }) >= to
}

impl World {
    /// Whether the worker's spool holds what goes on at the database's position: then it is claimed in that log, whatever Kafka says.
    pub fn held(&self, worker: usize, partition: Partition) -> Option<Described> {
        let row = self.database.tables[slot(partition)].row.as_ref().filter(|_| self.plan.spool)?;
        let disk = &self.disks[self.workers[worker].disk];
        disk.at(partition, row.lineage, row.next)?;
        Some(Described { incarnation: row.lineage, low: 0, high: i64::MAX })
    }

    /// A claim of the database was answered to the worker's task: the spool would go on there.
    pub fn note_claim(&mut self, task: &Task, claim: &Claim) {
        if self.plan.spool {
            let lineage = usize::try_from(claim.lineage_id).unwrap_or(0);
            let worker = &mut self.workers[task.worker];
            worker.claimed[slot(task.partition)] = Some(lineage);
            worker.drained_under[slot(task.partition)] = Some(claim.epoch);
            self.disks[worker.disk].begin(task.partition, lineage, claim.next_offset);
        }
    }

    /// What was seen of the positions, the spool is told too.
    pub fn note_positions(&mut self, number: usize) {
        let worker = &self.workers[number];
        for partition in (0..PARTITIONS).filter(|_| self.plan.spool) {
            let row = self.database.tables[partition].row.as_ref();
            if let (Some(lineage), Some(row)) = (worker.claimed[partition], row) {
                let partition = Partition::try_from(partition).unwrap_or(0);
                self.disks[worker.disk].begin(partition, lineage, row.next);
            }
        }
    }

    pub fn claim_spool(&mut self, task: &Task, log: Described, known: Option<i64>) -> Stage {
        let worker = &self.workers[task.worker];
        let disk = &mut self.disks[worker.disk];
        if let (Some(next), Some(lineage)) = (known, worker.claimed[slot(task.partition)]) {
            disk.begin(task.partition, lineage, next);
        }
        let Some(place) = &mut disk.0[slot(task.partition)].place else {
            self.saw(Seen::SpoolKnowsNothing);
            return task.nothing();
        };
        if let Some(halt) = halt_of(place, log) {
            self.saw(Seen::HaltedInSpool);
            return task.claimed(ClaimOutcome::Halted(halt));
        }
        place.epoch += 1;
        let claim = Claim {
            group: self.names.0.clone(),
            topic: self.names.1.clone(),
            partition: task.partition,
            lineage_id: i32::try_from(place.lineage).unwrap_or(0),
            epoch: place.epoch,
            next_offset: place.next,
            exempt_to: 0,
        };
        self.saw(Seen::SpoolClaimed);
        task.claimed(ClaimOutcome::Claimed(claim))
    }

    /// The batch and the position behind it, or neither.
    pub fn keep(&mut self, task: &Task, claim: &Claim, batch: &Rc<Batch>) -> Stage {
        if self.fault(Fault::BadDisk, 40) {
            self.saw(Seen::SpoolFull);
            return task.wrote(WriteOutcome::Unknown);
        }
        let worker = &self.workers[task.worker];
        let waiting = &mut self.disks[worker.disk].0[slot(task.partition)];
        let ours = waiting.place.as_mut().filter(|place| {
            place.next == batch.from && place.epoch == claim.epoch && place.lineage == batch.incarnation
        });
        let Some(place) = ours else {
            self.saw(Seen::SpoolFence);
            return task.wrote(WriteOutcome::Fenced);
        };
        place.next = batch.to;
        let key = (batch.incarnation, batch.from);
        let damaged = waiting.damaged.contains(&key);
        match waiting.segments.iter_mut().find(|held| (held.incarnation, held.from) == key) {
            Some(held) if held.to >= batch.to && !damaged => {}
            Some(held) => *held = Rc::clone(batch),
            None => waiting.segments.push(Rc::clone(batch)),
        }
        waiting.damaged.retain(|other| *other != key);
        self.saw(Seen::Spooled);
        task.wrote(WriteOutcome::Committed)
    }

    pub fn ask_spool(&self, task: &Task) -> Stage {
        let place = self.disks[self.workers[task.worker].disk].0[slot(task.partition)].place;
        let known = place.map(|place| Position { next_offset: place.next, epoch: place.epoch });
        let known = PositionOutcome::Known(known);
        Stage::Answer(Event::PositionAnswered(task.partition, task.assignment, known), true)
    }

    /// Lets go what is stored, and answers the segment that goes on at the claim's position.
    pub fn fetch(&mut self, task: &mut Task, claim: &Claim) -> Stage {
        if !self.database.up {
            return task.nothing();
        }
        self.drop_stored(self.workers[task.worker].disk, task.partition);
        let worker = &self.workers[task.worker];
        let lineage = worker.claimed[slot(task.partition)].unwrap_or(usize::MAX);
        let disk = worker.disk;
        if self.fault(Fault::BadDisk, 20) {
            self.damage(disk, task.partition, lineage, claim.next_offset);
        }
        let found = self.disks[disk].at(task.partition, lineage, claim.next_offset);
        let outcome = match found {
            Some(batch) => {
                let to = batch.to;
                let whole = self.disks[disk].0[slot(task.partition)]
                    .segments
                    .iter()
                    .any(|held| held.from == batch.from);
                if !whole {
                    self.coverage.saw(Seen::DrainedPart);
                }
                task.fetched = Some(Rc::new(batch));
                FetchOutcome::Segment(to)
            }
            None => FetchOutcome::Nothing,
        };
        Stage::Answer(Event::Fetched(task.partition, task.assignment, outcome), true)
    }

    /// The segment that goes on there cannot be read.
    fn damage(&mut self, disk: usize, partition: Partition, lineage: usize, position: i64) {
        let Some(part) = self.disks[disk].at(partition, lineage, position) else { return };
        let waiting = &mut self.disks[disk].0[slot(partition)];
        let goes_on = |batch: &&Rc<Batch>| batch.from <= position && batch.to == part.to;
        let segment = waiting.readable(lineage).find(goes_on).map(|segment| segment.from);
        waiting.damaged.extend(segment.map(|from| (lineage, from)));
        self.saw(Seen::SegmentDamaged);
    }

    /// I11: what is dropped is stored, record by record.
    fn drop_stored(&mut self, disk: usize, partition: Partition) {
        let table = &self.database.tables[slot(partition)];
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.disks[disk].0[slot(partition)].segments)
                .into_iter()
                .partition(|batch| accounts_for(table, batch.incarnation, batch.from, batch.to));
        self.disks[disk].0[slot(partition)].segments = kept;
        for batch in gone {
            let is_stored = |(offset, content): &(i64, crate::kafka::Content)| {
                content.kind == Kind::Tombstone || table.stored.iter().any(|row| row.offset == *offset)
            };
            if let Some((offset, _)) = batch.records.iter().find(|record| !is_stored(record)) {
                self.check.fail(format!("I11: offset {offset} leaves the spool and is not stored"));
            }
            self.coverage.saw(Seen::SegmentDropped);
        }
    }

    /// Sooner or later a process notices that the database is away for long, or back. It may be wrong about the first.
    pub fn look_for_outage(&mut self, number: usize) {
        if !self.plan.spool || self.workers[number].drainer {
            return;
        }
        let outage = self.workers[number].protocol.is_outage();
        let wrong = self.fault(Fault::DatabaseAway, 3);
        if !outage && (!self.database.up || wrong) {
            self.saw(Seen::Outage);
            if self.workers[number].lanes.iter().flatten().any(|lane| lane.drains) {
                self.saw(Seen::OutageWhileDraining);
            }
            self.feed(number, Event::Outage, 0);
        } else if outage && self.database.up {
            self.saw(Seen::Recovered);
            self.feed(number, Event::Recovered, 0);
        }
    }

    /// A line of its own moves what the worker has spooled and does not hold to be its own any more.
    pub fn leftovers(&mut self, number: usize) {
        let worker = &self.workers[number];
        if !worker.drainer || !worker.alive {
            return;
        }
        let owner = worker.disk;
        for partition in 0..self.kafka.partitions() {
            let name = Partition::try_from(partition).unwrap_or(0);
            let wanted = self.disks[owner].holds(name)
                && !self.workers[owner].believes[partition]
                && self.held(number, name).is_some();
            let wanted = wanted && self.stands_still(number, partition);
            let believes = self.workers[number].believes[partition];
            let wanted =
                wanted || (believes && self.disks[owner].holds(name) && self.held(number, name).is_some());
            let event = match (wanted, believes) {
                (true, false) => Event::Assigned(name),
                (false, true) => Event::Revoked(name),
                (true, true) | (false, false) => continue,
            };
            self.saw(Seen::Leftovers);
            self.workers[number].membership.push_back(event);
            self.hear(number);
        }
    }
}

impl World {
    /// Whether the database's position has not moved for a while: then whoever consumes the partition may have no way on.
    fn stands_still(&mut self, number: usize, partition: usize) -> bool {
        let next = self.database.tables[partition].row.as_ref().map(|row| row.next);
        let now = self.now;
        let (stood, since) = &mut self.workers[number].stood[partition];
        if *stood != next {
            (*stood, *since) = (next, now);
        }
        now - *since >= STILL
    }

    /// A line of leftovers claims a partition once: where somebody else has claimed it since, it gives way.
    pub fn gives_way(&mut self, number: usize, partition: Partition) -> bool {
        let row = self.database.tables[slot(partition)].row.as_ref().map(|row| row.epoch);
        let worker = &mut self.workers[number];
        let ours = worker.drained_under[slot(partition)];
        let gives_way = worker.drainer && ours.is_some() && ours != row;
        if gives_way {
            worker.membership.push_back(Event::Revoked(partition));
            worker.drained_under[slot(partition)] = None;
            worker.stood[slot(partition)] = (None, 0);
            self.saw(Seen::LeftoversGaveWay);
        }
        gives_way
    }
}

/// As the store finds it: the log is another one, or does not hold the position any more.
fn halt_of(place: &Place, log: Described) -> Option<Halt> {
    if place.lineage != log.incarnation {
        return Some(Halt::TopicRecreated);
    }
    let (next, low) = (place.next, log.low);
    if next < low {
        return Some(Halt::RetentionPassed { next, low });
    }
    (next > log.high).then(|| Halt::LogTruncated { detail: format!("{next} beyond {}", log.high) })
}
