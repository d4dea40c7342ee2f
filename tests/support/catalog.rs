//! What a database says about its own schema, in one form for both stores.

use super::postgres::Database;

const DIESEL: &str = "__diesel_schema_migrations";

impl Database {
    async fn catalog(&self, postgres: &str, sqlite: &str) -> Vec<String> {
        let lines = self.lines(if self.is_sqlite() { sqlite } else { postgres }).await;
        lines.into_iter().filter(|line| !line.starts_with(DIESEL)).collect()
    }

    /// `table.column null` or `table.column not null`.
    pub async fn columns(&self) -> Vec<String> {
        let typed = self.typed_columns().await;
        let untyped = typed.iter().map(|line| {
            let parts: Vec<&str> = line.splitn(3, ' ').collect();
            format!("{} {}", parts[0], parts[2])
        });
        untyped.collect()
    }

    /// `table.column type null` or `table.column type not null`.
    pub async fn typed_columns(&self) -> Vec<String> {
        self.catalog(
            "select c.table_name || '.' || c.column_name || ' ' || c.udt_name || \
                    case c.is_nullable when 'YES' then ' null' else ' not null' end as line \
             from information_schema.columns c join information_schema.tables t using (table_schema, table_name) \
             where c.table_schema = 'public' and t.table_type = 'BASE TABLE'",
            // The integer primary key of a SQLite table is the row's number, which is never null.
            "select m.name || '.' || c.name || ' ' || lower(c.type) || \
                    iif(c.\"notnull\" or (c.pk = 1 and lower(c.type) = 'integer'), ' not null', ' null') as line \
             from sqlite_master m, pragma_table_info(m.name) c where m.type = 'table'",
        )
        .await
    }

    /// `table.column not null` for each constraint of that kind, which PostgreSQL keeps from version 18 on.
    pub async fn not_null_constraints(&self) -> Vec<String> {
        let kept = "select k.conrelid::regclass || '.' || a.attname || ' not null' as line \
                    from pg_constraint k join pg_attribute a on a.attrelid = k.conrelid and array[a.attnum] = k.conkey \
                    where k.connamespace = 'public'::regnamespace and k.contype = 'n' and k.convalidated";
        self.catalog(kept, "select '' as line where false").await
    }

    /// `view.column at its place`.
    pub async fn view_columns(&self) -> Vec<String> {
        self.catalog(
            "select c.table_name || '.' || c.column_name || ' ' || c.ordinal_position as line \
             from information_schema.columns c join information_schema.views v using (table_schema, table_name) \
             where c.table_schema = 'public'",
            "select m.name || '.' || c.name || ' ' || (c.cid + 1) as line \
             from sqlite_master m, pragma_table_info(m.name) c where m.type = 'view'",
        )
        .await
    }

    /// `table primary (columns)`, `table unique (columns)`, `table [unique] index (columns)`, `table references other (columns)`.
    pub async fn keys(&self) -> Vec<String> {
        self.catalog(
            "select k.conrelid::regclass || case k.contype when 'p' then ' primary' when 'u' then ' unique' \
                        else ' references ' || k.confrelid::regclass end || ' (' || \
                    (select string_agg(a.attname, ', ' order by u.place) \
                     from unnest(k.conkey) with ordinality u (number, place) \
                     join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.number) || ')' as line \
             from pg_constraint k where k.connamespace = 'public'::regnamespace and k.contype in ('p', 'u', 'f') \
             union all \
             select i.indrelid::regclass || case when i.indisunique then ' unique' else '' end || ' index (' || \
                    (select string_agg(a.attname, ', ' order by u.place) \
                     from unnest(i.indkey::int2[]) with ordinality u (number, place) \
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.number) || ')' \
             from pg_index i join pg_class c on c.oid = i.indexrelid \
             where c.relnamespace = 'public'::regnamespace \
                   and not exists (select 1 from pg_constraint k where k.conindid = i.indexrelid)",
            "select m.name || ' primary (' || group_concat(c.name, ', ' order by c.pk) || ')' as line \
             from sqlite_master m, pragma_table_info(m.name) c where m.type = 'table' and c.pk > 0 group by m.name \
             union all \
             select m.name || iif(l.\"unique\", ' unique', '') || iif(l.origin = 'u', ' (', ' index (') || group_concat(c.name, ', ' order by c.seqno) || ')' \
             from sqlite_master m, pragma_index_list(m.name) l, pragma_index_info(l.name) c \
             where m.type = 'table' and l.origin <> 'pk' group by m.name, l.name \
             union all \
             select m.name || ' references ' || f.\"table\" || ' (' || group_concat(f.\"from\", ', ' order by f.seq) || ')' \
             from sqlite_master m, pragma_foreign_key_list(m.name) f where m.type = 'table' group by m.name, f.id",
        )
        .await
    }

    /// Everything in the catalog, defaults and checks and views' texts included; comparable on one store only.
    pub async fn catalog_text(&self) -> Vec<String> {
        self.catalog(
            "select table_name || '.' || column_name || ' ' || ordinal_position || ' ' || udt_name || ' ' || is_nullable || ' ' || \
                    coalesce(column_default, identity_generation, '') as line \
             from information_schema.columns where table_schema = 'public' \
             union all select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) \
             from pg_constraint where connamespace = 'public'::regnamespace \
             union all select indexdef from pg_indexes where schemaname = 'public' \
             union all select viewname || ' ' || definition from pg_views where schemaname = 'public' \
             union all select c.relname || ' ' || coalesce(c.reloptions::text, '') from pg_class c \
             where c.relnamespace = 'public'::regnamespace",
            "select m.name || ' ' || m.type || ' ' || coalesce(m.sql, '') as line from sqlite_master m \
             union all select m.name || '.' || c.name || ' ' || c.cid || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || \
                    coalesce(c.dflt_value, '') || ' ' || c.pk \
             from sqlite_master m, pragma_table_info(m.name) c where m.type in ('table', 'view')",
        )
        .await
    }
}
