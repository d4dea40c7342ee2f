//! What the cases of the suite stand on: a migrated database, a `Line` that writes batches where the last one ended, and short
//! ways to say an event.

use std::sync::Arc;

use ledgerline_schema::batch::Batch;
use ledgerline_schema::budget::Budget;
use ledgerline_schema::events::{EventKind, RawRecord};
use ledgerline_schema::repositories::{Latest, SelectionFilter};
use ledgerline_schema::store::{
    Claim, ClaimAnswer, ClaimRequest, Effort, GameName, Lineage, LogRange, Position, Store, WriteError,
    WriteJob, WriteReport,
};
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use crate::support::postgres::Database;

/// A migrated database and the product's store on it.
pub struct Lab {
    pub database: Database,
    pub store: Store,
}

pub async fn on_postgres(case: impl AsyncFn(&Lab)) {
    let lab = Lab::on(Database::postgres().await).await;
    case(&lab).await;
    lab.database.drop_now().await;
}

pub async fn on_sqlite(case: impl AsyncFn(&Lab)) {
    case(&Lab::on(Database::sqlite()).await).await;
}

impl Lab {
    pub async fn on(database: Database) -> Self {
        let store = database.migrated().await;
        Self { database, store }
    }

    /// The newest quote of every selection of a game.
    pub async fn latest(&self, system: &str, external_id: &str) -> Vec<Latest> {
        let game = GameName { system: system.into(), id: external_id.into() };
        let page = self.store.latest(&game, &SelectionFilter::default(), None, 1_000).await;
        page.expect("an answer").map_or_else(Vec::new, |page| page.rows)
    }

    /// Another database of the same kind.
    pub async fn twin(&self) -> Self {
        let database =
            if self.database.is_sqlite() { Database::sqlite() } else { Database::postgres().await };
        Self::on(database).await
    }
}

/// The clock of every case.
pub fn now() -> UtcMicros {
    UtcMicros::parse("2025-11-09T18:21:00Z").expect("a time")
}

/// A log of partition `partition` of the kind's topic.
pub fn lineage(kind: EventKind, partition: i32) -> Lineage {
    let topic = kind.default_topic().to_owned();
    Lineage { cluster_id: "cluster".into(), topic_id: "incarnation".into(), topic, partition }
}

/// Asks for the partition of a log that holds any offset.
pub fn request(lineage: Lineage) -> ClaimRequest {
    let log = LogRange { low: 0, high: i64::MAX };
    ClaimRequest {
        group: Arc::from("group"),
        lineage,
        log,
        owner: "a test".into(),
        second_look: false,
        spooled: Vec::new(),
    }
}

pub async fn claim(store: &Store, request: &ClaimRequest) -> Claim {
    match store.claim(request, now()).await.expect("an answer") {
        ClaimAnswer::Claimed(claim) => claim,
        other => panic!("{other:?}"),
    }
}

/// What lies at an offset of the log.
#[derive(Clone)]
pub enum At {
    Event(Value),
    Bytes(&'static str),
    Tombstone,
    Hole,
}

/// The batch of these offsets, the first of which is `from`.
pub fn batch(kind: EventKind, from: i64, log: &[At]) -> Batch {
    let mut batch = Batch::new(kind.rows(), from);
    let push = |batch: &mut Batch, offset: i64, value: &[u8]| {
        let raw = RawRecord { value, headers: &[], timestamp: Some(now()) };
        batch.push(offset, Some(b"key"), &raw);
    };
    for (at, offset) in log.iter().zip(from..) {
        match at {
            At::Event(event) => push(&mut batch, offset, event.to_string().as_bytes()),
            At::Bytes(text) => push(&mut batch, offset, text.as_bytes()),
            At::Tombstone => batch.push_tombstone(offset),
            At::Hole => batch.advance(offset + 1),
        }
    }
    batch
}

/// The owner of one partition, who writes batch after batch.
pub struct Line<'l> {
    pub store: &'l Store,
    pub kind: EventKind,
    pub claim: Claim,
    pub next: i64,
    /// The hour of the ledger.
    pub hour: UtcMicros,
}

