//! How large an index is, and how large it would be if it were made anew: an estimate from the planner's statistics, without an
//! extension and without reading the index. Used by `stats` and `upkeep`.
//!
//! Of a B-tree: one entry of 12 bytes (header and pointer), its columns at their average width rounded up to 8, 8 bytes more where
//! a column has nulls; pages filled to the index's fill factor, 90 % where it has none; one page for the head, and one in a hundred
//! for the inner levels. An index that holds many equal keys is smaller than that, so the estimate errs towards leaving it alone.
//! Without statistics of every column, and of any other kind of index, nobody knows: null.

/// Rows `oid, table, name, bytes, expected, needed, valid`: each index of the tables in our place.
pub(super) const INDEXES: &str = "\
    select i.oid, t.relname::text as \"table\", i.relname::text as name, pg_relation_size(i.oid) as bytes, \
           x.indisvalid as valid, x.indisunique or x.indisprimary or x.indisexclusion as needed, \
           case when a.amname = 'btree' and i.reltuples >= 0 and w.known then \
               (current_setting('block_size')::int8 * (1 + ceil(1.01 * ceil( \
                   i.reltuples * (12 + case when w.nulls then 8 else 0 end + 8 * ceil(w.width / 8.0)) \
                   / ((current_setting('block_size')::int8 - 40) * coalesce(f.fill, 90) / 100.0)))))::int8 \
           end as expected \
    from pg_index x \
    join pg_class i on i.oid = x.indexrelid \
    join pg_class t on t.oid = x.indrelid \
    join pg_namespace n on n.oid = t.relnamespace \
    join pg_am a on a.oid = i.relam \
    left join lateral (select option_value::int4 as fill from pg_options_to_table(i.reloptions) \
                       where option_name = 'fillfactor') f on true \
    cross join lateral ( \
        select sum(s.avg_width)::int8 as width, bool_or(s.null_frac > 0) as nulls, \
               count(*) > 0 and count(s.avg_width) = count(*) as known \
        from pg_attribute c \
        left join pg_attribute k on k.attrelid = t.oid and k.attnum = x.indkey[c.attnum - 1] and k.attnum <> 0 \
        left join pg_stats s on s.schemaname = n.nspname and not s.inherited \
             and s.tablename = case when k.attname is null then i.relname else t.relname end \
             and s.attname = coalesce(k.attname, c.attname) \
        where c.attrelid = i.oid and c.attnum > 0) w \
    where n.nspname = current_schema() and t.relkind = 'r' and i.relkind = 'i'";
