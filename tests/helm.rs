//! The contract between the Helm chart and the program. The chart's golden renders are what a cluster would get; this holds them
//! against the binary: its configuration, its arguments, its probes, its metrics and its end.
//!
//! What must stay true: renaming a key of the configuration, a metric, a label, a probe or a port on one side alone turns a test
//! red. Where a check could go blind, a test shows it something bad.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use ledgerline_schema::events::EventKind;
use serde_json::Value;

use crate::support::chart::{Container, Render, list, render, renders};
use crate::support::expressions::{Beside, Question, Scrape};
use crate::support::kafka::{self, Record};
use crate::support::postgres::Database;
use crate::support::scenes::{get, stored};
use crate::support::watchers::{Kind, Watcher, beside, watchers};
use crate::support::worker::{Worker, spawn};
use crate::support::{PATIENCE, eventually, unique};

/// The scenario with every monitor, rule and dashboard.
const WATCHED: &str = "production";

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

#[test]
fn every_rendered_configuration_is_accepted() {
    let renders = renders();
    assert!(renders.len() >= 8, "golden renders are missing: {}", renders.len());
    for render in &renders {
        assert!(!render.workers().is_empty(), "{}: nothing consumes", render.scenario);
        for container in render.containers() {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let placed = container.place(folder.path());
            let (code, text) = said(&mut placed.command(&["run", "--check-config"]));
            assert_eq!(code, Some(0), "{}: {text}\n{}", container.name(), container.config_text());
            assert!(!text.contains("canary"), "{}: a secret is shown: {text}", container.name());
        }
    }
}

/// Arguments are read in order: what the program does not know, or cannot read, ends it before it comes to `--help`.
#[test]
fn every_rendered_command_is_one_of_the_program() {
    for render in renders() {
        for container in render.containers() {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut placed = container.place(folder.path());
            placed.args.push("--help".to_owned());
            let (code, text) = said(&mut placed.as_rendered());
            assert_eq!(code, Some(0), "{}: {:?}: {text}", container.name(), placed.args);
        }
    }
}

#[test]
fn probes_and_monitors_name_the_port_that_the_program_listens_on() {
    for render in renders() {
        for container in render.workers() {
            let (name, config) = (container.name(), container.config());
            let listen = config["http"]["listen"].as_str().unwrap_or("0.0.0.0:9090");
            let (host, port) = listen.rsplit_once(':').expect("an address");
            assert_eq!(host, "0.0.0.0", "{name}: nobody reaches the probes at {listen}");
            for (probe, path, named) in probes(&container) {
                assert_eq!(
                    port_number(&container, &named).to_string(),
                    port,
                    "{name}: {probe} {path} asks {named}"
                );
            }
            for monitor in render.of("PodMonitor") {
                for endpoint in list(&monitor["spec"]["podMetricsEndpoints"]) {
                    let number = port_number(&container, &endpoint["port"]);
                    assert_eq!(number.to_string(), port, "{name}: the monitor asks {}", endpoint["port"]);
                    assert_eq!(endpoint["path"].as_str().unwrap_or("/metrics"), "/metrics", "{name}");
                }
            }
        }
    }
}

/// Kind, path and port of each probe.
fn probes(container: &Container) -> Vec<(&'static str, String, Value)> {
    let kinds = ["startupProbe", "readinessProbe", "livenessProbe"];
    let read = |kind: &'static str| {
        let asked = &container.spec[kind]["httpGet"];
        let path = asked["path"].as_str().unwrap_or_else(|| panic!("{}: no {kind}", container.name()));
        (kind, path.to_owned(), asked["port"].clone())
    };
    kinds.map(read).into()
}

fn port_number(container: &Container, named: &Value) -> u64 {
    let port = list(&container.spec["ports"]).find(|port| port["name"] == *named);
    let port = port.unwrap_or_else(|| panic!("{}: no port {named}", container.name()));
    port["containerPort"].as_u64().expect("a number")
}

