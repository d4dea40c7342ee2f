//! What happened in a schedule, in lines for people. Off while schedules run by the thousand; the one that fails is run again.

use std::fmt::Write as _;

use ledgerline_worker::protocol::{Command, Event};

use crate::database::Database;
use crate::schedule::PARTITIONS;

#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<String>,
    step: usize,
    rows: [String; PARTITIONS],
}

impl Trace {
    pub fn new(on: bool) -> Self {
        Self { lines: on.then(String::new), ..Self::default() }
    }

    pub fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    pub fn at(&mut self, step: usize) {
        self.step = step;
    }

    /// One line; made only if anybody reads it.
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            // Writing into a text cannot fail.
            let _ = writeln!(lines, "{:>5}  {}", self.step, line());
        }
    }

    pub fn event(&mut self, worker: usize, event: &Event, commands: &[Command]) {
        let nothing_new = commands.is_empty() && matches!(event, Event::PositionsSeen(_));
        if !nothing_new {
            self.say(|| format!("worker {worker}  {event:?} -> {commands:?}"));
        }
    }

    /// The position rows that have changed.
    pub fn rows(&mut self, database: &Database) {
        for (partition, table) in database.tables.iter().enumerate() {
            let row = table.row.as_ref().map(|row| format!("database  partition {partition}: {row:?}"));
            let row = row.unwrap_or_default();
            if self.rows[partition] != row {
                self.say(|| row.clone());
                self.rows[partition] = row;
            }
        }
    }

    /// All lines, with the texts that stand in every one taken out.
    pub fn text(&self) -> String {
        let text = self.lines.as_deref().unwrap_or_default();
        text.replace("group: \"g\", topic: \"t\", ", "")
    }
}
