//! A configuration that cannot be used: exit code 2, the key named, the secret never repeated.

use std::process::{Command, Output, Stdio};

use crate::support::worker::command;

fn run(toml: &str, environment: &[(&str, &str)], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ledgerline.toml");
    std::fs::write(&file, toml).expect("written");
    command(&file).args(args).envs(environment.iter().copied()).output().expect("it runs")
}

/// Checks the configuration; answers what was said about it.
fn refused(toml: &str, environment: &[(&str, &str)]) -> String {
    let output = run(toml, environment, &["run", "--check-config"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn an_unknown_key_is_named_with_where_it_stands() {
    assert!(refused("[kafka]\nbroker = \"x\"\n", &[]).contains("\"kafka.broker\""));
    let said = refused("", &[("LEDGERLINE_KAFKA__BROKER", "x")]);
    assert!(said.contains("KAFKA.BROKER") && said.contains("environment"), "{said}");
    assert!(refused("[topics.odss]\nenabled = false\n", &[]).contains("topics.odss"));
}

#[test]
fn a_variable_that_lacks_an_underscore_is_refused_with_its_right_name() {
    let said = refused("", &[("LEDGERLINE_KAFKA_BROKERS", "x")]);
    assert!(
        said.contains("LEDGERLINE_KAFKA_BROKERS") && said.contains("LEDGERLINE_KAFKA__BROKERS"),
        "{said}"
    );
    let said = refused("", &[("LEDGERLINE_DATABASE_URL", "postgres://u:canary@h/d")]);
    assert!(said.contains("LEDGERLINE_DATABASE__URL") && !said.contains("canary"), "{said}");
    // Of a service that is called so, as Kubernetes tells every pod.
    let around =
        [("LEDGERLINE_KAFKA_PORT", "tcp://10.0.0.1:9092"), ("LEDGERLINE_KAFKA_SERVICE_HOST", "10.0.0.1")];
    assert!(run("", &around, &["run", "--check-config"]).status.success());
}

#[test]
fn a_kind_whose_name_has_a_hyphen_can_come_from_the_environment() {
    let said = refused("", &[("LEDGERLINE_TOPICS__SHARP_SIGNALS__NAME", "odds")]);
    assert!(said.contains("topics.odds.name and topics.sharp-signals.name"), "{said}");
}

#[test]
fn a_value_out_of_range_is_named() {
    let cases = [
        ("[topics.odds.batch]\nrows = 0\n", "topics.odds.batch.rows"),
        ("[topics.odds]\nwriters = 65\n", "topics.odds.writers"),
        ("[topics.odds]\nwriters = 9\n", "database.pool.size"),
        ("[kafka]\nbrokers = \"\"\n", "kafka.brokers"),
        ("[kafka]\nstart = \"yesterday\"\n", "kafka.start"),
        ("[kafka]\nsecurity = \"sasl-tls\"\n", "kafka.sasl_username"),
        ("[kafka]\nsecurity = \"sasl-tls\"\nsasl_username = \"u\"\n", "kafka.sasl_password"),
        ("[kafka]\nca_file = \"/nowhere.pem\"\n", "kafka.ca_file: cannot read /nowhere.pem"),
        (
            "[kafka]\ncertificate_file = \"/nowhere.pem\"\n",
            "kafka.certificate_file: cannot read /nowhere.pem",
        ),
        ("[kafka]\nkey_file = \"/nowhere.pem\"\n", "kafka.key_file: cannot read /nowhere.pem"),
        ("[database]\nurl = \"postgres://h/d\"\nca_file = \"/nowhere.pem\"\n", "database.ca_file"),
        ("[database]\nurl_file = \"/nowhere\"\n", "database.url_file"),
        ("[database]\nurl = \"mysql://localhost/d\"\n", "database.url"),
        ("[database]\nread_url = \"mysql://localhost/d\"\n", "database.read_url"),
        ("[database]\nread_url_file = \"/nowhere\"\n", "database.read_url_file"),
        ("[database]\nread_connections = 0\n", "database.read_connections"),
        ("[database.pool]\nmin_idle = 9\n", "database.pool.min_idle"),
        ("[database.pool]\nidle_timeout_ms = 0\n", "database.pool.idle_timeout_ms"),
        ("[database.pool]\nmax_lifetime_ms = 0\n", "database.pool.max_lifetime_ms"),
        ("[kafka]\nfetch_wait_ms = 300001\n", "kafka.fetch_wait_ms"),
        ("[http]\ntoken = \"short\"\n", "http.token"),
        ("[http]\ntoken_file = \"/nowhere\"\n", "http.token_file"),
        ("[http]\ncontrol_listen = \"nowhere\"\n", "http.control_listen"),
        (
            "[kafka]\nsasl_mechanism = \"OAUTHBEARER\"\n",
            "expected one of `SCRAM-SHA-512`, `SCRAM-SHA-256`, `PLAIN`",
        ),
        ("[log]\nlevel = \"warning\"\n", "log.level: \"warning\" is no level; there are off, error, warn"),
        (
            "[log]\nlevel = \"info,ledgerline_worker=loud\"\n",
            "log.level: \"ledgerline_worker=loud\" is no level",
        ),
        ("[compaction]\nevery_ms = 10\n", "compaction.every_ms"),
        ("[compaction]\nolder_than_hours = 0\n", "compaction.older_than_hours"),
        ("[compaction]\nolder_than = 3\n", "compaction.older_than"),
        ("[retention]\nolder_than_days = 0\n", "retention.older_than_days"),
        ("[compaction]\nenabled = true\n[database]\npool.size = 4\n", "database.pool.size"),
        ("[topics.odds]\nname = \"x\"\n[topics.games]\nname = \"x\"\n", "topics.games.name"),
    ];
    for (toml, key) in cases {
        let said = refused(toml, &[]);
        assert!(said.contains(key), "{key}: {said}");
    }
}

/// The binary in an empty folder, with no configuration at all.
fn bare(folder: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.output().expect("it runs")
}

#[test]
fn without_its_configuration_no_command_makes_a_database_to_ask() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let forgotten = "sqlite:ledgerline.db does not exist (the default; no configuration was named: --config or LEDGERLINE_CONFIG)";
    let commands: [&[&str]; 13] = [
        &["verify"],
        &["lag"],
        &["freshness"],
        &["offsets", "ls"],
        &["pause", "odds", "--reason", "r"],
        &["dlq", "ls"],
        &["workflows", "ls"],
        &["games", "ls"],
        &["compact"],
        &["db", "stats"],
        &["db", "backup", "there"],
        &["migrate", "status"],
        &["migrate", "down"],
    ];
    for args in commands {
        let output = bare(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(forgotten), "{args:?}: {said}");
    }
    let doctor = bare(folder.path(), &["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains(forgotten), "{doctor:?}");
    assert_eq!(folder.path().read_dir().expect("files").count(), 0, "nothing was made");

    let named = run("[database]\nurl = \"sqlite:/nowhere/at/all.db\"\n", &[], &["lag"]);
    assert_eq!(String::from_utf8_lossy(&named.stderr), "error: sqlite:/nowhere/at/all.db does not exist\n");
    assert!(bare(folder.path(), &["migrate", "up"]).status.success());
    assert!(folder.path().join("ledgerline.db").exists(), "this one makes it");
}

/// Runs it with output that nobody reads any more.
fn unread(folder: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(writer);
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn whoever_has_read_enough_is_no_failure_and_hides_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for args in
        [&["migrate", "up"][..], &["migrate", "up"], &["migrate", "status"], &["schema", "json", "odds"]]
    {
        assert_eq!(unread(folder.path(), args), (Some(0), String::new()), "{args:?}");
    }
    let (code, said) = unread(folder.path(), &["verify"]);
    assert!(code == Some(1) && said.contains("nothing to prove") && !said.contains("panicked"), "{said}");
}

#[test]
fn a_database_that_nobody_wrote_to_is_not_proved() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(bare(folder.path(), &["migrate", "up"]).status.success());
    let nothing = "nothing to prove: no group has a position in this database";
    for args in [&["verify"][..], &["verify", "--strict", "--json"]] {
        let output = bare(folder.path(), args);
        let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert!(output.status.code() == Some(1) && said.contains(nothing), "{args:?}: {said}");
        assert!(!told.contains("clean") && !told.contains("\"ok\":true") && told.contains(nothing), "{told}");
    }
}

#[test]
fn what_cannot_be_used_of_a_database_url_is_named_without_a_value() {
    let cases = [
        (
            "h/d?sslrootcert=canary",
            "database.url: there is no parameter sslrootcert here: name the certificate authorities in database.ca_file",
        ),
        (
            "h/d?connect_timeout=3&sslmod=canary",
            "database.url: parameter 2 is unknown; there are sslmode, user,",
        ),
        ("h/d?connect_timeout=canary", "database.url: cannot use the value of parameter connect_timeout"),
        ("h/d?sslmode=canary", "database.url: sslmode must be disable, or verify-full, verify-ca or require"),
    ];
    for (url, because) in cases {
        let said = refused(&format!("[database]\nurl = \"postgres://{url}\"\n"), &[]);
        assert!(said.contains(because) && !said.contains("canary"), "{because}: {said}");
    }
}

#[test]
fn an_argument_that_names_nothing_is_a_bad_argument() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    assert!(bare(folder.path(), &["migrate", "up"]).status.success());
    let cases: [(&[&str], &str); 3] = [
        (&["schema", "json", "nope"], "\"nope\" is no kind of event; there are"),
        (&["pause", "nope", "--reason", "r"], "no topic nope in the configuration, which has"),
        (
            &["replay", "--topic", "nope", "--offsets", "0:0-5"],
            "no topic nope in the configuration, which has",
        ),
    ];
    for (args, because) in cases {
        let output = bare(folder.path(), args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(because), "{args:?}: {said}");
    }
    let workflows = bare(folder.path(), &["workflows", "ls", "--json"]);
    assert_eq!(String::from_utf8_lossy(&workflows.stdout).trim(), "[]", "no workflow was made of it");
}

#[test]
fn brokers_that_do_not_answer_are_named_and_nothing_is_said_twice() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (database, events) = (folder.path().join("test.db"), folder.path().join("events.jsonl"));
    let toml = format!(
        "[kafka]\nbrokers = \"127.0.0.1:1\"\nsecurity = \"plaintext\"\n[database]\nurl = \"sqlite:{}\"\n",
        database.display()
    );
    assert!(run(&toml, &[], &["migrate", "up"]).status.success());
    let asked = run(
        &toml,
        &[],
        &["offsets", "reset", "--topic", "odds", "--partition", "0", "--to", "earliest", "--reason", "r"],
    );
    let said = String::from_utf8_lossy(&asked.stderr);
    let because = "kafka.brokers: 127.0.0.1:1 does not answer; `ledgerline doctor` says more";
    assert!(said.contains(because) && !said.contains("kafka: kafka"), "{said}");

    std::fs::write(&events, run(&toml, &[], &["schema", "samples", "odds"]).stdout).expect("written");
    let published = run(&toml, &[], &["publish", &events.display().to_string()]);
    let said = String::from_utf8_lossy(&published.stderr);
    assert_eq!(said.matches("Local: Broker transport failure").count(), 1, "{said}");
}

#[test]
fn a_secret_is_taken_as_it_is_and_never_repeated() {
    let sasl = "[kafka]\nsecurity = \"sasl-tls\"\nsasl_username = \"u\"\n";
    let good = run(sasl, &[("LEDGERLINE_KAFKA__SASL_PASSWORD", "0123456789")], &["run", "--check-config"]);
    assert!(good.status.success());
    let said = refused("[kafka]\nsasl_password = 987654321\n", &[]);
    assert!(said.contains("kafka.sasl_password") && !said.contains("987654321"), "{said}");
    let url = "postgres://u:canary-secret@127.0.0.1:1/d?sslmode=disable";
    let output = run("", &[("LEDGERLINE_DATABASE__URL", url)], &["migrate", "status"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no database connection") && !said.contains("canary"), "{said}");
}

#[test]
fn the_readme_shows_a_configuration_that_is_accepted() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("the README");
    let toml =
        readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a toml block");
    let secrets = tempfile::tempdir().expect("a temporary folder");
    for (name, secret) in [("kafka", "canary"), ("database-url", "postgres://u:canary@localhost/d")] {
        std::fs::write(secrets.path().join(name), secret).expect("written");
    }
    let toml = toml.replace("/run/secrets", &secrets.path().display().to_string());
    let output = run(&toml, &[], &["run", "--check-config"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