#[test]
fn the_autoscaler_watches_groups_and_topics_that_a_worker_reads() {
    let mut triggers = 0;
    for render in renders() {
        let read: BTreeSet<(String, String)> = render.workers().iter().flat_map(groups_and_topics).collect();
        let scaled = render.of("ScaledObject").flat_map(|scaler| list(&scaler["spec"]["triggers"]));
        for trigger in scaled.filter(|trigger| trigger["type"] == "kafka") {
            let text = |key: &str| trigger["metadata"][key].as_str().unwrap_or_default().to_owned();
            let watched = (text("consumerGroup"), text("topic"));
            assert!(read.contains(&watched), "{}: {watched:?} is none of {read:?}", render.scenario);
            triggers += 1;
        }
    }
    assert!(triggers > 0, "no render has a trigger");
}

fn groups_and_topics(container: &Container) -> Vec<(String, String)> {
    let config = container.config();
    let group = config["kafka"]["group"].as_str().unwrap_or("ledgerline");
    let named = topics(&config).into_iter().map(|kind| topic_name(&config, kind));
    named.map(|topic| (format!("{group}.{topic}"), topic)).collect()
}

fn topic_name(config: &Value, kind: EventKind) -> String {
    let name = config["topics"][kind.name()]["name"].as_str();
    name.unwrap_or_else(|| kind.default_topic()).to_owned()
}

/// The kinds of event that a configuration reads.
fn topics(config: &Value) -> Vec<EventKind> {
    let read = |kind: &&EventKind| config["topics"][kind.name()]["enabled"] != Value::Bool(false);
    EventKind::ALL.iter().filter(read).copied().collect()
}

#[test]
fn a_worker_has_the_time_that_its_way_out_takes() {
    for render in renders() {
        for container in render.workers() {
            let drain = container.config()["shutdown"]["drain_ms"].as_u64().unwrap_or(20_000);
            let grace = grace(&container);
            assert!(
                u128::from(drain) < grace.as_millis(),
                "{}: killed after {grace:?}, drains for {drain} ms",
                container.name()
            );
        }
    }
}

fn grace(container: &Container) -> Duration {
    let seconds = container.pod["terminationGracePeriodSeconds"].as_u64();
    Duration::from_secs(seconds.unwrap_or_else(|| panic!("{}: no time to end", container.name())))
}

/// What an installation may switch on, and alerts and dashboards then look at.
const EVERYTHING_ON: [(&str, &str); 5] = [
    ("WORKFLOWS__ENABLED", "true"),
    ("COMPACTION__ENABLED", "true"),
    ("COMPACTION__EVERY_MS", "1000"),
    ("RETENTION__OLDER_THAN_DAYS", "90"),
    ("DATABASE__POOL__SIZE", "16"),
];

/// The first worker of a render at work on real services. Others are addresses, names, the protection of the way there, and
/// [`EVERYTHING_ON`].
struct Live<'a> {
    container: Container<'a>,
    worker: Worker,
    database: Database,
    /// Topics of the test's own, and what the render calls them.
    renamed: Vec<(String, String)>,
    _folder: tempfile::TempDir,
}

