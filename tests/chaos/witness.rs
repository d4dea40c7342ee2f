//! Who watches while everything fails: snapshots of the database at random moments (is what is there exactly a prefix?),
//! positions (do they ever go back?), Kafka's committed offsets (never ahead?), stalls, idle transactions, connections.
//!
//! What must stay true: it talks to the database directly and only reads; what it could not ask it leaves out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};

use crate::dice::Dice;
use crate::events::PARTITIONS;
use crate::pass;
use crate::producers::Ends;
use crate::sql::{Row, Sql, number};
use crate::world::World;

/// A worker's server ends its idle transaction after two seconds; the rest is for a slow machine.
const IDLE_IN_TRANSACTION: f64 = 5.0;
/// Four workers with a pool of six, and the sessions of those that were killed until the server has noticed.
const CONNECTIONS: i64 = 48;

/// A set of offsets in short: how many, their sum, their exclusive or.
pub type Digest = (i64, i64, i64);

/// One partition in one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub next: i64,
    /// Operator actions so far, and the highest position that one of them left.
    pub actions: (i64, i64),
    /// Offsets that have quotes.
    pub quotes: Digest,
    pub dead: Digest,
}

impl Seen {
    /// The end of what has been written: a position may have been set back by an operator.
    pub fn written(&self) -> i64 {
        self.next.max(self.actions.1)
    }
}

/// What was seen in a run.
#[derive(Debug, Default)]
pub struct Sights {
    /// At which second, and the partitions.
    pub snapshots: Vec<(f64, BTreeMap<i32, Seen>)>,
    /// Longest time without progress although there was something to read, and the second of its end, per partition.
    pub stalls: [(Duration, f64); PARTITIONS as usize],
    pub idle_in_transaction: f64,
    pub connections: i64,
    pub violations: Vec<String>,
    start: Option<Instant>,
    moved: [Option<(i64, Instant)>; PARTITIONS as usize],
}

impl Sights {
    fn seconds(&self) -> f64 {
        self.start.map_or(0.0, |start| start.elapsed().as_secs_f64())
    }

    /// I3 and the stalls.
    fn note(&mut self, seen: BTreeMap<i32, Seen>, ends: &Ends) {
        let at = self.seconds();
        if let Some((_, before)) = self.snapshots.last() {
            for (partition, now) in &seen {
                let Some(then) = before.get(partition) else { continue };
                if now.next < then.next && now.actions.0 == then.actions.0 {
                    self.violations.push(format!(
                        "I3: at {at:.1} s partition {partition} went back from {} to {} without an operator",
                        then.next, now.next
                    ));
                }
            }
        }
        for (partition, now) in &seen {
            let index = usize::try_from(*partition).expect("a partition");
            match self.moved[index] {
                Some((next, since)) if next == now.next && next < ends.get(*partition) => {
                    if since.elapsed() > self.stalls[index].0 {
                        self.stalls[index] = (since.elapsed(), at);
                    }
                }
                _ => self.moved[index] = Some((now.next, Instant::now())),
            }
        }
        self.snapshots.push((at, seen));
    }
}

/// Watches until told to stop.
pub async fn watch(world: &World, ends: Arc<Ends>, stop: Arc<AtomicBool>) -> Sights {
    let mut sights = Sights { start: Some(Instant::now()), ..Sights::default() };
    let mut dice = Dice::new(world.seed, 3);
    let (mut sql, mut activity) = (world.sql(), world.sql());
    let committed = Committed::new(world);
    let actions = has_actions(&mut sql).await;
    let mut since_kafka = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        pass(dice.millis(50, 350)).await;
        let kafka = match since_kafka.elapsed() > Duration::from_secs(1) {
            true => committed.ask().await,
            false => Vec::new(),
        };
        if let Ok(seen) = snapshot(&mut sql, &world.topic, actions).await {
            if !kafka.is_empty() {
                since_kafka = Instant::now();
                ahead(&mut sights, &kafka, &seen);
            }
            sights.note(seen, &ends);
        }
        look_at_sessions(&mut sights, &mut activity).await;
    }
    if sights.idle_in_transaction > IDLE_IN_TRANSACTION {
        sights
            .violations
            .push(format!("I9: a session was idle in transaction for {:.1} s", sights.idle_in_transaction));
    }
    if sights.connections > CONNECTIONS {
        sights.violations.push(format!("I9: {} connections at a time", sights.connections));
    }
    sights
}

