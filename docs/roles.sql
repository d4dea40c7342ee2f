-- Who may do what in Ledgerline's database. PostgreSQL 15 or newer; docs/SECURITY.md explains.
--
-- Run it connected to that database, before the first `ledgerline migrate up` and again after every one that brought a
-- migration: rights on a single table need the table. It may be run any number of times.
-- Who runs it is a superuser or, where there is none to be had (a managed server), the owner of the database with CREATEROLE;
-- the same one each time. An owner becomes a member of ledgerline_migrator.
-- It sets no password: `\password ledgerline_worker` in psql, or certificates.
--
--   ledgerline_migrator      owns the schema; `ledgerline migrate`, `db restore`, and before PostgreSQL 17 `db optimize`
--   ledgerline_worker        `ledgerline run`: reads, inserts, updates what it must; deletes nothing, creates nothing
--   ledgerline_operator      the worker's rights (a redrive writes rows), and resets, dead letters, switches, their audit
--   ledgerline_maintenance   deletes old quotes and the bytes of old dead letters; from PostgreSQL 17 on `ledgerline db optimize`
--   ledgerline_reader        reads, `ledgerline verify`, `ledgerline db backup`
--   ledgerline_control       nobody logs in as it: what an operator decides about rules and games. The operator has it; grant it to the worker
--                            too where its HTTP API is to serve these changes:  grant ledgerline_control to ledgerline_worker

-- The roles, their limits, and the one place where they look for tables.
do $$
declare
    role record;
    by_superuser bool := (select rolsuper from pg_roles where rolname = current_user);
begin
    for role in
        select * from (values
            ('ledgerline_migrator',     4, '30min', 'login'),
            ('ledgerline_worker',     100, '30s',   'login'),
            ('ledgerline_operator',     8, '30s',   'login'),
            ('ledgerline_maintenance',  8, '30min', 'login'),
            ('ledgerline_reader',      32, '30s',   'login'),
            ('ledgerline_control',      0, '30s',   'nologin')
        ) as roles (name, connections, statement_timeout, login)
    loop
        if to_regrole(role.name) is null then
            execute format('create role %I %s', role.name, role.login);
        end if;
        -- A new role has none of these; only a superuser may name them all.
        if by_superuser then
            execute format('alter role %I nosuperuser nocreatedb nocreaterole noreplication nobypassrls', role.name);
        elsif exists (select from pg_roles
                      where rolname = role.name
                        and (rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls)) then
            raise exception 'the role % may do more than it should: drop it, or have a superuser run this file', role.name;
        end if;
        execute format('alter role %I connection limit %s', role.name, role.connections);
        execute format('alter role %I set search_path = public, pg_temp', role.name);
        execute format('alter role %I set statement_timeout = %L', role.name, role.statement_timeout);
        execute format('alter role %I set lock_timeout = ''5s''', role.name);
        execute format('alter role %I set idle_in_transaction_session_timeout = ''10s''', role.name);
    end loop;

    -- Without this everybody who may log in could connect and make temporary tables.
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to ledgerline_migrator, ledgerline_worker, ledgerline_operator, '
                   'ledgerline_maintenance, ledgerline_reader', current_database());

    -- Who is no superuser can give the schema only to a role that it is a member of.
    if not by_superuser and current_user <> 'ledgerline_migrator' then
        execute format('grant ledgerline_migrator to %I', current_user);
    end if;
end
$$;

alter schema public owner to ledgerline_migrator;
revoke all on schema public from public;
grant usage on schema public
    to ledgerline_worker, ledgerline_operator, ledgerline_maintenance, ledgerline_reader, ledgerline_control;
grant ledgerline_worker, ledgerline_control to ledgerline_operator;

-- Tables that migrations bring: everybody reads them, the worker adds to them. More than that is granted below, by name.
alter default privileges for role ledgerline_migrator in schema public
    grant select on tables to ledgerline_worker, ledgerline_operator, ledgerline_maintenance, ledgerline_reader;
alter default privileges for role ledgerline_migrator in schema public
    grant insert on tables to ledgerline_worker;

-- A backup keeps the numbers that the database gives out next.
alter default privileges for role ledgerline_migrator in schema public grant select on sequences to ledgerline_reader;
grant select on all sequences in schema public to ledgerline_reader;

-- Tables that are there.
grant select on all tables in schema public
    to ledgerline_worker, ledgerline_operator, ledgerline_maintenance, ledgerline_reader;
grant insert on all tables in schema public to ledgerline_worker;

do $$
declare
    change record;
begin
    for change in
        select verb, privilege, name, preposition, role
        from (values
            -- The schema's version, what operators did and decided, and what was removed are not the worker's to write.
            ('revoke', 'insert', 'from', 'ledgerline_worker',
             'schema_version operator_actions removals alert_rules alert_rule_set switches __diesel_schema_migrations'),
            -- A record that comes at the offset of another one, after a truncation, takes the place of its dead letter.
            ('grant', 'update', 'to', 'ledgerline_worker',
             'partition_offsets offset_ledger games game_refs articles alerts scraper_versions dead_letters workflows'),
            ('grant', 'update', 'to', 'ledgerline_operator', 'dead_letters'),
            ('grant', 'insert', 'to', 'ledgerline_operator', 'operator_actions switches'),
            ('grant', 'delete', 'to', 'ledgerline_operator', 'switches'),
            ('grant', 'insert', 'to', 'ledgerline_control', 'operator_actions alert_rules'),
            ('grant', 'update', 'to', 'ledgerline_control', 'game_conflicts alert_rules alert_rule_set'),
            ('grant', 'delete', 'to', 'ledgerline_control', 'alert_rules'),
            -- Compaction and retention keep their accounts.
            ('grant', 'delete', 'to', 'ledgerline_maintenance', 'odds'),
            ('grant', 'insert', 'to', 'ledgerline_maintenance', 'removals'),
            ('grant', 'update', 'to', 'ledgerline_maintenance', 'removals'),
            ('grant', 'update', 'to', 'ledgerline_maintenance', 'dead_letters'),
            ('grant', 'insert', 'to', 'ledgerline_maintenance', 'operator_actions')
        ) as changes (verb, privilege, preposition, role, tables),
        unnest(string_to_array(tables, ' ')) as name
        where to_regclass(format('public.%I', name)) is not null
    loop
        execute format('%s %s on table public.%I %s %I',
                       change.verb, change.privilege, change.name, change.preposition, change.role);
    end loop;
end
$$;

-- VACUUM, ANALYZE and REINDEX can be granted from PostgreSQL 17 on; before, they are the owner's.
do $$
begin
    if current_setting('server_version_num')::int >= 170000 then
        execute 'grant maintain on all tables in schema public to ledgerline_maintenance';
        execute 'alter default privileges for role ledgerline_migrator in schema public '
                'grant maintain on tables to ledgerline_maintenance';
    end if;
end
$$;
