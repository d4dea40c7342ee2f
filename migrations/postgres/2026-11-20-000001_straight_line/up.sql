-- The straight line: positions, ledger, dead letters, and the rows of odds, game and article events.
-- Every table that a batch writes to starts its primary key with a growing integer: random keys cost
-- two thirds of the throughput at 12 M rows. A nullable column is never part of a unique key.

-- Which binaries may run on this schema: those built for a version in [compatible_from, version].
create table schema_version (
    id              int4 primary key default 1 check (id = 1),
    version         int4 not null,
    compatible_from int4 not null,
    check (compatible_from <= version)
);
insert into schema_version (version, compatible_from) values (1, 1);

-- A log that offsets count in: (cluster, topic incarnation, topic, partition). An empty topic_id means that
-- the broker does not tell one.
create table lineages (
    id              int4 generated always as identity primary key,
    cluster_id      text not null,
    topic_id        text not null,
    topic           text not null,
    partition       int4 not null,
    unique (cluster_id, topic_id, topic, partition)
);

-- The truth about positions. Updated once a batch, in the batch's own transaction.
create table partition_offsets (
    consumer_group  text not null,
    topic           text not null,
    partition       int4 not null,
    lineage_id      int4 not null references lineages (id),
    start_offset    int8 not null,
    next_offset     int8 not null check (next_offset >= 0),
    epoch           int8 not null default 0,
    owner           text not null default '',
    updated_at      timestamptz not null default now(),
    primary key (consumer_group, topic, partition)
) with (fillfactor = 50);

-- What became of every offset: one row per (group, lineage, epoch, hour), extended by each batch.
create table offset_ledger (
    consumer_group  text not null,
    lineage_id      int4 not null references lineages (id),
    epoch           int8 not null,
    hour            timestamptz not null,
    from_offset     int8 not null,
    to_offset       int8 not null,
    applied         int8 not null default 0,
    dead            int8 not null default 0,
    tombstone       int8 not null default 0,
    skipped         int8 not null default 0,
    hole            int8 not null default 0,
    lost            int8 not null default 0,
    inserted        int8 not null default 0,
    updated         int8 not null default 0,
    duplicate       int8 not null default 0,
    stale           int8 not null default 0,
    primary key (consumer_group, lineage_id, epoch, hour),
    check (to_offset - from_offset = applied + dead + tombstone + skipped + hole + lost)
) with (fillfactor = 50);

-- Records that could not be applied, byte for byte. Unique on the record, whatever group met it.
create table dead_letters (
    lineage_id       int4 not null references lineages (id),
    record_offset    int8 not null,
    topic            text not null,
    partition        int4 not null,
    record_timestamp timestamptz,
    key              bytea,
    payload          bytea not null,
    headers          jsonb not null,
    reason           text not null,
    detail           text not null,
    correlation_id   text,
    trace_parent     text,
    created_at       timestamptz not null default now(),
    primary key (lineage_id, record_offset)
);

create table games (
    id              int8 generated always as identity primary key,
    sport           text,
    league          text,
    home_team       text,
    away_team       text,
    commence_time   timestamptz,
    status          text not null,
    home_score      int4,
    away_score      int4,
    details         jsonb not null,
    source          text not null,
    source_time     timestamptz not null,
    sequence        int8 not null,
    content_hash    bytea not null,
    lineage_id      int4 not null,
    record_offset   int8 not null
);

-- What a system calls a game. Odds hang on the ref, so they may arrive before their game.
create table game_refs (
    id              int8 generated always as identity primary key,
    system          text not null,
    external_id     text not null,
    game_id         int8 references games (id),
    unique (system, external_id)
);
create index game_refs_game on game_refs (game_id);

-- An event that named refs of two games: never merged by an event, decided by an operator.
create table game_conflicts (
    game_ref_id     int8 not null references game_refs (id),
    game_id         int8 not null references games (id),
    lineage_id      int4 not null,
    record_offset   int8 not null,
    primary key (game_ref_id, game_id)
);
create index game_conflicts_game on game_conflicts (game_id);

-- One thing that can be bet on at one book. `line` belongs to the identity only where `alternate` is set; else 0.
create table selections (
    id              int8 generated always as identity primary key,
    game_ref_id     int8 not null references game_refs (id),
    sportsbook      text not null,
    market          text not null,
    period          text not null,
    participant     text not null,
    side            text not null,
    alternate       bool not null,
    line            float4 not null,
    unique (game_ref_id, sportsbook, market, period, participant, side, alternate, line)
);

-- Append-only quotes. No foreign key: it would halve the write; `verify` looks for orphans instead.
-- price is the decimal price, unrounded; null = not offered.
create table odds (
    selection_id    int8 not null,
    observed_at     timestamptz not null,
    record_offset   int8 not null,
    price           float8,
    lineage_id      int4 not null,
    line            float4,
    primary key (selection_id, observed_at)
);

create table articles (
    id              int8 generated always as identity primary key,
    url_hash        bytea not null unique,
    url             text not null,
    canonical_url   text not null,
    title           text not null,
    summary         text not null,
    body            text not null,
    source_name     text,
    language        text,
    authors         jsonb not null,
    tags            jsonb not null,
    published_at    timestamptz,
    revision        int4 not null,
    content_hash    bytea not null,
    source          text not null,
    source_time     timestamptz not null,
    lineage_id      int4 not null,
    record_offset   int8 not null
);

-- The readable form: natural keys only, no sequence, no wall clock. Equal on two stores that took the same records.
create view readable_odds as
    select r.system, r.external_id, s.sportsbook, s.market, s.period, s.participant, s.side, s.alternate,
           o.line, o.observed_at, o.price
    from odds o
    join selections s on s.id = o.selection_id
    join game_refs r on r.id = s.game_ref_id;

create view readable_games as
    select r.system, r.external_id, g.sport, g.league, g.home_team, g.away_team, g.commence_time, g.status,
           g.home_score, g.away_score, g.details, g.source, g.source_time
    from games g
    join game_refs r on r.game_id = g.id;

create view readable_articles as
    select a.canonical_url, a.title, a.summary, a.body, a.source_name, a.language, a.authors, a.tags,
           a.published_at, a.revision, a.source, a.source_time
    from articles a;
