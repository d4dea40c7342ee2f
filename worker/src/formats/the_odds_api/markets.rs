//! What a market key of The Odds API means in the contract, and which side an outcome is. Pure.
//!
//! What must stay true: two market keys of one book never give the same selection. So where the contract's
//! market says less than the key (props, `other`), the key goes into the participant.

use ledgerline_schema::events::Rejection;
use ledgerline_schema::events::odds::{Market, Period, Side};

use super::snapshot::{Event, OfferedOutcome};

/// Ends of market keys that name a part of the game.
const PERIODS: [(&str, Period); 10] = [
    ("_h1", Period::FirstHalf),
    ("_h2", Period::SecondHalf),
    ("_q1", Period::Q1),
    ("_q2", Period::Q2),
    ("_q3", Period::Q3),
    ("_q4", Period::Q4),
    ("_p1", Period::P1),
    ("_p2", Period::P2),
    ("_p3", Period::P3),
    ("_1st_5_innings", Period::FirstFiveInnings),
];

/// A market key, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning<'a> {
    /// The contract's market.
    pub market: Market,
    /// The part of the game.
    pub period: Period,
    /// Several lines at once.
    pub alternate: bool,
    /// What remains of the key: the prop, or the whole key for `other`.
    pub rest: &'a str,
    /// Whether a rule knew it.
    pub known: bool,
}

impl<'a> Meaning<'a> {
    /// Understands a key; one that no rule knows becomes `other`.
    pub fn of(key: &'a str) -> Self {
        let (unprefixed, prefixed) = match key.strip_prefix("alternate_") {
            Some(rest) => (rest, true),
            None => (key, false),
        };
        let (rest, period) = split_period(unprefixed);
        let meaning = |market, period, alternate| Self { market, period, alternate, rest, known: true };
        match (rest, prefixed) {
            ("spreads", _) => meaning(Market::Spread, period, prefixed),
            ("totals", _) => meaning(Market::Total, period, prefixed),
            ("team_totals", _) => meaning(Market::TeamTotal, period, prefixed),
            ("h2h", false) => meaning(Market::Moneyline, period, false),
            ("h2h_3_way", false) if key == rest => meaning(Market::Moneyline, Period::Regulation, false),
            ("draw_no_bet", false) => meaning(Market::DrawNoBet, period, false),
            ("double_chance", false) => meaning(Market::DoubleChance, period, false),
            ("outrights", false) if key == rest => meaning(Market::Outright, Period::FullGame, false),
            ("h2h_lay" | "outrights_lay" | "btts", false) if key == rest => {
                meaning(Market::Other, Period::FullGame, false)
            }
            (prop, false) if is_prop(prop) => {
                let (prop, alternate) = match prop.strip_suffix("_alternate") {
                    Some(prop) => (prop, true),
                    None => (prop, false),
                };
                Self { rest: prop, ..meaning(Market::PlayerProp, period, alternate) }
            }
            _ => Self {
                market: Market::Other,
                period: Period::Other,
                alternate: prefixed,
                rest: key,
                known: false,
            },
        }
    }

    /// Which side of this market an outcome is, and who it names where the side does not say it all.
    pub fn side(
        &self,
        event: &Event<'_>,
        outcome: &OfferedOutcome<'_>,
    ) -> Result<(Side, Option<String>), Rejection> {
        let name: &str = &outcome.name;
        match self.market {
            Market::Moneyline | Market::Spread | Market::DrawNoBet => Ok((team_side(event, name)?, None)),
            Market::Total => Ok((over_under(name)?, None)),
            Market::TeamTotal => {
                let team = outcome.description.as_deref();
                let team = team.ok_or_else(|| Rejection::field("description", "no team for a team total"))?;
                Ok((over_under(name)?, Some(team.to_owned())))
            }
            Market::DoubleChance | Market::Outright => Ok((Side::Participant, Some(name.to_owned()))),
            Market::PlayerProp | Market::Other => {
                let side = spoken_side(name).unwrap_or(Side::Participant);
                let who = (side == Side::Participant).then_some(name);
                let parts = [Some(self.rest), outcome.description.as_deref(), who];
                let parts: Vec<&str> = parts.into_iter().flatten().collect();
                Ok((side, Some(parts.join(": "))))
            }
        }
    }
}

fn is_prop(key: &str) -> bool {
    ["player_", "batter_", "pitcher_"].iter().any(|start| key.starts_with(start))
}

