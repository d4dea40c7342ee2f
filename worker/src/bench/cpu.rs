//! Time on a processor, of this process and of the server's process behind a connection, from `/proc`.
//!
//! What must stay true: where it cannot be known (another machine, another operating system) the answer is none, never zero.

/// Linux counts in hundredths of a second, whatever its timer does.
const TICKS_PER_SECOND: f64 = 100.0;
/// Fields after the command's name before the two that count: user time, system time.
const FIELDS_BEFORE: usize = 11;

/// Whose time.
#[derive(Debug, Clone, Copy)]
pub enum Process {
    /// This one, all threads.
    Client,
    /// PostgreSQL's process of that number, if it is on this machine.
    Server(Option<i32>),
}

impl Process {
    /// Seconds on a processor since the process began.
    pub fn cpu_seconds(self) -> Option<f64> {
        match self {
            Self::Client => parse(&std::fs::read_to_string("/proc/self/stat").ok()?, None),
            Self::Server(pid) => {
                let text = std::fs::read_to_string(format!("/proc/{}/stat", pid?)).ok()?;
                parse(&text, Some("postgres"))
            }
        }
    }
}

/// User and system time together, if the command is the expected one. Its name may hold blanks and brackets.
fn parse(stat: &str, command: Option<&str>) -> Option<f64> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    if command.is_some_and(|command| command != name) {
        return None;
    }
    let mut fields = tail.split_whitespace().skip(FIELDS_BEFORE);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (postgres) S 1 1 1 0 -1 4194304 98 0 0 0 150 25 7 9 20 0 1 0 2356059 3133440 382";

    #[test]
    fn user_and_system_time_count_and_those_of_children_do_not() {
        assert_eq!(parse(STAT, Some("postgres")), Some(1.75));
    }

    #[test]
    fn another_process_under_the_number_is_no_server() {
        assert_eq!(parse(&STAT.replace("postgres", "a) (b"), Some("postgres")), None);
        assert_eq!(parse(&STAT.replace("postgres", "a) (b"), None), Some(1.75));
        assert_eq!(Process::Server(None).cpu_seconds(), None);
    }
}
