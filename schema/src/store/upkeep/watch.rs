//! How far the server has come with a step, read over a connection of its own beside the one that works.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Looks at what an upkeep does.
pub struct UpkeepWatch {
    pub(super) conn: AsyncPgConnection,
    /// The server's process that does it.
    pub(super) pid: i32,
}

impl std::fmt::Debug for UpkeepWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UpkeepWatch({})", self.pid)
    }
}

#[derive(QueryableByName)]
struct Phase {
    #[diesel(sql_type = Text)]
    phase: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    percent: Option<i64>,
}

/// Not every phase tells how much of it is done; null where the role may not see it.
const PHASE: &str = "\
    select phase, 100 * case phase when 'scanning heap' then heap_blks_scanned when 'vacuuming heap' then heap_blks_vacuumed end \
                  / nullif(heap_blks_total, 0) as percent \
    from pg_stat_progress_vacuum where pid = $1 and phase is not null \
    union all \
    select phase, case when phase like '%scanning%' then 100 * blocks_done / nullif(blocks_total, 0) end \
    from pg_stat_progress_create_index where pid = $1 and phase is not null";

impl UpkeepWatch {
    /// The phase and how much of it is done, as `scanning heap 40 %`; null where nothing is under way or the server does not tell.
    pub async fn look(&mut self) -> Option<String> {
        let query = diesel::sql_query(PHASE).bind::<Integer, _>(self.pid);
        let found: Option<Phase> = query.get_result(&mut self.conn).await.ok();
        found.map(|Phase { phase, percent }| match percent {
            Some(percent) => format!("{phase} {percent} %"),
            None => phase,
        })
    }
}
