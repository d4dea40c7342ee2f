//! The columns that migrations make. Others are somebody else's: tables that migrations make anew have no place for them.
//!
//! What must stay true: `COLUMNS` names every column that any version of the schema has, also one that a later migration drops;
//! `tests/backup/contents.rs` holds it against a database of each version.

/// Tables, and their columns in one line.
const COLUMNS: [(&str, &str); 22] = [
    ("schema_version", "id version compatible_from"),
    ("lineages", "id cluster_id topic_id topic partition"),
    (
        "partition_offsets",
        "consumer_group topic partition lineage_id start_offset next_offset epoch owner updated_at halted \
         halted_detail halted_at budget_exempt_to",
    ),
    (
        "offset_ledger",
        "consumer_group lineage_id epoch hour from_offset to_offset applied dead tombstone skipped hole lost \
         inserted updated duplicate stale",
    ),
    (
        "dead_letters",
        "lineage_id record_offset topic partition record_timestamp key payload headers reason detail \
         correlation_id trace_parent created_at status attempts attempted_at resolved_at pruned_at",
    ),
    (
        "operator_actions",
        "id at actor action consumer_group topic partition lineage_before lineage_after epoch from_offset \
         to_offset reason",
    ),
    ("switches", "consumer_group topic partition state reason actor at"),
    (
        "games",
        "id sport league home_team away_team commence_time status home_score away_score details source \
         source_time sequence content_hash lineage_id record_offset merged_into",
    ),
    ("game_refs", "id system external_id game_id"),
    ("game_conflicts", "game_ref_id game_id lineage_id record_offset resolved_at"),
    ("selections", "id game_ref_id sportsbook market period participant side alternate line"),
    ("odds", "selection_id observed_at record_offset price lineage_id line"),
    (
        "articles",
        "id url_hash url canonical_url title summary body source_name language authors tags published_at \
         revision content_hash source source_time lineage_id record_offset",
    ),
    ("removals", "lineage_id reason rows horizon"),
    (
        "sharp_signals",
        "id game_ref_id window_minute detector detector_version signal_type market period participant side \
         line detected_at window_start window_end line_from line_to price_from price_to tickets_pct money_pct \
         magnitude magnitude_unit confidence severity expires_at evidence signal_id content_hash source \
         observed_at lineage_id record_offset",
    ),
    (
        "betting_analyses",
        "id game_ref_id as_of model model_version market period participant side line_key line \
         fair_probability fair_price_american sportsbook offered_price_american vig_method edge \
         kelly_fraction stake_units recommendation confidence rationale inputs result settled_at analysis_id \
         content_hash source observed_at lineage_id record_offset",
    ),
    ("alert_rules", "id name keywords field enabled created_at updated_at"),
    ("alert_rule_set", "id version"),
    (
        "alerts",
        "id article_id rule_id keyword field excerpt revision at withdrawn_at lineage_id record_offset",
    ),
    ("scraper_versions", "kind source version first_seen last_seen records"),
    (
        "workflows",
        "id kind state parameters parameters_hash plan progress error requested_by attended lease_owner \
         lease_until attempt created_at started_at ended_at updated_at",
    ),
    ("workflow_history", "workflow_id seq at from_state to_state actor detail"),
];

/// The columns of a table of ours.
pub(super) fn of(table: &str) -> Vec<&'static str> {
    let found = COLUMNS.iter().find(|(name, _)| *name == table);
    found.map_or_else(Vec::new, |(_, columns)| columns.split_whitespace().collect())
}
