//! Keyword rules and what they find in an article. One automaton looks for the keywords of all rules in one pass. Pure; used by
//! `store/alerts.rs`.
//!
//! What must stay true: case does not count, runs of white space are one blank, and only whole words are found; the automaton
//! finds exactly what looking for each keyword by itself would.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::events::rejection::is_plain;

/// Most keywords of one rule.
pub const KEYWORDS: usize = 100;
/// Most keywords of all rules that are in force: the automaton is held by each connection that writes articles.
pub const ALL_KEYWORDS: usize = 5_000;
/// Longest keyword, in bytes.
pub const KEYWORD_BYTES: usize = 100;
/// What an excerpt shows before the end of a hit and behind it, in characters.
const BEFORE: usize = 100;
const BEHIND: usize = 60;

/// Where a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// In the title.
    Title,
    /// In the body.
    Body,
    /// In both.
    Any,
}

impl Field {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Title, Self::Body, Self::Any];

    /// The name in the database and in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Body => "body",
            Self::Any => "any",
        }
    }

    /// The field of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    fn looks_into(self, part: Self) -> bool {
        self == Self::Any || self == part
    }
}

/// A rule as the automaton takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keywords {
    /// The rule.
    pub rule_id: i64,
    /// What it looks for.
    pub keywords: Vec<String>,
    /// Where.
    pub field: Field,
}

/// A keyword of a rule that an article holds; the first place of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The rule.
    pub rule_id: i64,
    /// The keyword as the rule has it.
    pub keyword: String,
    /// Title or body.
    pub field: Field,
    /// The text around it, on one line.
    pub excerpt: String,
}

/// Whether a keyword can be found at all.
///
/// # Errors
/// What is wrong with it.
pub fn check_keyword(keyword: &str) -> Result<(), &'static str> {
    if keyword.len() > KEYWORD_BYTES {
        return Err("more than 100 bytes");
    }
    let folded = folded(keyword);
    if folded.trim().is_empty() {
        return Err("blank");
    }
    if folded.trim() != folded {
        return Err("begins or ends with white space");
    }
    if keyword.contains('\0') { Err("holds U+0000") } else { Ok(()) }
}

/// All rules that are in force.
#[derive(Debug)]
pub struct Matcher {
    automaton: Option<AhoCorasick>,
    /// Of each pattern: who looks for it, in which spelling and where.
    patterns: Vec<Vec<(i64, String, Field)>>,
    rules: BTreeSet<i64>,
}

impl Matcher {
    /// An automaton of these rules.
    ///
    /// # Errors
    /// They are too many for one.
    pub fn new(rules: &[Keywords]) -> Result<Self, String> {
        let mut patterns: BTreeMap<String, Vec<(i64, String, Field)>> = BTreeMap::new();
        for rule in rules {
            for keyword in &rule.keywords {
                let seekers = patterns.entry(folded(keyword)).or_default();
                seekers.push((rule.rule_id, keyword.clone(), rule.field));
            }
        }
        patterns.remove(""); // it would be found everywhere
        let build = || AhoCorasick::builder().match_kind(MatchKind::Standard).build(patterns.keys());
        let automaton = (!patterns.is_empty()).then(build).transpose().map_err(|error| error.to_string())?;
        let rules = rules.iter().map(|rule| rule.rule_id).collect();
        Ok(Self { automaton, patterns: patterns.into_values().collect(), rules })
    }

    /// Whether no rule is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the rule is in force.
    #[must_use]
    pub fn has(&self, rule_id: i64) -> bool {
        self.rules.contains(&rule_id)
    }

    /// Every keyword of every rule that the article holds, once: in the title, else where it comes first in the body. In the
    /// order of rules and keywords.
    #[must_use]
    pub fn hits(&self, title: &str, body: &str) -> Vec<Hit> {
        let mut hits = BTreeMap::new();
        for (field, text) in [(Field::Title, title), (Field::Body, body)] {
            self.look(field, text, &mut hits);
        }
        let hit = |((rule_id, keyword), (field, excerpt))| Hit { rule_id, keyword, field, excerpt };
        hits.into_iter().map(hit).collect()
    }

    fn look(&self, field: Field, text: &str, hits: &mut BTreeMap<(i64, String), (Field, String)>) {
        let Some(automaton) = &self.automaton else { return };
        let folded = folded(text);
        let mut places = Places::of(text);
        let mut seen = vec![false; self.patterns.len()]; // a long text may hold a word ten thousand times
        for found in automaton.find_overlapping_iter(&folded) {
            let pattern = found.pattern().as_usize();
            if seen[pattern] || !is_whole(&folded, found.start(), found.end()) {
                continue;
            }
            seen[pattern] = true;
            let at = places.at(found.end());
            for (rule_id, keyword, wanted) in &self.patterns[pattern] {
                let key = (*rule_id, keyword.clone());
                if wanted.looks_into(field) && !hits.contains_key(&key) {
                    hits.insert(key, (field, excerpt(text, at)));
                }
            }
        }
    }
}

/// Small letters, and one blank for each run of white space. Letters whose small form is more than one stay as they are.
fn fold(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut after_blank = false;
    text.char_indices().filter_map(move |(at, c)| {
        let is_blank = c.is_whitespace();
        let follows_blank = std::mem::replace(&mut after_blank, is_blank);
        if is_blank && follows_blank {
            return None;
        }
        let mut small = c.to_lowercase();
        let folded = match (is_blank, small.next(), small.next()) {
            (true, ..) => ' ',
            (false, Some(small), None) => small,
            (false, ..) => c,
        };
        Some((at + c.len_utf8(), folded))
    })
}

fn folded(text: &str) -> String {
    fold(text).map(|(_, c)| c).collect()
}

/// Whether a match neither begins nor ends inside a word.
fn is_whole(folded: &str, start: usize, end: usize) -> bool {
    let (before, found, behind) = (&folded[..start], &folded[start..end], &folded[end..]);
    let are_one_word =
        |a: Option<char>, b: Option<char>| a.is_some_and(is_of_word) && b.is_some_and(is_of_word);
    !are_one_word(before.chars().next_back(), found.chars().next())
        && !are_one_word(found.chars().next_back(), behind.chars().next())
}

/// Letters, digits, and the marks that are put on letters.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || ('\u{300}'..='\u{36f}').contains(&c)
}

/// Walks through a text once and tells where the places of its folded form are in it. Asked in ascending order.
struct Places<'t> {
    chars: Box<dyn Iterator<Item = (usize, char)> + 't>,
    folded: usize,
    original: usize,
}

impl<'t> Places<'t> {
    fn of(text: &'t str) -> Self {
        Self { chars: Box::new(fold(text)), folded: 0, original: 0 }
    }

    fn at(&mut self, folded_end: usize) -> usize {
        while self.folded < folded_end {
            let Some((end, c)) = self.chars.next() else { break };
            (self.folded, self.original) = (self.folded + c.len_utf8(), end);
        }
        self.original
    }
}

/// The text around a place on one line, with dots where it was cut.
fn excerpt(text: &str, at: usize) -> String {
    let (before, behind) = text.split_at(at);
    let start = before.char_indices().rev().take(BEFORE).last().map_or(at, |(start, _)| start);
    let end = behind.char_indices().nth(BEHIND).map_or(text.len(), |(end, _)| at + end);
    let shown = text[start..end].chars().map(|c| if is_plain(c) { c } else { ' ' });
    let dots = |cut: bool| if cut { "…" } else { "" };
    format!("{}{}{}", dots(start > 0), shown.collect::<String>(), dots(end < text.len()))
}

#[cfg(test)]
mod tests;
