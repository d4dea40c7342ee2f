//! The event contracts. This file is THE table of kinds: one line each; everything that differs between kinds hangs on
//! that line. A new kind is one file here, one line in the table, one migration per store, and fixtures.
//!
//! Called by the worker's decode step, by `publish`, and by `schema`. Pure: no I/O, no clock.

pub mod article;
pub mod asyncapi;
mod bet;
pub mod betting_analysis;
pub mod envelope;
pub mod flags;
pub mod game;
pub mod game_key;
pub mod made_by;
pub mod markets;
pub mod odds;
pub mod rejection;
mod samples;
mod selection;
pub mod sharp_signal;
mod slugs;
pub mod text;

use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

pub use envelope::{Attributes, RawHeader, RawRecord};
pub use flags::{Flag, Flags};
pub use rejection::{Reason, Rejection};

/// What every kind of event says about itself.
pub trait Contract {
    /// CloudEvents `type`, kind and version: `odds.v1`.
    const TYPE: &'static str;
    /// The topic that carries it unless the configuration names another.
    const TOPIC: &'static str;
    /// CloudEvents `data`.
    type Data<'a>: Deserialize<'a> + JsonSchema;

    /// Checks one event whole and, if it is good, adds its rows. A refused event leaves no row behind.
    ///
    /// # Errors
    /// The rejection that becomes the record's dead letter.
    fn push(
        &mut self,
        record: u32,
        attributes: Attributes<'_>,
        data: Self::Data<'_>,
    ) -> Result<Flags, Rejection>;

    /// How many rows are waiting.
    fn count(&self) -> usize;

    /// Takes all rows out and keeps the room that they had.
    fn clear(&mut self);

    /// What they take in memory, in bytes: an estimate for the bound on all buffers. Rows that copy what the record says take
    /// as much as the record.
    fn held_bytes(&self, record_bytes: usize) -> usize {
        record_bytes + self.count() * ROW_BYTES
    }

    /// The rows of these records alone.
    #[must_use]
    fn of_records(&self, records: Range<u32>) -> Self;

    /// Valid events of this kind, as `schema samples` prints them and the tests decode them.
    fn samples() -> Vec<serde_json::Value>;
}

/// Generates from the table: the closed enum `EventKind` (name, type, topic, JSON Schema, samples) and `Rows`, the rows of one
/// batch, with one variant per kind.
macro_rules! event_kinds {
    ($($kind:ident => $rows:ty, $name:literal;)*) => {
        /// A kind of event. One topic carries one kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventKind {
            $(#[doc = concat!("The kind `", $name, "`.")] $kind,)*
        }

        impl EventKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The key of the kind in the configuration (`[topics.odds]`) and on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// CloudEvents `type`.
            #[must_use]
            pub fn event_type(self) -> &'static str {
                match self { $(Self::$kind => <$rows>::TYPE,)* }
            }

            /// The topic that carries the kind by default.
            #[must_use]
            pub fn default_topic(self) -> &'static str {
                match self { $(Self::$kind => <$rows>::TOPIC,)* }
            }

            /// JSON Schema of a whole event, for the authors of scrapers.
            #[must_use]
            pub fn json_schema(self) -> serde_json::Value {
                match self {
                    $(Self::$kind => envelope::json_schema::<<$rows as Contract>::Data<'static>>(<$rows>::TYPE),)*
                }
            }

            /// Valid events, one for each thing worth showing.
            #[must_use]
            pub fn samples(self) -> Vec<serde_json::Value> {
                match self { $(Self::$kind => <$rows>::samples(),)* }
            }

            /// An empty set of rows of this kind.
            #[must_use]
            pub fn rows(self) -> Rows {
                match self { $(Self::$kind => Rows::$kind(<$rows>::default()),)* }
            }
        }

        /// The rows of one batch; a batch is of one kind.
        #[derive(Debug, Clone)]
        pub enum Rows {
            $(#[doc = concat!("Rows of `", $name, "` events.")] $kind($rows),)*
        }

        impl Rows {
            /// Decodes one record and adds its rows. `record` is the record's number within the batch.
            ///
            /// # Errors
            /// The rejection that becomes the record's dead letter; no row was added.
            pub fn decode(&mut self, record: u32, raw: &RawRecord<'_>) -> Result<Flags, Rejection> {
                self.decode_noting(record, raw, |_| {})
            }

            /// The same, and tells the attributes of an event whose envelope is good, whatever becomes of its data.
            ///
            /// # Errors
            /// As [`Rows::decode`].
            pub fn decode_noting(
                &mut self,
                record: u32,
                raw: &RawRecord<'_>,
                note: impl FnOnce(&Attributes<'_>),
            ) -> Result<Flags, Rejection> {
                match self {
                    $(Self::$kind(rows) => {
                        let (attributes, data) = envelope::parse::<<$rows as Contract>::Data<'_>>(raw, <$rows>::TYPE)?;
                        note(&attributes);
                        rows.push(record, attributes, data)
                    })*
                }
            }

            /// The rows of these records alone.
            #[must_use]
            pub fn of_records(&self, records: Range<u32>) -> Self {
                match self { $(Self::$kind(rows) => Self::$kind(rows.of_records(records)),)* }
            }

            /// How many rows are waiting.
            #[must_use]
            pub fn len(&self) -> usize {
                match self { $(Self::$kind(rows) => rows.count(),)* }
            }

            /// What the rows take in memory, in bytes, where the records that they came from have `record_bytes`.
            #[must_use]
            pub fn held_bytes(&self, record_bytes: usize) -> usize {
                match self { $(Self::$kind(rows) => rows.held_bytes(record_bytes),)* }
            }

            /// Takes all rows out and keeps the room that they had.
            pub fn clear(&mut self) {
                match self { $(Self::$kind(rows) => rows.clear(),)* }
            }

            /// Whether no row is waiting.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}

/// What a row takes beside the texts that it copies.
const ROW_BYTES: usize = 512;

event_kinds! {
    Game => game::GameRows, "games";
    Odds => odds::OddsRows, "odds";
    Article => article::ArticleRows, "articles";
    Signal => sharp_signal::SignalRows, "sharp-signals";
    Analysis => betting_analysis::AnalysisRows, "betting-analyses";
}

impl EventKind {
    /// The kind that CloudEvents `type` names; null where it is none of ours, or of another version.
    #[must_use]
    pub fn of_type(event_type: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.event_type() == event_type)
    }

    /// The kind of that name: `odds`, also `odds.v1`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name || kind.event_type() == name)
    }
}
