-- The read side: the order in which games are listed, and what an operator decided about two games that are one.

-- Where another game took over this one's names; null while it is a game of its own. The row stays: conflicts refer to it. No
-- foreign key: both rows are locked when it is set, and games are never deleted.
alter table games add column merged_into int8;
-- When a merge settled the conflict; null while somebody has to look.
alter table game_conflicts add column resolved_at timestamptz;

-- The order of every list of games, those without a time last; pages start anywhere in it. The constant is the latest time that
-- the product can write, so that no real time sorts behind it.
create index games_order on games ((coalesce(commence_time, '9999-12-30T21:59:59.999999Z'::timestamptz)), id);
-- Few games are live at a time, among a million that were.
create index games_live on games ((coalesce(commence_time, '9999-12-30T21:59:59.999999Z'::timestamptz)), id)
    where status in ('in_progress', 'delayed', 'suspended');
create index games_home_team on games (home_team);
create index games_away_team on games (away_team);
-- One value inside the details of a game.
create index games_details on games using gin (details jsonb_path_ops);
-- What was seen last comes first, and a span of time is a part of the list.
create index articles_seen on articles (source_time, id);
create index alerts_at on alerts (at, id);

-- A game that no name leads to was merged before the column was dropped by a roll-back: into which one nobody knows any more.
update games set merged_into = id where not exists (select 1 from game_refs r where r.game_id = games.id);

-- An older program still works on this: it goes on updating a merged game only under names that no longer lead to it.
update schema_version set version = 6;
