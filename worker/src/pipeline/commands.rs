//! What the protocol says is done here: each command of it, as a task or at once. Called by the pipeline on its own thread.

use std::sync::Arc;

use ledgerline_schema::budget::Budget;
use ledgerline_schema::store::{Claim, Effort, Halt};

use super::{Answer, Pipeline};
use crate::backoff;
use crate::buffer::Buffer;
use crate::clock;
use crate::lane::Lane;
use crate::protocol::{
    Assignment, ClaimOutcome, Command, Event, FetchOutcome, Partition, Place, PositionOutcome, WriteOutcome,
};
use crate::source::Source;
use crate::writer;

impl<S: Source> Pipeline<S> {
    pub(super) fn carry_out(&mut self, command: Command) {
        match command {
            Command::Claim(partition, assignment) => {
                let claimant = self.claimant.clone();
                self.claim(partition, assignment, async move { claimant.claim(partition).await });
            }
            Command::ClaimSpool(partition, assignment, known) => {
                let claimant = self.claimant.clone();
                self.claim(
                    partition,
                    assignment,
                    async move { claimant.claim_spool(partition, known).await },
                );
            }
            Command::Fetch(partition, assignment, claim) => self.fetch(partition, assignment, claim),
            Command::Consume(partition, offset) => self.consume(partition, offset),
            Command::Write(partition, assignment, place, claim, effort) => {
                self.write(partition, assignment, place, (claim, effort));
            }
            Command::AskPosition(partition, assignment, place, claim) => {
                self.ask(partition, assignment, place, claim);
            }
            Command::RetryLater(partition, assignment, attempt) => {
                let due = Event::RetryDue(partition, assignment);
                self.spawn(due.clone(), async move {
                    tokio::time::sleep(backoff::pause(attempt)).await;
                    due
                });
            }
            Command::Committed(partition, next_offset) => self.committed(partition, next_offset),
            Command::FoundCommitted(partition, next_offset) => self.found_committed(partition, next_offset),
            Command::Spooled(partition, _) => {
                if let Some(lane) = self.lanes.get_mut(&partition) {
                    lane.settle(&self.room);
                }
            }
            Command::Drop(partition) => {
                self.lanes.remove(&partition);
                self.source.stop(partition);
            }
            Command::Halt(partition, halt) => self.halt(partition, &halt),
        }
    }

    /// A claim that fails says nothing and is tried again.
    fn claim(
        &self,
        partition: Partition,
        assignment: Assignment,
        asked: impl Future<Output = anyhow::Result<ClaimOutcome>> + Send + 'static,
    ) {
        let topic = self.topic.name.clone();
        let answered = move |outcome| Event::ClaimAnswered(partition, assignment, outcome);
        self.spawn(answered(ClaimOutcome::Unknown), async move {
            answered(asked.await.unwrap_or_else(|error| {
                let error = format!("{error:#}");
                tracing::warn!(
                    kafka.topic = topic,
                    kafka.partition = partition,
                    error,
                    "cannot claim, trying again"
                );
                ClaimOutcome::Unknown
            }))
        });
    }

    /// Looks for what goes on in the spool. Nothing is read from the log meanwhile: the lane holds the batch that comes out.
    fn fetch(&mut self, partition: Partition, assignment: Assignment, claim: Claim) {
        self.progress.draining(partition, claim.next_offset);
        let lane = self.lane(claim.next_offset);
        self.lanes.entry(partition).or_insert(lane);
        let (claimant, kind, turns) = (self.claimant.clone(), self.topic.kind, Arc::clone(&self.turns));
        let fetched = move |outcome| Answer::Event(Event::Fetched(partition, assignment, outcome));
        self.spawn_answer(fetched(FetchOutcome::Unknown), async move {
            let Ok(turn) = turns.acquire_owned().await else { return fetched(FetchOutcome::Unknown) };
            if claimant.is_paused(partition) {
                return fetched(FetchOutcome::Paused); // it would keep its turn for as long
            }
            match claimant.fetch(&claim, kind).await {
                Ok(Some(batch)) => Answer::Segment(partition, assignment, Arc::new(batch), turn),
                Ok(None) => fetched(FetchOutcome::Nothing),
                Err(error) => {
                    let (topic, error) = (&*claim.topic, format!("{error:#}"));
                    tracing::warn!(
                        kafka.topic = topic,
                        kafka.partition = partition,
                        error,
                        "cannot take out of the spool"
                    );
                    fetched(FetchOutcome::Unknown)
                }
            }
        });
    }