fn split_period(key: &str) -> (&str, Period) {
    for (end, period) in PERIODS {
        if let Some(rest) = key.strip_suffix(end) {
            return (rest, period);
        }
    }
    (key, Period::FullGame)
}

fn team_side(event: &Event<'_>, name: &str) -> Result<Side, Rejection> {
    if event.home_team.as_deref() == Some(name) {
        return Ok(Side::Home);
    }
    if event.away_team.as_deref() == Some(name) {
        return Ok(Side::Away);
    }
    if name.eq_ignore_ascii_case("draw") {
        return Ok(Side::Draw);
    }
    Err(Rejection::field("name", format_args!("{name:?} is neither home_team, away_team nor Draw")))
}

fn over_under(name: &str) -> Result<Side, Rejection> {
    match spoken_side(name) {
        Some(side @ (Side::Over | Side::Under)) => Ok(side),
        _ => Err(Rejection::field("name", format_args!("{name:?} is neither Over nor Under"))),
    }
}

fn spoken_side(name: &str) -> Option<Side> {
    let sides = [("over", Side::Over), ("under", Side::Under), ("yes", Side::Yes), ("no", Side::No)];
    sides.into_iter().find(|(word, _)| name.eq_ignore_ascii_case(word)).map(|(_, side)| side)
}

/// The contract's sport and league of a sport key: `americanfootball_nfl` is `american_football`, `nfl`.
pub fn sport_and_league(sport_key: &str) -> (&str, Option<&str>) {
    let (sport, league) = match sport_key.split_once('_') {
        Some((sport, league)) => (sport, Some(league)),
        None => (sport_key, None),
    };
    let sport = match sport {
        "americanfootball" => "american_football",
        "aussierules" => "aussie_rules",
        "icehockey" => "ice_hockey",
        "rugbyleague" => "rugby_league",
        "rugbyunion" => "rugby_union",
        other => other,
    };
    (sport, league)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_plain_meaning() {
        for (key, market, period, alternate) in [
            ("h2h", Market::Moneyline, Period::FullGame, false),
            ("h2h_3_way", Market::Moneyline, Period::Regulation, false),
            ("spreads_h1", Market::Spread, Period::FirstHalf, false),
            ("alternate_totals_q4", Market::Total, Period::Q4, true),
            ("h2h_1st_5_innings", Market::Moneyline, Period::FirstFiveInnings, false),
            ("alternate_team_totals", Market::TeamTotal, Period::FullGame, true),
            ("player_points_alternate", Market::PlayerProp, Period::FullGame, true),
            ("pitcher_strikeouts", Market::PlayerProp, Period::FullGame, false),
            ("outrights_lay", Market::Other, Period::FullGame, false),
        ] {
            let meaning = Meaning::of(key);
            assert!(meaning.known, "{key}");
            assert_eq!(
                (meaning.market, meaning.period, meaning.alternate),
                (market, period, alternate),
                "{key}"
            );
        }
        for key in
            ["h2h_3_way_p1", "totals_1st_1_innings", "alternate_totals_corners", "alternate_h2h", "x", ""]
        {
            let meaning = Meaning::of(key);
            assert_eq!((meaning.market, meaning.rest, meaning.known), (Market::Other, key, false));
        }
    }

    #[test]
    fn sports_become_slugs() {
        assert_eq!(sport_and_league("americanfootball_nfl"), ("american_football", Some("nfl")));
        assert_eq!(sport_and_league("soccer_fifa_world_cup"), ("soccer", Some("fifa_world_cup")));
        assert_eq!(sport_and_league("icehockey_nhl"), ("ice_hockey", Some("nhl")));
        assert_eq!(sport_and_league("boxing"), ("boxing", None));
    }

    proptest::proptest! {
        /// What the selection is made of differs wherever the keys differ.
        #[test]
        fn no_two_keys_share_a_selection(
            a in "(alternate_)?(h2h|spreads|totals|player_points|h2h_3_way|btts)(_alternate)?(_h1|_q1|_x)?",
            b in "(alternate_)?(h2h|spreads|totals|player_points|h2h_3_way|btts)(_alternate)?(_h1|_q1|_x)?",
        ) {
            let identity = |key| {
                let Meaning { market, period, alternate, rest, .. } = Meaning::of(key);
                let named = matches!(market, Market::PlayerProp | Market::Other);
                (market, period, alternate, named.then(|| rest.to_owned()))
            };
            proptest::prop_assert_eq!(a == b, identity(&a) == identity(&b));
        }
    }
}
