//! Hostile text in every string of every kind: where any text is allowed it is stored as it came, elsewhere the record is
//! refused. The classes are the product of two lists, so they are made here.

use ledgerline_schema::events::{EventKind, Reason};
use serde_json::{Value, json};

use super::corpus::{Case, End, good, record_millis};
use crate::support::wire::WireRecord;

/// Texts that break whoever pastes them into SQL, a terminal, a log, a format, a path or a page.
pub const TEXTS: [(&str, &str); 8] = [
    ("SQL", "'; drop table odds; -- $1 \\ \" E'\\''"),
    ("terminal", "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31m\u{9b}32m\u{8}"),
    ("lines", "a\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}\u{b}\u{c}\u{85}\u{2028}\u{2029}b"),
    ("format", "%s%n%x{}{0}${jndi:ldap://x/a}{{7*7}}%00"),
    ("path", "../../../etc/passwd|$(reboot)`reboot`;&C:\\x"),
    ("direction", "\u{202e}txt.exe\u{202c}\u{2066}\u{200b}\u{feff}"),
    ("markup", "<script>alert(1)</script><!--&#0;]]>"),
    ("letters", "Zürich ﷽ 👩‍👩‍👧 e\u{301} \u{10ffff} İ ß ﬁ"),
];

/// Strings that take any text: JSON pointer, and the expression on the stored row that gives it back; none is stored where
/// there is no expression.
const FREE: [(EventKind, &str, Option<&str>); 24] = [
    (EventKind::Odds, "/id", None),
    (EventKind::Odds, "/source", None),
    (EventKind::Odds, "/correlationid", None),
    (EventKind::Odds, "/scraperversion", None),
    (EventKind::Odds, "/data/invented", None),
    (EventKind::Odds, "/data/game/id", Some("external_id")),
    (EventKind::Odds, "/data/outcomes/0/participant", Some("participant")),
    (EventKind::Game, "/source", Some("source")),
    (EventKind::Game, "/data/game/id", Some("(select external_id from game_refs r where r.game_id = t.id)")),
    (EventKind::Game, "/data/home_team", Some("home_team")),
    (EventKind::Game, "/data/details/text", Some("details->>'text'")),
    (EventKind::Article, "/data/title", Some("title")),
    (EventKind::Article, "/data/summary", Some("summary")),
    (EventKind::Article, "/data/body", Some("body")),
    (EventKind::Article, "/data/source_name", Some("source_name")),
    (EventKind::Article, "/data/language", Some("language")),
    (EventKind::Article, "/data/tags/0", Some("tags->>0")),
    (EventKind::Article, "/data/authors/0", Some("authors->>0")),
    (EventKind::Signal, "/data/game/id", Some("r.external_id")),
    (EventKind::Signal, "/data/detector/version", Some("detector_version")),
    (EventKind::Signal, "/data/participant", Some("participant")),
    (EventKind::Signal, "/data/evidence_event_ids/0", Some("evidence->'event_ids'->>0")),
    (EventKind::Analysis, "/data/rationale", Some("rationale")),
    (EventKind::Analysis, "/data/model/version", Some("model_version")),
];

