//! What a workflow is asked for, as the OpenAPI document tells it. `ledgerline_schema::workflow` reads and checks it; the test below
//! holds the two together.

use serde::Deserialize;
use utoipa::ToSchema;

/// What a workflow is asked to do.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum WorkflowParameters {
    /// Read a part of a topic again, by time or by offsets.
    Replay {
        /// The topic; one of those that are configured.
        #[schema(min_length = 1, max_length = 249)]
        topic: String,
        /// Records of this time in Kafka or later.
        #[schema(format = DateTime)]
        from: Option<String>,
        /// Records before this time in Kafka; all up to the end of the log as it is at the start where it is not set.
        #[schema(format = DateTime)]
        to: Option<String>,
        /// In place of times: offsets, one range for each partition.
        #[serde(default)]
        #[schema(max_items = 10_000)]
        offsets: Vec<OffsetRange>,
        /// Only these partitions; all where there are none.
        #[serde(default)]
        #[schema(max_items = 10_000)]
        partitions: Vec<i32>,
        /// Only what scrapers saw at this time or later; the rest is passed over, and counted.
        #[schema(format = DateTime)]
        observed_from: Option<String>,
        /// Only what scrapers saw before this time.
        #[schema(format = DateTime)]
        observed_to: Option<String>,
        /// Most records a second.
        #[schema(minimum = 1)]
        rate_per_second: Option<u32>,
        /// No batch starts while live consumption of the topic is further behind than this, in records.
        #[schema(minimum = 0)]
        max_lag_records: Option<i64>,
    },
    /// Read files that lie in the folder `[workflows] files_dir` of a worker.
    Backfill {
        /// The files, in order.
        #[schema(min_items = 1, max_items = 10_000)]
        files: Vec<InputFile>,
        /// What their lines are: `cloudevents` or `the-odds-api`.
        format: String,
    },
}

/// Offsets [from, to) of one partition.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) struct OffsetRange {
    /// The partition.
    #[schema(minimum = 0)]
    partition: i32,
    /// The first offset.
    #[schema(minimum = 0)]
    from: i64,
    /// One past the last offset.
    #[schema(minimum = 1)]
    to: i64,
}

/// One file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) struct InputFile {
    /// Where it lies.
    #[schema(min_length = 1)]
    path: String,
    /// The hash of its bytes, in hex. Where it is named, another content is refused.
    sha256: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ledgerline_schema::time::UtcMicros;
    use ledgerline_schema::workflow::{self as stored, Parameters};
    use serde_json::Value;
    use utoipa::PartialSchema;

    use super::*;

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    }

    /// With every field set, what is stored has exactly the fields that are described.
    #[test]
    fn the_description_has_the_fields_that_are_read() {
        let time = UtcMicros::parse("2025-11-09T18:00:00Z").ok();
        let replay = Parameters::Replay(stored::Replay {
            topic: "odds".into(),
            from: time,
            to: time,
            offsets: vec![stored::OffsetRange { partition: 0, from: 0, to: 1 }],
            partitions: vec![0],
            observed_from: time,
            observed_to: time,
            rate_per_second: Some(1),
            max_lag_records: Some(1),
        });
        let backfill = Parameters::Backfill(stored::Backfill {
            files: vec![stored::InputFile { path: "a".into(), sha256: Some("b".into()) }],
            format: "cloudevents".into(),
        });
        let [replay, backfill] =
            [replay, backfill].map(|parameters| serde_json::to_value(&parameters).expect("JSON"));
        let kinds = serde_json::to_value(WorkflowParameters::schema()).expect("JSON");
        let [range, file] = [OffsetRange::schema(), InputFile::schema()]
            .map(|schema| serde_json::to_value(schema).expect("JSON"));
        assert_eq!(keys(&replay), keys(&kinds["oneOf"][0]["properties"]));
        assert_eq!(keys(&backfill), keys(&kinds["oneOf"][1]["properties"]));
        assert_eq!(keys(&replay["offsets"][0]), keys(&range["properties"]));
        assert_eq!(keys(&backfill["files"][0]), keys(&file["properties"]));
    }
}
