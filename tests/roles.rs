//! The roles of `docs/roles.sql`: the worker's is enough for a whole run, and is refused everything else.

use ledgerline_schema::events::EventKind;
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::support::kafka::{self, Record};
use crate::support::postgres::{Database, connect, execute};
use crate::support::worker::Setup;
use crate::support::{eventually, unique};

const ROLES: [&str; 6] = ["worker", "operator", "maintenance", "reader", "migrator", "control"];

/// Roles with names of the test's own, in a database of its own.
struct Roles {
    database: Database,
    prefix: String,
}

impl Roles {
    async fn new() -> Self {
        let roles = Self { database: Database::postgres().await, prefix: unique("r").replace('-', "_") };
        roles.grant().await;
        roles
    }

    /// Runs the file as its head says.
    async fn grant(&self) {
        self.grant_in(&self.database).await;
    }

    async fn grant_in(&self, database: &Database) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/roles.sql");
        let sql = std::fs::read_to_string(path).expect("docs/roles.sql");
        execute(&database.url, &sql.replace("ledgerline_", &format!("{}_", self.prefix))).await;
    }

    /// The database's URL for a role.
    fn url(&self, role: &str) -> String {
        self.url_of(&self.database, role)
    }

    fn url_of(&self, database: &Database, role: &str) -> String {
        let mut url = url::Url::parse(&database.url).expect("a URL");
        url.set_username(&format!("{}_{role}", self.prefix)).expect("a user");
        url.into()
    }

    async fn as_role(&self, role: &str) -> Client {
        connect(&self.url(role)).await
    }

    /// Roles belong to the server and not to the database: they have to go first.
    async fn drop_now(&self) {
        for role in ROLES {
            let name = format!("{}_{role}", self.prefix);
            execute(&self.database.url, &format!("drop owned by {name} cascade; drop role {name}")).await;
        }
        self.database.drop_now().await;
    }
}

#[track_caller]
fn is_refused(statement: &str, answer: Result<(), tokio_postgres::Error>) {
    let error = answer.expect_err(statement);
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
}

