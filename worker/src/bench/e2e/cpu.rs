//! Processor time as /proc tells it, by thread of the worker and by process of the database. Used by `e2e`.

use std::collections::BTreeMap;
use std::path::Path;

/// What a tick of /proc is worth: 100 a second on every Linux of today.
const TICK_US: u64 = 10_000;

/// Processor time of a worker so far, by what its threads do.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadTimes {
    /// librdkafka's threads.
    pub client_us: u64,
    /// The pipeline's thread: takes records over, decodes, decides.
    pub pipeline_us: u64,
    /// All others: the runtime, where the database's client is.
    pub database_us: u64,
}

impl ThreadTimes {
    /// What was used since.
    pub fn since(self, before: Self) -> Self {
        Self {
            client_us: self.client_us.saturating_sub(before.client_us),
            pipeline_us: self.pipeline_us.saturating_sub(before.pipeline_us),
            database_us: self.database_us.saturating_sub(before.database_us),
        }
    }
}

/// Of a process of ours.
pub fn of_threads(pid: u32) -> ThreadTimes {
    let mut times = ThreadTimes::default();
    let Ok(threads) = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task")) else {
        return times;
    };
    for thread in threads.flatten() {
        let Some((name, used_us)) = read(&thread.path()) else { continue };
        if name.starts_with("rdk:") {
            times.client_us += used_us;
        } else if name.starts_with("pipeline") {
            times.pipeline_us += used_us;
        } else {
            times.database_us += used_us;
        }
    }
    times
}

/// Processor time of the thread that asks; none where there is no /proc.
pub fn of_this_thread() -> Option<u64> {
    Some(read(Path::new("/proc/thread-self"))?.1)
}

/// Processor time of the server's processes so far; none where they are on another machine.
pub fn of_backends(pids: &[i32]) -> BTreeMap<i32, u64> {
    let of = |pid: &i32| {
        let (name, used_us) = read(&Path::new("/proc").join(pid.to_string()))?;
        name.starts_with("postgres").then_some((*pid, used_us))
    };
    pids.iter().filter_map(of).collect()
}

/// What processes have used since; one that was not there before counts whole.
pub fn since(now: &BTreeMap<i32, u64>, before: &BTreeMap<i32, u64>) -> u64 {
    now.iter().map(|(pid, used)| used.saturating_sub(before.get(pid).copied().unwrap_or(0))).sum()
}

fn read(folder: &Path) -> Option<(String, u64)> {
    parse(&std::fs::read_to_string(folder.join("stat")).ok()?)
}

/// Name and time of a line such as `7 (rdk:main) S 1 …`. The name may hold anything, so the last bracket ends it.
fn parse(stat: &str) -> Option<(String, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((name.to_owned(), (user + system) * TICK_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_blanks_and_brackets() {
        let line = "7 (pipeline (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(parse(line), Some(("pipeline (a) b".into(), 3_000_000)));
        assert_eq!(parse("7 (x"), None);
    }

    #[test]
    fn a_backend_that_was_not_there_counts_whole() {
        let (before, now) = (BTreeMap::from([(1, 10)]), BTreeMap::from([(1, 15), (2, 7)]));
        assert_eq!(since(&now, &before), 12);
    }
}
