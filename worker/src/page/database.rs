//! What the page asks the database: a few bounded questions, for all who look together, and only while somebody does.
//!
//! What must stay true: one question at a time, on a connection of the page's own with short time-outs, so that looking never
//! takes anything from the line; a question that took long rests long; nobody who looks waits for a database that hangs.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ledgerline_schema::store::{
    DatabaseConfig, FreshnessReport, PartitionState, PoolConfig, RecentGame, Store, StoreError,
    WaitingLetters, Workflow, WorkflowFilter,
};
use ledgerline_schema::time::UtcMicros;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::timeout;

use crate::clock;
use crate::sync::lock;

/// The server ends a question of the page after this, and we stop waiting a little later.
const STATEMENT_TIMEOUT_MS: u64 = 5_000;
const QUESTION_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a page waits for answers before it is sent with older ones.
const PAGE_WAIT: Duration = Duration::from_secs(2);
/// A question rests so many times as long as it took: looking costs a twentieth of one connection at most.
const REST: u32 = 20;
/// Partitions that are kept.
const PARTITIONS: usize = 2_000;
/// Dead letters that are counted; beyond that the page says "or more".
pub(super) const LETTERS: i64 = 10_000;
/// Workflows that are shown.
const WORKFLOWS: usize = 10;
/// Games to choose from.
const GAMES: usize = 40;

/// The answers of the database, each with its age.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub partitions: Answer<Vec<PartitionState>>,
    pub letters: Answer<Vec<WaitingLetters>>,
    pub freshness: Answer<FreshnessReport>,
    pub games: Answer<Vec<RecentGame>>,
    pub workflows: Answer<Vec<Workflow>>,
}

/// The last answer to one question, and what is wrong since.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub value: Option<Arc<T>>,
    /// When it came.
    pub at: Option<UtcMicros>,
    /// Why there is no newer one.
    pub problem: Option<Arc<str>>,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self { value: None, at: None, problem: None }
    }
}

impl<T> Clone for Answer<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), at: self.at, problem: self.problem.clone() }
    }
}

impl<T> Answer<T> {
    fn take(&mut self, answer: Result<T, String>) {
        match answer {
            Ok(value) => {
                *self = Self { value: Some(Arc::new(value)), at: Some(clock::now()), problem: None };
            }
            Err(problem) => self.problem = Some(problem.into()),
        }
    }
}

/// When each question may be asked again.
#[derive(Debug)]
struct Due {
    partitions: Instant,
    letters: Instant,
    freshness: Instant,
    games: Instant,
    workflows: Instant,
}

/// The page's way to the database.
#[derive(Debug)]
pub(super) struct Database {
    pub store: Store,
    seen: Mutex<Seen>,
    turn: Arc<Turn<Due>>,
    answered: Notify,
}

impl Database {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(super) async fn new(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let store = Store::connect(&one_connection(config)).await?;
        let now = Instant::now();
        let due = Due { partitions: now, letters: now, freshness: now, games: now, workflows: now };
        Ok(Self { store, seen: Mutex::default(), turn: Arc::new(Turn::new(due)), answered: Notify::new() })
    }

    /// The last answers.
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Asks what may be asked again, unless somebody is at it. Does not wait.
    pub(super) fn ask(self: &Arc<Self>) {
        if let Ok(mut due) = Arc::clone(&self.turn).try_lock_owned() {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                this.ask_due(&mut due).await;
                drop(due);
                this.answered.notify_waiters();
            });
        }
    }

    /// The answers after everything was asked that may be asked again, or those that are there after a while.
    pub(super) async fn fresh(self: &Arc<Self>) -> Seen {
        let answered = self.answered.notified();
        tokio::pin!(answered);
        answered.as_mut().enable(); // before asking, or the answer could come in between
        self.ask();
        let _ = timeout(PAGE_WAIT, answered).await; // late: then with what was known before
        self.seen()
    }

    async fn ask_due(&self, due: &mut Due) {
        let (store, now) = (&self.store, clock::now());
        let positions = store.partition_page(None, None, None, PARTITIONS);
        if let Some(answer) = asked(&mut due.partitions, 3, positions).await {
            self.lock().partitions.take(answer.map(|page| page.rows));
        }
        if let Some(answer) = asked(&mut due.letters, 5, store.waiting_letters(LETTERS)).await {
            self.lock().letters.take(answer);
        }
        let any = WorkflowFilter::default();
        if let Some(answer) = asked(&mut due.workflows, 3, store.workflows(&any, None, WORKFLOWS)).await {
            self.lock().workflows.take(answer.map(|page| page.rows));
        }
        if let Some(answer) = asked(&mut due.games, 15, store.recent_games(now, GAMES)).await {
            self.lock().games.take(answer);
        }
        if let Some(answer) = asked(&mut due.freshness, 10, store.freshness(now)).await {
            self.lock().freshness.take(answer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

/// The answer to a question that is due, at most every so many seconds; none where it is not.
async fn asked<T>(
    due: &mut Instant,
    every_seconds: u64,
    question: impl Future<Output = Result<T, StoreError>>,
) -> Option<Result<T, String>> {
    let started = Instant::now();
    if started < *due {
        return None;
    }
    let answer = in_time(question).await;
    *due = Instant::now() + Duration::from_secs(every_seconds).max(started.elapsed() * REST);
    Some(answer)
}

/// Nobody waits for ever: a server that is frozen ends no statement.
pub(super) async fn in_time<T>(question: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match timeout(QUESTION_TIMEOUT, question).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("the database does not answer".into()),
    }
}

/// One connection, opened when somebody looks and closed soon after.
pub(crate) fn one_connection(config: &DatabaseConfig) -> DatabaseConfig {
    let pool = PoolConfig {
        size: 1,
        checkout_timeout_ms: 2_000,
        idle_timeout_ms: 60_000,
        connect_timeout_ms: config.pool.connect_timeout_ms.min(2_000),
        cached_selections: Some(0),
        ..config.pool.clone()
    };
    let statement_timeout_ms = config.statement_timeout_ms.min(STATEMENT_TIMEOUT_MS);
    DatabaseConfig { pool, statement_timeout_ms, ..config.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_took_long_rests_long() {
        let mut due = Instant::now();
        let slow = async {
            tokio::task::spawn_blocking(|| {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(60) {
                    std::hint::spin_loop();
                }
            })
            .await
            .expect("it spins");
            Ok(1)
        };
        assert_eq!(asked(&mut due, 1, slow).await, Some(Ok(1)));
        assert!(due > Instant::now() + Duration::from_secs(1));
        assert_eq!(asked(&mut due, 1, async { Ok(2) }).await, None);
    }

    #[test]
    fn an_answer_outlives_a_failure() {
        let mut answer = Answer::default();
        answer.take(Ok(7));
        answer.take(Err("away".to_owned()));
        assert_eq!((answer.value.as_deref(), answer.problem.as_deref()), (Some(&7), Some("away")));
        answer.take(Ok(8));
        assert_eq!((answer.value.as_deref(), answer.problem), (Some(&8), None));
    }
}
