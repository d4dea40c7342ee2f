-- Halted partitions are remembered, operators leave a trace, dead letters can be worked on.

-- In the order in which a worker takes its locks, or the two could wait for each other: first the position.
alter table partition_offsets
    -- Why nobody may go on with the partition; null while it flows. An operator's command clears it.
    add column halted           text,
    add column halted_detail    text,
    add column halted_at        timestamptz,
    -- Batches that start before this offset are not held against the dead-letter budget.
    add column budget_exempt_to int8 not null default 0;

alter table dead_letters
    add column status       text not null default 'dead',
    add column attempts     int4 not null default 0,
    add column attempted_at timestamptz,
    add column resolved_at  timestamptz,
    -- Set where the bytes were pruned: the row stays, so that the offset stays accounted for.
    add column pruned_at    timestamptz,
    -- Every row is dead so far: nothing to read the table for.
    add check (status in ('dead', 'redriven', 'discarded')) not valid;

-- Everything that an operator changed by a command, written in the transaction of the change.
create table operator_actions (
    id              int8 generated always as identity primary key,
    at              timestamptz not null default now(),
    actor           text not null,
    action          text not null,
    consumer_group  text not null,
    topic           text not null,
    partition       int4 not null,
    lineage_before  int4,
    lineage_after   int4,
    epoch           int8,
    from_offset     int8,
    to_offset       int8,
    reason          text not null
);
create index operator_actions_partition on operator_actions (consumer_group, topic, partition);

-- A program of version 1 still works on this: it neither sees nor clears a halt.
update schema_version set version = 2;
