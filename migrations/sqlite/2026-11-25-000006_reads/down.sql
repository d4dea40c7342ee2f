drop index alerts_at;
drop index articles_seen;
drop index games_away_team;
drop index games_home_team;
drop index games_live;
drop index games_order;
alter table game_conflicts drop column resolved_at;
alter table games drop column merged_into;
update schema_version set version = 5;
