drop table switches;
update schema_version set version = 6;
