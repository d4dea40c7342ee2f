//! How PostgreSQL answers the reads: by which index, and without sorting what it need not. Only PostgreSQL: the other store has
//! no statistics that could mislead it.

use super::lab::Lab;
use crate::support::postgres::{Database, execute};

/// A million quotes of 200 games, five books and two markets each.
const A_MILLION: &str = "
    insert into game_refs (system, external_id) select 'test', 'g' || g from generate_series(1, 200) g;
    insert into selections (game_ref_id, sportsbook, market, period, participant, side, alternate, line)
        select r.id, 'book' || b, m, 'full_game', '', s, false, 0
        from game_refs r, generate_series(1, 5) b, unnest(array['moneyline', 'spread']) m, unnest(array['away', 'home']) s;
    insert into odds (selection_id, observed_at, record_offset, price, lineage_id, line)
        select s.id, timestamptz '2025-11-09' + n * interval '1 minute', n, 2, 1, null
        from selections s, generate_series(1, 250) n;
    insert into games (home_team, away_team, commence_time, status, details, source, source_time, sequence, content_hash,
                       lineage_id, record_offset)
        select 'home' || g % 30, 'away' || g % 30, timestamptz '2020-01-01' + g * interval '1 hour', 'final', '{}', 's', now(),
               0, '', 1, g
        from generate_series(1, 50000) g;
    analyze";

#[tokio::test(flavor = "multi_thread")]
async fn reads_use_the_indexes_that_are_there_for_them() {
    let lab = Lab::on(Database::postgres().await).await;
    execute(&lab.database.url, A_MILLION).await;
    let order = "coalesce(g.commence_time, '9999-12-30T21:59:59.999999Z')";
    let cases = [
        (
            "select s.id, o.observed_at, o.price from selections s join odds o on o.selection_id = s.id \
              and o.observed_at = (select max(n.observed_at) from odds n where n.selection_id = s.id) \
             where s.game_ref_id = 77 \
             order by s.sportsbook, s.market, s.period, s.participant, s.side, s.alternate, s.line limit 51"
                .to_owned(),
            vec!["selections_game_ref_id", "odds_pkey"],
        ),
        (
            "select observed_at, price, line from odds where selection_id = 777 \
             and observed_at > '2025-11-09T01:00:00Z' order by observed_at limit 5000"
                .to_owned(),
            vec!["odds_pkey"],
        ),
        (
            format!(
                "select g.id from games g where g.merged_into is null and ({order}, g.id) > ('2021-01-01T00:00:00Z', 5) \
                 order by {order}, g.id limit 51"
            ),
            vec!["games_order"],
        ),
        (
            format!(
                "select g.id from games g where g.merged_into is null and g.status in ('in_progress', 'delayed', 'suspended') \
                 order by {order}, g.id limit 51"
            ),
            vec!["games_live"],
        ),
        (
            "select id from articles where id < 100 order by id desc limit 51".to_owned(),
            vec!["articles_pkey"],
        ),
    ];
    for (query, indexes) in cases {
        let plan = plan(&lab.database, &query).await;
        for index in indexes {
            assert!(plan.contains(index), "{query} does not use {index}:\n{plan}");
        }
        assert!(!plan.contains("Sort") && !plan.contains("Seq Scan on odds"), "{query}:\n{plan}");
    }
    lab.database.drop_now().await;
}

async fn plan(database: &Database, query: &str) -> String {
    let lines = database.rows(&format!("explain {query}")).await;
    lines.into_iter().filter_map(|mut row| row.swap_remove(0)).collect::<Vec<_>>().join("\n")
}
