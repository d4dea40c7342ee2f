//! Client settings for librdkafka, from `[kafka]`. Used by the source, by `publish` and by the look-ups. Every option that
//! matters for safety is set here, even where it equals the default.

use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use secrecy::ExposeSecret;

use crate::config::{KafkaConfig, Security};

/// How long one question to the cluster (metadata, watermarks, topic id) may take.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound of a fetch queue where none is set, in KiB: a consumer beside the line.
const FETCH_QUEUE_KIB: u64 = 1_024;
/// How long creating or deleting topics may take.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Settings that every client shares: brokers, security, keepalive.
///
/// # Errors
/// A secret's file that cannot be read, by its key.
pub fn base_config(kafka: &KafkaConfig) -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.brokers)
        .set("client.id", "ledgerline")
        .set("socket.keepalive.enable", "true")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", kafka.topic_refresh_ms.to_string())
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "5000");
    match kafka.security {
        Security::Plaintext => config.set("security.protocol", "plaintext"),
        Security::Tls => config.set("security.protocol", "ssl"),
        Security::SaslTls => config.set("security.protocol", "sasl_ssl"),
    };
    if kafka.security != Security::Plaintext {
        config.set("enable.ssl.certificate.verification", "true");
        config.set("ssl.endpoint.identification.algorithm", "https");
    }
    let files = [
        ("kafka.ca_file", "ssl.ca.location", &kafka.ca_file),
        ("kafka.certificate_file", "ssl.certificate.location", &kafka.certificate_file),
        ("kafka.key_file", "ssl.key.location", &kafka.key_file),
    ];
    for (key, option, file) in files {
        if let Some(file) = file {
            std::fs::File::open(file).with_context(|| format!("{key}: cannot read {}", file.display()))?;
            config.set(option, file.to_string_lossy());
        }
    }
    if kafka.security == Security::SaslTls {
        config.set("sasl.mechanism", kafka.sasl_mechanism.name());
        config.set("sasl.username", kafka.sasl_username.as_deref().unwrap_or_default());
        config.set("sasl.password", sasl_password(kafka)?);
    }
    Ok(config)
}

fn sasl_password(kafka: &KafkaConfig) -> anyhow::Result<String> {
    if let Some(file) = &kafka.sasl_password_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("kafka.sasl_password_file: cannot read {}", file.display()))?;
        return Ok(text.trim_end().to_owned());
    }
    let password =
        kafka.sasl_password.as_ref().context("kafka.sasl_password: required for security = \"sasl-tls\"")?;
    Ok(password.expose_secret().to_owned())
}

/// A producer that the broker keeps from doubling or reordering records.
///
/// # Errors
/// As [`base_config`].
pub fn producer_config(kafka: &KafkaConfig) -> anyhow::Result<ClientConfig> {
    let mut config = base_config(kafka)?;
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("partitioner", "murmur2_random") // as every Java client: one key, one partition
        .set("message.max.bytes", (2 << 20).to_string()) // the contract takes 1 MiB; the broker decides
        .set("compression.type", "zstd")
        .set("linger.ms", "20")
        .set("queue.buffering.max.kbytes", "65536");
    Ok(config)
}

/// A consumer whose position is ours: nothing is committed or reset by itself.
///
/// # Errors
/// As [`base_config`].
pub fn consumer_config(kafka: &KafkaConfig, group: &str) -> anyhow::Result<ClientConfig> {
    let mut config = base_config(kafka)?;
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error") // a jump is never silent
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", kafka.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", (kafka.session_timeout_ms / 10).clamp(500, 3_000).to_string())
        .set("max.poll.interval.ms", kafka.session_timeout_ms.max(120_000).to_string())
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("queued.min.messages", "10000")
        .set("fetch.queue.backoff.ms", "50") // the default of 1 s makes gaps with a small queue
        .set("fetch.wait.max.ms", kafka.fetch_wait_ms.to_string())
        .set("fetch.error.backoff.ms", "100");
    // The queue is looked at between answers, and an answer is compressed: what polled odds take unpacked is about ten times as
    // much. A larger record still comes, when its partition is the first of an answer.
    let kib = kafka.fetch_queue_kib.unwrap_or(FETCH_QUEUE_KIB);
    let answer_bytes = (kib * 1_024 / 16).clamp(64 << 10, 50 << 20);
    config
        .set("queued.max.messages.kbytes", kib.to_string())
        .set("message.max.bytes", answer_bytes.to_string()) // may not be above the next; a consumer has no other use for it
        .set("fetch.max.bytes", answer_bytes.to_string())
        .set("max.partition.fetch.bytes", answer_bytes.to_string());
    Ok(config)
}

/// A refused setting is reported with its value, and the value may be a secret.
pub fn without_value(error: KafkaError) -> anyhow::Error {
    match error {
        KafkaError::ClientConfig(_, description, key, _) => anyhow::anyhow!("{key}: {description}"),
        other => other.into(),
    }
}

/// Topics of the demo's or a benchmark's own, which are deleted at its end.
pub struct OwnTopics {
    admin: AdminClient<DefaultClientContext>,
    names: Vec<String>,
}

impl OwnTopics {
    /// Creates topics, each with so many partitions, and as many replicas as the brokers make by default.
    ///
    /// # Errors
    /// The brokers do not answer, or refuse.
    pub async fn create(kafka: &KafkaConfig, topics: &[(String, i32)]) -> anyhow::Result<Self> {
        let admin: AdminClient<DefaultClientContext> =
            base_config(kafka)?.create().map_err(without_value).context("cannot create a client")?;
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(-1)))
            .collect();
        let own = Self { admin, names: topics.iter().map(|(name, _)| name.clone()).collect() };
        let created = own.admin.create_topics(&new, &admin_options()).await;
        for result in created.with_context(|| format!("cannot create topics at {}", kafka.brokers))? {
            result.map_err(|(topic, error)| anyhow::anyhow!("cannot create topic {topic}: {error}"))?;
        }
        Ok(own)
    }

    /// Deletes them; what stays behind is said.
    pub async fn delete(self) {
        let topics: Vec<&str> = self.names.iter().map(String::as_str).collect();
        match self.admin.delete_topics(&topics, &admin_options()).await {
            Ok(results) => results.into_iter().filter_map(Result::err).for_each(|(topic, error)| {
                tracing::warn!(topic, %error, "cannot delete a topic of our own");
            }),
            Err(error) => tracing::warn!(?topics, %error, "cannot delete topics of our own"),
        }
    }
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_TIMEOUT)).operation_timeout(Some(ADMIN_TIMEOUT))
}
