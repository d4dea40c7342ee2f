//! The tables, once for both stores: the portable types of `sql_types` stand for `timestamptz` and `jsonb` on
//! PostgreSQL and for text on SQLite. Kept by hand beside the migrations; `tests/store/catalog.rs` compares all three.

#![allow(missing_docs, reason = "tables are described where they are made: in the migrations")]

mod aside;
pub use aside::*;

diesel::table! {
    schema_version (id) {
        id -> Integer,
        version -> Integer,
        compatible_from -> Integer,
    }
}

diesel::table! {
    lineages (id) {
        id -> Integer,
        cluster_id -> Text,
        topic_id -> Text,
        topic -> Text,
        partition -> Integer,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    partition_offsets (consumer_group, topic, partition) {
        consumer_group -> Text,
        topic -> Text,
        partition -> Integer,
        lineage_id -> Integer,
        start_offset -> BigInt,
        next_offset -> BigInt,
        epoch -> BigInt,
        owner -> Text,
        updated_at -> UtcTimestamp,
        halted -> Nullable<Text>,
        halted_detail -> Nullable<Text>,
        halted_at -> Nullable<UtcTimestamp>,
        budget_exempt_to -> BigInt,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Integer, Text};
    offset_ledger (consumer_group, lineage_id, epoch, hour) {
        consumer_group -> Text,
        lineage_id -> Integer,
        epoch -> BigInt,
        hour -> UtcTimestamp,
        from_offset -> BigInt,
        to_offset -> BigInt,
        applied -> BigInt,
        dead -> BigInt,
        tombstone -> BigInt,
        skipped -> BigInt,
        hole -> BigInt,
        lost -> BigInt,
        inserted -> BigInt,
        updated -> BigInt,
        duplicate -> BigInt,
        stale -> BigInt,
    }
}

diesel::table! {
    use crate::sql_types::{JsonText, UtcTimestamp};
    use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
    dead_letters (lineage_id, record_offset) {
        lineage_id -> Integer,
        record_offset -> BigInt,
        topic -> Text,
        partition -> Integer,
        record_timestamp -> Nullable<UtcTimestamp>,
        key -> Nullable<Binary>,
        payload -> Binary,
        headers -> JsonText,
        reason -> Text,
        detail -> Text,
        correlation_id -> Nullable<Text>,
        trace_parent -> Nullable<Text>,
        created_at -> UtcTimestamp,
        status -> Text,
        attempts -> Integer,
        attempted_at -> Nullable<UtcTimestamp>,
        resolved_at -> Nullable<UtcTimestamp>,
        pruned_at -> Nullable<UtcTimestamp>,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    operator_actions (id) {
        id -> BigInt,
        at -> UtcTimestamp,
        actor -> Text,
        action -> Text,
        consumer_group -> Text,
        topic -> Text,
        partition -> Integer,
        lineage_before -> Nullable<Integer>,
        lineage_after -> Nullable<Integer>,
        epoch -> Nullable<BigInt>,
        from_offset -> Nullable<BigInt>,
        to_offset -> Nullable<BigInt>,
        reason -> Text,
    }
}

diesel::table! {
    use crate::sql_types::{JsonText, UtcTimestamp};
    use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
    games (id) {
        id -> BigInt,
        sport -> Nullable<Text>,
        league -> Nullable<Text>,
        home_team -> Nullable<Text>,
        away_team -> Nullable<Text>,
        commence_time -> Nullable<UtcTimestamp>,
        status -> Text,
        home_score -> Nullable<Integer>,
        away_score -> Nullable<Integer>,
        details -> JsonText,
        source -> Text,
        source_time -> UtcTimestamp,
        sequence -> BigInt,
        content_hash -> Binary,
        lineage_id -> Integer,
        record_offset -> BigInt,
        merged_into -> Nullable<BigInt>,
    }
}

diesel::table! {
    game_refs (id) {
        id -> BigInt,
        system -> Text,
        external_id -> Text,
        game_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Integer, Nullable};
    game_conflicts (game_ref_id, game_id) {
        game_ref_id -> BigInt,
        game_id -> BigInt,
        lineage_id -> Integer,
        record_offset -> BigInt,
        resolved_at -> Nullable<UtcTimestamp>,
    }
}

diesel::table! {
    selections (id) {
        id -> BigInt,
        game_ref_id -> BigInt,
        sportsbook -> Text,
        market -> Text,
        period -> Text,
        participant -> Text,
        side -> Text,
        alternate -> Bool,
        line -> Float,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Double, Float, Integer, Nullable};
    odds (selection_id, observed_at) {
        selection_id -> BigInt,
        observed_at -> UtcTimestamp,
        record_offset -> BigInt,
        price -> Nullable<Double>,
        lineage_id -> Integer,
        line -> Nullable<Float>,
    }
}

diesel::table! {
    use crate::sql_types::{JsonText, UtcTimestamp};
    use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
    articles (id) {
        id -> BigInt,
        url_hash -> Binary,
        url -> Text,
        canonical_url -> Text,
        title -> Text,
        summary -> Text,
        body -> Text,
        source_name -> Nullable<Text>,
        language -> Nullable<Text>,
        authors -> JsonText,
        tags -> JsonText,
        published_at -> Nullable<UtcTimestamp>,
        revision -> Integer,
        content_hash -> Binary,
        source -> Text,
        source_time -> UtcTimestamp,
        lineage_id -> Integer,
        record_offset -> BigInt,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Integer, Text};
    removals (lineage_id, reason) {
        lineage_id -> Integer,
        reason -> Text,
        rows -> BigInt,
        horizon -> UtcTimestamp,
    }
}

diesel::table! {
    use crate::sql_types::{JsonText, UtcTimestamp};
    use diesel::sql_types::{BigInt, Binary, Double, Float, Integer, Nullable, Text};
    sharp_signals (id) {
        id -> BigInt,
        game_ref_id -> BigInt,
        window_minute -> UtcTimestamp,
        detector -> Text,
        detector_version -> Text,
        signal_type -> Text,
        market -> Text,
        period -> Text,
        participant -> Text,
        side -> Text,
        line -> Nullable<Float>,
        detected_at -> UtcTimestamp,
        window_start -> UtcTimestamp,
        window_end -> UtcTimestamp,
        line_from -> Nullable<Float>,
        line_to -> Nullable<Float>,
        price_from -> Nullable<Integer>,
        price_to -> Nullable<Integer>,
        tickets_pct -> Nullable<Double>,
        money_pct -> Nullable<Double>,
        magnitude -> Nullable<Double>,
        magnitude_unit -> Nullable<Text>,
        confidence -> Nullable<Double>,
        severity -> Text,
        expires_at -> Nullable<UtcTimestamp>,
        evidence -> JsonText,
        signal_id -> Nullable<Text>,
        content_hash -> Binary,
        source -> Text,
        observed_at -> UtcTimestamp,
        lineage_id -> Integer,
        record_offset -> BigInt,
    }
}

diesel::table! {
    use crate::sql_types::{JsonText, UtcTimestamp};
    use diesel::sql_types::{BigInt, Binary, Double, Float, Integer, Nullable, Text};
    betting_analyses (id) {
        id -> BigInt,
        game_ref_id -> BigInt,
        as_of -> UtcTimestamp,
        model -> Text,
        model_version -> Text,
        market -> Text,
        period -> Text,
        participant -> Text,
        side -> Text,
        line_key -> Float,
        line -> Nullable<Float>,
        fair_probability -> Double,
        fair_price_american -> Nullable<Integer>,
        sportsbook -> Nullable<Text>,
        offered_price_american -> Nullable<Integer>,
        vig_method -> Text,
        edge -> Nullable<Double>,
        kelly_fraction -> Nullable<Double>,
        stake_units -> Nullable<Double>,
        recommendation -> Text,
        confidence -> Double,
        rationale -> Text,
        inputs -> JsonText,
        result -> Text,
        settled_at -> Nullable<UtcTimestamp>,
        analysis_id -> Nullable<Text>,
        content_hash -> Binary,
        source -> Text,
        observed_at -> UtcTimestamp,
        lineage_id -> Integer,
        record_offset -> BigInt,
    }
}

diesel::joinable!(odds -> selections (selection_id));
diesel::joinable!(selections -> game_refs (game_ref_id));
diesel::joinable!(game_refs -> games (game_id));
diesel::joinable!(sharp_signals -> game_refs (game_ref_id));
diesel::joinable!(betting_analyses -> game_refs (game_ref_id));
diesel::joinable!(alerts -> articles (article_id));
diesel::joinable!(alerts -> alert_rules (rule_id));
diesel::allow_tables_to_appear_in_same_query!(
    schema_version,
    lineages,
    partition_offsets,
    offset_ledger,
    dead_letters,
    operator_actions,
    games,
    game_refs,
    game_conflicts,
    selections,
    odds,
    articles,
    removals,
    sharp_signals,
    betting_analyses,
    alert_rules,
    alert_rule_set,
    alerts,
    scraper_versions,
    workflows,
    workflow_history,
    switches,
);
