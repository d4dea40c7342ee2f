-- The same step for SQLite; the reasons are in the PostgreSQL file beside it.

alter table partition_offsets add column halted text;
alter table partition_offsets add column halted_detail text;
alter table partition_offsets add column halted_at text;
alter table partition_offsets add column budget_exempt_to integer not null default 0;

alter table dead_letters add column status text not null default 'dead' check (status in ('dead', 'redriven', 'discarded'));
alter table dead_letters add column attempts integer not null default 0;
alter table dead_letters add column attempted_at text;
alter table dead_letters add column resolved_at text;
alter table dead_letters add column pruned_at text;

create table operator_actions (
    id              integer primary key,
    at              text not null default (strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')),
    actor           text not null,
    action          text not null,
    consumer_group  text not null,
    topic           text not null,
    partition       integer not null,
    lineage_before  integer,
    lineage_after   integer,
    epoch           integer,
    from_offset     integer,
    to_offset       integer,
    reason          text not null
);
create index operator_actions_partition on operator_actions (consumer_group, topic, partition);

update schema_version set version = 2;
