//! Schema versions: migrations embedded in the binary, run by `ledgerline migrate` alone, race-safe when two start together.

use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::error::StoreError;
use super::sqlite_rows::blocking;
use super::{Store, with_conn};
use crate::schema::schema_version;

fn postgres() -> EmbeddedMigrations {
    const EMBEDDED: EmbeddedMigrations = embed_migrations!("../migrations/postgres");
    EMBEDDED
}

fn sqlite() -> EmbeddedMigrations {
    const EMBEDDED: EmbeddedMigrations = embed_migrations!("../migrations/sqlite");
    EMBEDDED
}

/// The schema version that this program is written for; the newest migration sets it.
pub const SCHEMA_VERSION: i32 = 7;

/// One migration and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its name, which starts with its date.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Whether this program may work on the database's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// It may.
    Ready,
    /// Migrations are missing.
    Older {
        /// The version found; 0 where there is none.
        found: i32,
    },
    /// The schema is of a later program and no longer fits this one.
    Newer {
        /// The version found.
        found: i32,
    },
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What to do with the migrations.
#[derive(Clone, Copy)]
enum Direction {
    Up,
    /// Only so far as this version of the schema: each migration makes the next one.
    UpTo(usize),
    Down,
}

impl Store {
    /// Runs every missing migration. Answers the names of those it ran: none, where the schema is of a newer program and this
    /// one still fits.
    ///
    /// # Errors
    /// The database has migrations that this program does not know, or one failed; a failed one changed nothing.
    pub async fn migrate_up(&self) -> Result<Vec<String>, StoreError> {
        // So it is after a rollback: the schema stays, and the program before it still fits.
        if self.versions().await?.is_some_and(|found| found.version > SCHEMA_VERSION && found.fits()) {
            return Ok(Vec::new());
        }
        self.migrate(Direction::Up).await
    }

    /// Reverts the newest migration. Answers its name; nothing where there is none.
    ///
    /// # Errors
    /// As [`Store::migrate_up`].
    pub async fn migrate_down(&self) -> Result<Vec<String>, StoreError> {
        self.migrate(Direction::Down).await
    }

    /// Runs the migrations up to that version of the schema: a copy of a database is put back into the tables that it came from.
    pub(super) async fn migrate_up_to(&self, version: i32) -> Result<Vec<String>, StoreError> {
        self.migrate(Direction::UpTo(usize::try_from(version).unwrap_or(0))).await
    }

    async fn migrate(&self, direction: Direction) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Postgres(pool) => {
                let session = pool.dedicated_connection().await?;
                migrate_postgres(session.conn, direction).await
            }
            Self::Sqlite(pool) => {
                let mut session = pool.get().await?;
                let run = move |c: &mut SqliteConnection| Ok(migrate_sqlite(c, direction));
                blocking(&mut session.conn, run).await?.map_err(|error| schema_error(&error))
            }
        }
    }

    /// Every migration that this program knows, oldest first.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn migration_status(&self) -> Result<Vec<MigrationStatus>, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        let applied: Vec<AppliedVersion> = if table_exists(conn, "__diesel_schema_migrations").await? {
            let query = diesel::sql_query("select version from __diesel_schema_migrations");
            with_conn!(conn, c => query.load(c).await)?
        } else {
            Vec::new()
        };
        let is_applied = |version: &str| applied.iter().any(|row| row.version == version);
        let status = |name: String| MigrationStatus { applied: is_applied(&version_of(&name)), name };
        Ok(known_names()?.into_iter().map(status).collect())
    }

    /// Whether this program may work on the schema.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        Ok(match self.versions().await? {
            None => SchemaState::Older { found: 0 },
            Some(found) if found.version < SCHEMA_VERSION => SchemaState::Older { found: found.version },
            Some(found) if !found.fits() => SchemaState::Newer { found: found.version },
            Some(_) => SchemaState::Ready,
        })
    }

    async fn versions(&self) -> Result<Option<Versions>, StoreError> {
        let mut session = self.checkout().await?;
        let conn = &mut session.conn();
        if !table_exists(conn, "schema_version").await? {
            return Ok(None);
        }
        let query = schema_version::table.select((schema_version::version, schema_version::compatible_from));
        let rows: Vec<(i32, i32)> = with_conn!(conn, c => query.load(c).await)?;
        let first = rows.as_slice().first().copied();
        Ok(first.map(|(version, compatible_from)| Versions { version, compatible_from }))
    }
}

