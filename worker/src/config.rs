//! The configuration: one TOML file, environment variables over it (`LEDGERLINE_KAFKA__BROKERS` for `[kafka] brokers`), and
//! nothing else. Every command that needs one gets a checked `Config`.
//!
//! What must stay true: an unknown key is an error that names it; a secret never shows in `Debug`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use figment::Figment;
use figment::providers::{Format, Toml};
use ledgerline_schema::events::EventKind;
use ledgerline_schema::store::DatabaseConfig;
use ledgerline_schema::time::UtcMicros;
use secrecy::SecretString;
use serde::Deserialize;

use crate::config_error::without_secrets;
use crate::maintenance::{CompactionConfig, RetentionConfig, Schedule};
use crate::memory::MemoryConfig;
use crate::workflows::WorkflowsConfig;

mod environment;
mod http;
mod log;
mod store;
mod topics;
use environment::SECRETS;
pub use environment::os_user;
pub use http::HttpConfig;
pub use log::{LogConfig, LogFormat};
pub use store::{OnOutage, StoreConfig};
pub use topics::{BatchConfig, Topic, TopicConfig};

/// Everything that can be configured; each section has safe defaults.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Brokers, group and security.
    pub kafka: KafkaConfig,
    /// URL, pool and server timeouts.
    pub database: DatabaseConfig,
    /// What becomes of batches while the database is away.
    pub store: StoreConfig,
    /// One section per kind of event: `[topics.odds]`. A kind without a section has the defaults.
    pub topics: BTreeMap<String, TopicConfig>,
    /// What all queues, buffers and caches may hold together.
    pub memory: MemoryConfig,
    /// Health, metrics and the API.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// The way out.
    pub shutdown: ShutdownConfig,
    /// Whether `run` compacts quotes.
    pub compaction: CompactionConfig,
    /// Whether `run` deletes old quotes.
    pub retention: RetentionConfig,
    /// Whether `run` takes up workflows.
    pub workflows: WorkflowsConfig,
}

/// `[kafka]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port`, comma separated.
    pub brokers: String,
    /// Consumer groups are `<group>.<topic>`.
    pub group: String,
    /// Where a group starts that has no position yet: `earliest`, `latest`, or an RFC 3339 time.
    pub start: Start,
    /// `tls` (verified), `sasl-tls`, or `plaintext`, which has to be asked for.
    pub security: Security,
    /// Certificate authorities as PEM; the system's where it is not set.
    pub ca_file: Option<PathBuf>,
    /// Client certificate as PEM.
    pub certificate_file: Option<PathBuf>,
    /// Key of the client certificate as PEM.
    pub key_file: Option<PathBuf>,
    /// `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.
    pub sasl_mechanism: SaslMechanism,
    /// SASL user.
    pub sasl_username: Option<String>,
    /// SASL password; better in a file.
    pub sasl_password: Option<SecretString>,
    /// File that holds the SASL password.
    pub sasl_password_file: Option<PathBuf>,
    /// A member that is silent for that long loses its partitions.
    pub session_timeout_ms: u64,
    /// How soon partitions that appear later are noticed, in ms.
    pub topic_refresh_ms: u64,
    /// Bound of the fetch queue of one topic, in KiB; a share of `memory.budget_mib` where it is not set.
    pub fetch_queue_kib: Option<u64>,
    /// Extra delay before the broker answers a fetch that finds nothing, in ms: latency against requests.
    pub fetch_wait_ms: u64,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".into(),
            group: "ledgerline".into(),
            start: Start::default(),
            security: Security::Tls,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            sasl_mechanism: SaslMechanism::ScramSha512,
            sasl_username: None,
            sasl_password: None,
            sasl_password_file: None,
            session_timeout_ms: 45_000,
            topic_refresh_ms: 60_000,
            fetch_queue_kib: None,
            fetch_wait_ms: 100,
        }
    }
}

/// How to talk to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// TLS, certificate and host name verified.
    Tls,
    /// TLS as above, and a user.
    SaslTls,
    /// Nothing. Only by an explicit switch.
    Plaintext,
}

/// How a user proves to the brokers who it is: with a password. What wants more than one could not be set here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SaslMechanism {
    /// The password does not travel.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// The same with a shorter hash.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The password travels, inside of TLS.
    #[serde(rename = "PLAIN")]
    Plain,
}

impl SaslMechanism {
    /// As Kafka names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
        }
    }
}

/// Where a group without a position starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Start {
    /// At the oldest record.
    #[default]
    Earliest,
    /// At the end.
    Latest,
    /// At the first record of that time or later.
    At(UtcMicros),
}

impl TryFrom<String> for Start {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => UtcMicros::parse(time)
                .map(Self::At)
                .map_err(|problem| format!("neither `earliest` nor `latest`, and {problem}")),
        }
    }
}

/// `[shutdown]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// How long SIGTERM waits for the running transactions and for leaving the group.
    pub drain_ms: u64,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain_ms: 20_000 }
    }
}

