//! Each topic of this process: how fast, how far behind, how fresh.

use maud::{Markup, html};

use super::super::sparkline;
use super::super::text::{ago, count, name, or_unknown, rate};
use super::super::view::{TopicView, View};
use super::{head, table};

/// Steps of a topic's sparkline, and the seconds of each.
const STEPS: usize = 60;
const STEP: i64 = 5;

pub(super) fn content(view: &View) -> Markup {
    let stored = |topic: &TopicView| topic.totals.dispositions.sum() - topic.totals.dispositions.hole;
    let sum = |of: &dyn Fn(&TopicView) -> i64| count(view.topics.iter().map(of).sum());
    let columns = [
        "Topic",
        "#Records/s",
        "Last 5 minutes",
        "#Behind",
        "#Newest record",
        "#Last commit",
        "#Stored",
        "#Dead",
        "#Batches",
    ];
    let rows = html! {
        (head(columns))
        tbody {
            @for topic in &view.topics {
                @let history = topic.recent.history(view.now, STEPS, STEP);
                tr {
                    th scope="row" { (name(&topic.name)) }
                    td.number { (rate(topic.recent.rates(view.now).0)) }
                    td { (sparkline::draw(&history, "Records stored in steps of 5 seconds", "small")) }
                    td.number { (or_unknown(topic.lag())) }
                    td.number { (ago(view.now, topic.recent.newest_record)) }
                    td.number { (ago(view.now, topic.recent.last_commit)) }
                    td.number { (count(stored(topic))) }
                    td.number { (count(topic.totals.dispositions.dead)) }
                    td.number { (count(topic.totals.batches.cast_signed())) }
                }
            }
        }
        tfoot {
            tr {
                th scope="row" { "All" }
                td.number { (rate(view.topics.iter().map(|topic| topic.recent.rates(view.now).0).sum())) }
                td {}
                td.number { (or_unknown(view.lag())) }
                td.number { (ago(view.now, view.newest_record())) }
                td {}
                td.number { (sum(&stored)) }
                td.number { (sum(&|topic| topic.totals.dispositions.dead)) }
                td.number { (sum(&|topic| topic.totals.batches.cast_signed())) }
            }
        }
    };
    table("What this worker did since it started, by topic", &rows)
}
