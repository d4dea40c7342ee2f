//! What The Odds API v4 answers, as it lies in a file: one response with its capture time per line. Shapes
//! only.

use ledgerline_schema::events::Rejection;
use ledgerline_schema::events::text::Text;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A response and when it was captured. The historical endpoint says `timestamp` and `data`; an event's own
/// endpoint answers one event instead of an array.
#[derive(Debug, serde::Deserialize)]
pub struct Snapshot<'a> {
    /// When the response was read, RFC 3339.
    #[serde(borrow, alias = "timestamp")]
    pub captured_at: Option<Text<'a>>,
    /// The response.
    #[serde(borrow, alias = "data", deserialize_with = "one_or_many")]
    pub events: Vec<Event<'a>>,
}

/// A game, or a competition with outrights, which has no teams.
#[derive(Debug, serde::Deserialize)]
pub struct Event<'a> {
    #[serde(borrow)]
    pub id: Text<'a>,
    #[serde(borrow)]
    pub sport_key: Text<'a>,
    #[serde(borrow, default)]
    pub commence_time: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub home_team: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub away_team: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub bookmakers: Vec<Bookmaker<'a>>,
}

/// A book.
#[derive(Debug, serde::Deserialize)]
pub struct Bookmaker<'a> {
    #[serde(borrow)]
    pub key: Text<'a>,
    #[serde(borrow, default)]
    pub last_update: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub markets: Vec<OfferedMarket<'a>>,
}

/// A market of a book.
#[derive(Debug, serde::Deserialize)]
pub struct OfferedMarket<'a> {
    #[serde(borrow)]
    pub key: Text<'a>,
    #[serde(borrow, default)]
    pub last_update: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub outcomes: Vec<OfferedOutcome<'a>>,
}

/// An outcome. `description` is the player or team where `name` only says `Over`, `Under`, `Yes` or `No`.
#[derive(Debug, serde::Deserialize)]
pub struct OfferedOutcome<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow, default)]
    pub description: Option<Text<'a>>,
    #[serde(default)]
    pub price: Option<f64>,
    #[serde(default)]
    pub point: Option<f64>,
}

/// How a response writes its prices: a parameter of the request, which the response does not repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceFormat {
    American,
    Decimal,
}

impl PriceFormat {
    /// Decimal if any price has a fraction or lies between 1 and 100, where no American price does. Judged
    /// over the whole response, so that decimal 101.0 is not read as +101.
    pub fn of(snapshot: &Snapshot<'_>) -> Result<Self, Rejection> {
        let prices = || {
            let books = snapshot.events.iter().flat_map(|event| &event.bookmakers);
            let outcomes = books.flat_map(|book| &book.markets).flat_map(|market| &market.outcomes);
            outcomes.filter_map(|outcome| outcome.price)
        };
        let decimal = prices().find(|price| price.fract() != 0.0 || (*price > 1.0 && *price < 100.0));
        let american = prices().find(|price| *price <= -100.0 && price.fract() == 0.0);
        match (decimal, american) {
            (None, _) => Ok(Self::American),
            (Some(_), None) => Ok(Self::Decimal),
            (Some(decimal), Some(american)) => Err(Rejection::field(
                "price",
                format_args!("{decimal} is no American price and {american} no decimal one, in one response"),
            )),
        }
    }
}

fn one_or_many<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event<'a>>, D::Error> {
    struct OneOrMany<'a>(std::marker::PhantomData<&'a ()>);

    impl<'de: 'a, 'a> Visitor<'de> for OneOrMany<'a> {
        type Value = Vec<Event<'a>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an event or an array of events")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, events: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(events))
        }

        fn visit_map<A: MapAccess<'de>>(self, event: A) -> Result<Self::Value, A::Error> {
            Event::deserialize(MapAccessDeserializer::new(event)).map(|event| vec![event])
        }
    }

    deserializer.deserialize_any(OneOrMany(std::marker::PhantomData))
}
