//! What a replay or a backfill is asked for, as commands and the API give it, and as the workflow's row keeps it.
//!
//! What must stay true: what cannot be used is named by its field; two sets have one hash exactly where they are about the same work.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::WorkflowKind;
use crate::time::UtcMicros;

/// What a workflow is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Parameters {
    /// Read a part of a topic again.
    Replay(Replay),
    /// Read files.
    Backfill(Backfill),
}

/// A part of a topic, by time or by offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The topic.
    pub topic: String,
    /// Records of this time in Kafka or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UtcMicros>,
    /// Records before this time in Kafka; all up to the end of the log as it is at the start where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UtcMicros>,
    /// In place of times: offsets, partition by partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<OffsetRange>,
    /// Only these partitions; all where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<i32>,
    /// Only what scrapers saw at this time or later; the rest is passed over, and counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_from: Option<UtcMicros>,
    /// Only what scrapers saw before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_to: Option<UtcMicros>,
    /// Most records a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
    /// No batch starts while live consumption of the topic is further behind than this, in records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag_records: Option<i64>,
}

/// Offsets [from, to) of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetRange {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
}

/// Files of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// The files, in order.
    pub files: Vec<InputFile>,
    /// What their lines are: `cloudevents` or `the-odds-api`.
    pub format: String,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Where it lies.
    pub path: String,
    /// The hash of its bytes, in hex. Where it is named, another content is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BadParameter {
    /// Its name.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// What the lines of files may be.
pub const FORMATS: [&str; 2] = ["cloudevents", "the-odds-api"];
/// Most files of one backfill, and most ranges or partitions of one replay.
const MOST_PARTS: usize = 10_000;

impl Parameters {
    /// What it does.
    #[must_use]
    pub fn kind(&self) -> WorkflowKind {
        match self {
            Self::Replay(_) => WorkflowKind::Replay,
            Self::Backfill(_) => WorkflowKind::Backfill,
        }
    }

