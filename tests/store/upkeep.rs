//! The database looked after: what is bloated is found and made anew, what a failed rebuild left goes, nobody waits behind it; and
//! what a database tells of itself.

use ledgerline_schema::events::EventKind;
use std::time::Duration;

use ledgerline_schema::store::{Bloated, DatabaseConfig, DatabaseStats, RebuildPatience, Upkeep, UpkeepStep};

use super::lab::{Lab, Line, odds, on_postgres};
use crate::support::eventually;
use crate::support::postgres::connect;

on_both! {
    every_table_is_counted,
    all_steps_can_be_done_beside_a_writer,
}

/// From what share on, and from how many bytes on.
const ANY: Bloated = Bloated { from_percent: 50, from_bytes: 1 << 16 };

async fn upkeep(lab: &Lab) -> Upkeep {
    Upkeep::open(&DatabaseConfig::for_url(&lab.database.url)).await.expect("an upkeep")
}

async fn every_table_is_counted(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    line.events(&[odds("a", 1, -110), odds("b", 1, -120)]).await;
    match lab.store.database_stats(60.0).await.expect("figures") {
        DatabaseStats::Postgres(stats) => {
            assert_eq!(stats.tables.len(), lab.database.tables().await.len());
            assert!(
                stats.indexes.iter().any(|index| index.name == "odds_pkey" && index.valid && !index.unused)
            );
            assert!(stats.indexes.iter().any(|index| index.name == "games_details" && index.unused));
            assert!(stats.connections.iter().any(|found| found.application == "ledgerline"));
            assert!(stats.database.bytes > 0 && stats.database.connections_max > 1);
        }
        DatabaseStats::Sqlite(stats) => {
            let rows =
                |name: &str| stats.tables.iter().find(|table| table.name == name).map(|table| table.rows);
            assert_eq!((rows("odds"), rows("games")), (Some(4), Some(0)));
            assert_eq!((stats.bytes, &*stats.journal_mode), (stats.pages * stats.page_bytes, "wal"));
            assert!(stats.wal_bytes > 0);
        }
    }
}

