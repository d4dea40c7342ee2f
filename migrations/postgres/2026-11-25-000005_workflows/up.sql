-- Workflows: replays and backfills that are asked for, taken up by one process at a time, and tracked to their end.

create table workflows (
    -- A uuid v7: its order as text is that of creation.
    id              text primary key,
    kind            text not null check (kind in ('replay', 'backfill')),
    state           text not null check (state in ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    parameters      jsonb not null,
    -- Of what it is about, without how fast it may go: the same command finds the workflow that it left unfinished.
    parameters_hash text not null,
    -- What it covers, log by log, from where to where: captured once, at the first start, and never changed.
    plan            jsonb,
    progress        jsonb,
    error           text,
    requested_by    text not null,
    -- Belongs to the command that asked for it (its files may be on that machine only): workers leave it alone.
    attended        bool not null default false,
    lease_owner     text,
    -- By the clock of this database: workers whose clocks differ must not take each other's work.
    lease_until     timestamptz,
    -- How often it was taken up. Who renews a lease names it, so that an earlier owner is told from a later one.
    attempt         int4 not null default 0,
    created_at      timestamptz not null,
    started_at      timestamptz,
    ended_at        timestamptz,
    updated_at      timestamptz not null
);
-- The same thing is never under way twice.
create unique index workflows_unfinished on workflows (parameters_hash) where state in ('queued', 'running');
create index workflows_waiting on workflows (id) where state in ('queued', 'running');

-- Every change of a state, written in the transaction of the change.
create table workflow_history (
    workflow_id     text not null references workflows (id),
    seq             int4 not null,
    at              timestamptz not null,
    from_state      text,
    to_state        text not null,
    actor           text not null,
    detail          text not null,
    primary key (workflow_id, seq)
);

-- A program of version 4 still works on this: it knows no workflows, and positions of their groups are positions like others.
update schema_version set version = 5;
