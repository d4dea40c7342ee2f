-- Quotes that were taken out of `odds` on purpose stay in the accounts: stored and removed ones together are those inserted.

-- Written in the transaction of the delete. No foreign key: a quote of a log that nobody knows is for `verify` to report.
create table removals (
    lineage_id      int4 not null,
    -- compacted: inside a run of equal quotes; expired: older than what is kept.
    reason          text not null check (reason in ('compacted', 'expired')),
    rows            int8 not null,
    -- Only quotes that were observed before this were ever removed.
    horizon         timestamptz not null,
    primary key (lineage_id, reason)
);

-- A program of version 2 still works on this: it removes nothing, and its `verify` notes the removed quotes as missing.
update schema_version set version = 3;
