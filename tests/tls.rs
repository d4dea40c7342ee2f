//! TLS that verifies: the right certificate connects; another authority, another host's certificate, one that is over, and a
//! server that says it has no TLS do not. On servers of the test's own.

use ledgerline_worker::config::{KafkaConfig, SaslMechanism, Security};
use ledgerline_worker::source::kafka::KafkaLog;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use secrecy::SecretString;

use crate::support::PATIENCE;
use crate::support::certificates::{Authority, Validity};
use crate::support::tls_servers::{Kafka, Listener, PASSWORD, Postgres};
use crate::support::worker::command;

/// `ledgerline migrate status` with the certificate authority: whether it got through, and what it said.
fn status(url: &str, authority: Option<&Authority>) -> Result<(), String> {
    answer(url, authority, &["migrate", "status"])
}

/// A command with the certificate authority: whether it got through, and what it said.
fn answer(url: &str, authority: Option<&Authority>, args: &[&str]) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ledgerline.toml");
    let authority = authority.map(|authority| format!("ca_file = \"{}\"\n", authority.file.display()));
    let text = format!(
        "[database]\nurl = \"{url}\"\n{}[database.pool]\ncheckout_timeout_ms = 2000\n",
        authority.unwrap_or_default()
    );
    std::fs::write(&file, text).expect("written");
    let output = command(&file).args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[track_caller]
fn refused(answer: Result<(), String>, because: &str) {
    let said = answer.expect_err("the connection has to be refused");
    assert!(said.contains(because), "{because}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_trusted_by_its_certificate_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ours = Authority::new(folder.path(), "ours");
    let other = Authority::new(folder.path(), "other");
    let mut postgres = Postgres::new();
    let url = postgres.url("localhost", PASSWORD);

    postgres.start(Some(&ours.issue("localhost", Validity::Now))).await;
    assert_eq!(status(&url, Some(&ours)), Ok(()));
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(status(&format!("{url}?sslmode={mode}"), Some(&ours)), Ok(()), "{mode}");
    }
    refused(status(&url, Some(&other)), "UnknownIssuer");
    refused(status(&url, None), "UnknownIssuer");
    // The same certificate, another name for the same server; no sslmode makes it a matter of taste.
    for mode in ["require", "verify-ca", "verify-full"] {
        let by_address = format!("{}?sslmode={mode}", postgres.url("127.0.0.1", PASSWORD));
        refused(status(&by_address, Some(&ours)), "not valid for name");
    }
    refused(status(&format!("{url}?sslmode=prefer"), Some(&ours)), "sslmode must be disable, or verify-full");
    refused(status(&postgres.url("localhost", "wrong"), Some(&ours)), "password authentication failed");

    // What PostgreSQL's own programs are given is enough for them, too.
    let backup = folder.path().join("backup").display().to_string();
    assert_eq!(answer(&url, Some(&ours), &["migrate", "up"]), Ok(()));
    let dumped = answer(&url, Some(&ours), &["db", "backup", &backup, "--method", "pg_dump"]);
    // One that is older than the server is not even started.
    let older = dumped.as_ref().is_err_and(|said| said.contains("and the server of"));
    assert!(dumped.is_ok() || older, "{dumped:?}");

    postgres.start(Some(&ours.issue("db.example.com", Validity::Now))).await;
    refused(status(&url, Some(&ours)), "not valid for name");
    postgres.start(Some(&ours.issue("localhost", Validity::Over))).await;
    refused(status(&url, Some(&ours)), "certificate expired");
    postgres.start(None).await;
    refused(status(&url, Some(&ours)), "server does not support TLS");
    refused(status(&format!("{url}?sslmode=require"), Some(&ours)), "server does not support TLS");
    assert_eq!(status(&format!("{url}?sslmode=disable"), None), Ok(()), "plain text has to be asked for");
}

/// Whether a client with these settings gets an answer from the broker. Blocks.
fn asked(brokers: &str, authority: Option<&Authority>, user: Option<(&str, &str)>) -> Result<(), String> {
    let kafka = KafkaConfig {
        brokers: brokers.to_owned(),
        security: if user.is_some() { Security::SaslTls } else { Security::Tls },
        ca_file: authority.map(|authority| authority.file.clone()),
        sasl_mechanism: SaslMechanism::Plain,
        sasl_username: user.map(|(name, _)| name.to_owned()),
        sasl_password: user.map(|(_, password)| SecretString::from(password)),
        ..KafkaConfig::default()
    };
    let log = KafkaLog::new(&kafka, "odds").expect("a client");
    log.exists().map(drop).map_err(|error| error.to_string())
}

/// Whether the broker answers a client that checks less than ours does: then ours refused it for that alone. Blocks.
fn answers_without(check: (&str, &str), brokers: &str, authority: &Authority) -> bool {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("security.protocol", "ssl");
    config.set("ssl.ca.location", authority.file.to_string_lossy()).set(check.0, check.1);
    let client: BaseConsumer = config.create().expect("a client");
    client.fetch_metadata(None, PATIENCE).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_trusted_by_its_certificate_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ours = Authority::new(folder.path(), "ours");
    let other = Authority::new(folder.path(), "other");
    let (good, elsewhere, over) = (
        ours.issue("localhost", Validity::Now),
        ours.issue("kafka.example.com", Validity::Now),
        ours.issue("localhost", Validity::Over),
    );
    let faces = [
        Listener { identity: &good, user: None },
        Listener { identity: &elsewhere, user: None },
        Listener { identity: &over, user: None },
        Listener { identity: &good, user: Some(("app", PASSWORD)) },
    ];
    let kafka = Kafka::start(&faces).await;
    let questions = move || {
        let [good, elsewhere, over, sasl] = kafka.listeners.as_slice() else {
            unreachable!("four listeners")
        };
        assert_eq!(asked(good, Some(&ours), None), Ok(()));
        assert_eq!(asked(sasl, Some(&ours), Some(("app", PASSWORD))), Ok(()));
        assert!(answers_without(("ssl.endpoint.identification.algorithm", "none"), elsewhere, &ours));
        assert!(answers_without(("enable.ssl.certificate.verification", "false"), over, &ours));
        let refusals = [
            ("another authority", good, Some(&other), None),
            ("no authority of ours", good, None, None),
            ("another host's certificate", elsewhere, Some(&ours), None),
            ("a certificate that is over", over, Some(&ours), None),
            ("a server without TLS", &kafka.plain, Some(&ours), None),
            ("a wrong password", sasl, Some(&ours), Some(("app", "wrong"))),
            ("no user", sasl, Some(&ours), None),
            ("another's server that asks for the password", sasl, Some(&other), Some(("app", PASSWORD))),
        ];
        // Each waits out its time, so all do so at once.
        std::thread::scope(|scope| {
            for (what, brokers, authority, user) in refusals {
                scope.spawn(move || asked(brokers, authority, user).expect_err(what));
            }
        });
    };
    tokio::task::spawn_blocking(questions).await.expect("the answers");
}