    /// Checks what can be checked without asking anybody.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn check(&self) -> Result<(), BadParameter> {
        match self {
            Self::Replay(replay) => replay.check(),
            Self::Backfill(backfill) => backfill.check(),
        }
    }

    /// The same for the same work: how fast it may go is no part of it.
    #[must_use]
    pub fn hash(&self) -> String {
        let work = match self {
            Self::Replay(replay) => {
                Self::Replay(Replay { rate_per_second: None, max_lag_records: None, ..replay.clone() })
            }
            Self::Backfill(backfill) => Self::Backfill(backfill.clone()),
        };
        let text = serde_json::to_string(&work).expect("texts and numbers are JSON");
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Replay {
    fn check(&self) -> Result<(), BadParameter> {
        ensure(!self.topic.is_empty() && self.topic.len() <= 249, "topic", "must have 1 to 249 characters")?;
        let by_time = self.from.is_some() || self.to.is_some();
        ensure(by_time == self.offsets.is_empty(), "offsets", "either times or offsets, and one of them")?;
        ensure(!by_time || self.from.is_some(), "from", "is missing")?;
        ensure(self.to.is_none() || self.from < self.to, "to", "must be later than `from`")?;
        let observed = self.observed_from.zip(self.observed_to);
        ensure(
            observed.is_none_or(|(from, to)| from < to),
            "observed_to",
            "must be later than `observed_from`",
        )?;
        ensure(self.rate_per_second != Some(0), "rate_per_second", "must be at least 1")?;
        ensure(self.max_lag_records.is_none_or(|lag| lag >= 0), "max_lag_records", "must not be negative")?;
        ensure(self.partitions.len() <= MOST_PARTS, "partitions", "too many")?;
        ensure(self.partitions.iter().all(|partition| *partition >= 0), "partitions", "none is negative")?;
        ensure(self.partitions.is_empty() || self.offsets.is_empty(), "partitions", "the offsets name them")?;
        ensure(self.offsets.len() <= MOST_PARTS, "offsets", "too many")?;
        for (number, range) in self.offsets.iter().enumerate() {
            ensure(range.partition >= 0, "offsets", "no partition is negative")?;
            ensure(
                (0..range.to).contains(&range.from),
                "offsets",
                "must be from 0 on, and end behind their start",
            )?;
            let earlier = self.offsets[..number].iter().any(|earlier| earlier.partition == range.partition);
            ensure(!earlier, "offsets", "one range for each partition")?;
        }
        Ok(())
    }
}

impl Backfill {
    fn check(&self) -> Result<(), BadParameter> {
        ensure((1..=MOST_PARTS).contains(&self.files.len()), "files", "must name 1 to 10,000 files")?;
        ensure(self.files.iter().all(|file| !file.path.is_empty()), "files", "a path is empty")?;
        ensure(
            !self.files.iter().any(|file| file.path.contains('\0')),
            "files",
            "a path holds the character NUL",
        )?;
        let hashes = self.files.iter().filter_map(|file| file.sha256.as_ref());
        let is_hash = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure(hashes.into_iter().all(is_hash), "files", "a sha256 is not 64 hexadecimal digits")?;
        ensure(FORMATS.contains(&self.format.as_str()), "format", "must be cloudevents or the-odds-api")
    }
}

fn ensure(holds: bool, field: &'static str, problem: &str) -> Result<(), BadParameter> {
    if holds { Ok(()) } else { Err(BadParameter { field, problem: problem.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(change: impl FnOnce(&mut Replay)) -> Parameters {
        let from = UtcMicros::parse("2025-11-09T18:00:00Z").ok();
        let mut replay = Replay { topic: "odds".into(), from, ..Replay::default() };
        change(&mut replay);
        Parameters::Replay(replay)
    }

    #[test]
    fn parameters_survive_their_json() {
        let offsets = vec![OffsetRange { partition: 3, from: 5, to: 9 }];
        for parameters in [
            replay(|_| ()),
            replay(|replay| (replay.from, replay.offsets) = (None, offsets)),
            Parameters::Backfill(Backfill {
                files: vec![InputFile { path: "a.jsonl".into(), sha256: None }],
                format: "cloudevents".into(),
            }),
        ] {
            assert_eq!(parameters.check(), Ok(()));
            let text = serde_json::to_string(&parameters).unwrap();
            assert_eq!(serde_json::from_str::<Parameters>(&text).unwrap(), parameters, "{text}");
        }
        let unknown = r#"{"kind":"replay","topic":"odds","form":"2025-11-09T18:00:00Z"}"#;
        assert!(serde_json::from_str::<Parameters>(unknown).unwrap_err().to_string().contains("form"));
    }

    #[test]
    fn a_bad_parameter_is_named() {
        let field = |change: fn(&mut Replay)| replay(change).check().unwrap_err().field;
        assert_eq!(field(|replay| replay.topic.clear()), "topic");
        let backfill = |path: &str, sha256: Option<&str>, format: &str| {
            let files = vec![InputFile { path: path.into(), sha256: sha256.map(str::to_owned) }];
            Parameters::Backfill(Backfill { files, format: format.into() }).check().map_err(|bad| bad.field)
        };
        assert_eq!(backfill("a", Some(&"0".repeat(64)), "the-odds-api"), Ok(()));
        assert_eq!(backfill("", None, "cloudevents"), Err("files"));
        assert_eq!(backfill("a\0", None, "cloudevents"), Err("files"));
        assert_eq!(backfill("a", Some("x"), "cloudevents"), Err("files"));
        assert_eq!(backfill("a", None, "csv"), Err("format"));
        assert_eq!(field(|replay| replay.from = None), "offsets");
        assert_eq!(field(|replay| replay.to = replay.from), "to");
        assert_eq!(field(|replay| (replay.to, replay.from) = (replay.from, None)), "from");
        assert_eq!(field(|replay| replay.rate_per_second = Some(0)), "rate_per_second");
        assert_eq!(field(|replay| replay.max_lag_records = Some(-1)), "max_lag_records");
        let twice = [OffsetRange { partition: 0, from: 0, to: 1 }; 2];
        let parameters = replay(|replay| (replay.from, replay.offsets) = (None, twice.to_vec()));
        assert_eq!(parameters.check().unwrap_err().field, "offsets");
    }

    #[test]
    fn how_fast_it_goes_is_no_part_of_what_it_is_about() {
        let slow = replay(|replay| replay.rate_per_second = Some(9));
        let patient = replay(|replay| replay.max_lag_records = Some(9));
        let other = replay(|replay| replay.topic = "games".into());
        assert_eq!((slow.hash(), patient.hash()), (replay(|_| ()).hash(), replay(|_| ()).hash()));
        assert_ne!(other.hash(), slow.hash());
    }
}
