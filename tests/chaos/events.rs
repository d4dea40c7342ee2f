//! What is produced, and what each record must leave behind. A record is a function of seed, producer and number, so whoever
//! reads one back can say what it was and what must have become of it. Written from the published contract, not from the code.

use serde_json::json;

use crate::dice::mix;

/// Partitions of the topic.
pub const PARTITIONS: i32 = 4;
/// Producers; see `producers.rs` for what each does.
pub const PRODUCERS: u32 = 4;

/// Who sent a record, and the how manyth of its sender it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub producer: u32,
    pub number: u32,
}

/// A quote as it must be stored: (game, book, side, observed at), and the decimal price.
pub type QuoteKey = (String, String, String, String);

/// What must become of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// These quotes, once, wherever the same event occurs again.
    Quotes(Vec<(QuoteKey, f64)>),
    /// One dead letter of this reason.
    Dead(&'static str),
    /// Nothing at all.
    Tombstone,
}

/// A record.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub partition: i32,
    pub key: String,
    pub payload: Option<Vec<u8>>,
    pub fate: Fate,
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Malformed,
    BadPrice,
    Tombstone,
    Duplicate(Id),
    Good,
}

fn luck(seed: u64, id: Id) -> u64 {
    mix(seed, u64::from(id.producer) << 32 | u64::from(id.number))
}

fn class(seed: u64, id: Id) -> Class {
    let luck = luck(seed, id);
    match luck % 100 {
        0..3 => Class::Malformed,
        3..5 => Class::BadPrice,
        5..8 => Class::Tombstone,
        8..14 => earlier(seed, id, luck >> 8).map_or(Class::Good, Class::Duplicate),
        _ => Class::Good,
    }
}

/// A good event of another producer, some numbers back.
fn earlier(seed: u64, id: Id, luck: u64) -> Option<Id> {
    let back = 1 + u32::try_from(luck % 40).ok()?;
    let number = id.number.checked_sub(back)?;
    let other = Id { producer: (id.producer + 1 + back % (PRODUCERS - 1)) % PRODUCERS, number };
    // Good by its own luck: looking further could go round in circles.
    (self::luck(seed, other) % 100 >= 14).then_some(other)
}

/// The record of this number.
pub fn event(seed: u64, id: Id) -> Event {
    let (payload, fate) = match class(seed, id) {
        Class::Good => good(seed, id),
        Class::Duplicate(of) => good(seed, of),
        Class::Tombstone => (None, Fate::Tombstone),
        Class::Malformed => {
            let text = body(id, 100).to_string();
            (Some(text.as_bytes()[..text.len() - 2].to_vec()), Fate::Dead("malformed_json"))
        }
        Class::BadPrice => (Some(body(id, 50).to_string().into_bytes()), Fate::Dead("invalid_field")),
    };
    let partition = i32::try_from((luck(seed, id) >> 16) % PARTITIONS as u64).expect("a partition");
    Event { partition, key: format!("chaos:{}-{}", id.producer, id.number), payload, fate }
}

/// Whose record has this key.
pub fn id_of(key: &[u8]) -> Option<Id> {
    let (producer, number) = std::str::from_utf8(key).ok()?.strip_prefix("chaos:")?.split_once('-')?;
    Some(Id { producer: producer.parse().ok()?, number: number.parse().ok()? })
}

/// Four events in a row are of one game, so that what a worker remembers of a game is used again after a fault.
fn game(id: Id) -> String {
    format!("{}-{}", id.producer, id.number / 4)
}

fn observed_at(id: Id) -> String {
    let (days, second) = (id.number / 86_400 + 1, id.number % 86_400);
    format!("2025-11-{days:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn book(id: Id) -> String {
    format!("book{}", id.number % 3)
}

fn body(id: Id, home: i64) -> serde_json::Value {
    json!({
        "specversion": "1.0", "type": "odds.v1", "id": format!("{}-{}", id.producer, id.number),
        "source": format!("chaos-{}", id.producer), "time": observed_at(id),
        "data": {
            "game": {"system": "chaos", "id": game(id)}, "sportsbook": book(id), "market": "moneyline",
            "outcomes": [{"side": "home", "price_american": home}, {"side": "away", "price_american": -home - 20}],
        },
    })
}

fn good(seed: u64, id: Id) -> (Option<Vec<u8>>, Fate) {
    let home = 100 + i64::try_from((luck(seed, id) >> 24) % 400).expect("a price");
    let quote = |side: &str, price: f64| ((game(id), book(id), side.to_owned(), observed_at(id)), price);
    let prices =
        [quote("home", 1.0 + home as f64 / 100.0), quote("away", 1.0 + 100.0 / (home as f64 + 20.0))];
    (Some(body(id, home).to_string().into_bytes()), Fate::Quotes(prices.to_vec()))
}
