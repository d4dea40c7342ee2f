//! The closed words of the odds contract: markets, periods, market states, sides.

use super::slugs::slug_enum;

slug_enum! {
    /// What is bet on.
    Market {
        Moneyline = "moneyline",
        Spread = "spread",
        Total = "total",
        TeamTotal = "team_total",
        DrawNoBet = "draw_no_bet",
        DoubleChance = "double_chance",
        Outright = "outright",
        PlayerProp = "player_prop",
        Other = "other",
    }
}

slug_enum! {
    /// The part of the game that counts.
    Period {
        FullGame = "full_game",
        Regulation = "regulation",
        FirstHalf = "first_half",
        SecondHalf = "second_half",
        Q1 = "q1",
        Q2 = "q2",
        Q3 = "q3",
        Q4 = "q4",
        P1 = "p1",
        P2 = "p2",
        P3 = "p3",
        FirstFiveInnings = "first_5_innings",
        Overtime = "overtime",
        Other = "other",
    }
}

slug_enum! {
    /// Whether the book takes bets; prices of any other state than `open` are stored as "not offered".
    MarketStatus {
        Open = "open",
        Suspended = "suspended",
        Closed = "closed",
        Removed = "removed",
    }
}

slug_enum! {
    /// The outcome that a price is for.
    Side {
        Home = "home",
        Away = "away",
        Draw = "draw",
        Over = "over",
        Under = "under",
        Yes = "yes",
        No = "no",
        Participant = "participant",
    }
}
