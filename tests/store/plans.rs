//! How PostgreSQL answers the reads: by the index that is there for it, and without reading what it does not answer. The server's own
//! counters say so about the very statements that the store sends. Only PostgreSQL: the other store has no statistics that could
//! mislead it.

use std::collections::BTreeSet;

use ledgerline_schema::events::sharp_signal::Severity;
use ledgerline_schema::repositories::{
    AlertFilter, ArticleFilter, DetailsFilter, GameFilter, GameKey, SelectionFilter, SignalFilter, Span,
};
use ledgerline_schema::store::{GameName, Store};
use ledgerline_schema::time::UtcMicros;

use crate::support::eventually;
use crate::support::postgres::{Database, execute};

/// A million quotes: 200 of 20,000 games, five books, two markets, two sides, 250 quotes each; 50,000 games; 20,000 of everything else.
const A_MILLION: &str = "
    insert into lineages (cluster_id, topic_id, topic, partition) values ('c', 't', 'odds', 0);
    insert into game_refs (system, external_id) select 'test', 'g' || g from generate_series(1, 20000) g;
    insert into selections (game_ref_id, sportsbook, market, period, participant, side, alternate, line)
        select r.id, 'book' || b, m, 'full_game', '', s, false, 0
        from game_refs r, generate_series(1, 5) b, unnest(array['moneyline', 'spread']) m, unnest(array['away', 'home']) s
        where r.id <= 200;
    insert into odds (selection_id, observed_at, record_offset, price, lineage_id, line)
        select s.id, timestamptz '2025-11-09' + n * interval '1 minute', n, 2 + n % 3, 1, null
        from generate_series(1, 250) n, selections s;
    insert into games (home_team, away_team, commence_time, status, details, source, source_time, sequence, content_hash,
                       lineage_id, record_offset)
        select 'home' || g % 1000, 'away' || g % 1000, timestamptz '2020-01-01' + g * interval '1 hour',
               case g % 5000 when 0 then 'in_progress' else 'final' end,
               case g % 9000 when 0 then '{\"city\": \"Doha\"}' else '{\"city\": \"Rome\"}' end::jsonb, 's', now(), 0, '', 1, g
        from generate_series(1, 50000) g;
    update game_refs set game_id = id;
    insert into articles (url_hash, url, canonical_url, title, summary, body, authors, tags, revision, source, source_time,
                          content_hash, lineage_id, record_offset)
        select decode(md5(a::text), 'hex'), 'u' || a, 'u' || a, 't', '', repeat('x', 100), '[]', '[]', 1, 's' || a % 3,
               timestamptz '2025-01-01' + a * interval '20 minutes', '',
               1, a
        from generate_series(1, 20000) a;
    insert into alert_rules (name, keywords, field, enabled, created_at, updated_at)
        select 'r' || r, '[\"x\"]', 'any', true, now(), now() from generate_series(1, 500) r;
    insert into alerts (rule_id, article_id, keyword, field, excerpt, revision, at, lineage_id, record_offset)
        select a % 500 + 1, a, 'x', 'title', 'x', 1, timestamptz '2025-01-01' + a * interval '20 minutes', 1, a from generate_series(1, 20000) a;
    insert into sharp_signals (game_ref_id, detector, detector_version, signal_type, market, period, participant, side,
                               window_minute, observed_at, detected_at, window_start, window_end, severity, evidence, source, content_hash, lineage_id,
                               record_offset)
        select n % 200 + 1, 'd', '1', 'steam_move', 'spread', 'full_game', '', 'home',
               timestamptz '2025-11-09' + n * interval '1 minute', now(),
               timestamptz '2025-11-09' + n * interval '1 second', now(), now(), (array['low', 'medium', 'high'])[n % 3 + 1], '{}',
               's', '', 1, n
        from generate_series(1, 20000) n;
    analyze";

