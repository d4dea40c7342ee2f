-- The same step for SQLite; the reasons are in the PostgreSQL file beside it.

create table removals (
    lineage_id      integer not null,
    reason          text not null check (reason in ('compacted', 'expired')),
    rows            integer not null,
    horizon         text not null,
    primary key (lineage_id, reason)
);

update schema_version set version = 3;
