//! The page as a whole, without a server: complete, small, harmless whatever stands in the records.

use std::collections::BTreeMap;

use ledgerline_schema::store::{Freshness, FreshnessReport, RecentGame, WaitingLetters, Workflow};
use ledgerline_schema::time::UtcMicros;
use ledgerline_schema::workflow::{Parameters, Replay, State, WorkflowKind};

use super::database::{Answer, Seen};
use super::document::Process;
use super::movement::{Choice, Market, Movement};
use super::view::{TopicView, View};
use super::*;
use crate::progress::{PartitionProgress, Totals};
use crate::recent::Recent;

const HOSTILE: &str = "\"><script>alert('x')</script>\u{202e}\u{0}\r\n<img src=x onerror=alert(1)>";

fn answer<T>(value: T) -> Answer<T> {
    Answer { value: Some(Arc::new(value)), at: Some(UtcMicros(0)), problem: None }
}

/// As much as there can be of everything, with that for every text.
fn most(text: &str) -> (Process, View, Choice, Movement) {
    let letters = (0..200).map(|n| WaitingLetters {
        topic: text.into(),
        reason: text.into(),
        letters: n,
        oldest: UtcMicros(0),
        newest: UtcMicros(n),
    });
    let books = (0..2_000).map(|n| Freshness {
        sport: text.into(),
        league: format!("{text}{}", n / 10),
        sportsbook: text.into(),
        games: n,
        selections: n,
        newest: Some(UtcMicros(n)),
    });
    let games = (0..40).map(|n| RecentGame {
        id: n,
        system: text.into(),
        external_id: text.repeat(100),
        league: Some(text.into()),
        home_team: Some(text.repeat(100)),
        away_team: Some(text.into()),
        commence_time: Some(UtcMicros(n)),
    });
    let mut seen = Seen {
        letters: answer(letters.collect()),
        freshness: answer(FreshnessReport { books: books.collect(), complete: false }),
        games: answer(games.collect()),
        workflows: answer((0..10).map(|_| workflow(text)).collect()),
        ..Seen::default()
    };
    seen.partitions.problem = Some(text.into());
    let partition = PartitionProgress {
        next_offset: Some(1),
        halted: Some("topic_recreated"),
        log_end: Some(i64::MAX),
        paused: true,
    };
    let topic = |n: i32| TopicView {
        name: format!("{text}{n}"),
        group: text.into(),
        totals: Totals::default(),
        recent: Recent::default(),
        partitions: (0..500)
            .map(|partition_number| (partition_number, partition.clone()))
            .collect::<BTreeMap<_, _>>(),
    };
    let view = View { now: UtcMicros(0), topics: (0..5).map(topic).collect(), seen };
    let block =
        chart::Block { from: UtcMicros(0), to: UtcMicros(1), value: Some(1.0), quote: "-1.5 at -110".into() };
    let movement = Movement {
        game: Some(3),
        books: vec![text.into(); 60],
        book: text.into(),
        markets: vec![Market { key: text.into(), label: text.into() }; 120],
        market: text.into(),
        of_points: true,
        blocks: vec![block; 240],
        left_out: 1_000,
        problem: None,
    };
    let process =
        Process { group: text.into(), database: "postgres", started: UtcMicros(0), assets: fingerprint() };
    let choice = Choice { game: Some(text.into()), book: Some(text.into()), market: Some(text.into()) };
    (process, view, choice, movement)
}

fn workflow(text: &str) -> Workflow {
    let at = UtcMicros(0);
    Workflow {
        id: text.into(),
        kind: WorkflowKind::Replay,
        state: State::Failed,
        parameters: Parameters::Replay(Replay { topic: text.into(), ..Replay::default() }),
        plan: None,
        progress: Some(serde_json::json!({"done": 1, "offsets": i64::MAX})),
        error: Some(text.into()),
        requested_by: text.into(),
        attended: false,
        lease_owner: None,
        lease_until: None,
        attempt: 1,
        created_at: at,
        started_at: Some(at),
        ended_at: Some(at),
        updated_at: at,
    }
}

#[test]
fn nothing_that_a_record_says_becomes_markup() {
    let (process, view, choice, movement) = most(HOSTILE);
    let page = document::render(&process, &view, &choice, &movement).into_string();
    assert_eq!(page.matches("<script").count(), 1, "the page's own");
    assert!(!page.contains("<img") && !page.contains("alert('x')</"), "escaped");
    assert!(page.contains("&lt;script&gt;"), "and shown");
    // What a form sends back has to be exact; nobody sees it.
    let shown: Vec<&str> = page
        .split(" value=\"")
        .enumerate()
        .map(
            |(index, part)| if index == 0 { part } else { part.split_once('"').map_or("", |(_, rest)| rest) },
        )
        .collect();
    for c in ['\u{202e}', '\u{0}', '\r'] {
        assert!(shown.iter().all(|part| !part.contains(c)), "{c:?} is not shown as it is");
    }
}

#[test]
fn the_page_is_small_even_when_there_is_most_to_show() {
    for name in ["a name of thirty characters...", HOSTILE] {
        let (process, view, choice, movement) = most(name);
        let page = document::render(&process, &view, &choice, &movement).into_string();
        let all = page.len() + STYLE.len() + SCRIPT.len() + ICON.len();
        assert!(all < if name == HOSTILE { 400_000 } else { 200_000 }, "{all} bytes, all of it {name}");
    }
}

#[test]
fn the_policy_allows_nothing_from_elsewhere_and_the_page_needs_nothing() {
    let (process, view, choice, movement) = most(HOSTILE);
    let page = document::render(&process, &view, &choice, &movement).into_string();
    for text in [page.as_str(), STYLE, SCRIPT] {
        for elsewhere in ["http://", "https://", "@import", " style=", "onclick=", "eval("] {
            assert!(!text.contains(elsewhere), "{elsewhere}");
        }
    }
    assert!(!POLICY.contains("unsafe"));
}

#[test]
fn every_section_has_its_place_and_its_link() {
    let (process, view, choice, movement) = most(HOSTILE);
    let page = document::render(&process, &view, &choice, &movement).into_string();
    for section in &SECTIONS {
        for needle in [
            format!("<section id=\"{0}\" aria-labelledby=\"{0}-title\">", section.id),
            format!("<h2 id=\"{}-title\">", section.id),
            format!("<div data-live=\"{}\">", section.id),
            format!("href=\"#{}\"", section.id),
        ] {
            assert!(page.contains(&needle), "{needle}");
        }
    }
}
