-- The SQLite twin of the PostgreSQL migration of the same name: same tables, same columns, same keys.
-- Times are text, "2025-11-09T18:20:41.000000Z": fixed width, so that text order is time order.

-- Which binaries may run on this schema: those built for a version in [compatible_from, version].
create table schema_version (
    id              integer primary key default 1 check (id = 1),
    version         integer not null,
    compatible_from integer not null,
    check (compatible_from <= version)
);
insert into schema_version (version, compatible_from) values (1, 1);

-- A log that offsets count in: (cluster, topic incarnation, topic, partition). An empty topic_id means that
-- the broker does not tell one.
create table lineages (
    id              integer primary key,
    cluster_id      text not null,
    topic_id        text not null,
    topic           text not null,
    partition       integer not null,
    unique (cluster_id, topic_id, topic, partition)
);

-- The truth about positions. Updated once a batch, in the batch's own transaction.
create table partition_offsets (
    consumer_group  text not null,
    topic           text not null,
    partition       integer not null,
    lineage_id      integer not null references lineages (id),
    start_offset    integer not null,
    next_offset     integer not null check (next_offset >= 0),
    epoch           integer not null default 0,
    owner           text not null default '',
    updated_at      text not null default (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    primary key (consumer_group, topic, partition)
);

-- What became of every offset: one row per (group, lineage, epoch, hour), extended by each batch.
create table offset_ledger (
    consumer_group  text not null,
    lineage_id      integer not null references lineages (id),
    epoch           integer not null,
    hour            text not null,
    from_offset     integer not null,
    to_offset       integer not null,
    applied         integer not null default 0,
    dead            integer not null default 0,
    tombstone       integer not null default 0,
    skipped         integer not null default 0,
    hole            integer not null default 0,
    lost            integer not null default 0,
    inserted        integer not null default 0,
    updated         integer not null default 0,
    duplicate       integer not null default 0,
    stale           integer not null default 0,
    primary key (consumer_group, lineage_id, epoch, hour),
    check (to_offset - from_offset = applied + dead + tombstone + skipped + hole + lost)
);

-- Records that could not be applied, byte for byte. Unique on the record, whatever group met it.
create table dead_letters (
    lineage_id       integer not null references lineages (id),
    record_offset    integer not null,
    topic            text not null,
    partition        integer not null,
    record_timestamp text,
    key              blob,
    payload          blob not null,
    headers          text not null,
    reason           text not null,
    detail           text not null,
    correlation_id   text,
    trace_parent     text,
    created_at       text not null default (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    primary key (lineage_id, record_offset)
);

create table games (
    id              integer primary key,
    sport           text,
    league          text,
    home_team       text,
    away_team       text,
    commence_time   text,
    status          text not null,
    home_score      integer,
    away_score      integer,
    details         text not null,
    source          text not null,
    source_time     text not null,
    sequence        integer not null,
    content_hash    blob not null,
    lineage_id      integer not null,
    record_offset   integer not null
);

-- What a system calls a game. Odds hang on the ref, so they may arrive before their game.
create table game_refs (
    id              integer primary key,
    system          text not null,
    external_id     text not null,
    game_id         integer references games (id),
    unique (system, external_id)
);
create index game_refs_game on game_refs (game_id);

-- An event that named refs of two games: never merged by an event, decided by an operator.
create table game_conflicts (
    game_ref_id     integer not null references game_refs (id),
    game_id         integer not null references games (id),
    lineage_id      integer not null,
    record_offset   integer not null,
    primary key (game_ref_id, game_id)
);
create index game_conflicts_game on game_conflicts (game_id);

-- One thing that can be bet on at one book. `line` belongs to the identity only where `alternate` is set; else 0.
create table selections (
    id              integer primary key,
    game_ref_id     integer not null references game_refs (id),
    sportsbook      text not null,
    market          text not null,
    period          text not null,
    participant     text not null,
    side            text not null,
    alternate       boolean not null,
    line            float not null,
    unique (game_ref_id, sportsbook, market, period, participant, side, alternate, line)
);

-- Append-only quotes. No foreign key: it would halve the write; `verify` looks for orphans instead.
-- price is the decimal price, unrounded; null = not offered.
create table odds (
    selection_id    integer not null,
    observed_at     text not null,
    record_offset   integer not null,
    price           double,
    lineage_id      integer not null,
    line            float,
    primary key (selection_id, observed_at)
) without rowid;

create table articles (
    id              integer primary key,
    url_hash        blob not null unique,
    url             text not null,
    canonical_url   text not null,
    title           text not null,
    summary         text not null,
    body            text not null,
    source_name     text,
    language        text,
    authors         text not null,
    tags            text not null,
    published_at    text,
    revision        integer not null,
    content_hash    blob not null,
    source          text not null,
    source_time     text not null,
    lineage_id      integer not null,
    record_offset   integer not null
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