    fn lane(&self, offset: i64) -> Lane {
        let buffer = Buffer::new(self.topic.kind, self.topic.batch, offset).only(self.terms.observed);
        Lane::new(buffer, Budget::new(self.topic.dead_letters))
    }

    fn consume(&mut self, partition: Partition, offset: i64) {
        self.lanes.insert(partition, self.lane(offset));
        match self.protocol.place(partition) {
            Place::Database => self.progress.consuming(partition, offset),
            Place::Spool => self.progress.spooling(partition, offset),
        }
        if let Err(error) = self.source.consume(partition, offset) {
            tracing::warn!(kafka.topic = self.topic.name, kafka.partition = partition, %error, "cannot consume");
            self.feed(Event::ConsumeFailed(partition));
        }
    }

    fn write(
        &mut self,
        partition: Partition,
        assignment: Assignment,
        place: Place,
        (claim, effort): (Claim, Effort),
    ) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let Some(batch) = lane.in_flight.clone() else { return };
        lane.exempt_to = claim.exempt_to;
        self.hour = self.hour.max(clock::now().hour()); // the clock may step back, the ledger may not
        let job = writer::Job {
            claimant: self.claimant.clone(),
            place,
            claim,
            batch,
            hour: self.hour,
            effort,
            budget: Arc::clone(&lane.budget),
            progress: Arc::clone(&self.progress),
            writers: Arc::clone(&self.writers),
        };
        self.spawn(Event::WriteEnded(partition, assignment, WriteOutcome::Unknown), async move {
            Event::WriteEnded(partition, assignment, writer::write(job).await)
        });
    }

    fn ask(&self, partition: Partition, assignment: Assignment, place: Place, claim: Claim) {
        let claimant = self.claimant.clone();
        self.spawn(Event::PositionAnswered(partition, assignment, PositionOutcome::Unknown), async move {
            Event::PositionAnswered(
                partition,
                assignment,
                writer::ask_position(&claimant, place, &claim).await,
            )
        });
    }

    fn found_committed(&mut self, partition: Partition, next_offset: i64) {
        if let Some(lane) = self.lanes.get(&partition)
            && let Some(batch) = &lane.in_flight
        {
            lane.count_dead(batch);
            self.progress.found_committed(partition, batch);
        }
        self.committed(partition, next_offset);
    }

    fn committed(&mut self, partition: Partition, next_offset: i64) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.settle(&self.room);
        }
        self.source.commit(partition, next_offset);
        self.progress.committed(partition, next_offset);
    }

    fn halt(&self, partition: Partition, halt: &Halt) {
        self.progress.halted(partition, halt);
        tracing::error!(
            kafka.topic = self.topic.name,
            kafka.partition = partition,
            reason = halt.name(),
            "partition halted: {halt}; an operator has to decide"
        );
    }

    /// Runs a task whose event comes back to this thread. One that panics brings `otherwise`: no question stays open.
    pub(super) fn spawn(&self, otherwise: Event, task: impl Future<Output = Event> + Send + 'static) {
        self.spawn_answer(Answer::Event(otherwise), async move { Answer::Event(task.await) });
    }

    fn spawn_answer(&self, otherwise: Answer, task: impl Future<Output = Answer> + Send + 'static) {
        let answer = self.answer.clone();
        let task = self.runtime.spawn(task);
        self.runtime.spawn(async move {
            let event = task.await.unwrap_or(otherwise);
            // Fails only when the pipeline has ended, and then nobody needs it.
            let _ = answer.send(event);
        });
    }
}
