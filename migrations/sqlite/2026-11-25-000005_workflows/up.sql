-- The same step for SQLite; the reasons are in the PostgreSQL file beside it.

create table workflows (
    id              text not null primary key,
    kind            text not null check (kind in ('replay', 'backfill')),
    state           text not null check (state in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    parameters      text not null,
    parameters_hash text not null,
    plan            text,
    progress        text,
    error           text,
    requested_by    text not null,
    attended        boolean not null default false,
    lease_owner     text,
    lease_until     text,
    attempt         integer not null default 0,
    created_at      text not null,
    started_at      text,
    ended_at        text,
    updated_at      text not null
);
create unique index workflows_unfinished on workflows (parameters_hash) where state in ('queued', 'running');
create index workflows_waiting on workflows (id) where state in ('queued', 'running');

create table workflow_history (
    workflow_id     text not null references workflows (id),
    seq             integer not null,
    at              text not null,
    from_state      text,
    to_state        text not null,
    actor           text not null,
    detail          text not null,
    primary key (workflow_id, seq)
);

update schema_version set version = 5;
