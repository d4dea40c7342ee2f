//! What only a server can do to us: refuse a row, wait, end a session, only read, accept and stall. After each of them the
//! store answers with an error, nothing is half written, and the next write succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::{
    DatabaseConfig, LetterFilter, Redrive, Redriven, Resolved, Store, StoreError, WriteError,
};
use tokio::net::{TcpListener, TcpStream};

use super::lab::{At, Lab, Line, odds, on_postgres};
use crate::support::postgres::{Database, connect, execute};
use crate::support::{eventually, service};

const KIND: EventKind = EventKind::Odds;

/// A store of one connection with settings of the case's own.
async fn store(database: &Database, adjust: impl FnOnce(&mut DatabaseConfig)) -> Store {
    let mut config = DatabaseConfig::for_url(&database.url);
    config.pool.size = 1;
    adjust(&mut config);
    Store::connect(&config).await.expect("a store")
}

fn refused_by_the_database<T: std::fmt::Debug>(result: Result<T, WriteError>) {
    assert!(matches!(result, Err(WriteError::Store(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_server_refuses_undoes_the_whole_batch() {
    on_postgres(async |lab: &Lab| {
        let store = store(&lab.database, |_| {}).await;
        let mut line = Line::open(&store, KIND).await;
        line.events(&[odds("g", 1, -110)]).await;
        lab.database.change("alter table odds add constraint planted check (price <> 7.66)").await;
        let before = lab.database.contents().await;
        let batch =
            line.batch(&[At::Event(odds("new", 2, -110)), At::Event(odds("g", 2, 666)), At::Bytes("{")]);
        refused_by_the_database(line.try_write(&batch).await);
        assert_eq!(lab.database.contents().await, before);
        assert_eq!(line.position().await.next_offset, 1);

        lab.database.change("alter table odds drop constraint planted").await;
        assert_eq!(line.try_write(&batch).await.expect("written").rows.inserted, 4);
        assert!(store.verify(None).await.expect("an answer").ok());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_interned_ids_are_asked_for_again() {
    on_postgres(async |lab: &Lab| {
        let store = store(&lab.database, |_| {}).await;
        let mut line = Line::open(&store, KIND).await;
        line.events(&[odds("g", 1, -110)]).await; // the connection knows its selections now
        lab.database.change("alter table odds add constraint planted check (price <> 7.66)").await;
        refused_by_the_database(line.try_write(&line.batch(&[At::Event(odds("g", 2, 666))])).await);
        // As after a failover that lost the last transactions: the ids mean nothing any more.
        lab.database
            .change("alter table odds drop constraint planted; delete from odds; delete from selections")
            .await;
        line.events(&[odds("g", 2, 666)]).await;
        assert_eq!(store.verify(None).await.expect("an answer").orphan_quotes, 0);
        assert_eq!(lab.latest("test", "g").await.len(), 2);
    })
    .await;
}

/// Somebody who holds the position row until dropped.
async fn holding_the_position(database: &Database) -> tokio_postgres::Client {
    let client = connect(&database.url).await;
    client.batch_execute("begin; select * from partition_offsets for update").await.expect("the lock");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ended_in_the_middle_of_a_write_leaves_nothing_behind() {
    on_postgres(async |lab: &Lab| {
        let store = store(&lab.database, |_| {}).await;
        let line = Line::open(&store, KIND).await;
        let before = lab.database.contents().await;
        let holder = holding_the_position(&lab.database).await;
        let batch = line.batch(&[At::Event(odds("g", 1, -110))]);
        let end_it = eventually("the write to wait for the position", async || {
            let ended = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' \
                         and datname = current_database()";
            (!lab.database.rows(ended).await.is_empty()).then_some(())
        });
        let (written, ()) = tokio::join!(line.try_write(&batch), end_it);
        refused_by_the_database(written);
        drop(holder);
        assert_eq!(lab.database.contents().await, before);
        assert_eq!(line.try_write(&batch).await.expect("written").rows.inserted, 2);
        assert!(store.verify(None).await.expect("an answer").ok());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_that_the_server_ended_are_replaced() {
    on_postgres(async |lab: &Lab| {
        let store = store(&lab.database, |_| {}).await;
        let mut line = Line::open(&store, KIND).await;
        let others = "select pg_terminate_backend(pid) from pg_stat_activity \
                      where datname = current_database() and pid <> pg_backend_pid()";
        for second in 0..3 {
            lab.database.rows(others).await;
            line.events(&[odds("g", second, -110)]).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_lock_is_bounded_by_the_server() {
    let lock: fn(&mut DatabaseConfig) = |config| config.lock_timeout_ms = 100;
    let statement: fn(&mut DatabaseConfig) = |config| config.statement_timeout_ms = 100;
    for adjust in [lock, statement] {
        on_postgres(async |lab: &Lab| {
            let store = store(&lab.database, adjust).await;
            let line = Line::open(&store, KIND).await;
            let batch = line.batch(&[At::Event(odds("g", 1, -110))]);
            let holder = holding_the_position(&lab.database).await;
            refused_by_the_database(line.try_write(&batch).await);
            let unknown = store.position(&line.claim).await;
            assert!(matches!(unknown, Err(StoreError::Query(_))), "{unknown:?}");
            drop(holder);
            assert_eq!(line.position().await.next_offset, 0);
            line.try_write(&batch).await.expect("written");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_that_waits_in_vain_counts_nothing() {
    let lock: fn(&mut DatabaseConfig) = |config| config.lock_timeout_ms = 100;
    let statement: fn(&mut DatabaseConfig) = |config| config.statement_timeout_ms = 100;
    for adjust in [lock, statement] {
        on_postgres(async |lab: &Lab| {
            let store = store(&lab.database, adjust).await;
            let mut line = Line::open(&store, KIND).await;
            line.events(&[odds("g", 1, 50), odds("g", 2, -110)]).await;
            let before = lab.database.contents().await;
            let letter = store.letters(&LetterFilter::default(), None, 1).await.expect("letters").remove(0);
            let (reason, actor) = ("a test".into(), "an operator".into());
            let by = Resolved { actor, reason, now: super::lab::now(), dry_run: false };
            let mended = super::lab::batch(KIND, 0, &[At::Event(odds("g", 1, -110))]);
            let redrive = Redrive { letter: &letter, batch: &mended, by: &by };
            let holder = connect(&lab.database.url).await;
            for table in ["odds", "dead_letters", "offset_ledger"] {
                let lock = format!("begin; lock table {table} in access exclusive mode");
                holder.batch_execute(&lock).await.expect("the lock");
                let stuck = store.redrive(&redrive).await;
                assert!(matches!(stuck, Err(StoreError::Query(_))), "{table}: {stuck:?}");
                holder.batch_execute("rollback").await.expect("the lock is gone");
                assert_eq!(lab.database.contents().await, before, "{table}");
            }
            assert!(matches!(store.redrive(&redrive).await, Ok(Redriven::Applied(_))));
            assert!(store.verify(None).await.expect("an answer").ok());
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_only_reads_is_refused_at_checkout() {
    on_postgres(async |lab: &Lab| {
        let name = lab.database.rows("select current_database()").await[0][0].clone().expect("a name");
        let server = service("LEDGERLINE_TEST_POSTGRES");
        execute(&server, &format!("alter database {name} set default_transaction_read_only = on")).await;
        let store = store(&lab.database, |config| config.pool.checkout_timeout_ms = 1_000).await;
        let refused = store.ping().await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        execute(&server, &format!("alter database {name} reset default_transaction_read_only")).await;
        store.ping().await.expect("it writes again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_listens_on_is_answered_without_the_password() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let mut config =
        DatabaseConfig::for_url(&format!("postgres://user:sesame@127.0.0.1:{port}/x?sslmode=disable"));
    config.pool.checkout_timeout_ms = 1_000;
    let store = Store::connect(&config).await.expect("a pool");
    let refused = store.ping().await.expect_err("nobody listens");
    assert!(refused.to_string().contains("refused"), "the cause is named: {refused}");
    assert!(!format!("{refused} {refused:?} {store:?} {config:?}").contains("sesame"));
}

/// `verify` runs beside live workers: a batch that commits while it reads is no violation.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_commits_while_verify_reads_is_no_violation() {
    on_postgres(async |lab: &Lab| {
        let mut line = Line::open(&lab.store, KIND).await;
        line.events(&[odds("g", 1, -110)]).await;
        let writer = connect(&lab.database.url).await;
        writer.batch_execute("begin; lock table odds in access exclusive mode").await.expect("the lock");
        let batch = async {
            eventually("verify to reach the quotes", async || {
                let waiting = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
                (!lab.database.rows(waiting).await.is_empty()).then_some(())
            })
            .await;
            let batch = "insert into odds select selection_id, observed_at + interval '1 s', 1, price, lineage_id, line from odds; \
                         update offset_ledger set to_offset = 2, applied = 2, inserted = 4; \
                         update partition_offsets set next_offset = 2; commit";
            writer.batch_execute(batch).await.expect("a batch by hand");
        };
        let (verified, ()) = tokio::join!(lab.store.verify(None), batch);
        let verified = verified.expect("an answer");
        assert!(verified.ok(), "{verified:?}");
        assert!(lab.store.verify(None).await.expect("an answer").ok());
    })
    .await;
}

/// Accepts connections; hands them on to the real server only while `open`.
async fn door(to: String, open: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut stalled = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            if !open.load(Ordering::SeqCst) {
                stalled.push(client);
                continue;
            }
            let mut server = TcpStream::connect(&to).await.expect("the real server");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_accepts_and_stalls_does_not_pin_the_pool() {
    on_postgres(async |lab: &Lab| {
        let mut url = url::Url::parse(&lab.database.url).expect("a URL");
        let server = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        let open = Arc::new(AtomicBool::new(false));
        let port = door(server, open.clone()).await;
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(port)).expect("a port");
        let mut config = DatabaseConfig::for_url(url.as_str());
        config.pool.size = 2;
        config.pool.connect_timeout_ms = 300;
        config.pool.checkout_timeout_ms = 1_000;
        let store = Store::connect(&config).await.expect("a pool");
        for _ in 0..3 {
            let stalled = store.ping().await;
            assert!(matches!(stalled, Err(StoreError::Unavailable(_))), "{stalled:?}");
        }
        open.store(true, Ordering::SeqCst);
        eventually("the pool to recover", async || store.ping().await.ok()).await;
        let mut line = Line::open(&store, KIND).await;
        line.events(&[odds("g", 1, -110)]).await;
    })
    .await;
}
