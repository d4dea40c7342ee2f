update schema_version set version = 4;
drop table workflow_history;
drop table workflows;