/// I6. Kafka was asked first, so it can only have fallen back since.
fn ahead(sights: &mut Sights, committed: &[(i32, i64)], seen: &BTreeMap<i32, Seen>) {
    let at = sights.seconds();
    for (partition, offset) in committed {
        let written = seen.get(partition).map_or(0, Seen::written);
        if *offset > written {
            sights.violations.push(format!(
                "I6: at {at:.1} s Kafka has {offset} committed for partition {partition}, the database {written}"
            ));
        }
    }
}

/// Whether this schema knows operators' actions.
pub async fn has_actions(sql: &mut Sql) -> bool {
    sql.must("select to_regclass('operator_actions') is not null").await[0][0].as_deref() == Some("t")
}

/// All partitions in one snapshot.
async fn snapshot(sql: &mut Sql, topic: &str, actions: bool) -> Result<BTreeMap<i32, Seen>, String> {
    let actions = match actions {
        true => format!(
            "union all select 'actions', partition, count(*), coalesce(max(from_offset), 0), 0 \
             from operator_actions where topic = '{topic}' group by partition"
        ),
        false => String::new(),
    };
    let digest = "count(*), coalesce(sum(record_offset), 0)::int8, coalesce(bit_xor(record_offset), 0)";
    let rows = sql
        .rows(&format!(
            "begin isolation level repeatable read read only; \
             select 'next', partition, next_offset, 0, 0 from partition_offsets where topic = '{topic}' \
             union all select 'quotes', l.partition, {digest} \
             from (select distinct lineage_id, record_offset from odds) o join lineages l on l.id = o.lineage_id \
             where l.topic = '{topic}' group by l.partition \
             union all select 'dead', partition, {digest} from dead_letters where topic = '{topic}' group by partition \
             {actions}; commit"
        ))
        .await;
    if rows.is_err() {
        let _ = sql.rows("rollback").await;
    }
    let mut seen: BTreeMap<i32, Seen> = BTreeMap::new();
    for row in &rows? {
        add(&mut seen, row);
    }
    Ok(seen)
}

fn add(seen: &mut BTreeMap<i32, Seen>, row: &Row) {
    let partition = seen.entry(i32::try_from(number(row, 1)).expect("a partition")).or_default();
    let (a, b, c) = (number(row, 2), number(row, 3), number(row, 4));
    match row[0].as_deref() {
        Some("next") => partition.next = a,
        Some("quotes") => partition.quotes = (a, b, c),
        Some("dead") => partition.dead = (a, b, c),
        _ => partition.actions = (a, b),
    }
}

async fn look_at_sessions(sights: &mut Sights, sql: &mut Sql) {
    let ask = "select count(*), coalesce(max(extract(epoch from clock_timestamp() - state_change) * 1000) \
               filter (where state like 'idle in transaction%'), 0)::int8 \
               from pg_stat_activity where usename = 'worker'";
    let Ok(rows) = sql.rows(ask).await else { return };
    sights.connections = sights.connections.max(number(&rows[0], 0));
    sights.idle_in_transaction = sights.idle_in_transaction.max(number(&rows[0], 1) as f64 / 1000.0);
}

/// Asks Kafka what the group has committed, as a lag tool does: without joining it.
struct Committed {
    consumer: Arc<BaseConsumer>,
    topic: String,
}

impl Committed {
    fn new(world: &World) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &world.servers.brokers)
            .set("group.id", &world.group)
            .set("log_level", "0");
        config.set("reconnect.backoff.max.ms", "500");
        Self { consumer: Arc::new(config.create().expect("a client")), topic: world.topic.clone() }
    }

    async fn ask(&self) -> Vec<(i32, i64)> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        let answer = tokio::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&topic, 0, PARTITIONS - 1);
            consumer.committed_offsets(list, Duration::from_millis(500))
        });
        let Ok(Ok(list)) = answer.await else { return Vec::new() };
        let known = list.elements().into_iter().filter_map(|one| match one.offset() {
            rdkafka::Offset::Offset(offset) => Some((one.partition(), offset)),
            _ => None,
        });
        known.collect()
    }
}
