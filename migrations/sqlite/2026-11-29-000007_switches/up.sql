-- The same step for SQLite; the reasons are in the PostgreSQL file beside it.

create table switches (
    consumer_group  text not null,
    topic           text not null,
    partition       integer not null check (partition >= -1),
    state           text not null,
    reason          text not null,
    actor           text not null,
    at              text not null,
    primary key (consumer_group, topic, partition)
);

update schema_version set version = 7;
