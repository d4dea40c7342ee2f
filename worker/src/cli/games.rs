//! `ledgerline games ls|merge`: the games that are stored, the conflicts that events left, and the decision that two are one.

use clap::{Args, Subcommand};
use ledgerline_schema::events::game::GameStatus;
use ledgerline_schema::repositories::{Game, GameFilter};
use ledgerline_schema::store::{GameName, Merge, Store};
use ledgerline_schema::time::UtcMicros;
use serde_json::{Value, json};

use super::operator::{actor, connect, print, print_line, reason, tell, time};
use super::table::{aligned, excerpt, row};
use crate::clock;
use crate::config::Config;

/// Games of one statement.
const PAGE: usize = 500;
/// Characters of a team's name in a table.
const TEAM: usize = 40;

/// Arguments of `games`.
#[derive(Debug, Args)]
pub struct GamesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List games by the time when they begin, or the conflicts that nobody has settled.
    Ls(LsArgs),
    /// Make one game of two: all names lead to the one that stays, the newest state stands, nothing is deleted.
    Merge(MergeArgs),
}

#[derive(Debug, Args)]
struct LsArgs {
    /// Instead: events that named refs of two games.
    #[arg(long, conflicts_with_all = ["from", "until", "team", "status", "league"])]
    conflicts: bool,
    /// Begin at this time or later.
    #[arg(long, value_parser = time)]
    from: Option<UtcMicros>,
    /// Begin before this time.
    #[arg(long, value_parser = time)]
    until: Option<UtcMicros>,
    /// A team, at home or away.
    #[arg(long)]
    team: Option<String>,
    /// scheduled, in_progress, final and so on.
    #[arg(long, value_parser = status)]
    status: Option<GameStatus>,
    /// A slug, such as mlb.
    #[arg(long)]
    league: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MergeArgs {
    /// SYSTEM:ID of the game that stays.
    keep: GameName,
    /// SYSTEM:ID of the game whose names it takes over.
    merge: GameName,
    /// Do everything, take it back, and say what would have happened.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the trail of the operators.
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Who, for the trail. Without it: the user of the operating system.
    #[arg(long)]
    actor: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn status(name: &str) -> Result<GameStatus, String> {
    let known = GameStatus::ALL.iter().copied().find(|status| status.name() == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = GameStatus::ALL.iter().map(|status| status.name()).collect();
        format!("must be one of {}", names.join(", "))
    })
}

/// Runs the command.
///
/// # Errors
/// The database, or what was asked does not fit what is stored.
pub async fn games(config: &Config, args: GamesArgs) -> anyhow::Result<()> {
    let store = connect(config).await?;
    match args.action {
        Action::Ls(args) if args.conflicts => conflicts(&store, &args).await,
        Action::Ls(args) => ls(&store, args).await,
        Action::Merge(args) => merge(&store, args).await,
    }
}

async fn ls(store: &Store, args: LsArgs) -> anyhow::Result<()> {
    let filter = GameFilter {
        from: args.from,
        until: args.until,
        team: args.team,
        status: args.status.map(|status| status.name().to_owned()),
        league: args.league,
        ..GameFilter::default()
    };
    let (mut after, mut left) = (None, args.limit as usize);
    let mut rows = vec![row(["BEGINS", "LEAGUE", "STATUS", "AWAY", "HOME", "NAMES"])];
    while left > 0 {
        let page = store.games(&filter, after, left.min(PAGE)).await?;
        left -= page.rows.len();
        for game in &page.rows {
            if args.json {
                print_line(as_json(game))?;
            } else {
                rows.push(as_row(game));
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if !args.json {
        print(aligned(&rows).as_bytes())?;
    }
    if after.is_some() {
        tell("there are more: raise --limit");
    }
    Ok(())
}

fn names(game: &Game) -> Vec<String> {
    game.names.iter().map(ToString::to_string).collect()
}

fn as_row(game: &Game) -> Vec<String> {
    let text = |text: &Option<String>| excerpt(text.as_deref().unwrap_or("-").as_bytes(), TEAM);
    let state = &game.state;
    vec![
        state.commence_time.map_or_else(|| "-".to_owned(), |time| time.to_string()),
        text(&state.league),
        state.status.clone(),
        text(&state.away_team),
        text(&state.home_team),
        excerpt(names(game).join(" ").as_bytes(), usize::MAX),
    ]
}

fn as_json(game: &Game) -> Value {
    let state = &game.state;
    json!({
        "names": names(game), "sport": state.sport, "league": state.league, "home_team": state.home_team,
        "away_team": state.away_team, "commence_time": state.commence_time.map(|time| time.to_string()),
        "status": state.status, "home_score": state.home_score, "away_score": state.away_score,
        "source": state.source, "source_time": state.source_time.to_string(),
    })
}

async fn conflicts(store: &Store, args: &LsArgs) -> anyhow::Result<()> {
    let found = store.game_conflicts(args.limit as usize).await?;
    let mut rows = vec![row(["REF", "LEADS TO", "NAMED WITH", "OF GAME"])];
    for conflict in found {
        let name = format!("{}:{}", conflict.system, conflict.external_id);
        if args.json {
            print_line(json!({
                "ref": name, "leads_to": conflict.leads_to, "named_with": conflict.named_with_name,
                "of_game": conflict.named_with,
            }))?;
            continue;
        }
        let leads_to = conflict.leads_to.map_or_else(|| "-".to_owned(), |game| game.to_string());
        let named_with = conflict.named_with_name.unwrap_or_else(|| "-".into());
        let cells =
            [excerpt(name.as_bytes(), usize::MAX), leads_to, excerpt(named_with.as_bytes(), usize::MAX)];
        rows.push(cells.into_iter().chain([conflict.named_with.to_string()]).collect());
    }
    if args.json { Ok(()) } else { print(aligned(&rows).as_bytes()) }
}

async fn merge(store: &Store, args: MergeArgs) -> anyhow::Result<()> {
    let MergeArgs { keep, merge, dry_run, json, .. } = args;
    let order =
        Merge { keep, merge, actor: actor(args.actor), reason: args.reason, now: clock::now(), dry_run };
    let done = store.merge_games(&order).await?;
    if json {
        return print_line(json!({
            "kept": done.kept, "merged": done.merged, "names": done.names, "conflicts": done.conflicts,
            "state_taken": done.state_taken, "dry_run": dry_run,
        }));
    }
    let would = if dry_run { "would be " } else { "" };
    let state = if done.state_taken {
        "its state is the newer one and stands"
    } else {
        "its state was the older one"
    };
    print_line(format_args!(
        "{} {would}merged into {}: {} names, {} conflicts settled; {state}",
        order.merge, order.keep, done.names, done.conflicts
    ))
}