impl Config {
    /// Reads the file, if one is named, and the environment over it, and checks the whole.
    ///
    /// # Errors
    /// What is wrong, with the key and the place that it came from.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut layers = Figment::new();
        if let Some(file) = file {
            ensure!(file.is_file(), "configuration file {} does not exist", file.display());
            layers = layers.merge(Toml::file_exact(file));
        }
        let layers = environment::over(layers)?;
        let secrets = SECRETS.map(|secret| secret.key);
        let mut config: Self = layers
            .extract()
            .map_err(|error| without_secrets(error, &secrets))
            .context("cannot read the configuration")?;
        environment::prefer_secrets(&mut config);
        config.check()?;
        config.share_memory();
        Ok(config)
    }

    /// Gives the caches of ids, if they have no bound of their own, their share of the budget.
    fn share_memory(&mut self) {
        let shares = self.shares(EventKind::Odds);
        self.database.pool.cached_selections.get_or_insert(shares.cached_selections);
    }

    /// The kinds that `run` consumes, in the order of the table of kinds.
    #[must_use]
    pub fn enabled_topics(&self) -> Vec<Topic> {
        let enabled = EventKind::ALL.iter().copied().filter(|kind| self.is_enabled(*kind));
        enabled.map(|kind| self.topic(kind)).collect()
    }

    fn writers(&self, kind: EventKind) -> usize {
        self.topics.get(kind.name()).and_then(|topic| topic.writers).unwrap_or(1)
    }

    fn is_enabled(&self, kind: EventKind) -> bool {
        self.topics.get(kind.name()).and_then(|topic| topic.enabled).unwrap_or(true)
    }

    /// The settings of one kind.
    #[must_use]
    pub fn topic(&self, kind: EventKind) -> Topic {
        let settings = self.topics.get(kind.name()).cloned().unwrap_or_default();
        Topic {
            kind,
            name: settings.name.unwrap_or_else(|| kind.default_topic().to_owned()),
            writers: self.writers(kind),
            batch: settings.batch,
            dead_letters: settings.dead_letters,
            buffered_bytes: self.shares(kind).buffered_bytes,
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        for (name, topic) in &self.topics {
            let known = EventKind::ALL.iter().any(|kind| kind.name() == name);
            ensure!(known, "topics.{name}: no such kind of event; there are {}", kind_names());
            ensure!(
                topic.writers.is_none_or(|n| (1..=64).contains(&n)),
                "topics.{name}.writers: must be 1 to 64"
            );
            let BatchConfig { rows, bytes, age_ms } = topic.batch;
            ensure!((1..=100_000).contains(&rows), "topics.{name}.batch.rows: must be 1 to 100,000");
            ensure!(
                (1_024..=256 << 20).contains(&bytes),
                "topics.{name}.batch.bytes: must be 1,024 to 268,435,456"
            );
            ensure!((1..=60_000).contains(&age_ms), "topics.{name}.batch.age_ms: must be 1 to 60,000");
            let budget = topic.dead_letters.check();
            budget.map_err(|problem| anyhow::anyhow!("topics.{name}.dead_letters.{problem}"))?;
        }
        self.check_topics()?;
        ensure!(!self.kafka.brokers.trim().is_empty(), "kafka.brokers: must not be empty");
        ensure!(!self.kafka.group.trim().is_empty(), "kafka.group: must not be empty");
        ensure!(
            (6_000..=600_000).contains(&self.kafka.session_timeout_ms),
            "kafka.session_timeout_ms: must be 6,000 to 600,000"
        );
        ensure!(
            (1_000..=900_000).contains(&self.kafka.topic_refresh_ms),
            "kafka.topic_refresh_ms: must be 1,000 to 900,000"
        );
        ensure!(self.kafka.fetch_wait_ms <= 300_000, "kafka.fetch_wait_ms: must be at most 300,000");
        ensure!(
            self.kafka.fetch_queue_kib.is_none_or(|kib| (1..=2_097_151).contains(&kib)),
            "kafka.fetch_queue_kib: must be 1 to 2,097,151"
        );
        let sasl = self.kafka.security == Security::SaslTls;
        ensure!(
            !sasl || self.kafka.sasl_username.is_some(),
            "kafka.sasl_username: required for security = \"sasl-tls\""
        );
        self.memory.check()?;
        self.workflows.check()?;
        self.http.resolved_token()?;
        self.log.check()?;
        self.database.check().map_err(anyhow::Error::msg)?;
        self.store.check(self.database.is_embedded()).map_err(anyhow::Error::msg)
    }
}

impl Config {
    /// One topic, one kind, one position: two kinds on one topic would dead-letter each other's records.
    fn check_topics(&self) -> anyhow::Result<()> {
        let topics = self.enabled_topics();
        for (index, topic) in topics.iter().enumerate() {
            if let Some(other) = topics[..index].iter().find(|other| other.name == topic.name) {
                let (one, two, name) = (other.kind.name(), topic.kind.name(), &topic.name);
                anyhow::bail!(
                    "topics.{one}.name and topics.{two}.name: both are {name:?}; one topic carries one kind"
                );
            }
        }
        Schedule::new(&self.compaction, &self.retention).map_err(anyhow::Error::msg)?;
        let (size, writers) = (self.database.pool.size, self.all_writers());
        let others = 1 + self.sweepers() + self.workflows.connections();
        let enough = usize::try_from(size).is_ok_and(|size| size >= writers + others);
        ensure!(
            enough,
            "database.pool.size: {size} is too small for {writers} writers and {others} more for claims, sweeps and workflows"
        );
        Ok(())
    }
}

fn kind_names() -> String {
    EventKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}
