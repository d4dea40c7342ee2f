//! Tables beside the line: what articles are searched for and what was found, scrapers, workflows, switches.

diesel::table! {
    use crate::sql_types::{JsonText, UtcTimestamp};
    use diesel::sql_types::{BigInt, Bool, Text};
    alert_rules (id) {
        id -> BigInt,
        name -> Text,
        keywords -> JsonText,
        field -> Text,
        enabled -> Bool,
        created_at -> UtcTimestamp,
        updated_at -> UtcTimestamp,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Integer};
    alert_rule_set (id) {
        id -> Integer,
        version -> BigInt,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Integer, Nullable, Text};
    alerts (id) {
        id -> BigInt,
        article_id -> BigInt,
        rule_id -> BigInt,
        keyword -> Text,
        field -> Text,
        excerpt -> Text,
        revision -> Integer,
        at -> UtcTimestamp,
        withdrawn_at -> Nullable<UtcTimestamp>,
        lineage_id -> Integer,
        record_offset -> BigInt,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{BigInt, Text};
    scraper_versions (kind, source, version) {
        kind -> Text,
        source -> Text,
        version -> Text,
        first_seen -> UtcTimestamp,
        last_seen -> UtcTimestamp,
        records -> BigInt,
    }
}

diesel::table! {
    use crate::sql_types::{JsonText, UtcTimestamp};
    use diesel::sql_types::{Bool, Integer, Nullable, Text};
    workflows (id) {
        id -> Text,
        kind -> Text,
        state -> Text,
        parameters -> JsonText,
        parameters_hash -> Text,
        plan -> Nullable<JsonText>,
        progress -> Nullable<JsonText>,
        error -> Nullable<Text>,
        requested_by -> Text,
        attended -> Bool,
        lease_owner -> Nullable<Text>,
        lease_until -> Nullable<UtcTimestamp>,
        attempt -> Integer,
        created_at -> UtcTimestamp,
        started_at -> Nullable<UtcTimestamp>,
        ended_at -> Nullable<UtcTimestamp>,
        updated_at -> UtcTimestamp,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{Integer, Nullable, Text};
    workflow_history (workflow_id, seq) {
        workflow_id -> Text,
        seq -> Integer,
        at -> UtcTimestamp,
        from_state -> Nullable<Text>,
        to_state -> Text,
        actor -> Text,
        detail -> Text,
    }
}

diesel::table! {
    use crate::sql_types::UtcTimestamp;
    use diesel::sql_types::{Integer, Text};
    switches (consumer_group, topic, partition) {
        consumer_group -> Text,
        topic -> Text,
        partition -> Integer,
        state -> Text,
        reason -> Text,
        actor -> Text,
        at -> UtcTimestamp,
    }
}
