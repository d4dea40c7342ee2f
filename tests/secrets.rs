//! Secrets stay secret: whatever goes wrong, and however much is logged, no password and no record shows on standard output, on
//! standard error or in the metrics.

use std::path::PathBuf;
use std::process::Output;

use ledgerline_worker::config::Config;
use ledgerline_worker::kafka::base_config;
use serde_json::json;

use crate::support::certificates::{Authority, Validity};
use crate::support::kafka::{self as topics, Record};
use crate::support::scenes::{get, logged};
use crate::support::servers::free_port;
use crate::support::tls_servers::{Kafka, Listener, PASSWORD, Postgres};
use crate::support::worker::{command, start};

/// What must never show. Each has a part that no text has by accident.
const CANARIES: [&str; 4] = ["canary-db", "canary-sasl", "canary-record", PASSWORD];

#[track_caller]
fn silent(what: &str, said: &str) {
    for canary in CANARIES {
        // As text, and as a list of bytes like those that `{:?}` prints.
        let bytes = format!("{:?}", canary.as_bytes());
        for form in [canary, bytes.trim_matches(['[', ']'])] {
            assert!(!said.contains(form), "{what} shows {canary}:\n{said}");
        }
    }
}

/// A configuration in a folder of its own.
struct Place {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

fn place(toml: &str) -> Place {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ledgerline.toml");
    std::fs::write(&file, toml).expect("written");
    Place { _folder: folder, file }
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Runs a command that has to fail, and to keep silent about why as far as secrets go. Answers what it said.
#[track_caller]
fn fails(toml: &str, environment: &[(&str, &str)], args: &[&str]) -> String {
    let place = place(toml);
    let mut command = command(&place.file);
    command.args(args).envs(environment.iter().copied()).env("RUST_BACKTRACE", "full");
    let output = command.output().expect("it runs");
    let said = said(&output);
    assert!(!output.status.success(), "{toml} {environment:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    silent(toml, &said);
    said
}

const CHECK: [&str; 2] = ["run", "--check-config"];

#[test]
fn a_configuration_file_that_cannot_be_read_is_not_shown() {
    let files = [
        "[database]\nurl = \"postgres://u:canary-db@h/d\n",
        "[database]\nurl = postgres://u:canary-db@h/d\n",
        "[database]\nurl = \"postgres://u:canary-db@h/d\" canary-db\n",
        "[database]\nurl = \"postgres://u:canary-db\\qh/d\"\n",
        "[kafka]\nsasl_password = canary-sasl\n",
        "[kafka]\nsasl_password = 'canary-sasl\n",
        "[kafka]\nsasl_password canary-sasl\n",
        "[kafka]\nsasl_password = \"canary-sasl\"\nsasl_password = \"canary-sasl\"\n",
        "canary-db",
    ];
    for file in files {
        let said = fails(file, &[], &CHECK);
        assert!(said.contains("line "), "the place is told: {said}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_not_shown() {
    let cases = [
        ("database = \"postgres://u:canary-db@h/d\"\n", "database"),
        ("kafka = \"canary-sasl\"\n", "kafka"),
        ("[database]\nurl = [\"postgres://u:canary-db@h/d\"]\n", "database.url"),
        ("[database]\nurl = { value = \"canary-db\" }\n", "database.url"),
        ("[database.url]\nvalue = \"canary-db\"\n", "database.url"),
        ("[database]\npool = \"canary-db\"\n", "database.pool"),
        ("[database]\nstatement_timeout_ms = \"canary-db\"\n", "database.statement_timeout_ms"),
        ("[database]\ntls = \"canary-db\"\n", "database.tls"),
        ("[kafka]\nsasl_password = [\"canary-sasl\"]\n", "kafka.sasl_password"),
        ("[kafka]\nsecurity = \"canary-sasl\"\n", "kafka.security"),
        ("[kafka]\nsession_timeout_ms = \"canary-sasl\"\n", "kafka.session_timeout_ms"),
        ("[kafka]\nstart = \"canary-sasl\"\n", "kafka.start"),
        ("[database]\nread_url = [\"postgres://u:canary-db@h/d\"]\n", "database.read_url"),
        ("[database]\nread_url = \"mysql://u:canary-db@h/d\"\n", "database.read_url"),
        ("[http]\ntoken = \"canary-sasl\"\n", "http.token"),
        ("[http]\ntoken = [\"canary-sasl-that-is-long-enough\"]\n", "http.token"),
    ];
    for (file, key) in cases {
        let said = fails(file, &[], &CHECK);
        assert!(said.contains(key), "{key}: {said}");
    }
    let variables = [
        ("LEDGERLINE_DATABASE__POOL", "postgres://u:canary-db@h/d", "DATABASE.POOL"),
        ("LEDGERLINE_DATABASE__PASSWORD", "canary-db", "DATABASE.PASSWORD"),
        ("LEDGERLINE_DATABASE__URL__X", "canary-db", "DATABASE.URL"),
        ("LEDGERLINE_KAFKA__SASL_PASWORD", "canary-sasl", "KAFKA.SASL_PASWORD"),
        ("LEDGERLINE_KAFKA__SECURITY", "canary-sasl", "KAFKA.SECURITY"),
        ("LEDGERLINE_KAFKA__FETCH_QUEUE_KIB", "canary-sasl", "KAFKA.FETCH_QUEUE_KIB"),
        ("LEDGERLINE_DATABASE__URL", "canary-db", "database.url"),
    ];
    for (variable, value, key) in variables {
        let said = fails("", &[(variable, value)], &CHECK);
        assert!(said.to_lowercase().contains(&key.to_lowercase()), "{key}: {said}");
    }
}

/// URLs with a password in places where people put it, right or wrong.
const URLS: [&str; 10] = [
    "postgres://u:canary-db@127.0.0.1:1/d?sslmode=disable",
    "postgres://u:canary-db@127.0.0.1:1/d",
    "postgres://u:canary-db@nowhere.invalid/d",
    "postgres://u@127.0.0.1:1/d?password=canary-db&sslmode=disable",
    "postgres://u:canary-db@127.0.0.1:1/d?sslmode=canary-db",
    "postgres://u:canary-db@127.0.0.1:1/d?canary-db=canary-db",
    "postgres://u:canary-db@h:99999/d",
    "postgres://u:canary-db#x@127.0.0.1:1/d",
    "postgres://u:1/canary-db@127.0.0.1:1/d",
    "postgres://u:canary-db@127.0.0.1:1:2/d?sslmode=disable",
];

#[test]
fn a_database_that_cannot_be_reached_is_not_named_by_its_url() {
    let short = "connect_timeout_ms = 300\ncheckout_timeout_ms = 300\n";
    std::thread::scope(|scope| {
        for url in URLS {
            scope.spawn(move || {
                let in_file = format!("[database]\nurl = \"{url}\"\n[database.pool]\n{short}");
                fails(&in_file, &[], &["migrate", "up"]);
                fails(&in_file, &[], &["verify", "--kafka"]);
                let pool = format!("[database.pool]\n{short}");
                fails(&pool, &[("LEDGERLINE_DATABASE__URL", url)], &["migrate", "status"]);
                let secret = place(url);
                let file =
                    format!("[database]\nurl_file = \"{}\"\n[database.pool]\n{short}", secret.file.display());
                fails(&file, &[], &["verify"]);
            });
        }
    });
    let secret = place("canary-db");
    let said = fails(&format!("[database]\nurl_file = \"{}\"\n", secret.file.display()), &[], &CHECK);
    assert!(said.contains("database.url"), "{said}");
    let folder = secret.file.parent().expect("its folder").display();
    let said = fails(&format!("[database]\nurl_file = \"{folder}\"\n"), &[], &CHECK);
    assert!(said.contains("database.url_file"), "{said}");
}

#[test]
fn brokers_that_cannot_be_used_are_named_without_the_password() {
    let sasl = "[kafka]\nbrokers = \"127.0.0.1:1\"\nsecurity = \"sasl-tls\"\nsasl_username = \"u\"\n";
    let file = place("canary-sasl");
    let passwords = [
        ("sasl_password = \"canary-sasl\"\n".to_owned(), None),
        (format!("sasl_password_file = \"{}\"\n", file.file.display()), None),
        (String::new(), Some("canary-sasl")),
    ];
    let event = place(&json!({"specversion": "1.0", "type": "odds.v1"}).to_string());
    let events = event.file.display().to_string();
    for (line, variable) in passwords {
        let environment: Vec<_> =
            variable.iter().map(|value| ("LEDGERLINE_KAFKA__SASL_PASSWORD", *value)).collect();
        let settings = [
            "sasl_mechanism = \"BOGUS\"\n",
            "ca_file = \"/nowhere.pem\"\n",
            "sasl_mechanism = \"a\\u0000b\"\n",
        ];
        for setting in settings {
            let toml = format!("{sasl}{line}{setting}");
            fails(&toml, &environment, &CHECK);
            fails(&toml, &environment, &["publish", &events]);
        }
        fails(&format!("{sasl}{line}"), &environment, &["publish", &events]);
    }
    // What the client library cannot take, in the secret itself.
    let zero = format!("{sasl}sasl_password = \"canary-sasl\\u0000\"\n");
    fails(&zero, &[], &CHECK);
    fails(&zero, &[], &["publish", &events]);
}

#[test]
fn a_configuration_is_printed_without_its_secrets() {
    let url = "postgres://u:canary-db@127.0.0.1:1/d";
    let toml = format!(
        "[kafka]\nsasl_password = \"canary-sasl\"\n[database]\nurl = \"{url}\"\nread_url = \"{url}\"\n\
         [http]\ntoken = \"canary-sasl-that-is-long-enough\"\n"
    );
    let config = Config::load(Some(&place(&toml).file)).expect("a configuration");
    silent("Debug", &format!("{config:#?}"));
    silent(
        "Debug of the client's settings",
        &format!("{:#?}", base_config(&config.kafka).expect("settings")),
    );
}

/// Servers that ask for passwords, over TLS.
struct Servers {
    folder: tempfile::TempDir,
    authority: Authority,
    postgres: Postgres,
    kafka: Kafka,
}

impl Servers {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new(folder.path(), "ours");
        let identity = authority.issue("localhost", Validity::Now);
        let mut postgres = Postgres::new();
        postgres.start(Some(&identity)).await;
        let kafka = Kafka::start(&[Listener { identity: &identity, user: Some(("app", PASSWORD)) }]).await;
        Self { folder, authority, postgres, kafka }
    }

    /// Everything that is logged is logged.
    fn place(&self, database: &str, sasl: &str, http: u16, topic: &str) -> Place {
        let authority = self.authority.file.display();
        let secret = self.folder.path().join(crate::support::unique("sasl"));
        std::fs::write(&secret, sasl).expect("written");
        place(&format!(
            "[kafka]\nbrokers = \"{}\"\nsecurity = \"sasl-tls\"\nsasl_mechanism = \"PLAIN\"\nsasl_username = \"app\"\n\
             sasl_password_file = \"{}\"\nca_file = \"{authority}\"\nsession_timeout_ms = 6000\n\
             [database]\nurl = \"{}\"\nca_file = \"{authority}\"\n[database.pool]\ncheckout_timeout_ms = 1000\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\n[log]\nlevel = \"trace\"\n\
             [topics.odds]\nname = \"{topic}\"\n[topics.games]\nenabled = false\n[topics.articles]\nenabled = false\n\
             [topics.sharp-signals]\nenabled = false\n[topics.betting-analyses]\nenabled = false\n",
            self.kafka.listeners[0],
            secret.display(),
            self.postgres.url("localhost", database),
        ))
    }
}

/// Runs a worker until it logs `text`; neither its log nor its metrics show a secret.
async fn runs_silently_until(place: &Place, http: u16, text: &str) {
    let mut worker = start(&place.file);
    logged(&worker, text, 1).await;
    let metrics = get(&format!("127.0.0.1:{http}"), "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    silent("/metrics", &metrics);
    worker.stop().await;
    silent("the log", &worker.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_logs_everything_shows_no_password_and_no_record() {
    let servers = Servers::start().await;
    let topic = topics::topic_at(&servers.kafka.plain, "odds", 1).await;
    let http = free_port();

    let wrong = servers.place("canary-db", "canary-sasl", http, &topic);
    for args in [["migrate", "up"], ["migrate", "status"], ["verify", "--kafka"]] {
        let output = command(&wrong.file).args(args).output().expect("it runs");
        let said = said(&output);
        assert!(said.contains("password authentication failed"), "{said}");
        silent("a command", &said);
    }
    runs_silently_until(&wrong, http, "password authentication failed").await;

    let half = servers.place(PASSWORD, "canary-sasl", http, &topic);
    let output = command(&half.file).args(["migrate", "up"]).output().expect("it runs");
    assert!(output.status.success(), "{}", said(&output));
    runs_silently_until(&half, http, "waiting for Kafka").await;

    let right = servers.place(PASSWORD, PASSWORD, http, &topic);
    let (brokers, to) = (servers.kafka.plain.clone(), topic.clone());
    tokio::task::spawn_blocking(move || topics::produce(&brokers, &to, &records())).await.expect("produced");
    runs_silently_until(&right, http, "\"to\":3,").await;
}

/// A good record, one that is refused and one that conflicts, full of what is nobody's business.
fn records() -> Vec<Record> {
    let event = |id: &str, price: i64| {
        json!({"specversion": "1.0", "type": "odds.v1", "id": "canary-record", "source": "canary-record",
            "time": "2025-11-09T18:20:41Z", "data": {"game": {"system": "test", "id": id}, "sportsbook": "book",
            "market": "player_prop", "outcomes": [
                {"side": "over", "participant": "canary-record", "price_american": price}]}})
    };
    let events = [event("canary-record", -110), event("canary-record", 5), event("canary-record", -120)];
    let record = |event: serde_json::Value| Record {
        headers: vec![("canary-record".into(), Some(b"canary-record".to_vec()))],
        ..Record::of("canary-record", event.to_string())
    };
    events.into_iter().map(record).collect()
}
