//! What `doctor` asks Kafka: brokers, topics, groups, and what time the newest records say it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ledgerline_schema::time::UtcMicros;
use tokio::time::timeout;

use super::Probe;
use crate::clock;
use crate::config::Config;
use crate::source::kafka::group_of;
use crate::source::survey::{GroupState, Placement, Survey};

const BROKERS: &str = "brokers";
const TOPICS: &str = "topics";
const GROUPS: &str = "groups";
const RECORD_TIME: &str = "record time";

/// How long all of it may take.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(45);
/// How long the newest records of a topic are looked for, and on how many of its partitions.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);
const LOOK_PARTITIONS: usize = 8;
/// A record may be so much ahead of this clock.
const AHEAD: i64 = 5 * UtcMicros::SECOND;

/// What was heard about one topic.
struct Heard {
    topic: String,
    placements: Vec<Placement>,
    group: Result<Option<GroupState>, String>,
    /// The newest timestamp that was found.
    newest: Option<UtcMicros>,
}

pub(super) async fn probes(config: &Config) -> Vec<Probe> {
    let asked = config.clone();
    let questions = tokio::task::spawn_blocking(move || ask(&asked));
    match timeout(KAFKA_TIMEOUT, questions).await {
        Ok(Ok(probes)) => probes,
        Ok(Err(_)) => unreachable(config, "the questions panicked"),
        Err(_) => unreachable(config, "no answer in time"),
    }
}

fn unreachable(config: &Config, problem: &str) -> Vec<Probe> {
    let found = format!("{}: {problem}", config.kafka.brokers);
    let advice =
        "check kafka.brokers, kafka.security, certificates and user, and that the network lets us through";
    let mut probes = vec![Probe::fail(BROKERS, found, advice)];
    probes.extend([TOPICS, GROUPS, RECORD_TIME].map(|name| Probe::skipped(name, "needs the brokers")));
    probes
}

fn ask(config: &Config) -> Vec<Probe> {
    let started = Instant::now();
    let (mut heard, mut brokers, mut took) = (Vec::new(), Vec::new(), Duration::ZERO);
    for topic in config.enabled_topics() {
        let answer = Survey::new(&config.kafka, &topic.name, &group_of(&config.kafka, &topic.name))
            .and_then(|survey| Ok((survey.placements()?, survey)));
        let ((found, placements), survey) = match answer {
            Ok(answer) => answer,
            Err(error) => return unreachable(config, &format!("{error:#}")),
        };
        if brokers.is_empty() {
            (brokers, took) = (found, started.elapsed());
        }
        let newest = newest(&survey, &placements);
        let group = survey.group().map_err(|error| error.to_string());
        heard.push(Heard { topic: topic.name, placements, group, newest });
    }
    let found = format!(
        "{} of them, the first answer after {} ms: {}",
        brokers.len(),
        took.as_millis(),
        brokers.join(", ")
    );
    vec![Probe::ok(BROKERS, found), topics(&heard), groups(&heard), record_time(&heard, clock::now())]
}

/// The timestamp of the newest record of some partitions; none where the last offset holds no record.
fn newest(survey: &Survey, placements: &[Placement]) -> Option<UtcMicros> {
    let led = placements.iter().filter(|placement| placement.has_leader).take(LOOK_PARTITIONS);
    let last = led.filter_map(|placement| {
        let (low, end) = survey.range(placement.partition).ok()?;
        (end > low).then_some((placement.partition, end - 1))
    });
    let last: BTreeMap<i32, i64> = last.collect();
    survey.timestamps(&last, LOOK_TIMEOUT).ok()?.into_values().max()
}

fn topics(heard: &[Heard]) -> Probe {
    let names = |is: &dyn Fn(&Heard) -> bool| -> String {
        let names: Vec<&str> =
            heard.iter().filter(|topic| is(topic)).map(|topic| topic.topic.as_str()).collect();
        names.join(", ")
    };
    let any = |topic: &Heard, is: fn(&Placement) -> bool| topic.placements.iter().any(is);
    let missing = names(&|topic| topic.placements.is_empty());
    if !missing.is_empty() {
        let advice = "create it (nothing creates topics by itself), correct topics.<kind>.name, or set topics.<kind>.enabled = false";
        return Probe::fail(TOPICS, format!("missing: {missing}"), advice);
    }
    let headless = names(&|topic| any(topic, |placement| !placement.has_leader));
    if !headless.is_empty() {
        return Probe::fail(
            TOPICS,
            format!("partitions without a leader: {headless}"),
            "bring the brokers back that hold them",
        );
    }
    let degraded = names(&|topic| any(topic, |placement| placement.in_sync < placement.replicas));
    if !degraded.is_empty() {
        return Probe::warn(
            TOPICS,
            format!("copies are behind: {degraded}"),
            "look at the brokers: another loss could cost records",
        );
    }
    let partitions = |topic: &Heard| format!("{} ({})", topic.topic, topic.placements.len());
    let all = heard.iter().map(partitions).collect::<Vec<_>>().join(", ");
    let single = names(&|topic| any(topic, |placement| placement.replicas < 2));
    if !single.is_empty() {
        let found = format!("{all}; with one copy alone: {single}");
        return Probe::warn(
            TOPICS,
            found,
            "give them more replicas: what a lost disk takes with it nobody can store",
        );
    }
    Probe::ok(TOPICS, format!("with partitions: {all}"))
}