impl<'l> Line<'l> {
    /// Starts partition 0 of the kind at offset 0 and claims it.
    pub async fn open(store: &'l Store, kind: EventKind) -> Self {
        Self::of_partition(store, kind, 0).await
    }

    pub async fn of_partition(store: &'l Store, kind: EventKind, partition: i32) -> Self {
        store.start("group", &[(lineage(kind, partition), 0)], now()).await.expect("a start");
        let claim = claim(store, &request(lineage(kind, partition))).await;
        Self { store, kind, claim, next: 0, hour: now().hour() }
    }

    /// The next batch, not written.
    pub fn batch(&self, log: &[At]) -> Batch {
        batch(self.kind, self.next, log)
    }

    pub async fn try_write(&self, batch: &Batch) -> Result<WriteReport, WriteError> {
        self.store.write(&self.job(batch)).await
    }

    /// The transaction of a batch, as a worker without a history would ask for it.
    pub fn job<'b>(&'b self, batch: &'b Batch) -> WriteJob<'b> {
        let (claim, hour, budget) = (&self.claim, self.hour, Budget::unlimited());
        WriteJob { claim, batch, now: now(), hour, effort: Effort::Whole, budget }
    }

    /// Writes the next batch, which has to succeed.
    pub async fn write(&mut self, log: &[At]) -> WriteReport {
        let batch = self.batch(log);
        let report = self.try_write(&batch).await.expect("written");
        self.next = batch.to;
        report
    }

    /// Writes the next batch of events.
    pub async fn events(&mut self, events: &[Value]) -> WriteReport {
        let log: Vec<At> = events.iter().cloned().map(At::Event).collect();
        self.write(&log).await
    }

    pub async fn position(&self) -> Position {
        self.store.position(&self.claim).await.expect("an answer").expect("a position")
    }

    /// Claims again: the earlier claim is void.
    pub async fn claim_again(&self) -> Claim {
        claim(self.store, &request(lineage(self.kind, 0))).await
    }
}

/// A CloudEvent of a second of the afternoon.
pub fn event(event_type: &str, second: u32, data: Value) -> Value {
    json!({
        "specversion": "1.0", "type": event_type, "id": "1", "source": "a-scraper",
        "time": format!("2025-11-09T18:{:02}:{:02}Z", second / 60, second % 60), "data": data,
    })
}

/// Two quotes of one spread; the price of the home side says which.
pub fn odds(game: &str, second: u32, home: i64) -> Value {
    event(
        "odds.v1",
        second,
        json!({
            "game": {"system": "test", "id": game}, "sportsbook": "book", "market": "spread",
            "outcomes": [
                {"side": "home", "line": -1.5, "price_american": home},
                {"side": "away", "line": 1.5, "price_american": -105},
            ],
        }),
    )
}

/// The state of a game: `details` tells states apart.
pub fn game(id: &str, second: u32, details: Value) -> Value {
    event("game.v1", second, json!({"game": {"system": "test", "id": id}, "details": details}))
}

/// A reading of an article.
pub fn article(url: &str, second: u32, body: &str) -> Value {
    event("article.v1", second, json!({"url": url, "title": "title", "body": body}))
}

/// What a detector saw in a game: the severity tells contents apart.
pub fn signal(game: &str, second: u32, severity: &str) -> Value {
    let time = event("", second, Value::Null)["time"].clone();
    event(
        "sharp_signal.v1",
        second,
        json!({
            "game": {"system": "test", "id": game}, "market": "spread", "side": "home", "line": -1.5,
            "signal_type": "steam_move", "detected_at": time, "window_start": "2025-11-09T17:00:00Z",
            "window_end": time, "severity": severity, "detector": {"name": "detector", "version": "1"},
        }),
    )
}

/// What a model makes of a game: the confidence tells contents apart.
pub fn analysis(game: &str, second: u32, confidence: f64) -> Value {
    let time = event("", second, Value::Null)["time"].clone();
    event(
        "betting_analysis.v1",
        second,
        json!({
            "game": {"system": "test", "id": game}, "market": "spread", "side": "home", "line": -1.5, "as_of": time,
            "model": {"name": "model", "version": "1"}, "fair_probability": 0.55, "recommendation": "lean",
            "confidence": confidence,
        }),
    )
}
