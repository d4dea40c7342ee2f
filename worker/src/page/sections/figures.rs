//! The figures at the top: is it running, is it behind, does anybody have to do something.

use maud::{Markup, html};

use super::super::database::LETTERS;
use super::super::sparkline;
use super::super::text::{ago, clock, count, or_unknown, rate, unknown};
use super::super::view::View;
use crate::recent::SECONDS;

/// Seconds of one step of the wide sparkline.
const STEP: i64 = 3;

pub(super) fn content(view: &View) -> Markup {
    let rates: Vec<(f64, f64)> = view.topics.iter().map(|topic| topic.recent.rates(view.now)).collect();
    let (records, rows) = (rates.iter().map(|rate| rate.0).sum(), rates.iter().map(|rate| rate.1).sum());
    let halted = view.partitions().iter().filter(|partition| partition.halted.is_some()).count();
    let assigned: usize = view.topics.iter().map(|topic| topic.partitions.len()).sum();
    html! {
        div.throughput {
            div.figure {
                span.label { "Records a second" }
                span.large { (rate(records)) }
                span.note { (rate(rows)) " rows a second" }
            }
            div.graph {
                (sparkline::draw(&history(view), "Records stored in steps of 3 seconds over 5 minutes", "wide"))
                div.ends aria-hidden="true" { span { "5 min ago" } span { (clock(view.now)) " UTC" } }
            }
        }
        dl.figures {
            div.figure {
                dt { "Behind" }
                dd { (or_unknown(view.lag())) }
                dd.note { "records, on this worker's partitions" }
            }
            div.figure {
                dt { "Newest record" }
                dd { (ago(view.now, view.newest_record())) }
                dd.note { "old, by Kafka's timestamp" }
            }
            div.figure {
                dt { "Partitions" }
                dd { (count(assigned.try_into().unwrap_or(0))) }
                dd.note { "read by this worker" }
            }
            div.figure.bad[halted > 0] {
                dt { "Halted" }
                dd { (count(halted.try_into().unwrap_or(0))) }
                dd.note { @if halted > 0 { "an operator has to decide" } @else { "nothing to decide" } }
            }
            div.figure.warn[waiting(view).is_some_and(|letters| letters > 0)] {
                dt { "Dead letters" }
                dd { (waiting_words(view)) }
                dd.note { "not settled" }
            }
        }
    }
}

fn history(view: &View) -> Vec<u64> {
    let steps = usize::try_from(SECONDS / STEP).unwrap_or(1);
    let mut sum = vec![0; steps];
    for topic in &view.topics {
        for (sum, step) in sum.iter_mut().zip(topic.recent.history(view.now, steps, STEP)) {
            *sum += step;
        }
    }
    sum
}

fn waiting(view: &View) -> Option<i64> {
    let groups = view.seen.letters.value.as_ref()?;
    Some(groups.iter().map(|group| group.letters).sum())
}

fn waiting_words(view: &View) -> Markup {
    match waiting(view) {
        Some(letters) if letters >= LETTERS => html! { (count(letters)) "+" },
        Some(letters) => html! { (count(letters)) },
        None => unknown(),
    }
}
