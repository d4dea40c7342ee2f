//! Who made a signal or an analysis, and what it names beside the game: ids of its own and of others. Shared by both contracts.

use schemars::JsonSchema;
use serde::Deserialize;

use super::game_key::check_slug;
use super::rejection::{Rejection, ensure};
use super::text::Text;

/// Bound on a version's text, in bytes: it is part of an index entry.
const VERSION_BYTES: usize = 64;
/// Most ids of one list.
const IDS: usize = 100;

/// A program and its version; both are part of the key of what it made.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct MadeBy<'a> {
    /// A slug.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// 1 to 64 bytes.
    #[serde(borrow)]
    pub version: Text<'a>,
}

impl MadeBy<'_> {
    /// Checks both; `field` is where they stand.
    pub(super) fn check(&self, field: &str) -> Result<(), Rejection> {
        check_slug(&format!("{field}.name"), &self.name)?;
        let length = self.version.len();
        ensure((1..=VERSION_BYTES).contains(&length), &format!("{field}.version"), "must have 1 to 64 bytes")
    }
}

/// The id that its maker gave it, a UUID; decides nothing.
pub(super) fn check_uuid(field: &str, id: Option<&str>) -> Result<(), Rejection> {
    let Some(id) = id else { return Ok(()) };
    let is_in_place = |(place, byte): (usize, u8)| match place {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    ensure(id.len() == 36 && id.bytes().enumerate().all(is_in_place), field, "not a UUID")
}

/// Ids of other events: at most 100, of 1 to 256 bytes each.
pub(super) fn check_ids(field: &str, ids: &[Text<'_>]) -> Result<(), Rejection> {
    ensure(ids.len() <= IDS, field, "more than 100")?;
    ensure(ids.iter().all(|id| (1..=256).contains(&id.len())), field, "must have 1 to 256 bytes each")
}

/// Books, each a slug; at most 100.
pub(super) fn check_books(field: &str, books: &[Text<'_>]) -> Result<(), Rejection> {
    ensure(books.len() <= IDS, field, "more than 100")?;
    books.iter().try_for_each(|book| check_slug(field, book))
}