fn groups(heard: &[Heard]) -> Probe {
    let mut words = Vec::new();
    let (mut nobody, mut loading) = (false, false);
    for Heard { topic, group, .. } in heard {
        match group {
            Ok(None) => {
                loading = true;
                words.push(format!("{topic}: not known yet"));
            }
            Ok(Some(GroupState { state, members })) => {
                nobody |= *members == 0;
                words.push(format!("{topic}: {members} members, {}", state.to_lowercase()));
            }
            Err(problem) => {
                let advice = "let the user read and describe the groups <kafka.group>.<topic>";
                return Probe::fail(GROUPS, format!("{topic}: {problem}"), advice);
            }
        }
    }
    let words = words.join("; ");
    if loading {
        return Probe::warn(
            GROUPS,
            words,
            "the brokers have just started and still read their groups: ask again",
        );
    }
    if nobody {
        return Probe::warn(GROUPS, words, "nobody reads: start `ledgerline run`");
    }
    Probe::ok(GROUPS, words)
}

/// Kafka tells no time, but its records do: that of their producers, or of the brokers (`LogAppendTime`).
fn record_time(heard: &[Heard], now: UtcMicros) -> Probe {
    let Some(newest) = heard.iter().filter_map(|topic| topic.newest).max() else {
        return Probe::skipped(RECORD_TIME, "there is no record to tell it");
    };
    let ahead = newest.0 - now.0;
    if ahead > AHEAD {
        let found = format!("the newest record is {} s in the future", ahead / UtcMicros::SECOND);
        let advice = "set the clocks (NTP) of this machine, of the brokers and of the scrapers: events are judged by their record's time";
        return Probe::warn(RECORD_TIME, found, advice);
    }
    Probe::ok(RECORD_TIME, format!("the newest record is {} s old", -ahead.min(0) / UtcMicros::SECOND))
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn heard(placements: &[(bool, usize, usize)], members: usize) -> Heard {
        let placement = |(partition, &(has_leader, replicas, in_sync))| Placement {
            partition,
            has_leader,
            replicas,
            in_sync,
        };
        Heard {
            topic: "odds".into(),
            placements: (0..).zip(placements).map(placement).collect(),
            group: Ok(Some(GroupState { state: "Stable".into(), members })),
            newest: None,
        }
    }

    #[test]
    fn topics_are_judged_by_their_worst_partition() {
        let status = |placements: &[_]| topics(&[heard(placements, 1)]).status;
        assert_eq!(status(&[(true, 3, 3), (true, 3, 3)]), Status::Ok);
        assert_eq!(status(&[(true, 3, 3), (true, 3, 2)]), Status::Warn);
        assert_eq!(status(&[(true, 1, 1)]), Status::Warn);
        assert_eq!(status(&[(true, 3, 3), (false, 3, 0)]), Status::Fail);
        assert_eq!(status(&[]), Status::Fail);
    }

    #[test]
    fn a_group_without_members_is_worth_a_look() {
        assert_eq!(groups(&[heard(&[], 2)]).status, Status::Ok);
        assert_eq!(groups(&[heard(&[], 2), heard(&[], 0)]).status, Status::Warn);
        let refused = Heard { group: Err("not authorized".into()), ..heard(&[], 0) };
        assert_eq!(groups(&[refused]).status, Status::Fail);
        let loading = Heard { group: Ok(None), ..heard(&[], 0) };
        assert_eq!(groups(&[heard(&[], 2), loading]).status, Status::Warn);
    }

    #[test]
    fn a_record_of_the_future_tells_of_a_wrong_clock() {
        let now = UtcMicros(1_000 * UtcMicros::SECOND);
        let status = |seconds: i64| {
            let newest = Some(now.plus(seconds * UtcMicros::SECOND));
            record_time(&[Heard { newest, ..heard(&[], 1) }], now).status
        };
        assert_eq!([status(-60), status(4), status(60)], [Status::Ok, Status::Ok, Status::Warn]);
        assert_eq!(record_time(&[heard(&[], 1)], now).status, Status::Skipped);
    }
}
