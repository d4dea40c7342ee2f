-- The same step for SQLite; the reasons are in the PostgreSQL file beside it.

create table sharp_signals (
    id               integer primary key,
    game_ref_id      integer not null,
    window_minute    text not null,
    detector         text not null,
    detector_version text not null,
    signal_type      text not null,
    market           text not null,
    period           text not null,
    participant      text not null,
    side             text not null,
    line             float,
    detected_at      text not null,
    window_start     text not null,
    window_end       text not null,
    line_from        float,
    line_to          float,
    price_from       integer,
    price_to         integer,
    tickets_pct      double,
    money_pct        double,
    magnitude        double,
    magnitude_unit   text,
    confidence       double,
    severity         text not null,
    expires_at       text,
    evidence         text not null,
    signal_id        text,
    content_hash     blob not null,
    source           text not null,
    observed_at      text not null,
    lineage_id       integer not null,
    record_offset    integer not null,
    unique (game_ref_id, window_minute, detector, detector_version, signal_type, market, period, participant, side)
);
create index sharp_signals_detected on sharp_signals (detected_at, id);

create table betting_analyses (
    id                     integer primary key,
    game_ref_id            integer not null,
    as_of                  text not null,
    model                  text not null,
    model_version          text not null,
    market                 text not null,
    period                 text not null,
    participant            text not null,
    side                   text not null,
    line_key               float not null,
    line                   float,
    fair_probability       double not null,
    fair_price_american    integer,
    sportsbook             text,
    offered_price_american integer,
    vig_method             text not null,
    edge                   double,
    kelly_fraction         double,
    stake_units            double,
    recommendation         text not null,
    confidence             double not null,
    rationale              text not null,
    inputs                 text not null,
    result                 text not null,
    settled_at             text,
    analysis_id            text,
    content_hash           blob not null,
    source                 text not null,
    observed_at            text not null,
    lineage_id             integer not null,
    record_offset          integer not null,
    unique (game_ref_id, as_of, model, model_version, market, period, participant, side, line_key)
);
create index betting_analyses_as_of on betting_analyses (as_of, id);

create table alert_rules (
    id              integer primary key,
    name            text not null unique,
    keywords        text not null,
    field           text not null check (field in ('title', 'body', 'any')),
    enabled         boolean not null,
    created_at      text not null,
    updated_at      text not null
);

create table alert_rule_set (
    id              integer primary key default 1 check (id = 1),
    version         integer not null
);
insert into alert_rule_set (version) values (0);

create table alerts (
    id              integer primary key,
    article_id      integer not null,
    rule_id         integer not null,
    keyword         text not null,
    field           text not null check (field in ('title', 'body')),
    excerpt         text not null,
    revision        integer not null,
    at              text not null,
    withdrawn_at    text,
    lineage_id      integer not null,
    record_offset   integer not null,
    unique (article_id, rule_id, keyword)
);
create index alerts_rule on alerts (rule_id, id);

create table scraper_versions (
    kind            text not null,
    source          text not null,
    version         text not null,
    first_seen      text not null,
    last_seen       text not null,
    records         integer not null,
    primary key (kind, source, version)
);

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

update schema_version set version = 4;
