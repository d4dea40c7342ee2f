-- Switches: what an operator has paused. Workers look at them with each claim and every few seconds.

-- A row is there while it holds. No foreign key: a topic may be paused before anybody has read it.
create table switches (
    consumer_group  text not null,
    topic           text not null,
    -- -1 is the whole topic: a null in the key would let the same thing be paused twice.
    partition       int4 not null check (partition >= -1),
    -- 'paused'. No check: a program that meets a word of a later one leaves the partition as it is.
    state           text not null,
    reason          text not null,
    actor           text not null,
    at              timestamptz not null,
    primary key (consumer_group, topic, partition)
);

-- A program of version 6 still works on this: it knows no switches, and goes on with what is paused.
update schema_version set version = 7;