impl<'a> Live<'a> {
    async fn start(render: &'a Render) -> Self {
        let container = render.workers().remove(0);
        let (folder, database) =
            (tempfile::tempdir().expect("a temporary folder"), Database::postgres().await);
        let mut overlay = vec![
            ("KAFKA__BROKERS".to_owned(), kafka::brokers()),
            ("KAFKA__SECURITY".to_owned(), "plaintext".to_owned()),
            ("KAFKA__GROUP".to_owned(), unique("group")),
            ("DATABASE__URL".to_owned(), database.url.clone()),
            ("DATABASE__TLS".to_owned(), "disable".to_owned()),
            ("HTTP__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("HTTP__CONTROL_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ];
        if container.config()["database"]["read_url_file"].is_string() {
            overlay.push(("DATABASE__READ_URL".to_owned(), database.url.clone()));
        }
        overlay.extend(EVERYTHING_ON.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut renamed = Vec::new();
        for kind in topics(&container.config()) {
            let topic = kafka::topic(kind.name(), 2).await;
            renamed.push((topic.clone(), topic_name(&container.config(), kind)));
            let variable = format!("TOPICS__{}__NAME", kind.name().replace('-', "_").to_uppercase());
            overlay.push((variable, topic.clone()));
        }
        let overlay = overlay.into_iter().map(|(name, value)| (format!("LEDGERLINE_{name}"), value));
        let overlay: Vec<(String, String)> = overlay.collect();

        // The schema comes from the chart's own Job.
        let all = render.containers();
        let migrate = all.iter().find(|other| other.args().iter().any(|arg| arg == "migrate"));
        let migrate = migrate.unwrap_or_else(|| panic!("{}: nobody migrates", render.scenario));
        let mut command = migrate.place(folder.path()).as_rendered();
        let (code, text) = said(command.envs(overlay.clone()));
        assert_eq!(code, Some(0), "{}: {text}", migrate.name());

        let placed = container.place(folder.path());
        let mut command = placed.as_rendered();
        command.envs(overlay.clone());
        let worker = spawn(command, &placed.config);
        let samples = topics(&container.config()).into_iter().map(|kind| {
            let (code, text) = said(&mut placed.command(&["schema", "samples", kind.name()]));
            assert_eq!(code, Some(0), "{text}");
            text
        });
        let file = folder.path().join("samples.ndjson");
        std::fs::write(&file, samples.collect::<String>()).expect("written");
        let mut command = placed.command(&["publish", &file.display().to_string()]);
        let (code, text) = said(command.envs(overlay));
        assert_eq!(code, Some(0), "{text}");
        kafka::produced(&renamed[0].0, vec![Record::of("bad", "{")]).await;
        for (topic, _) in &renamed {
            stored(&database, topic, 2).await;
        }
        Self { container, worker, database, renamed, _folder: folder }
    }

    /// What the worker shows; topics have the names that the render's alerts know.
    async fn scrape(&self, address: &str) -> Scrape {
        let text = get(address, "/metrics").await;
        let text = self.renamed.iter().fold(text, |text, (own, rendered)| text.replace(own, rendered));
        Scrape::parse(text.split_once("\r\n\r\n").expect("a body").1)
    }

    /// The first scrape that has all that is asked for. Lag and sweeps come some seconds after the first record.
    async fn scrape_of_everything(&self, watchers: &[Watcher], beside: &Beside) -> Scrape {
        let (address, started) = (self.worker.address().await, Instant::now());
        let complete = || async {
            let scrape = self.scrape(&address).await;
            let missing = missing(watchers, &scrape, beside);
            let late = started.elapsed() > PATIENCE / 2;
            assert!(
                !late || missing.is_empty(),
                "the program lacks what is asked of it:\n{}",
                missing.join("\n")
            );
            missing.is_empty().then_some(scrape)
        };
        eventually("all metrics", complete).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendered_worker_works_answers_its_probes_shows_what_is_watched_and_ends_in_time() {
    let render = render(WATCHED);
    let mut live = Live::start(&render).await;
    let address = live.worker.address().await;
    for (probe, path, _) in probes(&live.container) {
        let good = || async { get(&address, &path).await.starts_with("HTTP/1.1 200").then_some(()) };
        eventually(&format!("{probe} at {path}"), good).await;
    }

    let (watchers, beside) = (watchers(&render), beside(&render));
    for kind in [Kind::Alert, Kind::Panel] {
        assert!(watchers.iter().any(|watcher| watcher.kind == kind), "{WATCHED} has no {kind:?}");
    }
    let scrape = live.scrape_of_everything(&watchers, &beside).await;
    notices_what_goes_away(&watchers, &scrape, &beside);

    let told = Instant::now();
    assert!(live.worker.stop().await.success());
    assert!(told.elapsed() < grace(&live.container), "it took {:?} to end", told.elapsed());
    assert!(live.worker.log().contains("\"in_time\":true"));
    assert!(!live.worker.log().contains("canary"), "a secret is in the log");
    live.database.drop_now().await;
}

fn missing(watchers: &[Watcher], scrape: &Scrape, beside: &Beside) -> Vec<String> {
    let of = |watcher: &Watcher| {
        let missing = watcher.question().missing(scrape, beside);
        missing
            .into_iter()
            .map(|what| format!("{}: {what}, in {}", watcher.name, watcher.expression))
            .collect()
    };
    watchers.iter().flat_map::<Vec<String>, _>(of).collect()
}

/// A program without a metric, or with a label of another name, is told from ours.
fn notices_what_goes_away(watchers: &[Watcher], scrape: &Scrape, beside: &Beside) {
    let questions: Vec<Question> = watchers.iter().map(Watcher::question).collect();
    let used: BTreeSet<&str> = questions.iter().flat_map(Question::metrics).collect();
    for metric in used {
        let missing = missing(watchers, &scrape.without(metric), beside);
        assert!(missing.iter().any(|what| what.contains(metric)), "without {metric} nobody complains");
    }
    let missing = missing(watchers, &scrape.without_label("topic"), beside);
    assert!(!missing.is_empty(), "without the label topic nobody complains");
}

#[test]
fn an_expression_that_asks_for_what_is_not_there_is_noticed() {
    let scrape = Scrape::parse(concat!(
        "# HELP ledgerline_a_total A.\n# TYPE ledgerline_a_total counter\n",
        "ledgerline_a_total{topic=\"odds\",outcome=\"ok\"} 1\nledgerline_b 2 1700000000\n",
    ));
    let beside = Beside {
        labels: ["namespace", "release"].map(str::to_owned).into(),
        recorded: ["ledgerline:a:rate".to_owned()].into(),
    };
    let ask = |expression: &str| Question::parse(expression).missing(&scrape, &beside);
    for good in [
        "sum by (topic) (rate(ledgerline_a_total{namespace=\"x\",outcome=~\"ok\"}[5m])) > 0.5 and on () ledgerline_b == 1e3",
        "ledgerline:a:rate{release=\"x\"} > 3 * ledgerline_b offset 5m",
        "up{namespace=\"x\"} == 0 or kube_job_status_failed{job_name=~\"x-.*\"} > 0",
        "increase(ledgerline_a_total{topic=~\"$topic\", outcome!=\"failed\"}[$__rate_interval]) # ledgerline_c",
    ] {
        assert_eq!(ask(good), Vec::<String>::new(), "{good}");
    }
    for (bad, complaint) in [
        ("rate(ledgerline_c_total[5m])", "metric ledgerline_c_total"),
        ("ledgerline_a_total{result=\"ok\"}", "label result of ledgerline_a_total"),
        ("ledgerline_a_total{outcome=\"failed\"}", "ledgerline_a_total{outcome=\"failed\"}"),
        ("ledgerline_a_total{outcome=~\"ok|failed\"}", "ledgerline_a_total{outcome=\"failed\"}"),
        ("sum by (partition) (ledgerline_a_total)", "label partition, in a grouping or a text"),
        ("ledgerine_a_total > 0", "metric ledgerine_a_total, of nobody that is known"),
        ("ledgerline:b:rate > 0", "metric ledgerline:b:rate, of nobody that is known"),
    ] {
        assert_eq!(ask(bad), [complaint], "{bad}");
    }
}

#[test]
#[should_panic(expected = "duplicate")]
fn a_render_with_a_key_twice_is_noticed() {
    Render::parse("twice", "kind: ConfigMap\ndata: {a: b}\ndata: {c: d}\n");
}

#[test]
fn a_render_that_does_not_fit_the_program_is_noticed() {
    let golden = render(WATCHED);
    let text = golden.workers()[0].config_text();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from:?} is not in the configuration; mend this test:\n{text}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let placed = golden.workers()[0].place(folder.path());
        let spoiled =
            std::fs::read_to_string(&placed.config).expect("the configuration").replacen(from, to, 1);
        std::fs::write(&placed.config, spoiled).expect("written");
        let (code, text) = said(&mut placed.command(&["run", "--check-config"]));
        assert_eq!(code, Some(2), "{to:?} is accepted: {text}");
    };
    refused("brokers = ", "bootstrap_servers = ");
    refused("drain_ms = ", "drain_seconds = ");
    refused("url_file = ", "url_path = ");
}