/// What the schema says of itself.
struct Versions {
    version: i32,
    compatible_from: i32,
}

impl Versions {
    /// Whether a program of our version may run on it, if it is not too old.
    fn fits(&self) -> bool {
        self.compatible_from <= SCHEMA_VERSION
    }
}

#[derive(QueryableByName)]
struct AppliedVersion {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    found: i64,
}

async fn table_exists(conn: &mut super::Conn<'_>, table: &str) -> QueryResult<bool> {
    use super::Conn;
    use diesel::sql_types::Text;
    let found: Vec<Found> = match conn {
        Conn::Postgres(c) => {
            let query =
                diesel::sql_query("select count(*) as found from pg_class where oid = to_regclass($1)");
            query.bind::<Text, _>(table).load(c).await?
        }
        Conn::Sqlite(c) => {
            let query = diesel::sql_query("select count(*) as found from sqlite_master where name = $1");
            query.bind::<Text, _>(table).load(c).await?
        }
    };
    Ok(found.as_slice().first().is_some_and(|row| row.found > 0))
}

/// Under a session-wide advisory lock on a connection of its own; the lock ends with the connection.
async fn migrate_postgres(
    mut conn: AsyncPgConnection,
    direction: Direction,
) -> Result<Vec<String>, StoreError> {
    // Waiting for the other migrator is no failure; waiting for a table behind a long query is.
    conn.batch_execute(
        "set statement_timeout = 0; set lock_timeout = 0; \
         select pg_advisory_lock(hashtext('ledgerline migrate')); set lock_timeout = '10s'",
    )
    .await?;
    let mut harness = AsyncMigrationHarness::new(conn);
    let result = run(&mut harness, postgres, direction);
    result.map_err(|error| schema_error(&error))
}

/// In one exclusive transaction, so that a second migrator waits and then finds nothing to do.
fn migrate_sqlite(c: &mut SqliteConnection, direction: Direction) -> Result<Vec<String>, AnyError> {
    struct Failed(AnyError);
    impl From<diesel::result::Error> for Failed {
        fn from(error: diesel::result::Error) -> Self {
            Self(error.into())
        }
    }
    c.exclusive_transaction(|c| run(c, sqlite, direction).map_err(Failed)).map_err(|Failed(error)| error)
}

fn run<DB, H>(
    harness: &mut H,
    source: fn() -> EmbeddedMigrations,
    direction: Direction,
) -> Result<Vec<String>, AnyError>
where
    DB: diesel::backend::Backend,
    H: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let known: Vec<String> =
        migrations::<DB>(&source())?.iter().map(|m| m.name().version().to_string()).collect();
    let applied = harness.applied_migrations()?;
    if let Some(unknown) = applied.iter().map(ToString::to_string).find(|version| !known.contains(version)) {
        return Err(format!(
            "the database has migration {unknown}, which this program does not know: it is of a newer program"
        )
        .into());
    }
    match direction {
        Direction::Up => {
            let ran = harness.run_pending_migrations(source())?;
            Ok(ran.iter().map(ToString::to_string).collect())
        }
        Direction::UpTo(version) => {
            let pending = harness.pending_migrations(source())?;
            let missing = version.saturating_sub(applied.len());
            let ran = pending.iter().take(missing).map(|migration| harness.run_migration(migration));
            Ok(ran.map(|name| name.map(|name| name.to_string())).collect::<Result<_, _>>()?)
        }
        Direction::Down if applied.is_empty() => Ok(Vec::new()),
        Direction::Down => Ok(vec![harness.revert_last_migration(source())?.to_string()]),
    }
}

fn migrations<DB>(source: &EmbeddedMigrations) -> Result<Vec<Box<dyn Migration<DB>>>, AnyError>
where
    DB: diesel::backend::Backend,
    EmbeddedMigrations: MigrationSource<DB>,
{
    source.migrations()
}

fn known_names() -> Result<Vec<String>, StoreError> {
    let known = migrations::<diesel::pg::Pg>(&postgres()).map_err(|error| schema_error(&error))?;
    let mut names: Vec<String> = known.iter().map(|migration| migration.name().to_string()).collect();
    names.sort();
    Ok(names)
}

/// diesel keeps the digits before the first underscore, without dashes, as the version.
fn version_of(name: &str) -> String {
    name.split('_').next().unwrap_or_default().replace('-', "")
}

fn schema_error(error: &AnyError) -> StoreError {
    StoreError::Schema(format!("cannot migrate: {error}"))
}
