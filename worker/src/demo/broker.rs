//! Where the demo's records go: librdkafka's mock broker in this process, or a real Kafka with topics of the demo's own, which
//! are deleted at the end. Used by the demo.

use std::collections::BTreeMap;

use anyhow::Context;
use ledgerline_schema::events::EventKind;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use crate::config::{KafkaConfig, Security, Start};
use crate::kafka::OwnTopics;
use crate::source::skip_mock_rebalance_delay;

/// The mock broker forgets what exceeds 5 MiB per partition, without a word. As long as less than that is not stored yet,
/// nothing can be lost, even if all of it lay on one partition.
const MOCK_LEAD_BYTES: u64 = 4 << 20;
/// A real broker keeps everything; this bounds how long the end of the demo takes.
const REAL_LEAD_BYTES: u64 = 16 << 20;

/// A broker with a topic for each kind.
pub struct Broker {
    /// How to reach it.
    pub kafka: KafkaConfig,
    /// The topic of each kind.
    pub topics: BTreeMap<EventKind, String>,
    /// How many bytes of one topic may be sent and not yet stored.
    pub lead_bytes: u64,
    backing: Backing,
}

enum Backing {
    /// The client that the mock broker lives in.
    InProcess {
        _owner: BaseProducer,
    },
    Real(OwnTopics),
}

impl Broker {
    /// Starts a mock broker in this process. Other processes can reach it too, as long as it lives.
    ///
    /// # Errors
    /// librdkafka could not start it.
    pub fn in_process(group: String) -> anyhow::Result<Self> {
        let owner: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create()
            .context("cannot start the in-process broker")?;
        skip_mock_rebalance_delay(owner.client());
        let mock = owner.client().mock_cluster().context("cannot start the in-process broker")?;
        let topics = topics("");
        for (kind, topic) in &topics {
            mock.create_topic(topic, partitions(*kind), 1)
                .with_context(|| format!("cannot create topic {topic}"))?;
        }
        let brokers = mock.bootstrap_servers();
        drop(mock); // only a handle: the cluster ends with its owner
        let kafka = KafkaConfig { brokers, security: Security::Plaintext, ..KafkaConfig::default() };
        let backing = Backing::InProcess { _owner: owner };
        Ok(Self { kafka: consuming(kafka, group), topics, lead_bytes: MOCK_LEAD_BYTES, backing })
    }

    /// Creates the topics `<group>-odds` and so on at real brokers, reached as the configuration says.
    ///
    /// # Errors
    /// The brokers do not answer, or refuse.
    pub async fn real(kafka: KafkaConfig, group: String) -> anyhow::Result<Self> {
        let topics = topics(&format!("{group}-"));
        let new: Vec<(String, i32)> =
            topics.iter().map(|(kind, topic)| (topic.clone(), partitions(*kind))).collect();
        let own = OwnTopics::create(&kafka, &new).await?;
        let backing = Backing::Real(own);
        Ok(Self { kafka: consuming(kafka, group), topics, lead_bytes: REAL_LEAD_BYTES, backing })
    }

    /// Whether it is the one in this process.
    pub fn is_in_process(&self) -> bool {
        matches!(self.backing, Backing::InProcess { .. })
    }

    /// Ends the mock broker, or deletes the topics; what stays behind is said.
    pub async fn close(self) {
        if let Backing::Real(topics) = self.backing {
            topics.delete().await;
        }
    }
}

/// A group that starts at the beginning, and does not wait where there is nothing to read.
fn consuming(kafka: KafkaConfig, group: String) -> KafkaConfig {
    KafkaConfig { group, start: Start::Earliest, fetch_wait_ms: 10, ..kafka }
}

fn topics(prefix: &str) -> BTreeMap<EventKind, String> {
    EventKind::ALL.iter().map(|kind| (*kind, format!("{prefix}{}", kind.default_topic()))).collect()
}

fn partitions(kind: EventKind) -> i32 {
    match kind {
        EventKind::Odds => 4,
        EventKind::Game => 2,
        EventKind::Article | EventKind::Signal | EventKind::Analysis => 1,
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::consumer::{BaseConsumer, Consumer};

    use super::*;
    use crate::kafka::{QUESTION_TIMEOUT, base_config};

    #[test]
    fn others_can_reach_the_broker_in_process() {
        let broker = Broker::in_process("demo-t".into()).unwrap();
        let client: BaseConsumer = base_config(&broker.kafka).unwrap().create().unwrap();
        let metadata = client.fetch_metadata(None, QUESTION_TIMEOUT).unwrap();
        let found: BTreeMap<&str, usize> =
            metadata.topics().iter().map(|topic| (topic.name(), topic.partitions().len())).collect();
        let one = ["articles", "betting-analyses", "sharp-signals"].map(|topic| (topic, 1));
        assert_eq!(found, BTreeMap::from_iter(one.into_iter().chain([("games", 2), ("odds", 4)])));
    }
}
