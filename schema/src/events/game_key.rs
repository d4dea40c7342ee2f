//! `GameKey`: how an event names a game: what one system calls it. Shared by every kind that hangs on a game.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::rejection::{Rejection, ensure};
use super::text::Text;

/// Bound on a game's id, in bytes: the pair is an index entry.
const ID_BYTES: usize = 200;

/// A game, as one system names it.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct GameKey<'a> {
    /// The system that gave the id: `theoddsapi`, `mlb`, `espn`, `sbr`, `actionnetwork`. A slug.
    #[serde(borrow)]
    pub system: Text<'a>,
    /// The game's id in that system, always a string.
    #[serde(borrow)]
    pub id: Text<'a>,
    /// What other systems call the same game; only `game` events link them.
    #[serde(borrow, default)]
    pub external_ids: BTreeMap<Text<'a>, Text<'a>>,
}

impl GameKey<'_> {
    /// Checks the pair and every further id.
    ///
    /// # Errors
    /// `InvalidField` that names the part.
    pub fn check(&self) -> Result<(), Rejection> {
        check_slug("game.system", &self.system)?;
        check_id("game.id", &self.id)?;
        ensure(self.external_ids.len() <= 32, "game.external_ids", "more than 32")?;
        for (system, id) in &self.external_ids {
            check_slug("game.external_ids", system)?;
            check_id("game.external_ids", id)?;
        }
        Ok(())
    }
}

fn check_id(field: &str, id: &str) -> Result<(), Rejection> {
    ensure(!id.is_empty() && id.len() <= ID_BYTES, field, "must have 1 to 200 bytes")
}

/// A slug: `^[a-z0-9][a-z0-9_.-]{1,63}$`.
///
/// # Errors
/// `InvalidField` that names `field`.
pub fn check_slug(field: &str, slug: &str) -> Result<(), Rejection> {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = slug.as_bytes().iter();
    let good = bytes.next().is_some_and(alphanumeric)
        && (2..=64).contains(&slug.len())
        && bytes.all(|b| alphanumeric(b) || b"_.-".contains(b));
    ensure(good, field, "must match ^[a-z0-9][a-z0-9_.-]{1,63}$")
}
