-- What a spool has beside the tables of an embedded store: batches as they came, waiting for the database. The position rows say
-- where spooling goes on; a segment is dropped when it is stored.
create table if not exists segments (
    consumer_group  text not null,
    lineage_id      integer not null references lineages (id),
    from_offset     integer not null,
    to_offset       integer not null check (to_offset > from_offset),
    records         integer not null,
    at              text not null,
    format          integer not null,
    body            blob not null,
    primary key (consumer_group, lineage_id, from_offset)
);
-- Counting and looking must not read the bodies.
create index if not exists segments_borders on segments (consumer_group, lineage_id, from_offset, to_offset, format, records, at);
-- What could not be read is tried again by whoever opens the file: it may be another program by now.
update segments set format = -format where format < 0;
