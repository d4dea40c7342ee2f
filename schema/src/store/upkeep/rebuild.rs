//! An index made anew beside the old one, and what becomes of the half of one that could not be finished.
//!
//! A rebuild waits for every transaction of this database that has a snapshot, and for every one that has touched the table. It
//! does so when the new index is there already, so whoever would be in the way for long is looked for before.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{Double, Integer, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use super::super::bloat::INDEXES;
use super::super::error::StoreError;
use super::{Named, quoted};

/// A transaction that a rebuild would wait for.
#[derive(QueryableByName)]
struct InTheWay {
    #[diesel(sql_type = Integer)]
    pid: i32,
    #[diesel(sql_type = Text)]
    application: String,
    #[diesel(sql_type = Double)]
    seconds: f64,
}

/// The oldest that has been open for `$2` seconds. The snapshot of a vacuum is not waited for. When a transaction began is null where
/// the role may not see it, and then nobody is found.
const IN_THE_WAY: &str = "\
    select a.pid, coalesce(nullif(a.application_name, ''), 'without a name') as application, \
           extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds \
    from pg_stat_activity a \
    where a.datname = current_database() and a.pid <> pg_backend_pid() \
      and a.leader_pid is null and a.backend_type <> 'autovacuum worker' \
      and a.xact_start <= clock_timestamp() - make_interval(secs => $2) \
      and (a.backend_xmin is not null and not exists (select from pg_stat_progress_vacuum v where v.pid = a.pid) \
           or exists (select from pg_locks l \
                      where l.pid = a.pid and l.granted and l.locktype = 'relation' \
                        and l.database = (select oid from pg_database where datname = current_database()) \
                        and l.relation = (select indrelid from pg_index where indexrelid = to_regclass($1)))) \
    order by a.xact_start limit 1";

/// Makes it anew, unless a transaction that has been open for `open` already would be in the way.
pub(super) async fn rebuild(
    c: &mut AsyncPgConnection,
    index: &str,
    open: Duration,
) -> Result<(), StoreError> {
    let query =
        diesel::sql_query(IN_THE_WAY).bind::<Text, _>(quoted(index)).bind::<Double, _>(open.as_secs_f64());
    if let Some(InTheWay { pid, application, seconds }) = query.get_result(c).await.optional()? {
        return Err(StoreError::Rejected(format!(
            "a transaction is open for {seconds:.0} s (pid {pid}, {application}): a rebuild would wait for it"
        )));
    }
    let Err(failed) = c.batch_execute(&format!("reindex index concurrently {}", quoted(index))).await else {
        return Ok(());
    };
    let failed = StoreError::from(failed);
    match drop_half(c, index).await {
        Ok(()) => Err(failed),
        Err(stays) => Err(StoreError::Rejected(format!(
            "{failed}; what it left could not be dropped ({stays}): every insert keeps it up until the next `db optimize` drops it"
        ))),
    }
}

/// What a failed rebuild left is of no use, and every write would have to keep it up. It has a number behind its name where the half
/// of an earlier one lies there still.
async fn drop_half(c: &mut AsyncPgConnection, index: &str) -> Result<(), StoreError> {
    let query = format!(
        "select name from ({INDEXES}) x \
         where not valid and starts_with(name, $1) and substr(name, length($1) + 1) ~ '^_cc(new|old)[0-9]*$'"
    );
    let halves: Vec<Named> = diesel::sql_query(query).bind::<Text, _>(index).load(c).await?;
    for Named { name } in halves {
        c.batch_execute(&format!("drop index concurrently if exists {}", quoted(&name))).await?;
    }
    Ok(())
}
