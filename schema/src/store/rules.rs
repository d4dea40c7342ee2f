//! The rules of alerts: what operators may do with them, and the automaton that a connection keeps of those in force.
//!
//! What must stay true: every change counts the set's version up in its own transaction, by whichever way it comes through here;
//! an automaton is never older than the version it is kept under.

use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};

use super::audit::{self, Action};
use super::error::StoreError;
use super::{Conn, Store, in_tx, with_conn};
use crate::keywords::{ALL_KEYWORDS, Field, KEYWORDS, Keywords, Matcher, check_keyword};
use crate::repositories::{Page, one_more};
use crate::schema::{alert_rule_set, alert_rules as rules};
use crate::sql_types::Json;
use crate::time::UtcMicros;

/// A stored rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number.
    pub id: i64,
    /// What it says.
    pub draft: RuleDraft,
    /// When it was made.
    pub created_at: UtcMicros,
    /// When it was changed last.
    pub updated_at: UtcMicros,
}

/// What a rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDraft {
    /// 1 to 100 bytes; no two rules have the same.
    pub name: String,
    /// 1 to 100 of them.
    pub keywords: Vec<String>,
    /// Where they are looked for.
    pub field: Field,
    /// Whether they are looked for at all.
    pub enabled: bool,
}

/// Who changes a rule, and when.
#[derive(Debug, Clone)]
pub struct RuleChange<'a> {
    /// For the operators' trail.
    pub actor: &'a str,
    /// By the caller's clock.
    pub now: UtcMicros,
}

/// Why a rule was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A field is not what a rule takes.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Another rule has the name.
    #[error("name: another rule is called that")]
    NameTaken,
    /// There is none of that number.
    #[error("there is no rule {0}")]
    Missing(i64),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<diesel::result::Error> for RuleError {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind::UniqueViolation, Error::DatabaseError};
        match error {
            DatabaseError(UniqueViolation, _) => Self::NameTaken,
            error => Self::Store(error.into()),
        }
    }
}

impl RuleDraft {
    /// Whether it can be a rule.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn check(&self) -> Result<(), RuleError> {
        let invalid = |field, problem: String| Err(RuleError::Invalid { field, problem });
        let name = self.name.trim();
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            return invalid("name", "must have 1 to 100 bytes and no control character".into());
        }
        if !(1..=KEYWORDS).contains(&self.keywords.len()) {
            return invalid("keywords", format!("must be 1 to {KEYWORDS}"));
        }
        for (number, keyword) in self.keywords.iter().enumerate() {
            if let Err(problem) = check_keyword(keyword) {
                return invalid("keywords", format!("keywords[{number}] {problem}"));
            }
        }
        Ok(())
    }
}

/// One thing to do with the rules.
#[derive(Clone, Copy)]
enum Order<'a> {
    Create(&'a RuleDraft),
    Update(i64, &'a RuleDraft),
    Delete(i64),
}

impl Store {
    /// The first `limit` rules behind one of them, in the order of their numbers.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn rules(&self, after: Option<i64>, limit: usize) -> Result<Page<Rule, i64>, StoreError> {
        let query =
            rules::table.filter(rules::id.gt(after.unwrap_or(0))).order(rules::id).limit(one_more(limit));
        let mut session = self.checkout().await?;
        let rows: Vec<RuleRow> = with_conn!(&mut session.conn(), c => query.load(c).await)?;
        let rows = rows.into_iter().map(RuleRow::rule).collect::<Result<Vec<Rule>, StoreError>>()?;
        Ok(Page::cut(rows, limit, |rule| rule.id))
    }

    /// One rule, if there is such a one.
    ///
    /// # Errors
    /// The database did not answer.
    pub async fn rule(&self, id: i64) -> Result<Option<Rule>, StoreError> {
        let mut session = self.checkout().await?;
        find(&mut session.conn(), id).await
    }

    /// Makes a rule. It holds for what articles say from now on, not for what they said.
    ///
    /// # Errors
    /// Why it was not made.
    pub async fn create_rule(&self, draft: &RuleDraft, by: &RuleChange<'_>) -> Result<Rule, RuleError> {
        draft.check()?;
        self.change_rule(Order::Create(draft), by).await
    }

    /// Replaces a rule whole. Alerts that it has raised stand until their article is revised.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn update_rule(
        &self,
        id: i64,
        draft: &RuleDraft,
        by: &RuleChange<'_>,
    ) -> Result<Rule, RuleError> {
        draft.check()?;
        self.change_rule(Order::Update(id, draft), by).await
    }

    /// Deletes a rule. Its alerts stay. Answers what it was.
    ///
    /// # Errors
    /// Why it was not deleted.
    pub async fn delete_rule(&self, id: i64, by: &RuleChange<'_>) -> Result<Rule, RuleError> {
        self.change_rule(Order::Delete(id), by).await
    }

    async fn change_rule(&self, order: Order<'_>, by: &RuleChange<'_>) -> Result<Rule, RuleError> {
        in_tx!(self, conn => change(conn, order, by))
    }
}