/// What one read cost.
#[derive(Debug)]
struct Cost {
    /// Tables that were read whole.
    scanned: BTreeSet<String>,
    /// Indexes that were used.
    used: BTreeSet<String>,
    /// Entries of indexes that were looked at.
    entries: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_use_the_indexes_that_are_there_for_them() {
    let database = Database::postgres().await;
    drop(database.migrated().await);
    execute(&database.url, A_MILLION).await;
    odds(&database).await;
    games(&database).await;
    news(&database).await;
    database.drop_now().await;
}

fn at(text: &str) -> UtcMicros {
    UtcMicros::parse(text).expect("a time")
}

const OF_A_GAME: [&str; 2] = ["selections_game_ref_id_sportsbook_market_period_participant_key", "odds_pkey"];

/// The latest quote of each of a game's 20 selections, and what they did, however many quotes there are.
async fn odds(database: &Database) {
    let game = GameName { system: "test".into(), id: "g77".into() };
    let any = SelectionFilter::default();
    let latest = cost(database, async |store| {
        store.latest(&game, &any, None, 50).await.map(|page| page.expect("a game").rows.len())
    });
    latest.await.within("latest odds", &OF_A_GAME, 200);
    let movement = cost(database, async |store| {
        let page = store.movement(&game, &any, Span::default(), None, 50).await;
        page.map(|page| page.expect("a game").rows.len())
    });
    movement.await.within("line movement", &OF_A_GAME, 1_000);
}

async fn games(database: &Database) {
    let listed = async |filter: GameFilter, after: Option<GameKey>| {
        cost(database, async |store| store.games(&filter, after, 50).await.map(|page| page.rows.len())).await
    };
    let any = GameFilter::default;
    let in_2021 = GameKey { micros: at("2021-01-01T00:00:00Z").0, id: 5 };
    listed(any(), Some(in_2021)).await.within("a page of games", &["games_order"], 200);
    let (from, until) = (Some(at("2021-01-01T00:00:00Z")), Some(at("2021-01-02T00:00:00Z")));
    listed(GameFilter { from, until, ..any() }, None).await.within("games of a day", &["games_order"], 200);
    listed(GameFilter { live: true, ..any() }, None).await.within("live games", &["games_live"], 200);
    let team = Some("home7".to_owned());
    let of_a_team = ["games_home_team", "games_away_team"];
    listed(GameFilter { team, ..any() }, None).await.within("games of a team", &of_a_team, 400);
    let details = Some(DetailsFilter { path: vec!["city".into()], value: "\"Doha\"".into() });
    listed(GameFilter { details, ..any() }, None).await.within(
        "games by their details",
        &["games_details"],
        200,
    );
    let game = GameName { system: "test".into(), id: "g77".into() };
    let one = cost(database, async |store| store.game(&game).await.map(|found| found.iter().count()));
    one.await.within("a game by its name", &["games_pkey", "game_refs_system_external_id_key"], 20);
}

/// What people write, and what is found in it.
async fn news(database: &Database) {
    let (from, until) = (Some(at("2025-04-01T00:00:00Z")), Some(at("2025-05-01T00:00:00Z")));
    let april = ArticleFilter { from, until, ..ArticleFilter::default() };
    let articles =
        cost(database, async |store| store.articles(&april, None, 50).await.map(|page| page.rows.len()));
    articles.await.within("articles of a month", &["articles_seen"], 200);
    let alerted = async |filter: AlertFilter| {
        cost(database, async |store| store.alerts(&filter, None, 50).await.map(|page| page.rows.len())).await
    };
    let of_rule = AlertFilter { rule_id: Some(3), ..AlertFilter::default() };
    alerted(of_rule).await.within("alerts of a rule", &["alerts_rule"], 600);
    let since = AlertFilter { since: Some(at("2025-10-01T00:00:00Z")), ..AlertFilter::default() };
    alerted(since).await.within("alerts since a day", &["alerts_at"], 200);
    let strong = SignalFilter { min_severity: Some(Severity::High), ..SignalFilter::default() };
    let signals =
        cost(database, async |store| store.signals(&strong, None, 50).await.map(|page| page.rows.len()));
    signals.await.within("strong signals", &["sharp_signals_detected"], 600);
}

/// What a read costs on a connection of its own: a connection that has ended has told all that it counted.
async fn cost<F, E>(database: &Database, read: F) -> Cost
where
    F: AsyncFnOnce(Store) -> Result<usize, E>,
    E: std::fmt::Debug,
{
    database.rows("select pg_stat_reset()").await;
    let rows = read(database.store().await).await.expect("an answer");
    assert!(rows > 0, "nothing was answered");
    const OTHERS: &str = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    eventually("the connections to end", || async { (database.number(OTHERS).await == 0).then_some(()) })
        .await;
    let names = async |sql: &str| -> BTreeSet<String> {
        database.rows(sql).await.into_iter().filter_map(|mut row| row.swap_remove(0)).collect()
    };
    let small = "('alert_rules', 'schema_version', 'lineages')";
    Cost {
        scanned: names(&format!(
            "select relname from pg_stat_user_tables where seq_tup_read > 0 and relname not in {small}"
        ))
        .await,
        used: names("select indexrelname from pg_stat_user_indexes where idx_scan > 0").await,
        entries: database
            .number("select coalesce(sum(idx_tup_read), 0)::int8 from pg_stat_user_indexes")
            .await,
    }
}

impl Cost {
    #[track_caller]
    fn within(self, read: &str, indexes: &[&str], entries: i64) {
        assert!(self.scanned.is_empty(), "{read} reads whole tables: {self:?}");
        for index in indexes {
            assert!(self.used.contains(*index), "{read} does not use {index}: {self:?}");
        }
        assert!(self.entries <= entries, "{read} looks at more than {entries} entries: {self:?}");
    }
}