async fn all_steps_can_be_done_beside_a_writer(lab: &Lab) {
    let mut line = Line::open(&lab.store, EventKind::Odds).await;
    let mut upkeep = upkeep(lab).await;
    upkeep.check_rights().await.expect("the owner may");
    let mut steps = upkeep.first_steps(true).await.expect("steps");
    steps.extend(upkeep.rebuilds(Bloated { from_percent: 1, from_bytes: 0 }).await.expect("steps"));
    for (second, step) in (0..).zip(&steps) {
        line.events(&[odds("a", second, -110)]).await;
        upkeep.run(step).await.unwrap_or_else(|error| panic!("{step:?}: {error}"));
    }
    line.events(&[odds("a", 59, -110)]).await;
    assert_eq!(lab.database.number_of("odds").await, 2 * (steps.len() as i64 + 1));
    assert!(lab.store.verify(None).await.expect("an answer").ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_sqlite_is_emptied_and_free_pages_are_given_back() {
    super::lab::on_sqlite(async |lab| {
        let mut line = Line::open(&lab.store, EventKind::Odds).await;
        let events: Vec<_> = (0..2_000).map(|second| odds("a", second, -110)).collect();
        line.events(&events).await;
        lab.database.change("delete from odds").await;
        let figures = async || match lab.store.database_stats(60.0).await.expect("figures") {
            DatabaseStats::Sqlite(stats) => stats,
            DatabaseStats::Postgres(stats) => panic!("{stats:?}"),
        };
        let before = figures().await;
        assert!(before.free_pages > 0 && before.wal_bytes > 0, "{before:?}");
        let mut upkeep = upkeep(lab).await;
        for step in [UpkeepStep::VacuumFile, UpkeepStep::Checkpoint] {
            upkeep.run(&step).await.expect("done");
        }
        let after = figures().await;
        assert_eq!((after.free_pages, after.wal_bytes), (0, 0));
        assert!(after.bytes < before.bytes);
    })
    .await;
}

/// The sizes of the key of `odds`: now, and what a new one would not need.
async fn key_of_odds(lab: &Lab) -> (i64, i64) {
    let DatabaseStats::Postgres(stats) = lab.store.database_stats(60.0).await.expect("figures") else {
        panic!("a server");
    };
    let key = stats.indexes.into_iter().find(|index| index.name == "odds_pkey").expect("the key");
    (key.bytes, key.wasted_bytes.expect("statistics"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bloated_index_is_found_and_made_anew_and_a_full_one_is_left_alone() {
    on_postgres(async |lab| {
        let many = "insert into odds select n / 50, now() + n * interval '1 ms', n, 2.0, 1, null \
                    from generate_series(1, 100000) n";
        lab.database.change(many).await;
        let mut upkeep = upkeep(lab).await;
        let vacuum = UpkeepStep::VacuumTable { table: "odds".into() };
        upkeep.run(&vacuum).await.expect("vacuumed");
        let (full, wasted) = key_of_odds(lab).await;
        assert!(wasted * 4 < full, "{wasted} of {full} wasted in an index that was just filled");
        assert_eq!(upkeep.rebuilds(ANY).await.expect("steps"), []);

        lab.database.change("delete from odds where record_offset % 50 <> 0").await;
        upkeep.run(&vacuum).await.expect("vacuumed");
        let rebuilds = upkeep.rebuilds(ANY).await.expect("steps");
        let [UpkeepStep::Reindex { index, bytes, wasted_bytes }] = &rebuilds[..] else {
            panic!("{rebuilds:?}")
        };
        assert!(index == "odds_pkey" && *bytes == full && *wasted_bytes * 10 > full * 9, "{rebuilds:?}");
        upkeep.run(&rebuilds[0]).await.expect("rebuilt");
        let (small, wasted) = key_of_odds(lab).await;
        assert!(small * 10 < full && wasted * 2 < small, "{small} of {full}, {wasted} wasted");
        assert_eq!(upkeep.rebuilds(ANY).await.expect("steps"), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_rebuild_left_goes_and_other_indexes_stay() {
    on_postgres(async |lab| {
        lab.database
            .change(
                "create index odds_pkey_ccnew on odds (price); create index mine on odds (price); \
                 update pg_index set indisvalid = false where indexrelid in ('odds_pkey_ccnew'::regclass, 'mine'::regclass)",
            )
            .await;
        let mut upkeep = upkeep(lab).await;
        let first = upkeep.first_steps(false).await.expect("steps").remove(0);
        assert_eq!(first, UpkeepStep::DropLeftover { index: "odds_pkey_ccnew".into() });
        upkeep.run(&first).await.expect("dropped");
        let left = "select string_agg(indexrelid::regclass::text, ' ' order by 1) as line from pg_index \
                    where indrelid = 'odds'::regclass and not indisvalid";
        assert_eq!(lab.database.line(left).await, "mine");
    })
    .await;
}

/// Indexes that may not be used, and that every insert keeps up all the same.
const INVALID: &str = "select coalesce(string_agg(indexrelid::regclass::text, ' ' order by indexrelid::regclass::text), '') as line from pg_index where not indisvalid";

fn key_of_odds_anew() -> UpkeepStep {
    UpkeepStep::Reindex { index: "odds_pkey".into(), bytes: 0, wasted_bytes: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_would_wait_for_somebody_is_not_begun() {
    on_postgres(async |lab| {
        let patience = RebuildPatience { open: Duration::ZERO, ..RebuildPatience::default() };
        let mut upkeep = upkeep(lab).await.with_patience(patience);
        let begin = |how: &str| format!("set application_name = 'somebody'; begin {how}; select count(*) from odds");
        for how in ["isolation level repeatable read", ""] {
            let somebody = connect(&lab.database.url).await;
            somebody.batch_execute(&begin(how)).await.expect("begun");
            let pid = lab.database.number("select pid from pg_stat_activity where application_name = 'somebody' and datname = current_database()").await;
            let refused = upkeep.run(&key_of_odds_anew()).await.expect_err("somebody is in the way").to_string();
            let named = refused.starts_with("a transaction is open for ") && refused.contains(&format!("(pid {pid}, somebody)"));
            assert!(named, "{how}: {refused}");
            assert_eq!(lab.database.line(INVALID).await, "", "nothing was built");
            somebody.batch_execute("commit; set application_name = ''").await.expect("ended");
        }
        let elsewhere = connect(&lab.database.url).await;
        elsewhere.batch_execute("begin; select pg_current_xact_id(), count(*) from games").await.expect("no snapshot, another table");
        upkeep.run(&key_of_odds_anew()).await.expect("nobody is in the way");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_rebuild_could_not_take_back_is_told_and_goes_the_next_time() {
    on_postgres(async |lab| {
        let patience = RebuildPatience { waits: Duration::from_millis(200), ..RebuildPatience::default() };
        let mut upkeep = upkeep(lab).await.with_patience(patience);
        let backup = connect(&lab.database.url).await;
        let begin = "begin isolation level repeatable read; select count(*) from odds";
        backup.batch_execute(begin).await.expect("begun");
        for left in ["odds_pkey_ccnew", "odds_pkey_ccnew odds_pkey_ccnew1"] {
            let told =
                upkeep.run(&key_of_odds_anew()).await.expect_err("it waits for the backup").to_string();
            assert!(told.contains("lock timeout; what it left could not be dropped"), "{told}");
            assert!(told.contains("the next `db optimize` drops it"), "{told}");
            assert_eq!(lab.database.line(INVALID).await, left);
        }
        backup.batch_execute("commit").await.expect("ended");
        for step in upkeep.first_steps(false).await.expect("steps") {
            upkeep.run(&step).await.unwrap_or_else(|error| panic!("{step:?}: {error}"));
        }
        assert_eq!(lab.database.line(INVALID).await, "");
        upkeep.run(&key_of_odds_anew()).await.expect("nobody is in the way");
    })
    .await;
}

/// Locks by a name in this database.
const NAMED_LOCKS: &str = "select count(*) from pg_locks where locktype = 'advisory' \
                           and database = (select oid from pg_database where datname = current_database())";

#[tokio::test(flavor = "multi_thread")]
async fn an_upkeep_that_has_ended_is_not_taken_for_one_at_work() {
    on_postgres(async |lab| {
        let first = upkeep(lab).await;
        assert_eq!(lab.database.number(NAMED_LOCKS).await, 1);
        first.end().await;
        assert_eq!(lab.database.number(NAMED_LOCKS).await, 0, "the lock is given back before the command ends");

        let killed = connect(&lab.database.url).await;
        let lock = |how: &str| format!("select pg_advisory_{how}(hashtext('ledgerline optimize'))");
        killed.batch_execute(&lock("lock")).await.expect("as one that was killed still holds it");
        let notices = async {
            let asked = "select count(*) from pg_stat_activity where state = 'idle' and query like 'select pg_try_%ledgerline optimize%' \
                     and datname = current_database()";
            eventually("the next one to ask", async || (lab.database.number(asked).await == 1).then_some(())).await;
            killed.batch_execute(&lock("unlock")).await.expect("the server has noticed");
        };
        let (next, ()) = tokio::join!(upkeep(lab), notices);
        next.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_upkeep_at_a_time_and_nobody_waits_behind_one_that_waits() {
    on_postgres(async |lab| {
        let mut upkeep = upkeep(lab).await;
        let second = Upkeep::open(&DatabaseConfig::for_url(&lab.database.url)).await.expect_err("a second one");
        assert!(second.to_string().contains("somebody else is optimizing"), "{second}");

        let holder = connect(&lab.database.url).await;
        holder
            .batch_execute("begin; lock table odds in share update exclusive mode")
            .await
            .expect("as another vacuum holds it");
        let writer = connect(&lab.database.url).await;
        let waits = async {
            let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like 'vacuum%' \
                           and datname = current_database()";
            eventually("the vacuum to wait", async || (lab.database.number(waiting).await == 1).then_some(())).await;
            let write = "set statement_timeout = '4s'; insert into odds values (1, now(), 1, 2.0, 1, null)";
            writer.batch_execute(write).await.expect("a writer does not wait");
        };
        let step = UpkeepStep::VacuumTable { table: "odds".into() };
        let (done, ()) = tokio::join!(upkeep.run(&step), waits);
        assert!(done.expect_err("it gives up").to_string().contains("lock timeout"));
        holder.batch_execute("commit").await.expect("an answer");
        upkeep.run(&step).await.expect("its turn");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_takes_long_is_not_ended_by_the_time_outs_of_the_role() {
    on_postgres(async |lab| {
        // Where the server knows them. Waiting for a lock is what takes long here.
        let short = "do $$ declare known name; begin \
                         for known in select name from pg_settings where name in ('transaction_timeout', 'idle_session_timeout') loop \
                             execute format('alter database %I set %I = ''2s''', current_database(), known); \
                         end loop; \
                     end $$";
        let holder = connect(&lab.database.url).await;
        lab.database.change(short).await;
        let mut upkeep = upkeep(lab).await;
        let idle = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle' \
                    and query like 'select pg_try_advisory_lock%' and clock_timestamp() - state_change > interval '2500 ms'";
        eventually("a session idle for longer than the role may", async || {
            (lab.database.number(idle).await == 1).then_some(())
        })
        .await;
        holder.batch_execute("begin; lock table odds in share update exclusive mode").await.expect("held");
        let step = UpkeepStep::VacuumTable { table: "odds".into() };
        let error = upkeep.run(&step).await.expect_err("it gives up").to_string();
        assert!(error.contains("lock timeout"), "{error}");
        holder.batch_execute("commit").await.expect("an answer");
        upkeep.run(&step).await.expect("the connection is there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_step_has_come_can_be_seen() {
    on_postgres(async |lab| {
        let mut upkeep = upkeep(lab).await;
        let watch = upkeep.watch(&DatabaseConfig::for_url(&lab.database.url)).await.expect("a connection");
        let watch = tokio::sync::Mutex::new(watch);
        let look = async || watch.lock().await.look().await;
        assert_eq!(look().await, None, "nothing is under way");
        let backup = connect(&lab.database.url).await;
        let begin = "begin isolation level repeatable read; select count(*) from odds";
        backup.batch_execute(begin).await.expect("begun");
        let looks = async {
            let phase = "waiting for old snapshots";
            eventually(phase, async || look().await.filter(|seen| seen == phase).map(drop)).await;
            backup.batch_execute("commit").await.expect("ended");
        };
        let step = key_of_odds_anew();
        let (done, ()) = tokio::join!(upkeep.run(&step), looks);
        done.expect("rebuilt");
        assert_eq!(look().await, None);
    })
    .await;
}
