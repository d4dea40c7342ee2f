//! `ledgerline pause|resume`: holds the live consumption of a topic or of one of its partitions, and lets it go. The switch is in the
//! database: it outlives every worker, and all of them heed it within seconds.

use clap::Args;
use ledgerline_schema::store::{Extent, Switch, SwitchOrder, SwitchState, Switched};
use serde_json::{Value, json};

use super::operator::{actor, connect, known_topic, print_line, reason};
use crate::clock;
use crate::config::Config;
use crate::http::KnownTopic;

/// Arguments of `pause` and `resume`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The topic, as the configuration names it.
    topic: String,
    /// Only this partition. Without it: the whole topic, with partitions that appear later.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Why, for the trail of the operators.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Who, for the trail. Without it: the user of the operating system.
    #[arg(long)]
    actor: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs `pause`.
///
/// # Errors
/// The topic is none of the configuration, it is paused already, or the database did not answer.
pub async fn pause(config: &Config, args: SwitchArgs) -> anyhow::Result<()> {
    let order = order(config, &args)?;
    let switched = connect(config).await?.pause(&order).await?;
    report(&args, &order, &switched, "paused")
}

/// Runs `resume`.
///
/// # Errors
/// The topic is none of the configuration, just that is not paused, or the database did not answer.
pub async fn resume(config: &Config, args: SwitchArgs) -> anyhow::Result<()> {
    let order = order(config, &args)?;
    let switched = connect(config).await?.unpause(&order).await?;
    report(&args, &order, &switched, "resumed")
}

fn order(config: &Config, args: &SwitchArgs) -> anyhow::Result<SwitchOrder> {
    let KnownTopic { group, name } = known_topic(config, &args.topic)?;
    Ok(SwitchOrder {
        group,
        topic: name,
        extent: args.partition.map_or(Extent::Topic, Extent::Partition),
        actor: actor(args.actor.clone()),
        reason: args.reason.clone(),
        now: clock::now(),
    })
}

fn report(args: &SwitchArgs, order: &SwitchOrder, done: &Switched, did: &str) -> anyhow::Result<()> {
    let Switched { switch, set } = done;
    let others: Vec<&Switch> = set.iter().filter(|other| other.extent != order.extent).collect();
    if args.json {
        let still: Vec<Value> = set.iter().map(|switch| json!(switch.extent.partition())).collect();
        return print_line(json!({
            "group": order.group, "topic": order.topic, "partition": order.extent.partition(), "did": did,
            "reason": order.reason, "actor": order.actor, "at": order.now.to_string(),
            "paused_since": switch.at.to_string(), "paused_for": switch.reason, "still_paused": still,
        }));
    }
    print_line(format_args!("{} {switch}: {did}; workers notice within seconds", order.group))?;
    for other in others {
        print_line(format_args!("  {}", in_words(other)))?;
    }
    Ok(())
}

/// A switch on one line, for people.
pub(super) fn in_words(switch: &Switch) -> String {
    let Switch { state, reason, actor, at, .. } = switch;
    let state = match state {
        SwitchState::Paused => "paused".to_owned(),
        SwitchState::Unknown(word) => format!("has the word {word}, of a newer program,"),
    };
    format!("{switch} {state} since {at} by {actor}: {reason}")
}

/// What pauses a partition, for `--json`; null where nothing does.
pub(super) fn as_json(switch: Option<&Switch>) -> Value {
    switch.map_or(Value::Null, |switch| {
        let whole_topic = switch.extent == Extent::Topic;
        json!({
            "reason": switch.reason, "actor": switch.actor, "since": switch.at.to_string(), "whole_topic": whole_topic,
        })
    })
}
