update schema_version set version = 1;
drop table operator_actions;
alter table dead_letters
    drop column status,
    drop column attempts,
    drop column attempted_at,
    drop column resolved_at,
    drop column pruned_at;
alter table partition_offsets
    drop column halted,
    drop column halted_detail,
    drop column halted_at,
    drop column budget_exempt_to;
