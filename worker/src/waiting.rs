//! `Waiting`: how long the first record that is not stored has waited, of each partition that falls behind. Asked by `observe`, off
//! the line.
//!
//! What must stay true: a partition that keeps up costs no question, and one that stands still costs a single one: its wait grows
//! by the clock, whether Kafka answers or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ledgerline_schema::time::UtcMicros;

use crate::blocking::blocking;
use crate::config::KafkaConfig;
use crate::protocol::Partition;
use crate::source::kafka::group_of;
use crate::source::survey::Survey;

/// How long records are looked at for their age.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// The partitions of one topic that wait.
pub struct Waiting {
    kafka: KafkaConfig,
    topic: String,
    /// A client of its own, from the first question on.
    survey: Option<Arc<Survey>>,
    since: Since,
}

impl Waiting {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(kafka: &KafkaConfig, topic: &str) -> Self {
        Self { kafka: kafka.clone(), topic: topic.to_owned(), survey: None, since: Since::default() }
    }

    /// Takes note of which partitions are late, each with its position, and answers how many seconds each has waited, as far as
    /// it is known.
    pub async fn look(
        &mut self,
        late: &BTreeMap<Partition, i64>,
        now: UtcMicros,
    ) -> BTreeMap<Partition, f64> {
        self.since.forget_moved(late);
        let unknown = self.since.unknown(late);
        if !unknown.is_empty() {
            match self.ask(unknown.clone()).await {
                Ok(found) => self.since.learn(&unknown, &found),
                Err(error) => tracing::debug!(kafka.topic = self.topic, %error, "cannot look at what waits"),
            }
        }
        self.since.seconds(now)
    }

    async fn ask(&mut self, at: BTreeMap<Partition, i64>) -> anyhow::Result<BTreeMap<Partition, UtcMicros>> {
        let survey = match &self.survey {
            Some(survey) => Arc::clone(survey),
            None => {
                let group = group_of(&self.kafka, &self.topic);
                let survey = Arc::new(Survey::new(&self.kafka, &self.topic, &group)?);
                Arc::clone(self.survey.insert(survey))
            }
        };
        blocking(move || survey.timestamps(&at, LOOK_TIMEOUT)).await
    }
}

/// Position and timestamp of the first record that is not stored.
#[derive(Debug, Default)]
struct Since(BTreeMap<Partition, (i64, UtcMicros)>);

impl Since {
    fn forget_moved(&mut self, late: &BTreeMap<Partition, i64>) {
        self.0.retain(|partition, (at, _)| late.get(partition) == Some(at));
    }

    fn unknown(&self, late: &BTreeMap<Partition, i64>) -> BTreeMap<Partition, i64> {
        late.iter()
            .filter(|(partition, _)| !self.0.contains_key(partition))
            .map(|(partition, at)| (*partition, *at))
            .collect()
    }

    fn learn(&mut self, asked: &BTreeMap<Partition, i64>, found: &BTreeMap<Partition, UtcMicros>) {
        for (partition, written) in found {
            if let Some(at) = asked.get(partition) {
                self.0.insert(*partition, (*at, *written));
            }
        }
    }

    fn seconds(&self, now: UtcMicros) -> BTreeMap<Partition, f64> {
        let waited = |written: UtcMicros| (now.0 - written.0).max(0) as f64 / 1e6;
        self.0.iter().map(|(partition, (_, written))| (*partition, waited(*written))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UtcMicros = UtcMicros(1_000_000_000);

    fn after(seconds: i64) -> UtcMicros {
        NOW.plus(seconds * UtcMicros::SECOND)
    }

    #[test]
    fn one_that_stands_still_waits_longer_and_is_asked_once() {
        let late = BTreeMap::from([(0, 7), (1, 9)]);
        let mut since = Since::default();
        assert_eq!(since.unknown(&late), late);
        since.learn(&late, &BTreeMap::from([(0, NOW)]));
        assert_eq!(since.unknown(&late), BTreeMap::from([(1, 9)]), "nobody answered for it");
        since.forget_moved(&late);
        assert_eq!(since.seconds(after(30)), BTreeMap::from([(0, 30.0)]));
        assert_eq!(since.seconds(after(900)), BTreeMap::from([(0, 900.0)]));
    }

    #[test]
    fn one_that_moved_or_caught_up_is_forgotten() {
        let late = BTreeMap::from([(0, 7), (1, 9)]);
        let mut since = Since::default();
        since.learn(&late, &BTreeMap::from([(0, NOW), (1, NOW)]));
        let moved = BTreeMap::from([(0, 8)]);
        since.forget_moved(&moved);
        assert_eq!(since.seconds(after(1)), BTreeMap::new());
        assert_eq!(since.unknown(&moved), moved);
    }
}