/// The set's version goes first: its row is the lock of all changes.
async fn change(conn: &mut Conn<'_>, order: Order<'_>, by: &RuleChange<'_>) -> Result<Rule, RuleError> {
    let counted =
        diesel::update(alert_rule_set::table).set(alert_rule_set::version.eq(alert_rule_set::version + 1));
    with_conn!(conn, c => counted.execute(c).await)?;
    let (action, rule) = match order {
        Order::Create(draft) => ("rule_create", create(conn, draft, by.now).await?),
        Order::Update(id, draft) => ("rule_update", update(conn, id, draft, by.now).await?),
        Order::Delete(id) => ("rule_delete", delete(conn, id).await?),
    };
    check_room(conn).await?;
    leave_trail(conn, action, &rule, by).await?;
    Ok(rule)
}

async fn create(conn: &mut Conn<'_>, draft: &RuleDraft, now: UtcMicros) -> Result<Rule, RuleError> {
    let values = (written(draft), rules::created_at.eq(now), rules::updated_at.eq(now));
    let insert = diesel::insert_into(rules::table).values(values).returning(rules::id);
    let ids: Vec<i64> = with_conn!(conn, c => insert.load(c).await)?;
    existing(conn, ids.into_iter().next().unwrap_or_default()).await
}

async fn update(conn: &mut Conn<'_>, id: i64, draft: &RuleDraft, now: UtcMicros) -> Result<Rule, RuleError> {
    let update = diesel::update(rules::table.find(id)).set((written(draft), rules::updated_at.eq(now)));
    with_conn!(conn, c => update.execute(c).await)?;
    existing(conn, id).await
}

async fn delete(conn: &mut Conn<'_>, id: i64) -> Result<Rule, RuleError> {
    let rule = existing(conn, id).await?;
    let delete = diesel::delete(rules::table.find(id));
    with_conn!(conn, c => delete.execute(c).await)?;
    Ok(rule)
}

async fn existing(conn: &mut Conn<'_>, id: i64) -> Result<Rule, RuleError> {
    find(conn, id).await?.ok_or(RuleError::Missing(id))
}

type Written<'a> = (
    diesel::dsl::Eq<rules::name, &'a str>,
    diesel::dsl::Eq<rules::keywords, Json>,
    diesel::dsl::Eq<rules::field, &'static str>,
    diesel::dsl::Eq<rules::enabled, bool>,
);

fn written(draft: &RuleDraft) -> Written<'_> {
    (
        rules::name.eq(draft.name.trim()),
        rules::keywords.eq(Json(serde_json::Value::from(draft.keywords.clone()).to_string())),
        rules::field.eq(draft.field.name()),
        rules::enabled.eq(draft.enabled),
    )
}

