//! A day of games for the tests of the status page: games with teams, quotes whose line moves, and records that nobody can store.

use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use super::kafka::Record;

/// A name that is hostile in every way that the contract allows.
pub const HOSTILE_TEAM: &str = "<script>alert('team')</script> \"Ω\" & \u{202e}sdrawkcab";

const TEAMS: [(&str, &str); 6] = [
    ("New York Yankees", "Boston Red Sox"),
    ("Chicago Cubs", "St. Louis Cardinals"),
    ("San Francisco Giants", "Los Angeles Dodgers"),
    ("הפועל תל אביב", "Maccabi Haifa"),
    ("Houston Astros", "Texas Rangers"),
    (HOSTILE_TEAM, "Toronto Blue Jays"),
];
const BOOKS: [&str; 5] = ["betmgm", "caesars", "draftkings", "fanduel", "pinnacle"];

fn event(event_type: &str, id: usize, time: &str, data: Value) -> Value {
    json!({"specversion": "1.0", "type": event_type, "id": id.to_string(), "source": "test-scraper", "time": time, "data": data})
}

fn key(game: usize) -> String {
    format!("test:game-{game}")
}

/// The games.
pub fn games() -> Vec<Record> {
    let game = |(number, (home, away)): (usize, &(&str, &str))| {
        let data = json!({
            "game": {"system": "test", "id": format!("game-{number}")}, "sport": "baseball", "league": "mlb",
            "home_team": home, "away_team": away, "commence_time": format!("2025-11-09T{:02}:10:00Z", 17 + number),
            "status": "scheduled",
        });
        Record::of(&key(number), event("game.v1", number, "2025-11-09T08:00:00Z", data).to_string())
    };
    TEAMS.iter().enumerate().map(game).collect()
}

/// The quotes of one poll of every book for every game: a line that wanders, and prices that follow it.
pub fn poll(number: usize) -> Vec<Record> {
    let start = UtcMicros::parse("2025-11-09T09:00:00Z").expect("a time");
    let minutes = 2 * i64::try_from(number).expect("small");
    let time = start.plus(minutes * 60 * UtcMicros::SECOND).to_string();
    let mut records = Vec::new();
    for game in 0..TEAMS.len() {
        for (at, book) in BOOKS.iter().enumerate() {
            let wave = ((number + 3 * game + at) as f64 / 9.0).sin() + ((number + game) as f64 / 23.0).sin();
            let points = (wave * 2.0).round() / 2.0 - 1.5;
            let price = -110 - i64::try_from((number / 3 + at) % 5).expect("small") * 5;
            let outcomes = json!([
                {"side": "home", "line": points, "price_american": price},
                {"side": "away", "line": -points, "price_american": -105},
            ]);
            let data = json!({
                "game": {"system": "test", "id": format!("game-{game}")}, "sportsbook": book, "market": "spread",
                "outcomes": outcomes,
            });
            records.push(Record::of(&key(game), event("odds.v1", number, &time, data).to_string()));
        }
    }
    records
}

/// Records that become dead letters, for two reasons.
pub fn broken(number: usize) -> Vec<Record> {
    let price = event(
        "odds.v1",
        number,
        "2025-11-09T12:00:00Z",
        json!({
            "game": {"system": "test", "id": "game-0"}, "sportsbook": "fanduel", "market": "moneyline",
            "outcomes": [{"side": "home", "price_american": 50}],
        }),
    );
    vec![Record::of("a", "<img src=x onerror=alert(1)>"), Record::of("b", price.to_string())]
}