/// What the worker's role must never be able to do.
const FORBIDDEN: [&str; 37] = [
    "create table evil (id int)",
    "create temp table evil (id int)",
    "create schema evil",
    "create function evil() returns int language sql as 'select 1'",
    "create index evil on odds (price)",
    "create role evil",
    "create database evil",
    "alter table odds add column evil int",
    "alter role current_user superuser",
    "alter system set fsync = off",
    "drop table odds",
    "drop view readable_odds",
    "truncate odds",
    "delete from odds",
    "delete from dead_letters",
    "delete from partition_offsets",
    "delete from offset_ledger",
    "delete from workflows",
    "delete from workflow_history",
    "insert into switches values ('g', 't', -1, 'paused', '', 'evil', now())",
    "delete from switches",
    "update odds set price = 2",
    "update operator_actions set reason = 'evil'",
    "insert into removals values (1, 'compacted', 1, now())",
    "update removals set rows = 0",
    "update sharp_signals set severity = 'high'",
    "delete from alerts",
    "insert into alert_rules (name) values ('evil')",
    "update alert_rule_set set version = 0",
    "update lineages set topic = 'evil'",
    "update selections set line = 1",
    "update schema_version set version = 99",
    "insert into schema_version (id, version, compatible_from) values (2, 99, 1)",
    "insert into __diesel_schema_migrations (version) values ('evil')",
    "copy odds to program 'true'",
    "select pg_read_file('/etc/passwd')",
    "select lo_import('/etc/passwd')",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_role_may_work_and_nothing_else() {
    let roles = Roles::new().await;
    let mut topics = Vec::new();
    for kind in EventKind::ALL {
        topics.push((kind.name(), kafka::topic(kind.name(), 1).await));
    }
    let named: Vec<(&str, &str)> = topics.iter().map(|(kind, topic)| (*kind, topic.as_str())).collect();
    let odds = &topics.iter().find(|(kind, _)| *kind == "odds").expect("odds").1;
    Setup::new(&roles.url("migrator"), &named).must(&["migrate", "up"]);
    roles.grant().await;
    // So that articles raise alerts, withdraw and renew them.
    let rule = "insert into alert_rules (name, keywords, field, enabled, created_at, updated_at) \
                values ('injuries', '[\"injury report\"]', 'any', true, now(), now()); \
                update alert_rule_set set version = version + 1";
    roles.as_role("operator").await.batch_execute(rule).await.expect("the operator makes rules");

    let setup = Setup::new(&roles.url("worker"), &named);
    let doctor: Value = serde_json::from_str(&setup.must(&["doctor", "--json"])).expect("JSON");
    let privileges =
        doctor["probes"].as_array().into_iter().flatten().find(|probe| probe["name"] == "privileges");
    assert_eq!(privileges.map(|probe| &probe["status"]), Some(&json!("ok")), "{doctor}");
    let samples = named.iter().map(|(kind, _)| setup.must(&["schema", "samples", kind]));
    let samples = samples.collect::<String>() + &revised_article();
    let file = setup.folder.path().join("samples.ndjson");
    std::fs::write(&file, samples).expect("written");
    let file = file.display().to_string();
    // Twice, with a bad record and a restart in between: claims, duplicates, stale versions and dead letters.
    for _ in 0..2 {
        setup.must(&["publish", &file]);
        let to = odds.clone();
        let bad = Record::of("bad", "{");
        tokio::task::spawn_blocking(move || kafka::produce(&kafka::brokers(), &to, &[bad]))
            .await
            .expect("produced");
        let mut worker = setup.start();
        let ends: i64 = topics.iter().map(|(_, topic)| kafka::end(topic, 0)).sum();
        let sql = "select coalesce(sum(next_offset), 0) from partition_offsets";
        eventually("every record to be stored", || async {
            (roles.database.number(sql).await == ends).then_some(())
        })
        .await;
        assert!(worker.stop().await.success());
        assert!(!worker.log().contains("permission denied"), "{}", worker.log());
    }
    assert_eq!(roles.database.number("select count(*) from dead_letters").await, 2);
    let withdrawn = "select count(*) from alerts where withdrawn_at is not null";
    assert_eq!(roles.database.number(withdrawn).await, 1);
    let seen = "select count(distinct kind) from scraper_versions where version = '2.4.1'";
    assert_eq!(roles.database.number(seen).await, EventKind::ALL.len() as i64);
    let reader = Setup { database_url: roles.url("reader"), ..Setup::new("", &named) };
    let verified: Value =
        serde_json::from_str(&reader.must(&["verify", "--kafka", "--strict", "--json"])).expect("JSON");
    assert_eq!(verified["ok"], json!(true), "{verified}");

    let worker = roles.as_role("worker").await;
    for statement in FORBIDDEN {
        is_refused(statement, worker.batch_execute(statement).await);
    }
    // A table that a later migration brings, and that its grants name already.
    if roles.database.tables().await.iter().any(|table| table == "operator_actions") {
        let statement = "insert into operator_actions default values";
        is_refused(statement, worker.batch_execute(statement).await);
    }
    let migrator = format!("set role {}_migrator", roles.prefix);
    is_refused(&migrator, worker.batch_execute(&migrator).await);
    roles.drop_now().await;
}

/// The sample article as it was read a minute later, without what the rule looks for.
fn revised_article() -> String {
    let mut article = EventKind::Article.samples().swap_remove(0);
    article["time"] = json!("2025-11-09T18:22:00Z");
    article["data"]["title"] = json!("Nothing to report");
    format!("{article}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_role_has_its_own_task() {
    let roles = Roles::new().await;
    Setup::new(&roles.url("migrator"), &[]).must(&["migrate", "up"]);
    roles.grant().await;
    roles.grant().await; // any number of times
    let may = [
        ("operator", "update partition_offsets set next_offset = 0"),
        ("operator", "update dead_letters set detail = ''"),
        (
            "operator",
            "insert into lineages (cluster_id, topic_id, topic, partition) values ('c', '', 't', 0)",
        ),
        ("operator", "update alert_rules set enabled = false"),
        ("operator", "delete from alert_rules"),
        ("operator", "insert into switches values ('g', 't', -1, 'paused', 'r', 'a', now())"),
        ("worker", "select * from switches"),
        ("operator", "delete from switches"),
        ("maintenance", "delete from odds"),
        ("maintenance", "insert into removals values (1, 'expired', 1, now())"),
        ("maintenance", "update removals set rows = 2"),
        ("maintenance", "update dead_letters set payload = ''"),
        ("reader", "select count(*) from readable_odds"),
        ("migrator", "create table later (id int)"),
        ("worker", "insert into later values (1)"),
        ("reader", "select * from later"),
    ];
    for (role, statement) in may {
        let client = roles.as_role(role).await;
        client
            .batch_execute(statement)
            .await
            .unwrap_or_else(|error| panic!("{role}: {statement}: {error:?}"));
    }
    let may_not = [
        ("operator", "delete from odds"),
        ("operator", "update odds set price = 2"),
        ("operator", "delete from alerts"),
        ("operator", "update switches set reason = 'another'"),
        ("maintenance", "delete from switches"),
        ("operator", "create table evil (id int)"),
        ("maintenance", "delete from partition_offsets"),
        ("maintenance", "insert into odds values (1, now(), 1, 1, 1, 1)"),
        ("maintenance", "delete from removals"),
        ("maintenance", "truncate odds"),
        ("operator", "update removals set rows = 0"),
        ("reader", "insert into lineages (cluster_id, topic_id, topic, partition) values ('c', '', 't', 1)"),
        ("reader", "delete from odds"),
        ("worker", "delete from later"),
        ("migrator", "create role evil"),
    ];
    for (role, statement) in may_not {
        is_refused(statement, roles.as_role(role).await.batch_execute(statement).await);
    }
    sweeps_are_for_maintenance(&roles).await;
    merges_are_for_operators(&roles).await;
    upkeep_is_for_the_owner_or_for_maintenance(&roles).await;
    backups_are_for_readers_and_restores_for_the_owner(&roles).await;
    sessions_have_their_settings(&roles).await;
    roles.drop_now().await;
}

async fn sessions_have_their_settings(roles: &Roles) {
    for (setting, value) in [
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("search_path", "public, pg_temp"),
    ] {
        let found = roles
            .as_role("worker")
            .await
            .query_one(&format!("show {setting}"), &[])
            .await
            .expect("a setting");
        assert_eq!(found.get::<_, &str>(0), value, "{setting}");
    }
}

/// `games merge` as the roles: the operator may, the worker is told that it may not.
async fn merges_are_for_operators(roles: &Roles) {
    let two = "insert into games (status, details, source, source_time, sequence, content_hash, lineage_id, record_offset)
                   select 'final', '{}', 's', now(), 0, '', 1, n from generate_series(1, 2) n;
               insert into game_refs (system, external_id, game_id) select 'test', id::text, id from games";
    roles.as_role("worker").await.batch_execute(two).await.expect("two games");
    let merge = ["games", "merge", "test:1", "test:2", "--reason", "one game"];
    let refused = Setup::new(&roles.url("worker"), &[]).run(&merge);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("permission denied"), "{said}");
    Setup::new(&roles.url("operator"), &[]).must(&merge);
    // As docs/OPERATIONS.md says for a worker that serves control calls; running the file again leaves it.
    let [control, worker] = ["control", "worker"].map(|role| format!("{}_{role}", roles.prefix));
    execute(&roles.database.url, &format!("grant {control} to {worker}")).await;
    roles.grant().await;
    let apart =
        "update game_refs set game_id = 2 where external_id = '2'; update games set merged_into = null";
    roles.as_role("worker").await.batch_execute(apart).await.expect("two games again");
    Setup::new(&roles.url("worker"), &[]).must(&merge);
    execute(&roles.database.url, &format!("revoke {control} from {worker}")).await;
}

/// `compact` and `retention` as the roles: one may, one is told what is missing, one may look.
async fn sweeps_are_for_maintenance(roles: &Roles) {
    let as_role = |role: &str| Setup::new(&roles.url(role), &[]);
    as_role("maintenance").must(&["compact"]);
    as_role("maintenance").must(&["retention", "--older-than", "90d"]);
    as_role("reader").must(&["compact", "--dry-run"]);
    let refused = as_role("worker").run(&["compact"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("delete on odds") && said.contains("docs/roles.sql"), "{said}");
    // As docs/OPERATIONS.md says for a schedule inside `run`; running the file again leaves it.
    let [maintenance, worker] = ["maintenance", "worker"].map(|role| format!("{}_{role}", roles.prefix));
    execute(&roles.database.url, &format!("grant {maintenance} to {worker}")).await;
    roles.grant().await;
    as_role("worker").must(&["compact"]);
    execute(&roles.database.url, &format!("revoke {maintenance} from {worker}")).await;
}

/// `db backup` and `db restore` as the roles, by either method.
async fn backups_are_for_readers_and_restores_for_the_owner(roles: &Roles) {
    let folder = tempfile::tempdir().expect("a folder");
    let fits = roles.database.does_not_fit_pg_dump().await.is_none();
    let methods: &[&str] = if fits { &["pg_dump", "copy"] } else { &["copy"] };
    for method in methods {
        let backup = folder.path().join(method).display().to_string();
        let make = ["db", "backup", &backup, "--method", method];
        let refused = Setup::new(&roles.url("worker"), &[]).run(&make);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains("permission denied for sequence"),
            "{method}: {said}"
        );
        Setup::new(&roles.url("reader"), &[]).must(&make);

        let new = Database::postgres().await;
        roles.grant_in(&new).await;
        let refused = Setup::new(&roles.url_of(&new, "worker"), &[]).run(&["db", "restore", &backup]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && said.contains("permission denied for schema public"),
            "{method}: {said}"
        );
        Setup::new(&roles.url_of(&new, "migrator"), &[]).must(&["db", "restore", &backup]);
        roles.grant_in(&new).await; // rights are not part of a backup
        let doctor = Setup::new(&roles.url_of(&new, "worker"), &[]).run(&["doctor", "--json"]);
        let doctor: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        let probes = doctor["probes"].as_array().expect("probes");
        let privileges = probes.iter().find(|probe| probe["name"] == "privileges").expect("the probe");
        assert_eq!(privileges["status"], "ok", "{method}: {privileges}");
        Setup::new(&roles.url_of(&new, "reader"), &[]).must(&["dlq", "stats"]);
        let merged = "select count(*) from games where merged_into is not null";
        assert_eq!(new.number(merged).await, roles.database.number(merged).await, "{method}");
        new.drop_now().await; // before the roles that have rights there
    }
}

/// `db optimize` as the roles: vacuum itself would pass over what it may not touch.
async fn upkeep_is_for_the_owner_or_for_maintenance(roles: &Roles) {
    let as_role = |role: &str| Setup::new(&roles.url(role), &[]);
    as_role("migrator").must(&["db", "optimize"]);
    as_role("reader").must(&["db", "stats"]);
    let may_be_granted =
        roles.database.number("select current_setting('server_version_num')::int8").await >= 170_000;
    for role in ["reader", "worker", "maintenance"] {
        if role == "maintenance" && may_be_granted {
            as_role(role).must(&["db", "optimize"]);
            continue;
        }
        let refused = as_role(role).run(&["db", "optimize"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{role}: {said}");
        assert!(
            said.contains("may not vacuum and rebuild alert_rule_set, ")
                && said.contains("ledgerline_migrator"),
            "{role}: {said}"
        );
    }
    // The owner of the database may vacuum what others own, and may rebuild none of it.
    let owned_by = |owner: &str| {
        format!(
            "do $$ begin execute format('alter database %I owner to {owner}', current_database()); end $$"
        )
    };
    execute(&roles.database.url, &owned_by(&format!("{}_reader", roles.prefix))).await;
    let refused = as_role("reader").run(&["db", "optimize"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("may not vacuum and rebuild"), "{said}");
    execute(&roles.database.url, &owned_by("current_user")).await;
    roles.grant().await; // what an owner was given goes with the ownership
}
