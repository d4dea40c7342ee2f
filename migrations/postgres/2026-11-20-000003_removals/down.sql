update schema_version set version = 2;
drop table removals;
