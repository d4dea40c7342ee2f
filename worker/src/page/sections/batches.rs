//! The last transactions of this process, newest first.

use maud::{Markup, html};

use super::super::text::{clock, count, moment, name};
use super::super::view::View;
use super::{head, table};
use crate::recent::RecentBatch;

/// Batches that are shown, of all topics together.
const SHOWN: usize = 20;

pub(super) fn content(view: &View) -> Markup {
    let mut batches: Vec<(&str, &RecentBatch)> = Vec::new();
    for topic in &view.topics {
        batches.extend(topic.recent.batches().map(|batch| (topic.name.as_str(), batch)));
    }
    batches.sort_by_key(|(_, batch)| std::cmp::Reverse(batch.at));
    let columns = [
        "Committed",
        "Topic",
        "#Partition",
        "#From",
        "#To",
        "#Records",
        "#New rows",
        "#Known already",
        "#Dead",
        "#ms",
    ];
    let rows = html! {
        (head(columns))
        tbody {
            @for (topic, batch) in batches.iter().take(SHOWN) { (one(topic, batch)) }
            @if batches.is_empty() { tr { td colspan="10" { "Nothing was written yet." } } }
        }
    };
    table("The last transactions of this worker", &rows)
}

fn one(topic: &str, batch: &RecentBatch) -> Markup {
    let RecentBatch { at, partition, from, to, offsets, rows, took } = batch;
    html! {
        tr {
            td { time datetime=(at) title=(moment(*at)) { (clock(*at)) } }
            th scope="row" { (name(topic)) }
            td.number { (partition) }
            td.number { (count(*from)) }
            td.number { (count(*to)) }
            td.number { (count(offsets.sum() - offsets.hole)) }
            td.number { (count(rows.inserted + rows.updated)) }
            td.number { (count(rows.duplicate + rows.stale)) }
            td.number { (count(offsets.dead)) }
            td.number { (count(i64::try_from(took.as_millis()).unwrap_or(i64::MAX))) }
        }
    }
}