/// Strings of a closed form: each refuses all the texts together.
const STRICT: [(EventKind, &str, Reason); 28] = [
    (EventKind::Odds, "/specversion", Reason::NotCloudEvent),
    (EventKind::Odds, "/type", Reason::UnsupportedType),
    (EventKind::Odds, "/time", Reason::InvalidField),
    (EventKind::Odds, "/data/game/system", Reason::InvalidField),
    (EventKind::Odds, "/data/sportsbook", Reason::InvalidField),
    (EventKind::Odds, "/data/market", Reason::InvalidField),
    (EventKind::Odds, "/data/period", Reason::InvalidField),
    (EventKind::Odds, "/data/market_status", Reason::InvalidField),
    (EventKind::Odds, "/data/book_updated_at", Reason::InvalidField),
    (EventKind::Odds, "/data/outcomes/0/side", Reason::InvalidField),
    (EventKind::Game, "/type", Reason::UnsupportedType),
    (EventKind::Game, "/data/game/system", Reason::InvalidField),
    (EventKind::Game, "/data/sport", Reason::InvalidField),
    (EventKind::Game, "/data/league", Reason::InvalidField),
    (EventKind::Game, "/data/commence_time", Reason::InvalidField),
    (EventKind::Game, "/data/status", Reason::InvalidField),
    (EventKind::Game, "/data/source_updated_at", Reason::InvalidField),
    (EventKind::Article, "/time", Reason::InvalidField),
    (EventKind::Article, "/data/url", Reason::InvalidField),
    (EventKind::Article, "/data/published_at", Reason::InvalidField),
    (EventKind::Signal, "/data/detector/name", Reason::InvalidField),
    (EventKind::Signal, "/data/signal_id", Reason::InvalidField),
    (EventKind::Signal, "/data/window_end", Reason::InvalidField),
    (EventKind::Signal, "/data/trigger_book", Reason::InvalidField),
    (EventKind::Analysis, "/data/model/name", Reason::InvalidField),
    (EventKind::Analysis, "/data/as_of", Reason::InvalidField),
    (EventKind::Analysis, "/data/sportsbook", Reason::InvalidField),
    (EventKind::Analysis, "/data/recommendation", Reason::InvalidField),
];

/// Every string with hostile text in it.
pub fn cases() -> Vec<Case> {
    let all: String = TEXTS.iter().map(|(_, text)| *text).collect();
    let mut cases = Vec::new();
    for (kind, pointer, expression) in FREE {
        for (name, text) in TEXTS {
            // Distinct, because an id names a game.
            let text = if pointer == "/data/game/id" {
                format!("{text} {pointer} {kind:?}")
            } else {
                text.to_owned()
            };
            let mut case = case(kind, pointer, name, &text, End::Applied);
            case.stores = expression.map(|expression| (expression.to_owned(), text.trim().to_owned()));
            cases.push(case);
        }
    }
    cases.extend(
        STRICT.map(|(kind, pointer, reason)| case(kind, pointer, "every text", &all, End::Dead(reason))),
    );
    cases
}

fn case(kind: EventKind, pointer: &str, name: &str, text: &str, end: End) -> Case {
    let id = format!("hostile-{}", crate::support::unique(kind.name()));
    let mut event = good(kind, &id);
    if let Some(array) = pointer.strip_prefix("/data/").and_then(|field| field.strip_suffix("/0"))
        && event["data"][array].is_null()
    {
        event["data"][array] = json!([]);
    }
    set(&mut event, pointer, text);
    let headers = vec![(b"hostile".to_vec(), Some(text.as_bytes().to_vec()))];
    Case {
        class: format!("{name} in {} {pointer}", kind.name()),
        kind,
        partition: 0,
        record: WireRecord {
            key: Some(text.as_bytes().to_vec()),
            value: Some(event.to_string().into_bytes()),
            headers: headers.clone(),
            timestamp: record_millis(),
        },
        end,
        detail: String::new(),
        detail_has: String::new(),
        stores: None,
        rows: 1,
        kept_headers: headers,
        has_origin: true,
    }
}

fn set(event: &mut Value, pointer: &str, text: &str) {
    let (parent, field) = pointer.rsplit_once('/').expect("a JSON pointer");
    let parent = match event.pointer_mut(parent) {
        Some(parent) => parent,
        None => {
            let (above, name) = parent.rsplit_once('/').expect("a JSON pointer");
            let above = event.pointer_mut(above).expect("its parent");
            above[name] = json!({});
            &mut above[name]
        }
    };
    match parent {
        Value::Array(items) if items.is_empty() => items.push(json!(text)),
        parent => parent[field] = json!(text),
    }
}
