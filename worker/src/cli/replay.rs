//! `ledgerline replay`: a part of a topic, by record times or by offsets, read again beside live consumption. docs/OPERATIONS.md says
//! when and how.

use clap::Args;
use ledgerline_schema::time::UtcMicros;
use ledgerline_schema::workflow::{OffsetRange, Parameters, Replay};

use super::Ending;
use super::attended::{Manner, carry_out};
use super::operator::{known_topic, time};
use crate::config::Config;

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The topic.
    #[arg(long)]
    topic: String,
    /// Records that Kafka dates at this time or later (RFC 3339).
    #[arg(long, value_parser = time, value_name = "TIME", required_unless_present = "offsets")]
    from: Option<UtcMicros>,
    /// Records that Kafka dates before this time; without it all up to the end of the log as it is now.
    #[arg(long, value_parser = time, value_name = "TIME", requires = "from")]
    to: Option<UtcMicros>,
    /// Instead of times: offsets A to B of partition P, B not included; several, or several times.
    #[arg(long, value_parser = offsets, value_name = "P:A-B", num_args = 1.., conflicts_with_all = ["from", "to", "partitions"])]
    offsets: Vec<OffsetRange>,
    /// Only these partitions: `0-3`, `0,2,5`.
    #[arg(long, value_parser = partitions, value_name = "LIST")]
    partitions: Option<Partitions>,
    /// Only what scrapers saw at this time or later; the rest is passed over and counted.
    #[arg(long, value_parser = time, value_name = "TIME")]
    observed_from: Option<UtcMicros>,
    /// Only what scrapers saw before this time.
    #[arg(long, value_parser = time, value_name = "TIME")]
    observed_to: Option<UtcMicros>,
    /// Most records a second.
    #[arg(long, value_parser = rate, value_name = "N")]
    rate: Option<u32>,
    /// No batch starts while live consumption of the topic is further behind than this, in records. Without it: 10,000.
    #[arg(long, value_name = "N")]
    max_lag: Option<i64>,
    /// Say what would be inserted, updated and unchanged, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object in the end.
    #[arg(long)]
    json: bool,
}

/// Partitions on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Partitions(Vec<i32>);

/// Runs the command.
///
/// # Errors
/// What is asked for cannot be used, or could not be done.
pub async fn replay(config: &Config, args: ReplayArgs) -> anyhow::Result<Ending> {
    known_topic(config, &args.topic)?; // before there is a workflow of it
    let manner = Manner { dry_run: args.dry_run, json: args.json, attended: false };
    let mut offsets = args.offsets;
    offsets.sort_by_key(|range| range.partition);
    let parameters = Parameters::Replay(Replay {
        topic: args.topic,
        from: args.from,
        to: args.to,
        offsets,
        partitions: args.partitions.map(|list| list.0).unwrap_or_default(),
        observed_from: args.observed_from,
        observed_to: args.observed_to,
        rate_per_second: args.rate,
        max_lag_records: args.max_lag,
    });
    carry_out(config, parameters, manner).await
}

/// `P:A-B`
fn offsets(text: &str) -> Result<OffsetRange, String> {
    let parts = text.split_once(':').and_then(|(partition, range)| Some((partition, range.split_once('-')?)));
    let range = parts.and_then(|(partition, (from, to))| {
        Some(OffsetRange {
            partition: partition.parse().ok()?,
            from: from.parse().ok()?,
            to: to.parse().ok()?,
        })
    });
    range.ok_or_else(|| "not P:A-B, a partition and two offsets".to_owned())
}

/// `0-3` or `0,2,5`, sorted, each once.
fn partitions(text: &str) -> Result<Partitions, String> {
    let wrong = || "not partitions such as 0-3 or 0,2,5".to_owned();
    let mut found = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) =
            (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first > last {
            return Err(wrong());
        }
        found.extend((first..=last).map(i32::from));
    }
    found.sort_unstable();
    found.dedup();
    Ok(Partitions(found))
}

/// `500` or `500/s`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse();
    number
        .ok()
        .filter(|rate| *rate > 0)
        .ok_or_else(|| "not a number of records a second, 1 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lists_and_rates_are_read_or_refused() {
        assert_eq!(offsets("3:5-9"), Ok(OffsetRange { partition: 3, from: 5, to: 9 }));
        for wrong in ["", "3", "3:5", "3:5-", "x:1-2", "5-9"] {
            assert!(offsets(wrong).is_err(), "{wrong}");
        }
        assert_eq!(partitions("2,0-1,1"), Ok(Partitions(vec![0, 1, 2])));
        for wrong in ["", "-1", "3-1", "0..3", "a"] {
            assert!(partitions(wrong).is_err(), "{wrong}");
        }
        assert_eq!((rate("500"), rate("500/s")), (Ok(500), Ok(500)));
        assert!(rate("0").is_err() && rate("fast").is_err());
    }
}