/// All rules in force together are bounded: each connection that writes articles holds them.
async fn check_room(conn: &mut Conn<'_>) -> Result<(), RuleError> {
    let keywords: usize = in_force(conn).await?.iter().map(|rule| rule.keywords.len()).sum();
    if keywords <= ALL_KEYWORDS {
        return Ok(());
    }
    let problem = format!("the rules in force would have {keywords} together, at most {ALL_KEYWORDS}");
    Err(RuleError::Invalid { field: "keywords", problem })
}

async fn leave_trail(
    conn: &mut Conn<'_>,
    action: &'static str,
    rule: &Rule,
    by: &RuleChange<'_>,
) -> QueryResult<()> {
    let reason = format!("rule {} {:?}", rule.id, rule.draft.name);
    audit::write(conn, &Action::by(by.actor, action, &reason, by.now)).await
}

#[derive(Queryable)]
struct RuleRow {
    id: i64,
    name: String,
    keywords: Json,
    field: String,
    enabled: bool,
    created_at: UtcMicros,
    updated_at: UtcMicros,
}

impl RuleRow {
    fn rule(self) -> Result<Rule, StoreError> {
        let Self { id, name, keywords, field, enabled, created_at, updated_at } = self;
        let parsed = (serde_json::from_str(&keywords.0).ok(), Field::of_name(&field));
        let (Some(keywords), Some(field)) = parsed else {
            return Err(StoreError::Rejected(format!(
                "rule {id} was changed by hand: its keywords are no array of texts, or its field is unknown"
            )));
        };
        Ok(Rule { id, draft: RuleDraft { name, keywords, field, enabled }, created_at, updated_at })
    }
}

async fn find(conn: &mut Conn<'_>, id: i64) -> Result<Option<Rule>, StoreError> {
    let query = rules::table.find(id);
    let rows: Vec<RuleRow> = with_conn!(conn, c => query.load(c).await)?;
    rows.into_iter().next().map(RuleRow::rule).transpose()
}

/// The rules that are looked for. One that somebody broke by hand is passed over: an article must not wait for it.
async fn in_force(conn: &mut Conn<'_>) -> QueryResult<Vec<Keywords>> {
    let query = rules::table.filter(rules::enabled.eq(true)).order(rules::id);
    let rows: Vec<RuleRow> = with_conn!(conn, c => query.load(c).await)?;
    let rules = rows.into_iter().filter_map(|row| row.rule().ok());
    let keywords =
        |rule: Rule| Keywords { rule_id: rule.id, keywords: rule.draft.keywords, field: rule.draft.field };
    Ok(rules.map(keywords).collect())
}

/// The automaton that a connection keeps, and the version of the rules that it was made of.
pub(super) type KnownRules = Option<(i64, Arc<Matcher>)>;

/// The automaton of the rules in force. The version is read before the rules: what is kept may be newer than it says, and is
/// then made again, but never older.
pub(super) async fn matcher(conn: &mut Conn<'_>, known: &mut KnownRules) -> QueryResult<Arc<Matcher>> {
    let query = alert_rule_set::table.select(alert_rule_set::version);
    let versions: Vec<i64> = with_conn!(conn, c => query.load(c).await)?;
    let version = versions.into_iter().next().unwrap_or(0);
    if let Some((of, matcher)) = known
        && *of == version
    {
        return Ok(Arc::clone(matcher));
    }
    let mut rules = in_force(conn).await?;
    let mut room = ALL_KEYWORDS;
    for rule in &mut rules {
        rule.keywords.truncate(room); // more than the bound only where somebody wrote rules by hand
        room -= rule.keywords.len();
    }
    let matcher =
        Matcher::new(&rules).map_err(|error| diesel::result::Error::QueryBuilderError(error.into()))?;
    let matcher = Arc::new(matcher);
    *known = Some((version, Arc::clone(&matcher)));
    Ok(matcher)
}
