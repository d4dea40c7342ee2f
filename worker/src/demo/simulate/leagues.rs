//! The cast of the simulated day: leagues, teams and books, all invented. Used by `simulate` only.
//!
//! What must stay true: no two teams of a league share a name.

/// A league, and how its numbers behave.
#[derive(Debug)]
pub struct League {
    /// Slug of the sport.
    pub sport: &'static str,
    /// Slug of the league.
    pub slug: &'static str,
    /// Games a day.
    pub games: usize,
    /// Spread of the expected home margin over its games, in points.
    pub margin: f64,
    /// Points expected in a game.
    pub total: f64,
    /// How far an ordinary change of opinion moves the margin, in points.
    pub step: f64,
    /// Probability of a draw; 0 where there is none.
    pub draw: f64,
    /// Length of a game.
    pub minutes: i64,
}

/// Every league; 300 games a day.
pub static LEAGUES: [League; 5] = [
    League {
        sport: "american_football",
        slug: "gridiron",
        games: 48,
        margin: 6.0,
        total: 44.5,
        step: 0.9,
        draw: 0.0,
        minutes: 200,
    },
    League {
        sport: "basketball",
        slug: "hardwood",
        games: 84,
        margin: 6.5,
        total: 224.0,
        step: 1.2,
        draw: 0.0,
        minutes: 150,
    },
    League {
        sport: "baseball",
        slug: "diamond",
        games: 60,
        margin: 1.2,
        total: 8.5,
        step: 0.3,
        draw: 0.0,
        minutes: 180,
    },
    League {
        sport: "ice_hockey",
        slug: "blueline",
        games: 48,
        margin: 1.0,
        total: 6.0,
        step: 0.25,
        draw: 0.0,
        minutes: 150,
    },
    League {
        sport: "soccer",
        slug: "touchline",
        games: 60,
        margin: 0.9,
        total: 2.75,
        step: 0.2,
        draw: 0.26,
        minutes: 120,
    },
];

/// The books that are polled.
pub const BOOKS: [&str; 9] = [
    "alderbet",
    "bluewater",
    "cardinal",
    "dockside",
    "eastgate",
    "foxglove",
    "granite",
    "harbor-nj",
    "ironwood",
];

const PLACES: [&str; 30] = [
    "Alder Bay",
    "Birchport",
    "Clearhaven",
    "Dunmere",
    "Eastmoor",
    "Fenwick Falls",
    "Graymouth",
    "Hollowbrook",
    "Inverlake",
    "Juniper City",
    "Kestrel Point",
    "Larkfield",
    "Millhaven",
    "Northwold",
    "Oakmere",
    "Pinecrest",
    "Quarry Hill",
    "Ravenford",
    "Saltmarsh",
    "Thornbury Heights",
    "Umberton",
    "Vale City",
    "Westerleigh",
    "Yarrow Bend",
    "Ashcombe",
    "Brightwater",
    "Copperfield",
    "Dovedale",
    "Elmstead",
    "Foxhollow",
];

const NICKNAMES: [&str; 10] =
    ["Herons", "Lancers", "Foxes", "Comets", "Anchors", "Badgers", "Kites", "Millers", "Otters", "Sentinels"];

/// Name of a league's team.
pub fn team(league: usize, number: usize) -> String {
    let place = PLACES[(number + 11 * league) % PLACES.len()];
    // Moves on by one whenever the places begin again, so that no pair comes twice among 300 teams.
    let nickname = NICKNAMES[(7 * number + number / PLACES.len() + 3 * league) % NICKNAMES.len()];
    format!("{place} {nickname}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn teams_of_a_league_differ() {
        for (index, league) in LEAGUES.iter().enumerate() {
            let names: HashSet<String> = (0..2 * league.games).map(|number| team(index, number)).collect();
            assert_eq!(names.len(), 2 * league.games);
        }
        assert_eq!(LEAGUES.iter().map(|league| league.games).sum::<usize>(), 300);
    }
}
