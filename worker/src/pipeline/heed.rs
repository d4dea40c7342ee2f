//! What an operator's switches do to the line: a paused lane is held by the source, and what it holds is not handed to a writer.
//! Asked by the pipeline before it looks for batches that are due.
//!
//! What must stay true: a transaction under way ends as it would; the claim stays; a paused lane takes nothing more and stops no
//! other.

use super::Pipeline;
use crate::source::Source;

impl<S: Source> Pipeline<S> {
    /// Takes over what the switches say now. The position is the database's all the while, and nothing of it is touched.
    pub(super) fn heed_switches(&mut self) {
        for (partition, lane) in &mut self.lanes {
            let switch = self.claimant.switches.pausing(*partition);
            if switch.is_some() != lane.paused {
                lane.paused = switch.is_some();
                lane.turn = None; // what came out of the spool waits here, and others come out meanwhile
                self.progress.paused(*partition, switch.as_deref());
            }
        }
    }
}
