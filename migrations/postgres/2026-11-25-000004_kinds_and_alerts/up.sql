-- Signals and analyses of games, alerts on articles, and which versions of the scrapers were seen.

-- What detectors saw. Append-only: another content under the same key is a dead letter, never an update.
create table sharp_signals (
    id               int8 generated always as identity primary key,
    game_ref_id      int8 not null,
    -- The minute in which the window ends: two runs of one detector over the same movement are one signal.
    window_minute    timestamptz not null,
    detector         text not null,
    detector_version text not null,
    signal_type      text not null,
    market           text not null,
    period           text not null,
    participant      text not null,
    side             text not null,
    line             float4,
    detected_at      timestamptz not null,
    window_start     timestamptz not null,
    window_end       timestamptz not null,
    line_from        float4,
    line_to          float4,
    price_from       int4,
    price_to         int4,
    tickets_pct      float8,
    money_pct        float8,
    magnitude        float8,
    magnitude_unit   text,
    confidence       float8,
    severity         text not null,
    expires_at       timestamptz,
    evidence         jsonb not null,
    signal_id        text,
    content_hash     bytea not null,
    source           text not null,
    observed_at      timestamptz not null,
    lineage_id       int4 not null,
    record_offset    int8 not null,
    unique (game_ref_id, window_minute, detector, detector_version, signal_type, market, period, participant, side)
);
create index sharp_signals_detected on sharp_signals (detected_at, id);

-- What models make of a bet at one time. Append-only; a later as_of is a new version.
create table betting_analyses (
    id                     int8 generated always as identity primary key,
    game_ref_id            int8 not null,
    as_of                  timestamptz not null,
    model                  text not null,
    model_version          text not null,
    market                 text not null,
    period                 text not null,
    participant            text not null,
    side                   text not null,
    -- The line as part of the key, 1000000 where there is none: a null would be unequal to every other.
    line_key               float4 not null,
    line                   float4,
    fair_probability       float8 not null,
    fair_price_american    int4,
    sportsbook             text,
    offered_price_american int4,
    vig_method             text not null,
    edge                   float8,
    kelly_fraction         float8,
    stake_units            float8,
    recommendation         text not null,
    confidence             float8 not null,
    rationale              text not null,
    inputs                 jsonb not null,
    result                 text not null,
    settled_at             timestamptz,
    analysis_id            text,
    content_hash           bytea not null,
    source                 text not null,
    observed_at            timestamptz not null,
    lineage_id             int4 not null,
    record_offset          int8 not null,
    unique (game_ref_id, as_of, model, model_version, market, period, participant, side, line_key)
);
create index betting_analyses_as_of on betting_analyses (as_of, id);

-- What to look for in articles.
create table alert_rules (
    id              int8 generated always as identity primary key,
    name            text not null unique,
    -- A JSON array of texts.
    keywords        jsonb not null,
    field           text not null check (field in ('title', 'body', 'any')),
    enabled         bool not null,
    created_at      timestamptz not null,
    updated_at      timestamptz not null
);

-- Counts every change of a rule, so that a writer that keeps the rules sees with one row whether they are still the same.
create table alert_rule_set (
    id              int4 primary key default 1 check (id = 1),
    version         int8 not null
);
insert into alert_rule_set (version) values (0);

-- Keywords of rules that an article holds; written in the transaction of the article. No foreign key: a rule may go while a
-- writer still looks for it, and that must not refuse an article.
create table alerts (
    id              int8 generated always as identity primary key,
    article_id      int8 not null,
    rule_id         int8 not null,
    keyword         text not null,
    field           text not null check (field in ('title', 'body')),
    excerpt         text not null,
    revision        int4 not null,
    at              timestamptz not null,
    -- When a later revision no longer held the keyword; null while it stands.
    withdrawn_at    timestamptz,
    lineage_id      int4 not null,
    record_offset   int8 not null,
    unique (article_id, rule_id, keyword)
);
create index alerts_rule on alerts (rule_id, id);

-- Which version of which scraper was seen, from when to when. Added to from time to time, outside of the batches' transactions.
create table scraper_versions (
    kind            text not null,
    source          text not null,
    version         text not null,
    first_seen      timestamptz not null,
    last_seen       timestamptz not null,
    records         int8 not null,
    primary key (kind, source, version)
);

-- The readable form: natural keys only.
create view readable_signals as
    select r.system, r.external_id, s.detector, s.detector_version, s.signal_type, s.market, s.period, s.participant, s.side,
           s.line, s.detected_at, s.window_start, s.window_end, s.line_from, s.line_to, s.price_from, s.price_to,
           s.tickets_pct, s.money_pct, s.magnitude, s.magnitude_unit, s.confidence, s.severity, s.expires_at, s.evidence
    from sharp_signals s
    join game_refs r on r.id = s.game_ref_id;

create view readable_analyses as
    select r.system, r.external_id, a.model, a.model_version, a.market, a.period, a.participant, a.side, a.line, a.as_of,
           a.fair_probability, a.fair_price_american, a.sportsbook, a.offered_price_american, a.vig_method, a.edge,
           a.kelly_fraction, a.stake_units, a.recommendation, a.confidence, a.rationale, a.inputs, a.result, a.settled_at
    from betting_analyses a
    join game_refs r on r.id = a.game_ref_id;

-- A program of version 3 still works on this: it knows neither the new kinds nor the rules, and writes articles without alerts.
update schema_version set version = 4;
