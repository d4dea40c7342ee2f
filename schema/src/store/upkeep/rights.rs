//! Whether the role may look after our tables. Asked before anything is done: vacuum passes over what it may not touch with no more
//! than a warning, and a rebuild would be refused only after all tables are done.

use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::super::census::TABLES;
use super::super::error::StoreError;
use super::{Granted, Named};

/// Who owns the database may vacuum everything in it, but rebuilds and drops only what is its own.
const FORBIDDEN: &str = "\
    select c.relname::text as name from pg_class c \
    where c.relnamespace = (select oid from pg_namespace where nspname = current_schema()) \
      and c.relname = any(string_to_array($1, ' ')) and not pg_has_role(c.relowner, 'USAGE') \
    order by c.relname";
/// The same where rights can be given.
const FORBIDDEN_17: &str = "\
    select c.relname::text as name from pg_class c \
    where c.relnamespace = (select oid from pg_namespace where nspname = current_schema()) \
      and c.relname = any(string_to_array($1, ' ')) and not has_table_privilege(c.oid, 'MAINTAIN') \
    order by c.relname";

pub(super) async fn check(c: &mut AsyncPgConnection) -> Result<(), StoreError> {
    let query = "select current_setting('server_version_num')::int4 >= 170000 as granted";
    let grantable = diesel::sql_query(query).get_result::<Granted>(c).await?.granted;
    let query = diesel::sql_query(if grantable { FORBIDDEN_17 } else { FORBIDDEN });
    let forbidden: Vec<Named> = query.bind::<Text, _>(TABLES.join(" ")).load(c).await?;
    if forbidden.is_empty() {
        return Ok(());
    }
    let tables: Vec<String> = forbidden.into_iter().map(|row| row.name).collect();
    let way = if grantable {
        "run it as ledgerline_maintenance (docs/roles.sql grants it MAINTAIN) or as the owner, ledgerline_migrator"
    } else {
        "before PostgreSQL 17 only their owner may, ledgerline_migrator"
    };
    Err(StoreError::Rejected(format!("the role may not vacuum and rebuild {}: {way}", tables.join(", "))))
}
