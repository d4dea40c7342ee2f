//! Everything that one seed's run consists of: servers, database, topic, workers, and the timeline of what was done to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::events::PARTITIONS;
use crate::faults::Fault;
use crate::fleet::{Common, Fleet, Spools, command};
use crate::servers::{Kafka, Postgres};
use crate::sql::Sql;

/// The two servers, shared by all seeds and killed in each.
pub struct Servers {
    pub kafka: tokio::sync::Mutex<Kafka>,
    pub postgres: tokio::sync::Mutex<Postgres>,
    pub brokers: String,
    pub postgres_port: u16,
}

impl Servers {
    pub async fn start() -> Self {
        let (kafka, postgres) = tokio::join!(Kafka::start(), Postgres::start());
        let (brokers, postgres_port) = (kafka.brokers(), postgres.port());
        Sql::new(postgres.url("postgres")).must("create role worker login").await;
        Self {
            kafka: tokio::sync::Mutex::new(kafka),
            postgres: tokio::sync::Mutex::new(postgres),
            brokers,
            postgres_port,
        }
    }

    /// URL of a superuser, past every proxy.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.postgres_port)
    }
}

/// One seed's run.
pub struct World {
    pub seed: u64,
    pub servers: Arc<Servers>,
    pub folder: PathBuf,
    pub database: String,
    pub topic: String,
    /// The consumer group of the topic.
    pub group: String,
    pub fleet: Arc<Fleet>,
    /// The workers' spools, where they have some.
    pub spools: Option<Spools>,
    /// Whether an operator can set a position back.
    pub has_reset: bool,
    start: Instant,
    timeline: Mutex<Vec<String>>,
    pub done: Mutex<BTreeMap<Fault, u32>>,
}

impl World {
    /// A new database, a new topic, new workers.
    pub async fn start(servers: &Arc<Servers>, seed: u64) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("ledgerline-chaos-{seed}-")).tempdir();
        let folder = folder.expect("a folder").keep();
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let (topic, group) = (format!("odds-{seed}-{}", &unique[..8]), format!("chaos-{seed}"));
        let database = format!("chaos_{seed}_{}", &unique[..8]);
        let mut admin = Sql::new(servers.url("postgres"));
        admin.must("alter role worker connection limit -1").await;
        admin.must(&format!("create database {database} owner worker")).await;
        create_topic(&servers.brokers, &topic).await;
        let common = Common {
            brokers: servers.brokers.clone(),
            group: group.clone(),
            topic: topic.clone(),
            database: database.clone(),
            spools: spools(seed).map(|size| (folder.clone(), size)),
        };
        std::fs::write(folder.join("direct.toml"), common.file(servers.postgres_port))
            .expect("a configuration");
        let migrated = cli(&folder, &["migrate", "up"]);
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        let has_reset = cli(&folder, &["offsets", "--help"]).status.success();
        let fleet = Fleet::start(&folder, &common, servers.postgres_port).await;
        Self {
            seed,
            servers: Arc::clone(servers),
            folder,
            database,
            group: format!("{group}.{topic}"),
            topic,
            fleet,
            spools: spools(seed),
            has_reset,
            start: Instant::now(),
            timeline: Mutex::default(),
            done: Mutex::default(),
        }
    }

    /// Runs a command of the product, past every proxy. Blocks.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        cli(&self.folder, arguments)
    }

    /// A line to the run's database.
    pub fn sql(&self) -> Sql {
        Sql::new(self.servers.url(&self.database))
    }

    /// Writes down what happens now.
    pub fn tell(&self, line: &str) {
        let line = format!("[seed {} {:6.2} s] {line}", self.seed, self.start.elapsed().as_secs_f64());
        println!("{line}");
        self.timeline.lock().expect("the timeline").push(line);
    }

    pub fn timeline(&self) -> String {
        self.timeline.lock().expect("the timeline").join("\n")
    }
}

/// The spools of this seed's workers: every fourth has none, every fourth small ones.
fn spools(seed: u64) -> Option<Spools> {
    match seed % 4 {
        0 => None,
        1 => Some(Spools::Small),
        _ => Some(Spools::Large),
    }
}

fn cli(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command: Command = command(&folder.join("direct.toml"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the command runs")
}

async fn create_topic(brokers: &str, name: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("an admin client");
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let results = admin.create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers");
    results.into_iter().for_each(|result| drop(result.expect("the topic is created")));
}
