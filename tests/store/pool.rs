//! What a pool counts: callers, waits, connections that were opened, stale ones that were closed, and why others could not be set up.

use ledgerline_schema::store::{DatabaseConfig, PoolState, SetUpFailure, Store};

use super::lab::{Lab, on_postgres};
use crate::support::eventually;
use crate::support::postgres::execute;
use crate::support::unique;

on_both! {
    callers_and_connections_are_counted,
    a_burst_beyond_the_pool_waits_in_vain_and_is_counted,
}

async fn callers_and_connections_are_counted(lab: &Lab) {
    let store = lab.database.store().await;
    assert_eq!(store.pool_state().opened, 0, "nothing is opened before somebody asks");
    for _ in 0..3 {
        store.ping().await.expect("an answer");
    }
    let state = store.pool_state();
    assert_eq!((state.direct + state.waits, state.timeouts, state.waiting), (3, 0, 0), "{state:?}");
    assert_eq!((state.waits, state.opened, state.idle, state.in_use), (1, 1, 1, 0), "{state:?}");
    assert!(!state.wait_time.is_zero(), "the first one waited until it was opened");
    assert_eq!(state.set_up_failures, PoolState::default().set_up_failures);
}

async fn a_burst_beyond_the_pool_waits_in_vain_and_is_counted(lab: &Lab) {
    let mut config = DatabaseConfig::for_url(&lab.database.url);
    (config.pool.size, config.pool.checkout_timeout_ms) = (1, 5_000);
    let store = Store::connect(&config).await.expect("a store");
    let served = store.burst(1).await;
    assert_eq!((served.asked, served.had), (1, 1));
    config.pool.checkout_timeout_ms = 100;
    let store = Store::connect(&config).await.expect("a store");
    eventually("its one connection", async || store.ping().await.ok()).await;
    let before = store.pool_state();
    let refused = store.burst(3).await; // all hold what they have until each has been served
    let state = store.pool_state();
    assert_eq!((refused.asked, refused.had), (3, 1), "{state:?}");
    assert_eq!(state.timeouts - before.timeouts, 2, "{state:?}");
}

/// Who asks the pool in vain until a failure of that class is counted.
async fn fails_as(config: &DatabaseConfig, why: SetUpFailure) {
    let store = Store::connect(config).await.expect("a store");
    let counted = async || {
        let _ = store.ping().await;
        store.pool_state().failures().find(|(found, count)| *found == why && *count > 0)
    };
    eventually(why.name(), counted).await;
    let others: Vec<_> =
        store.pool_state().failures().filter(|(found, count)| *found != why && *count > 0).collect();
    assert_eq!(others, [], "{why:?} alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_each_way_to_fail_has_its_class() {
    on_postgres(async |lab: &Lab| {
        let impatient = |url: &str| {
            let mut config = DatabaseConfig::for_url(url);
            config.pool.checkout_timeout_ms = 500;
            config
        };
        let elsewhere = |change: &dyn Fn(&mut url::Url)| {
            let mut url = url::Url::parse(&lab.database.url).expect("a URL");
            change(&mut url);
            impatient(url.as_str())
        };
        fails_as(&elsewhere(&|url| url.set_path("a_database_that_nobody_made")), SetUpFailure::Login).await;
        fails_as(&elsewhere(&|url| url.set_port(Some(1)).expect("a port")), SetUpFailure::Unreachable).await;
        fails_as(&elsewhere(&|url| url.set_query(Some("sslmode=verify-full"))), SetUpFailure::Tls).await;
        let role = unique("full").replace('-', "_");
        execute(&lab.database.url, &format!("create role {role} login connection limit 0")).await;
        fails_as(&elsewhere(&|url| url.set_username(&role).expect("a user")), SetUpFailure::Full).await;
        execute(&lab.database.url, &format!("drop role {role}")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_a_connection_that_was_ended_from_outside_is_replaced_and_counted() {
    on_postgres(async |lab: &Lab| {
        let mut config = DatabaseConfig::for_url(&lab.database.url);
        config.pool.size = 1;
        let store = Store::connect(&config).await.expect("a store");
        store.ping().await.expect("an answer");
        let end = "select pg_terminate_backend(pid) from pg_stat_activity \
                   where datname = current_database() and application_name = 'ledgerline'";
        execute(&lab.database.url, end).await;
        store.ping().await.expect("nobody notices");
        let state = store.pool_state();
        assert_eq!((state.closed.failed_check, state.closed.broken, state.opened), (1, 0, 2), "{state:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_unused_connections_are_kept_for_who_stays() {
    on_postgres(async |lab: &Lab| {
        let mut config = DatabaseConfig::for_url(&lab.database.url);
        config.pool.min_idle = 2;
        let store = Store::connect_to_stay(&config).await.expect("a store");
        eventually("two connections", async || (store.pool_state().idle == 2).then_some(())).await;
        let state = store.pool_state();
        assert_eq!((state.min, state.max, state.opened), (2, 8, 2), "{state:?}");
        let passing = Store::connect(&config).await.expect("a store");
        passing.ping().await.expect("an answer");
        let state = passing.pool_state();
        assert_eq!((state.min, state.opened), (0, 1), "a command keeps none: {state:?}");
    })
    .await;
}
