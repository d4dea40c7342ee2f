//! `Switches`: what operators have paused of one group's topic, as the database said last. Told by `claim.rs`, with each claim and
//! every few seconds; heeded by the pipeline and its writers.
//!
//! What must stay true: where the switches cannot be read, or one has a word that this program does not know, things stay as they
//! are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ledgerline_schema::store::{Extent, StoreError, Switch, SwitchState};

use crate::protocol::Partition;
use crate::sync::lock;

/// What is paused. Shared by everybody who works on one topic.
#[derive(Debug, Default)]
pub struct Switches(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    paused: BTreeMap<Extent, Arc<Switch>>,
    /// Questions so far, and the newest one that was answered.
    asked: u64,
    answered: u64,
    /// Whether the last answer could not be used; said once, not every few seconds.
    unreadable: bool,
}

impl Switches {
    /// The switch that pauses the partition, if one does: its own before that of the whole topic.
    #[must_use]
    pub fn pausing(&self, partition: Partition) -> Option<Arc<Switch>> {
        let paused = &self.seen().paused;
        paused.get(&Extent::Partition(partition)).or_else(|| paused.get(&Extent::Topic)).cloned()
    }

    /// Numbers a question that is about to be asked.
    #[must_use]
    pub fn ask(&self) -> u64 {
        let mut seen = self.seen();
        seen.asked += 1;
        seen.asked
    }

    /// Takes the answer to a question over. One that was overtaken by a later question's says what was.
    pub fn read(&self, question: u64, topic: &str, set: Vec<Switch>) {
        let mut seen = self.seen();
        if question < seen.answered {
            return;
        }
        seen.answered = question;
        let before = std::mem::take(&mut seen.paused);
        let mut unknown = None;
        for switch in set {
            let extent = switch.extent;
            match &switch.state {
                SwitchState::Paused => {
                    seen.paused.insert(extent, Arc::new(switch));
                }
                SwitchState::Unknown(word) => {
                    unknown = Some((switch.to_string(), word.clone()));
                    seen.paused.extend(before.get(&extent).map(|kept| (extent, Arc::clone(kept))));
                }
            }
        }
        match (std::mem::replace(&mut seen.unreadable, unknown.is_some()), unknown) {
            (false, Some((switch, word))) => tracing::warn!(
                kafka.topic = topic,
                switch,
                word,
                "a switch says what this program does not know: what it is about stays as it is"
            ),
            (true, None) => tracing::info!(kafka.topic = topic, "the switches can be read again"),
            (true, Some(_)) | (false, None) => {} // as before
        }
    }

    /// The database is there, and does not tell.
    pub fn refused(&self, topic: &str, error: &StoreError) {
        let mut seen = self.seen();
        if !std::mem::replace(&mut seen.unreadable, true) {
            tracing::warn!(
                kafka.topic = topic,
                %error,
                "cannot read the switches: what is paused stays paused, all else flows"
            );
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use ledgerline_schema::time::UtcMicros;

    use super::*;

    fn switch(extent: Extent, state: SwitchState) -> Switch {
        Switch {
            group: "g.odds".into(),
            topic: "odds".into(),
            extent,
            state,
            reason: "a test".into(),
            actor: "an operator".into(),
            at: UtcMicros(0),
        }
    }

    /// Asks and is answered.
    fn read(switches: &Switches, set: Vec<Switch>) {
        switches.read(switches.ask(), "odds", set);
    }

    fn paused(switches: &Switches) -> Vec<Partition> {
        (0..4).filter(|partition| switches.pausing(*partition).is_some()).collect()
    }

    #[test]
    fn a_topic_is_all_its_partitions() {
        let switches = Switches::default();
        assert_eq!(paused(&switches), [] as [Partition; 0]);
        read(&switches, vec![switch(Extent::Partition(2), SwitchState::Paused)]);
        assert_eq!(paused(&switches), [2]);
        let whole = switch(Extent::Topic, SwitchState::Paused);
        read(&switches, vec![whole, switch(Extent::Partition(2), SwitchState::Paused)]);
        assert_eq!(paused(&switches), [0, 1, 2, 3]);
        let own = switches.pausing(2).map(|switch| switch.extent);
        assert_eq!(own, Some(Extent::Partition(2)), "its own says more");
        read(&switches, vec![]);
        assert_eq!(paused(&switches), [] as [Partition; 0]);
    }

    #[test]
    fn what_cannot_be_read_stays_as_it_is() {
        let unknown = |extent| switch(extent, SwitchState::Unknown("slowed".into()));
        let switches = Switches::default();
        read(&switches, vec![unknown(Extent::Topic)]);
        assert_eq!(paused(&switches), [] as [Partition; 0], "it flowed and flows on");
        read(&switches, vec![switch(Extent::Partition(1), SwitchState::Paused)]);
        read(&switches, vec![unknown(Extent::Partition(1)), unknown(Extent::Partition(3))]);
        assert_eq!(paused(&switches), [1], "it was paused and stays paused; the other one flowed");
        switches.refused("odds", &StoreError::Saturated);
        assert_eq!(paused(&switches), [1]);
        read(&switches, vec![unknown(Extent::Partition(1))]);
        assert_eq!(paused(&switches), [1], "it is not forgotten in between");
        read(&switches, vec![]);
        assert_eq!(paused(&switches), [] as [Partition; 0]);
    }

    #[test]
    fn an_answer_that_was_overtaken_says_nothing_any_more() {
        let switches = Switches::default();
        let (early, late) = (switches.ask(), switches.ask());
        switches.read(late, "odds", vec![switch(Extent::Topic, SwitchState::Paused)]);
        switches.read(early, "odds", vec![]);
        assert_eq!(paused(&switches), [0, 1, 2, 3], "it was asked before the pause");
        read(&switches, vec![]);
        assert_eq!(paused(&switches), [] as [Partition; 0]);
    }
}
