//! `Selection`: one thing that can be bet on, by its natural key. Looked up for every quote, so it is one allocation, and its
//! hash is computed once and kept. Made by `odds.rs`, interned by the store.
//!
//! What must stay true: two selections are equal exactly if all parts of their keys are; their order does not depend on the
//! process, because all writers insert in it and must not wait for each other.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use indexmap::Equivalent;

use super::markets::{Market, Period, Side};

/// The natural key, borrowed from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectionKey<'a> {
    /// The system of the game's id.
    pub system: &'a str,
    /// The game's id in that system.
    pub game: &'a str,
    /// The book's slug.
    pub sportsbook: &'a str,
    /// Who; empty where the side says it all.
    pub participant: &'a str,
    /// What is bet on.
    pub market: Market,
    /// The part of the game.
    pub period: Period,
    /// The outcome.
    pub side: Side,
    /// Whether the line is part of the identity.
    pub alternate: bool,
    /// Bits of the line as f32 where `alternate`, else 0.
    pub line_bits: u32,
}

/// One thing that can be bet on.
#[derive(Clone)]
pub struct Selection {
    hash: u64,
    /// The four names, one behind the other.
    names: Box<str>,
    /// Where each but the last name ends.
    ends: [u32; 3],
    market: Market,
    period: Period,
    side: Side,
    alternate: bool,
    line_bits: u32,
}

/// Of this process: a sender of events cannot make names that all meet in one place of a table.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

impl SelectionKey<'_> {
    /// The key with the hash that look-ups need.
    #[must_use]
    pub fn hashed(self) -> HashedKey<Self> {
        let mut hasher = SEED.build_hasher();
        let kind = [self.market as u8, self.period as u8, self.side as u8, u8::from(self.alternate)];
        hasher.write_u64(u64::from(u32::from_le_bytes(kind)) << 32 | u64::from(self.line_bits));
        for name in [self.system, self.game, self.sportsbook, self.participant] {
            name.hash(&mut hasher);
        }
        HashedKey { hash: hasher.finish(), key: self }
    }
}

/// A key and its hash.
#[derive(Debug, Clone, Copy)]
pub struct HashedKey<K> {
    hash: u64,
    key: K,
}

impl From<&HashedKey<SelectionKey<'_>>> for Selection {
    fn from(HashedKey { hash, key }: &HashedKey<SelectionKey<'_>>) -> Self {
        let end = |end: usize| u32::try_from(end).expect("names are bounded far below 2^32 bytes");
        let system = key.system.len();
        let game = system + key.game.len();
        let sportsbook = game + key.sportsbook.len();
        Self {
            hash: *hash,
            names: [key.system, key.game, key.sportsbook, key.participant].concat().into(),
            ends: [end(system), end(game), end(sportsbook)],
            market: key.market,
            period: key.period,
            side: key.side,
            alternate: key.alternate,
            line_bits: key.line_bits,
        }
    }
}

impl From<SelectionKey<'_>> for Selection {
    fn from(key: SelectionKey<'_>) -> Self {
        Self::from(&key.hashed())
    }
}

impl Selection {
    /// What one takes in a table: itself, its names, its place.
    pub(super) const HELD_BYTES: usize = size_of::<Self>() + 96 + 24;

    /// Its natural key.
    #[must_use]
    pub fn key(&self) -> SelectionKey<'_> {
        let [system, game, sportsbook] = self.ends.map(|end| end as usize);
        SelectionKey {
            system: &self.names[..system],
            game: &self.names[system..game],
            sportsbook: &self.names[game..sportsbook],
            participant: &self.names[sportsbook..],
            market: self.market,
            period: self.period,
            side: self.side,
            alternate: self.alternate,
            line_bits: self.line_bits,
        }
    }

    /// What has to be equal but the names themselves.
    fn rest(&self) -> (Market, Period, Side, bool, u32, [u32; 3]) {
        (self.market, self.period, self.side, self.alternate, self.line_bits, self.ends)
    }
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key().fmt(f)
    }
}

impl PartialEq for Selection {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.rest() == other.rest() && self.names == other.names
    }
}

impl Eq for Selection {}

impl Ord for Selection {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names.cmp(&other.names).then_with(|| self.rest().cmp(&other.rest()))
    }
}

impl PartialOrd for Selection {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Selection {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for HashedKey<SelectionKey<'_>> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Selection> for HashedKey<SelectionKey<'_>> {
    fn equivalent(&self, other: &Selection) -> bool {
        self.hash == other.hash && self.key == other.key()
    }
}

/// Takes the hash that a selection brings along.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeptHash(u64);

impl Hasher for KeptHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only a selection is looked up, and it writes its hash as one number");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// How tables of selections hash.
pub type BySelection = BuildHasherDefault<KeptHash>;
