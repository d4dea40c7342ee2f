update schema_version set version = 3;
drop view readable_analyses;
drop view readable_signals;
drop table scraper_versions;
drop table alerts;
drop table alert_rule_set;
drop table alert_rules;
drop table betting_analyses;
drop table sharp_signals;
